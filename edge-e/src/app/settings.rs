//! What each part of edge-e takes from the configuration.

use std::path::Path;
use std::sync::Arc;

use common::config::pem::FileError;
use common::config::section::Identity;
use common::tls::config as tls;
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;

use crate::config::{Config, Link};
use crate::link_server::Settings;
use crate::listener::sip::Sip;
use crate::listener::websocket::Websockets;
use crate::listener::xmpp::Xmpp;

/// The certificates that peers see, by the keys that name them.
pub(super) fn in_use(config: &Config) -> impl Iterator<Item = (String, &Path)> {
    let public = config.public.certificates.iter().enumerate();
    let public = public.map(|(number, identity)| {
        let key = format!("public.certificates[{number}]");
        (key, identity.chain.as_path())
    });
    let link = config.link.identity.identity.chain.as_path();
    public.chain(std::iter::once(("link.certificate".to_owned(), link)))
}

pub(super) fn certificates(
    identities: &[Identity],
) -> Result<(CertifiedKey, Vec<CertifiedKey>), FileError> {
    let mut loaded = identities
        .iter()
        .map(Identity::load)
        .collect::<Result<Vec<_>, _>>()?;
    // The configuration has at least one.
    let default = loaded.remove(0);
    Ok((default, loaded))
}

pub(super) fn link(link: &Link) -> Result<Settings, String> {
    let identity = link
        .identity
        .identity
        .load()
        .map_err(|error| error.to_string())?;
    let anchors = link
        .identity
        .load_trust_anchors()
        .map_err(|error| error.to_string())?;
    let tls = tls::link_server(identity, anchors)?;
    Ok(Settings {
        tls: Arc::new(tls),
        allowed_cores: link.allowed_cores.clone(),
    })
}

/// What web pages may open, if there is anything.
pub(super) fn websockets(config: &Config, sip: &Arc<Sip>, xmpp: &Arc<Xmpp>) -> Option<Websockets> {
    let has_sip = !config.sip.websocket_origins.is_empty();
    let has_xmpp = !config.xmpp.websocket_origins.is_empty();
    (has_sip || has_xmpp).then(|| Websockets {
        sip: has_sip.then(|| Arc::clone(sip)),
        xmpp: has_xmpp.then(|| Arc::clone(xmpp)),
    })
}

/// The same certificates and tickets for clients that speak no HTTP.
pub(super) fn without_alpn(public: &ServerConfig) -> ServerConfig {
    let mut config = public.clone();
    config.alpn_protocols.clear();
    config
}
