//! The `getEdgeConfigResponse` document (reference section 4): writer and reader.
//!
//! Only the document; which servers stand in it is decided on edge-c.

mod read;
mod service;
mod write;

use crate::net::Host;

pub use read::EdgeConfigError;
pub use service::{KnownService, ServiceName, ServiceNameError, SipRoute, SipRouteError};

/// The content type of the document.
pub const CONTENT_TYPE: &str = "text/xml";

/// What a client is told about the inner services and about the edges that lead to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    /// One answer per SRV service that the client asked for, in the order it asked.
    pub services: Vec<Service>,
    /// TFTP servers, best first.
    pub tftp_servers: Vec<Host>,
    /// Where SIP over TLS goes, one per edge peer.
    pub sip_edges: Vec<TlsServer>,
    /// The `Route` that clients put into their SIP requests.
    pub sip_route: SipRoute,
    /// Where XMPP goes, one per edge peer.
    pub xmpp_edges: Vec<TlsServer>,
    /// Where HTTPS goes, one per edge peer.
    pub http_edges: Vec<TlsServer>,
    /// The UDS nodes of the user's home cluster, the home node first.
    pub user_uds: Vec<TlsServer>,
}

/// A service with what internal DNS says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name the client asked for.
    pub name: ServiceName,
    /// The answer.
    pub answer: ServiceAnswer,
}

/// What internal DNS says of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAnswer {
    /// The name has no SRV records.
    NameError,
    /// No name server could say, and no earlier answer is known.
    ServerFailure,
    /// The SRV records, never empty.
    Servers(Vec<SrvServer>),
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SrvServer {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among servers of one priority.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// The target.
    pub address: Host,
}

/// A server that speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServer {
    /// Name or address; clients expect it in the certificate.
    pub address: Host,
    /// TCP port.
    pub tls_port: u16,
}

impl EdgeConfig {
    /// Reads a document as [`Self::write`] makes it; unknown elements are refused.
    ///
    /// # Errors
    /// [`EdgeConfigError`] naming what is missing, unknown or out of bounds.
    pub fn parse(document: &[u8]) -> Result<Self, EdgeConfigError> {
        read::parse(document)
    }

    /// The XML text, in UTF-8.
    #[must_use]
    pub fn write(&self) -> String {
        write::document(self)
    }
}

/// Reads `input`, and where that works checks that writing and reading again changes nothing.
///
/// # Panics
/// If the value read back differs, which is what a fuzzer looks for.
#[cfg(any(test, feature = "test-util"))]
pub fn fuzz_round_trip(input: &[u8]) {
    if let Ok(config) = EdgeConfig::parse(input) {
        let again = EdgeConfig::parse(config.write().as_bytes());
        assert_eq!(again.as_ref(), Ok(&config));
    }
}

#[cfg(test)]
mod tests;
