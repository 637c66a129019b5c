//! The control stream: numbered commands and events, replayed after a re-dial, each applied once.
