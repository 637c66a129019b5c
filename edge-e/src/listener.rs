//! The public listeners, one file for each port. The same five steps everywhere:
//! accept, admit, identify, authorise, relay.

pub mod https;
