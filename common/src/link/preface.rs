//! The header fields edge-e adds to a request on the link: client address, tracking id, edge name.
