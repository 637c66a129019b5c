//! End to end, with real peers.
