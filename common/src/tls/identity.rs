//! Whom a peer's certificate names. The chain itself was verified by rustls before this is asked.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::limits;
use crate::net::Domain;

/// The DNS names in the subject alternative name extension (RFC 5280 section 4.2.1.6); wildcards are left out,
/// since an identity on the link is one machine.
///
/// Empty if the certificate can't be read or names none.
#[must_use]
pub fn dns_names(certificate: &CertificateDer<'_>) -> Vec<Domain> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension
        .value
        .general_names
        .iter()
        .take(limits::CERTIFICATE_NAMES_MAX);
    names
        .filter_map(|name| {
            let GeneralName::DNSName(name) = name else {
                return None;
            };
            Domain::parse(name).ok()
        })
        .collect()
}
