//! XMPP until authentication is done: streams and elements, the dialogue before TLS, feature lists, SASL as it passes
//! (RFC 6120). Afterwards bytes are copied unread.
//!
//! Nothing here owns a socket, reads a clock or makes a random number. The parser knows no document types, entities,
//! comments or processing instructions, so none of them gets past it.

pub mod boundaries;
pub mod error;
pub mod features;
pub mod framing;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod fuzz;
pub mod login;
pub mod node_opening;
pub mod opening;
pub mod sasl;
pub mod websocket;

/// The namespace of stream headers, features and errors (RFC 6120 section 4.8.1).
pub const NS_STREAMS: &str = "http://etherx.jabber.org/streams";
/// The namespace of the conditions of stream errors (RFC 6120 section 4.9.2).
pub const NS_STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// STARTTLS (RFC 6120 section 5).
pub const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 section 6).
pub const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Extensible SASL profile (XEP-0388).
pub const NS_SASL2: &str = "urn:xmpp:sasl:2";
/// Channel-binding types of the server (XEP-0440).
pub const NS_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// Names of home and backup node, as IM and Presence gives them among its mechanisms.
pub const NS_HOSTNAME: &str = "urn:xmpp:domain-based-name:0";
