//! Streams between the edges: one for each SIP or XMPP connection of a client, many on one connection that edge-c dialled.
//!
//! HTTP/2 with extended CONNECT (RFC 8441), by `h2` itself; edge-e is its client and opens the streams. Knows nothing of
//! what they carry; bulk HTTPS never shares a connection with them.

mod gather;
mod keep_alive;
mod opener;
mod serve;
mod stream;

use std::fmt;

pub use opener::{OpenError, Opener};
pub use serve::{Arrived, Refusal, serve};
pub use stream::{LinkStream, ReceiveHalf, SendHalf, StreamLost};

/// Why a connection for streams ended.
#[derive(Debug)]
pub enum Ended {
    /// The peer closed it, or it was drained and nothing was left on it.
    Closed,
    /// `h2` gave up: a broken connection, or a peer that breaks the protocol.
    Failed(h2::Error),
    /// The peer does not allow extended CONNECT.
    NoExtendedConnect,
    /// The peer has not answered keep-alives.
    Silent,
}

impl Ended {
    fn of(done: Result<(), h2::Error>) -> Self {
        done.map_or_else(Self::Failed, |()| Self::Closed)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Failed(error) => error.fmt(f),
            Self::NoExtendedConnect => f.write_str("the peer does not allow extended CONNECT"),
            Self::Silent => f.write_str("the peer does not answer"),
        }
    }
}

#[cfg(test)]
mod tests;
