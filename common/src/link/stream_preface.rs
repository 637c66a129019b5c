//! What edge-e says of a client connection when it opens a stream for it: the header fields of an extended CONNECT
//! (RFC 8441).
//!
//! Claims of a machine that may be lost: edge-c reads them as strictly as anything from outside.

use std::net::SocketAddr;
use std::str::FromStr;

use http::header::{HeaderMap, HeaderName};

use super::preface::{CLIENT, TRACKING, take_one, value};
use crate::id::TrackingId;
use crate::net::{ClientAddr, Domain};

/// Which protocol the client speaks; `:protocol` of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamProtocol {
    /// SIP: the body consists of frames of [`super::flow`].
    Sip,
    /// XMPP: frames as well. A message is any piece of the XML stream, or one whole message of a WebSocket (RFC 7395).
    Xmpp,
    /// XMPP within TLS that edge-c ends: a message is any piece of what the client sends from its hello on.
    XmppTls,
}

impl StreamProtocol {
    /// The value of `:protocol`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Xmpp => "xmpp",
            Self::XmppTls => "xmpp-tls",
        }
    }
}

/// What the client's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientTransport {
    /// TLS over TCP.
    Tls,
    /// A WebSocket over TLS (RFC 7118, RFC 7395).
    Wss,
}

impl ClientTransport {
    /// The name in the preface, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Wss => "wss",
        }
    }
}

/// The version of TLS that the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// The name in the preface, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// What edge-e says of a client connection. Which edge says so is known from the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPreface {
    /// What the stream carries.
    pub protocol: StreamProtocol,
    /// What the client's connection is.
    pub transport: ClientTransport,
    /// Where the client connected from.
    pub client: ClientAddr,
    /// Where it connected to.
    pub local: SocketAddr,
    /// The server name in the client's TLS hello.
    pub server_name: Option<Domain>,
    /// The version of TLS; of no meaning where edge-c ends it.
    pub tls_version: TlsVersion,
    /// The service domain, where the path of a WebSocket or the header of an XMPP stream names it.
    pub domain: Option<Domain>,
    /// The connection's id in the logs of both edges.
    pub tracking: TrackingId,
}

/// A stream without a usable preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamPrefaceError {
    /// A field that is missing, doubled or unreadable.
    #[error("the stream on the link has no usable {0} field")]
    Field(&'static str),
    /// A protocol that is not known.
    #[error("the stream on the link is of an unknown protocol")]
    Protocol,
}

impl StreamPreface {
    /// The header fields, `:protocol` apart.
    #[must_use]
    pub fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(8);
        fields.insert(CLIENT, value(&self.client.0));
        fields.insert(LOCAL, value(&self.local));
        fields.insert(TLS, value(&self.tls_version.as_str()));
        fields.insert(TRACKING, value(&self.tracking));
        fields.insert(TRANSPORT, value(&self.transport.as_str()));
        if let Some(domain) = &self.domain {
            fields.insert(DOMAIN, value(domain));
        }
        if let Some(name) = &self.server_name {
            fields.insert(SERVER_NAME, value(name));
        }
        fields
    }

    /// Reads `:protocol` and the header fields; fields that are not known are ignored.
    ///
    /// # Errors
    /// [`StreamPrefaceError`] if one is missing, doubled or unreadable.
    pub fn read(protocol: &str, mut fields: HeaderMap) -> Result<Self, StreamPrefaceError> {
        let protocol = [
            StreamProtocol::Sip,
            StreamProtocol::Xmpp,
            StreamProtocol::XmppTls,
        ]
        .into_iter()
        .find(|known| known.as_str() == protocol)
        .ok_or(StreamPrefaceError::Protocol)?;
        let fields = &mut fields;
        Ok(Self {
            protocol,
            transport: required(fields, &TRANSPORT, "edge-transport")?,
            client: ClientAddr(required(fields, &CLIENT, "edge-client")?),
            local: required(fields, &LOCAL, "edge-local")?,
            server_name: optional(fields, &SERVER_NAME, "edge-server-name")?,
            tls_version: required(fields, &TLS, "edge-tls")?,
            domain: optional(fields, &DOMAIN, "edge-domain")?,
            tracking: required(fields, &TRACKING, "x-tracking-id")?,
        })
    }
}

fn required<T: FromStr>(
    fields: &mut HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<T, StreamPrefaceError> {
    take_one(fields, name).ok_or(StreamPrefaceError::Field(shown))
}

fn optional<T: FromStr>(
    fields: &mut HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<T>, StreamPrefaceError> {
    if !fields.contains_key(name) {
        return Ok(None);
    }
    required(fields, name, shown).map(Some)
}

/// The value is none of the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a known value")]
pub struct UnknownValue;

impl FromStr for ClientTransport {
    type Err = UnknownValue;

    fn from_str(text: &str) -> Result<Self, UnknownValue> {
        let mut known = [Self::Tls, Self::Wss].into_iter();
        known.find(|one| one.as_str() == text).ok_or(UnknownValue)
    }
}

impl FromStr for TlsVersion {
    type Err = UnknownValue;

    fn from_str(text: &str) -> Result<Self, UnknownValue> {
        let mut known = [Self::V1_2, Self::V1_3].into_iter();
        known.find(|one| one.as_str() == text).ok_or(UnknownValue)
    }
}

const DOMAIN: HeaderName = HeaderName::from_static("edge-domain");
const LOCAL: HeaderName = HeaderName::from_static("edge-local");
const SERVER_NAME: HeaderName = HeaderName::from_static("edge-server-name");
const TLS: HeaderName = HeaderName::from_static("edge-tls");
const TRANSPORT: HeaderName = HeaderName::from_static("edge-transport");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn preface() -> StreamPreface {
        StreamPreface {
            protocol: StreamProtocol::Sip,
            transport: ClientTransport::Wss,
            client: ClientAddr("[2001:db8::7]:50000".parse().unwrap()),
            local: "192.0.2.1:5061".parse().unwrap(),
            server_name: Some(Domain::parse("edge1.example.com").unwrap()),
            tls_version: TlsVersion::V1_3,
            domain: Some(Domain::parse("example.com").unwrap()),
            tracking: TrackingId::new([7; 16]),
        }
    }

    #[test]
    fn a_preface_reads_back_as_written() {
        let bare = StreamPreface {
            transport: ClientTransport::Tls,
            tls_version: TlsVersion::V1_2,
            server_name: None,
            domain: None,
            ..preface()
        };

        let xmpp = StreamPreface {
            protocol: StreamProtocol::Xmpp,
            ..preface()
        };

        let unread = StreamPreface {
            protocol: StreamProtocol::XmppTls,
            ..preface()
        };

        for preface in [preface(), bare, xmpp, unread] {
            let protocol = preface.protocol.as_str();
            assert_eq!(StreamPreface::read(protocol, preface.fields()), Ok(preface));
        }
    }

    #[test]
    fn a_field_that_is_missing_doubled_or_unreadable_is_named() {
        for name in [&CLIENT, &LOCAL, &TLS, &TRACKING, &TRANSPORT] {
            let mut without = preface().fields();
            without.remove(name);
            let refused = StreamPreface::read("sip", without).unwrap_err();
            assert!(refused.to_string().contains(name.as_str()), "{refused}");
        }
        for name in [
            &CLIENT,
            &LOCAL,
            &TLS,
            &TRACKING,
            &TRANSPORT,
            &DOMAIN,
            &SERVER_NAME,
        ] {
            let mut doubled = preface().fields();
            doubled.append(name, doubled.get(name).unwrap().clone());
            assert!(StreamPreface::read("sip", doubled).is_err(), "two {name}");

            let mut wrong = preface().fields();
            wrong.insert(name, HeaderValue::from_static("-"));
            assert!(StreamPreface::read("sip", wrong).is_err(), "wrong {name}");
        }
    }

    #[test]
    fn a_protocol_that_is_not_known_is_refused() {
        assert_eq!(
            StreamPreface::read("telnet", preface().fields()),
            Err(StreamPrefaceError::Protocol)
        );
    }
}
