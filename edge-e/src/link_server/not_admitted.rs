//! Why a link connection was closed before it was one, and what the operator can do.

use common::runtime::greeting;
use common::telemetry::{HandshakeOutcome, LinkRefusal};
use common::tls::fault;

/// Why a connection was closed; told to the core if it has greeted.
#[derive(Debug)]
pub(super) struct NotAdmitted {
    /// `None` if the peer just went away.
    pub(super) label: Option<LinkRefusal>,
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl NotAdmitted {
    pub(super) fn gone(error: &impl std::fmt::Display) -> Self {
        Self {
            label: None,
            reason: error.to_string(),
            remedy: String::new(),
        }
    }

    pub(super) fn handshake(outcome: HandshakeOutcome, error: &std::io::Error) -> Self {
        let label = match outcome {
            HandshakeOutcome::Closed => return Self::gone(error),
            HandshakeOutcome::TimedOut => LinkRefusal::TimedOut,
            HandshakeOutcome::Ok
            | HandshakeOutcome::Alert
            | HandshakeOutcome::BadCertificate
            | HandshakeOutcome::Incompatible
            | HandshakeOutcome::NotTls
            | HandshakeOutcome::Other => LinkRefusal::Tls,
        };
        Self {
            label: Some(label),
            reason: format!("TLS handshake failed: {error}"),
            remedy: fault::remedy(std::iter::once::<&(dyn std::error::Error + 'static)>(error))
                .unwrap_or(COMPARE)
                .to_owned(),
        }
    }

    pub(super) fn greeting(error: &greeting::Error) -> Self {
        let label = match error {
            greeting::Error::Io(_) => return Self::gone(error),
            greeting::Error::Peer(_) => LinkRefusal::Greeting,
            greeting::Error::Timeout => LinkRefusal::TimedOut,
        };
        Self {
            label: Some(label),
            reason: error.to_string(),
            remedy: "let only edge-c dial this port; upgrade the older of the two edges".to_owned(),
        }
    }
}

const COMPARE: &str = "compare names and certificates of the two edges with `doctor`";
