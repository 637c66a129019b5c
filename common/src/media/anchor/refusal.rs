//! Why a description does not go on, and how the request that carried it is answered.

use std::time::Duration;

use crate::limits;
use crate::sdp::description::DescriptionError;

/// Why a description is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// The client offers DTLS-SRTP (RFC 5763) and no keys in the description.
    #[error("the client offers SRTP by DTLS only")]
    DtlsOnly,
    /// Another offer waits for its answer.
    #[error("another offer of this call waits for its answer")]
    Glare,
    /// The inner peer names an address where media may not go.
    #[error("the inner peer wants media at an address outside [media] networks")]
    InnerAddress,
    /// Not a session description.
    #[error("the body is not a session description")]
    Malformed,
    /// No m-line can be relayed.
    #[error("no media line can be relayed")]
    NoMedia,
    /// The client offers or answers SRTP without a key that can be used.
    #[error("the client has SRTP without a suite that is supported")]
    NoKeys,
    /// The inner peer offers or answers SRTP without a key that can be used.
    #[error("the inner peer has SRTP without a suite that is supported")]
    NoKeysInside,
    /// Ports or calls are used up.
    #[error("no media ports are ready")]
    NoPorts,
    /// The client offers media without SRTP.
    #[error("the client offers media without SRTP")]
    PlainRtp,
    /// The inner peer offers media without SRTP, and its registrar demands it.
    #[error("the inner peer offers media without SRTP")]
    PlainRtpInside,
    /// Over one of the limits.
    #[error("the session description is too long or has too many media lines")]
    TooLong,
}

impl Refusal {
    /// The status code that answers the request (RFC 3261 section 21).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLong => 413,
            Self::DtlsOnly
            | Self::InnerAddress
            | Self::NoKeys
            | Self::NoKeysInside
            | Self::NoMedia
            | Self::PlainRtp
            | Self::PlainRtpInside => 488,
            Self::Glare => 491,
            Self::NoPorts => 503,
        }
    }

    /// `Retry-After` of the answer, if it has one.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::NoPorts => Some(limits::MEDIA_PORTS_RETRY_AFTER),
            Self::DtlsOnly
            | Self::Glare
            | Self::InnerAddress
            | Self::Malformed
            | Self::NoKeys
            | Self::NoKeysInside
            | Self::NoMedia
            | Self::PlainRtp
            | Self::PlainRtpInside
            | Self::TooLong => None,
        }
    }

    /// What an operator can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::DtlsOnly | Self::PlainRtp => "let the client offer SDES keys (a=crypto)",
            Self::Glare => "nothing: who was refused tries again",
            Self::InnerAddress => "widen [media] networks if that address is right",
            Self::Malformed | Self::TooLong => "look at who wrote it",
            Self::NoKeys | Self::NoKeysInside => {
                "let it have AES_CM_128_HMAC_SHA1_80, AEAD_AES_128_GCM or AEAD_AES_256_GCM"
            }
            Self::NoMedia => "none if it is not needed: only media over UDP is relayed",
            Self::NoPorts => "widen [media] ports of both edges; used ports come back after 30 s",
            Self::PlainRtpInside => {
                "switch SRTP on there, or set media of the [[registrar]] to \"rtp\" or \"as-offered\""
            }
        }
    }

    /// The name in logs and labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DtlsOnly => "dtls_only",
            Self::Glare => "glare",
            Self::InnerAddress => "inner_address",
            Self::Malformed => "malformed",
            Self::NoKeys => "no_keys",
            Self::NoKeysInside => "no_keys_inside",
            Self::NoMedia => "no_media",
            Self::NoPorts => "no_ports",
            Self::PlainRtp => "plain_rtp",
            Self::PlainRtpInside => "plain_rtp_inside",
            Self::TooLong => "too_long",
        }
    }
}

impl From<DescriptionError> for Refusal {
    fn from(error: DescriptionError) -> Self {
        match error {
            DescriptionError::Line(_) | DescriptionError::Version => Self::Malformed,
            DescriptionError::TooLong | DescriptionError::TooManyMedia => Self::TooLong,
        }
    }
}
