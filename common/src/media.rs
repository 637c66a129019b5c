//! Media of calls, without I/O: which packet goes where, and what it is. Sockets and threads are the shells' business.

pub mod class;
pub mod trunk_frame;
