//! Server and client configurations of rustls for each leg: public, link, inside.
//!
//! TLS 1.2 and 1.3 with the provider's modern suites on the public and inside legs, TLS 1.3 alone on the link.
//! Certificates come in ready-made; reading files is the configuration's work.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::limits;
use crate::net::Domain;
use crate::tls::identity;

/// The ALPN name of the link, so that a stray TLS client on its port is turned away by TLS itself.
const LINK_ALPN: &[u8] = b"edge-link/1";

/// The one crypto provider of the process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The public leg of edge-e: certificate by server name, HTTP/2 and HTTP/1.1, session tickets, no client certificates.
///
/// # Errors
/// [`rustls::Error`] if the provider can't make a ticket key.
pub fn public_server(certificates: Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = limits::TLS_TICKETS_PER_HANDSHAKE;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The link leg of edge-e: the core must show a certificate of the link's own authority.
///
/// # Errors
/// A text that says which part rustls refuses.
pub fn link_server(identity: CertifiedKey, anchors: RootCertStore) -> Result<ServerConfig, String> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider())
        .build()
        .map_err(|error| format!("the link's trust anchors are not usable: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Single(Arc::new(identity))));
    config.alpn_protocols = vec![LINK_ALPN.to_vec()];
    // Resumption would let a core go on with a certificate that has expired or left the list meanwhile.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The link leg of edge-c.
///
/// # Errors
/// A text that says which part rustls refuses.
pub fn link_client(identity: CertifiedKey, anchors: RootCertStore) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(anchors)
        .with_client_cert_resolver(Arc::new(Single(Arc::new(identity))));
    config.alpn_protocols = vec![LINK_ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The inside leg of edge-c: chain and name are verified on every connection, an address must stand in the SAN.
///
/// # Errors
/// [`rustls::Error`] if the provider lacks a protocol version.
pub fn inside_client(anchors: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(anchors)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let cache = ClientSessionMemoryCache::new(limits::INSIDE_TLS_SESSIONS_MAX);
    config.resumption = Resumption::store(Arc::new(cache));
    Ok(config)
}

/// Edge-c towards the store that several of them share: as [`inside_client`], without a protocol of HTTP.
///
/// # Errors
/// [`rustls::Error`] if the provider lacks a protocol version.
pub fn store_client(anchors: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut config = inside_client(anchors)?;
    config.alpn_protocols.clear();
    Ok(config)
}

/// SIP of edge-c towards registrars: as [`inside_client`], with an own certificate where there is one.
///
/// # Errors
/// [`rustls::Error`] if the provider lacks a protocol version.
pub fn sip_client(
    identity: Option<CertifiedKey>,
    anchors: RootCertStore,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(anchors);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(Single(Arc::new(identity)))),
        None => builder.with_no_client_auth(),
    };
    let cache = ClientSessionMemoryCache::new(limits::INSIDE_TLS_SESSIONS_MAX);
    config.resumption = Resumption::store(Arc::new(cache));
    Ok(config)
}

/// SIP of edge-c from registrars: they must show a certificate of `anchors`, or none is asked for.
///
/// # Errors
/// A text that says which part rustls refuses.
pub fn sip_server(
    identity: CertifiedKey,
    anchors: Option<RootCertStore>,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match anchors {
        Some(anchors) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider());
            let verifier = verifier.build();
            builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
        None => builder.with_no_client_auth(),
    };
    Ok(builder.with_cert_resolver(Arc::new(Single(Arc::new(identity)))))
}

/// The public certificates, by the names they hold; replaced while connections go on.
#[derive(Debug)]
pub struct Certificates {
    table: RwLock<Arc<Table>>,
}

#[derive(Debug)]
struct Table {
    default: Arc<CertifiedKey>,
    by_name: BTreeMap<Domain, Arc<CertifiedKey>>,
}

impl Certificates {
    /// The first certificate is the default one, for clients whose server name none has.
    #[must_use]
    pub fn new(default: CertifiedKey, others: Vec<CertifiedKey>) -> Self {
        Self {
            table: RwLock::new(Arc::new(Table::new(default, others))),
        }
    }

    /// Uses these certificates from the next handshake on.
    pub fn replace(&self, default: CertifiedKey, others: Vec<CertifiedKey>) {
        let table = Arc::new(Table::new(default, others));
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
    }

    /// The certificate for a server name.
    #[must_use]
    pub fn choose(&self, server_name: Option<&str>) -> Arc<CertifiedKey> {
        let table = Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner));
        let named = server_name.and_then(|name| Domain::parse(name).ok());
        let found = named.and_then(|name| table.by_name.get(&name).cloned());
        found.unwrap_or_else(|| Arc::clone(&table.default))
    }
}

impl Table {
    fn new(default: CertifiedKey, others: Vec<CertifiedKey>) -> Self {
        let default = Arc::new(default);
        let mut by_name = BTreeMap::new();
        let all = std::iter::once(Arc::clone(&default)).chain(others.into_iter().map(Arc::new));
        for certificate in all {
            let names = certificate
                .cert
                .first()
                .map(identity::dns_names)
                .unwrap_or_default();
            for name in names {
                by_name
                    .entry(name)
                    .or_insert_with(|| Arc::clone(&certificate));
            }
        }
        Self { default, by_name }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()))
    }
}

#[derive(Debug)]
struct Single(Arc<CertifiedKey>);

impl ResolvesServerCert for Single {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl rustls::client::ResolvesClientCert for Single {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
