//! Media of calls, without I/O: what is agreed on, which packet goes where, and what it is. Sockets and threads are the
//! shells' business.
//!
//! [`anchor`] rewrites session descriptions so that every stream passes the pair, over ports that [`supply`] holds ready,
//! and says by [`plan`] what the engine shall do. A [`session`] does it, packet by packet.

pub mod anchor;
pub mod class;
pub mod demux;
pub mod ice;
pub mod latch;
pub mod mos;
pub mod plan;
pub mod port_pool;
pub mod relay;
pub mod rtcp;
pub mod rtp;
pub mod session;
pub mod srtp;
pub mod stats;
pub mod supply;
pub mod trunk_frame;
