//! The first message each side sends on a link connection, before any HTTP or control frame.
//!
//! edge-c dials and greets; edge-e welcomes or refuses. Each message is one length-prefixed JSON object, so
//! that a version one minor apart may add fields without breaking the other.

#![warn(clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};

use crate::id::CoreId;
use crate::limits;
use crate::redact::Secret;

/// The protocol this build speaks. A different major version is refused; a minor one may be one apart.
pub const PROTOCOL: Protocol = Protocol { major: 1, minor: 0 };

/// Version of the link's own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Incompatible changes.
    pub major: u16,
    /// Additions.
    pub minor: u16,
}

impl Protocol {
    /// Whether two versions may work together: same major, minor at most one apart (rolling upgrade).
    #[must_use]
    pub const fn is_compatible(self, other: Self) -> bool {
        self.major == other.major && self.minor.abs_diff(other.minor) <= 1
    }
}

/// What a link connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Commands and events; one per pair.
    Control,
    /// HTTPS requests, one at a time: HTTP/1.1, edge-e is the client.
    HttpsPool,
    /// Short HTTPS exchanges, many at a time, beside the pool ([`crate::link::exchange`]): edge-e asks.
    HttpsExchange,
    /// HTTPS requests, many at a time: HTTP/2, edge-e is the client.
    HttpsShared,
    /// Media frames, where the media trunk's UDP does not get through: each with its length in front.
    Media,
    /// Client connections, a stream each ([`crate::link::stream_preface`]): HTTP/2, edge-e is the client.
    Streams,
}

impl Purpose {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::HttpsPool => "https-pool",
            Self::HttpsExchange => "https-exchange",
            Self::HttpsShared => "https-shared",
            Self::Media => "media",
            Self::Streams => "streams",
        }
    }
}

/// What edge-c says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Product version, for logs.
    pub version: String,
    /// Link protocol version.
    pub protocol: Protocol,
    /// The core's configured name.
    pub core: String,
    /// The core's number, which stands in its cookies.
    pub core_id: CoreId,
    /// Random, new at each start of the process.
    pub instance: u64,
    /// What the connection is for.
    pub purpose: Purpose,
    /// The last control frame that was applied from the edge-e instance named here, to resume after it.
    #[serde(default)]
    pub resume: Option<Resume>,
    /// Of a media trunk, over UDP or TCP: what edge-e said last on the control stream, to prove that both belong together.
    #[serde(default, with = "secret_text", skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Secret<String>>,
}

/// Up to where one side has applied the other's numbered control frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The instance whose frames were applied.
    pub instance: u64,
    /// The last number applied.
    pub applied: u64,
}

/// What edge-e answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The connection won't be used; it is closed after this.
    Refused {
        /// What is wrong.
        reason: String,
        /// What the operator can do.
        remedy: String,
        /// Product version of edge-e.
        version: String,
        /// What kind of wrong, for metrics.
        #[serde(default)]
        kind: RefusalKind,
    },
    /// Go ahead.
    Welcome {
        /// Product version, for logs.
        version: String,
        /// Link protocol version.
        protocol: Protocol,
        /// The edge's configured name.
        edge: String,
        /// Random, new at each start of the process.
        instance: u64,
        /// As in [`Hello`], for the core's frames.
        #[serde(default)]
        resume: Option<Resume>,
    },
}

/// What kind of reason edge-e has to refuse a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The two versions don't speak with one another.
    Version,
    /// The core may not connect, or not under this name or number; and whatever a newer edge-e may add.
    #[default]
    #[serde(other)]
    NotAllowed,
}

/// Why a greeting could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// Not the JSON object that is expected.
    #[error("the greeting is not understood: {0}")]
    Malformed(String),
    /// Longer than any real one.
    #[error("the greeting has {0} bytes, more than any real one")]
    TooLong(usize),
}

/// Writes a greeting with its length in front.
#[must_use]
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // Serialising these types can't fail: string keys only, no maps, no user-made implementations.
    let body = serde_json::to_vec(message).unwrap_or_default();
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

/// The length of the body that follows the 4-byte prefix.
///
/// # Errors
/// [`GreetingError::TooLong`] over [`limits::LINK_GREETING_BYTES_MAX`].
pub const fn body_len(prefix: [u8; 4]) -> Result<usize, GreetingError> {
    let len = u32::from_be_bytes(prefix) as usize;
    if len > limits::LINK_GREETING_BYTES_MAX {
        return Err(GreetingError::TooLong(len));
    }
    Ok(len)
}

/// Reads a greeting's body.
///
/// # Errors
/// [`GreetingError::Malformed`] if it is not the expected object.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, GreetingError> {
    serde_json::from_slice(body).map_err(|error| GreetingError::Malformed(error.to_string()))
}

mod secret_text {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::redact::Secret;

    #[expect(clippy::ref_option, reason = "serde asks for this form")]
    pub(super) fn serialize<S: Serializer>(
        text: &Option<Secret<String>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_ref().map(Secret::reveal).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret<String>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            version: "0.1.0".into(),
            protocol: PROTOCOL,
            core: "edge-c1".into(),
            core_id: CoreId(1),
            instance: 42,
            purpose: Purpose::Control,
            resume: Some(Resume {
                instance: 7,
                applied: 3,
            }),
            nonce: Some(Secret::new("c2VjcmV0".to_owned())),
        }
    }

    #[test]
    fn a_greeting_reads_back_as_written() {
        let bytes = encode(&hello());
        let (prefix, body) = bytes.split_first_chunk::<4>().unwrap();

        assert_eq!(body_len(*prefix), Ok(body.len()));
        assert_eq!(decode::<Hello>(body), Ok(hello()));
    }

    #[test]
    fn one_minor_version_apart_works_and_more_does_not() {
        let version = |major, minor| Protocol { major, minor };

        assert!(version(1, 3).is_compatible(version(1, 4)));
        assert!(version(1, 4).is_compatible(version(1, 3)));
        assert!(!version(1, 3).is_compatible(version(1, 5)));
        assert!(!version(1, 3).is_compatible(version(2, 3)));
    }

    #[test]
    fn fields_of_a_later_minor_version_are_passed_over() {
        let body = br#"{"version":"9","protocol":{"major":1,"minor":1},"core":"c","core_id":1,
            "instance":1,"purpose":"control","later":true}"#;

        assert!(decode::<Hello>(body).is_ok());
    }

    #[test]
    fn an_oversized_greeting_is_refused_before_its_body_arrives() {
        assert_eq!(body_len([1, 0, 0, 0]), Err(GreetingError::TooLong(1 << 24)));
    }
}
