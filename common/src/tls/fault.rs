//! Why a handshake on the link failed, as advice for the operator. Changes nothing about what is trusted.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// What can be done about a failed link: looks for an error of rustls among an error and its sources.
pub fn remedy<'e>(
    chain: impl IntoIterator<Item = &'e (dyn Error + 'static)>,
) -> Option<&'static str> {
    chain.into_iter().find_map(tls_error).map(of)
}

/// An [`io::Error`] does not name what it wraps as its source, but that one's source.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let wrapped = wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    wrapped.or_else(|| error.downcast_ref::<rustls::Error>())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls names more errors than need advice"
)]
const fn of(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(fault) => of_certificate(fault),
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::NoCertificatesPresented => {
            "only an edge-c may connect here: set certificate and key in its [link]"
        }
        rustls::Error::PeerIncompatible(_) | rustls::Error::InvalidMessage(_) => {
            "something else than an edge has connected: look at the address and the packet filter"
        }
        _ => ELSE,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls names more faults than need advice"
)]
const fn of_certificate(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the other edge's link certificate, or correct this machine's clock"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "set certificate_name of the [[edge]] to the name in edge-e's link certificate"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "compare the clocks of the two machines"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "add the authority of the other edge's link certificate to [link] trust_anchors here"
        }
        _ => ELSE,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls names more alerts than need advice"
)]
const fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => {
            "renew this edge's link certificate, or correct the other machine's clock"
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "add the authority of this edge's link certificate to [link] trust_anchors of the other edge"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            "the other edge refuses this edge's link certificate: its log says why"
        }
        AlertDescription::NoApplicationProtocol => {
            "something else listens there: look at the address and port of the link"
        }
        _ => ELSE,
    }
}

const ELSE: &str = "look at the log of the other edge; compare the two with `doctor`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_rustls_is_found_inside_an_io_error() {
        let error = io::Error::other(rustls::Error::AlertReceived(
            AlertDescription::CertificateExpired,
        ));
        let chain: [&(dyn Error + 'static); 1] = [&error];

        let advice = remedy(chain).unwrap();

        assert!(advice.starts_with("renew this edge's"), "{advice}");
    }

    #[test]
    fn other_errors_are_left_to_others() {
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        let chain: [&(dyn Error + 'static); 1] = [&error];

        assert_eq!(remedy(chain), None);
    }
}
