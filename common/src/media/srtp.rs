//! SRTP and SRTCP with keys from signalling: RFC 3711 (AES in counter mode with HMAC-SHA1) and RFC 7714 (AES-GCM).
//!
//! [`Receiver`] opens and [`Sender`] protects packets in the caller's buffer, without allocating. A source (SSRC) is
//! remembered only after its first packet proved that it has the key, so nothing that strangers send takes memory.
//! Not here: key exchange (SDP does it), and which address a packet may come from ([`super::latch`]).

mod cipher;
mod receive;
mod send;
mod source;
mod window;

pub use receive::Receiver;
pub use send::Sender;

/// Octets that protecting a packet adds at most, but for a master key identifier: tag and index.
pub const TRAILER_BYTES_MAX: usize = 20;

/// Why a packet was not opened or protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The tag is wrong: another key, or a changed packet.
    #[error("is not authentic")]
    Authentication,
    /// The key has protected as many packets as it may (RFC 3711 section 9.2).
    #[error("the key is used up")]
    Exhausted,
    /// Not an RTP or RTCP packet, or shorter than its tag.
    #[error("is malformed")]
    Malformed,
    /// There is no key yet.
    #[error("there is no key")]
    NoKey,
    /// Was there before, or is too old to tell.
    #[error("is a replay")]
    Replayed,
    /// The stream had more sources than may be.
    #[error("the stream has too many sources")]
    Sources,
    /// The buffer has no room for the tag.
    #[error("is too long")]
    TooLong,
    /// RTCP that is not encrypted.
    #[error("is not encrypted")]
    Unencrypted,
}

/// The crypto library refuses a key. It has the right length, so that can't be helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the crypto library refuses the key")]
pub struct KeyRefused;

#[cfg(test)]
mod tests;
