//! Authoritative DNS: what one packet is answered with, decided without a socket.
//!
//! A [`Responder`] holds the zones and turns a query into an answer; a [`rate::Limiter`] says whether the answer may go
//! out. Nothing here looks a name up for anybody, refers anybody elsewhere, or hands out a whole zone.
//!
//! Records come from zone files or from [`service`], which writes the records of a cluster of edges. [`zone::Zone`] is
//! made of them once, in a form that is copied into answers; it is made anew when an edge comes or goes.

#![warn(clippy::arithmetic_side_effects)]

pub mod cookie;
mod hashed;
mod name;
mod proof;
pub mod query;
pub mod rate;
pub mod records;
mod responder;
pub mod service;
mod write;
pub mod zone;

pub use name::{Name, NotAName};
pub use responder::{Answered, Asked, Outcome, Responder, Transport, truncate};

/// Numbers of the protocol (RFC 1035, 2782, 4034, 6891).
pub mod number {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// A name server.
    pub const NS: u16 = 2;
    /// Another name of the same.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// A mail server.
    pub const MX: u16 = 15;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// A server of a service.
    pub const SRV: u16 = 33;
    /// Another name of a whole tree.
    pub const DNAME: u16 = 39;
    /// The pseudo record of EDNS.
    pub const OPT: u16 = 41;
    /// A signature.
    pub const RRSIG: u16 = 46;
    /// Proof of what does not exist.
    pub const NSEC: u16 = 47;
    /// Proof of what does not exist, with hashed names.
    pub const NSEC3: u16 = 50;
    /// How names are hashed in a zone.
    pub const NSEC3PARAM: u16 = 51;
    /// Transfer of what has changed in a zone.
    pub const IXFR: u16 = 251;
    /// Transfer of a zone.
    pub const AXFR: u16 = 252;
    /// Whatever there is.
    pub const ANY: u16 = 255;

    /// The Internet.
    pub const IN: u16 = 1;

    /// The EDNS option of cookies (RFC 7873).
    pub const COOKIE: u16 = 10;
}

/// What an answer says of itself (RFC 1035 section 4.1.1, RFC 6895).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rcode {
    /// The version of EDNS is not known here.
    BadVersion,
    /// The query can't be read.
    FormErr,
    /// There may be records in the answer.
    NoError,
    /// This kind of query is not served.
    NotImp,
    /// The name does not exist.
    NxDomain,
    /// Not for this server, or not for anybody.
    Refused,
}

impl Rcode {
    /// The number, of which the upper 8 bits go into the OPT record.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::BadVersion => 16,
        }
    }
}

#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;
