//! Verification of nodes: by the domain (RFC 6120 section 13.7.2), or by the name of the node itself, which is what the
//! certificates of IM and Presence have.

use std::sync::Arc;

use common::limits;
use common::net::Host;
use common::tls::config as tls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption, WebPkiServerVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, DnsName, ServerName, UnixTime};

/// How connections for one node are made and verified.
///
/// # Errors
/// A text about the trust anchors or the names that can't be used.
pub fn client(
    anchors: &Arc<RootCertStore>,
    names: &[Host],
    is_direct: bool,
) -> Result<ClientConfig, String> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(anchors), tls::provider())
            .build()
            .map_err(|error| format!("the trust anchors are not usable: {error}"))?;
    let names = names.iter().map(server_name).collect::<Result<_, _>>()?;
    let verifier = AnyName { verifier, names };
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    if is_direct {
        // XEP-0368 section 3.
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    }
    let cache = ClientSessionMemoryCache::new(limits::INSIDE_TLS_SESSIONS_MAX);
    config.resumption = Resumption::store(Arc::new(cache));
    Ok(config)
}

fn server_name(host: &Host) -> Result<ServerName<'static>, String> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => DnsName::try_from(name.as_str().to_owned())
            .map(ServerName::DnsName)
            .map_err(|_| format!("{name} is not a name that a certificate can hold")),
    }
}

/// As rustls verifies, with any of several names.
#[derive(Debug)]
struct AnyName {
    verifier: Arc<WebPkiServerVerifier>,
    /// Never empty; the name in the hello does not count.
    names: Vec<ServerName<'static>>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut refused = Error::InvalidCertificate(CertificateError::NotValidForName);
        for name in &self.names {
            let verdict = self.verifier.verify_server_cert(
                end_entity,
                intermediates,
                name,
                ocsp_response,
                now,
            );
            match verdict {
                Err(Error::InvalidCertificate(
                    error @ (CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. }),
                )) => refused = Error::InvalidCertificate(error),
                other => return other,
            }
        }
        Err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
