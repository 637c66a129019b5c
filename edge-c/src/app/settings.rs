//! What each part of edge-c takes from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use common::config::section::HttpsTransport;
use common::limits;
use common::link::greeting::Purpose;
use common::mra::edge_config::SipRoute;
use common::policy::rate_limit::Quota;
use common::runtime::exit::RunError;
use common::tls::config as tls;
use rustls::RootCertStore;

use super::unusable;
use crate::config::{self, Config};
use crate::dial::InsideTls;
use crate::discovery::dns::{Dns, DnsConfig};
use crate::discovery::{self, ServedDomain};
use crate::metrics::Metrics;
use crate::sessions::{Dialer, NodeSink, SharedConfig};
use crate::sign_in::{self, EdgePeer};
use crate::upstream::http as upstream;
use crate::{link_client, sessions, uds};

/// The certificates that peers see, by the keys that name them.
pub(super) fn in_use(config: &Config) -> impl Iterator<Item = (String, &Path)> {
    let link = config.link.identity.identity.chain.as_path();
    let sip = config.sip.as_ref().and_then(|sip| sip.identity.as_ref());
    let sip = sip.map(|identity| ("sip.certificate".to_owned(), identity.chain.as_path()));
    let xmpp = config.xmpp.iter().flat_map(|xmpp| &xmpp.certificates);
    let xmpp = xmpp.enumerate().map(|(number, identity)| {
        let key = format!("xmpp.certificates[{number}]");
        (key, identity.chain.as_path())
    });
    let link = std::iter::once(("link.certificate".to_owned(), link));
    link.chain(sip).chain(xmpp)
}

pub(super) fn dns(config: &Config, metrics: &Metrics) -> Result<Dns, RunError> {
    let dns = Dns::new(&dns_config(config)).map_err(unusable)?;
    Ok(dns.counting(metrics.dns_lookups.clone()))
}

/// The name servers inside.
pub(crate) fn dns_config(config: &Config) -> DnsConfig {
    DnsConfig {
        servers: config.dns.servers.clone(),
        timeout: config.dns.timeout,
    }
}

pub(super) fn discovery_config(config: &Config) -> discovery::Config {
    let domains = config.domains.iter().map(|domain| ServedDomain {
        name: domain.name.clone(),
        deployment: domain.deployment.clone(),
        voice_services_domain: domain.voice_services_domain.clone(),
    });
    discovery::Config {
        domains: domains.collect(),
        nodes: config.nodes.clone(),
        has_pinpoint_zone: config.dns.is_pinpoint_zone_asked,
    }
}

/// Sessions, and the way to the store that they are shared in.
pub(super) fn session_config(
    config: &Config,
    dns: &Arc<Dns>,
    metrics: &Metrics,
    sink: NodeSink,
) -> Result<(sessions::Config, Option<InsideTls>), String> {
    let tls = store_tls(config)?.map(|tls| Arc::new(ArcSwap::from_pointee(tls)));
    let shared = match (&config.session.shared, &tls) {
        (Some(shared), Some(tls)) => Some(SharedConfig {
            name: config.name.clone(),
            dialer: Dialer {
                address: shared.address.clone(),
                user: shared.user.clone(),
                password: shared.password()?,
                tls: Arc::clone(tls),
                dns: Some(Arc::clone(dns)),
                bind_address: config.inside.bind_address,
            },
            metrics: metrics.store.clone(),
            sink,
        }),
        (Some(_), None) | (None, _) => None,
    };
    let sessions = sessions::Config {
        core: config.core_id,
        lifetime: config.session.lifetime,
        cookie_domain: Some(config.session.cookie_domain.clone()),
        state: sessions::State::Directory {
            path: config.session.state_dir.clone(),
            key_file: Some(config.session.key_file.clone()),
        },
        shared,
    };
    Ok((sessions, tls))
}

/// How the shared store is verified; none without such a store.
pub(super) fn store_tls(config: &Config) -> Result<Option<rustls::ClientConfig>, String> {
    let Some(shared) = &config.session.shared else {
        return Ok(None);
    };
    tls::store_client(anchors(&shared.trust_anchors, config)?)
        .map(Some)
        .map_err(|error| error.to_string())
}

pub(super) fn sign_in_config(config: &Config) -> Result<sign_in::Config, RunError> {
    let limit = config.sign_in.login_limit;
    let edges = config
        .edges
        .iter()
        .map(edge_peer)
        .collect::<Result<_, _>>()?;
    Ok(sign_in::Config {
        login_limit: Quota {
            count: std::num::NonZeroU32::new(limit.count).unwrap_or(std::num::NonZeroU32::MIN),
            window: limit.window,
        },
        credential_cache: config.sign_in.credential_cache,
        edges,
    })
}

fn edge_peer(edge: &config::Edge) -> Result<EdgePeer, RunError> {
    let sip_route = edge
        .sip_route
        .as_deref()
        .map(SipRoute::parse)
        .transpose()
        .map_err(unusable)?;
    Ok(EdgePeer {
        name: edge.name.clone(),
        advertised_addresses: edge.advertised_addresses.clone(),
        https_port: edge.https_port.get(),
        sip_port: edge.sip_port.get(),
        xmpp_port: edge.xmpp_port.get(),
        sip_route,
    })
}

pub(super) fn uds_timeouts(config: &Config) -> uds::Timeouts {
    let inside = &config.inside;
    uds::Timeouts {
        connect: inside.connect_timeout,
        tls: inside.connect_timeout,
        answer: inside.response_timeout.min(limits::UDS_ANSWER_TIMEOUT),
    }
}

pub(super) fn upstream_config(config: &Config) -> upstream::Config {
    let inside = &config.inside;
    upstream::Config {
        bind_address: inside.bind_address,
        connect_timeout: inside.connect_timeout,
        response_timeout: inside.response_timeout,
        idle_timeout: inside.idle_timeout,
        connections_per_node_max: inside.connections_per_node_max.get().into(),
    }
}

pub(super) fn link_config(
    config: &Config,
    edge: &config::Edge,
    instance: u64,
) -> link_client::Config {
    link_client::Config {
        edge: edge.name.clone(),
        address: edge.address.clone(),
        certificate_name: edge.certificate_name.clone(),
        bind_address: config.link.bind_address,
        core: config.name.clone(),
        core_id: config.core_id,
        instance,
        https: match config.link.https_transport {
            HttpsTransport::H2 => Purpose::HttpsShared,
            HttpsTransport::Pool => Purpose::HttpsPool,
        },
        shared_connections: config.link.connections.get().into(),
    }
}

/// The authorities of a peer inside: its own, or those of `[inside]` where its table names none.
pub(crate) fn anchors(own: &[PathBuf], config: &Config) -> Result<RootCertStore, String> {
    let files = if own.is_empty() {
        &config.inside.trust_anchors
    } else {
        own
    };
    common::config::pem::trust_anchors(files).map_err(|error| error.to_string())
}

/// How inner servers are verified.
pub(crate) fn inside_tls(config: &Config) -> Result<rustls::ClientConfig, String> {
    tls::inside_client(anchors(&[], config)?).map_err(|error| error.to_string())
}

/// How an edge-e is verified, and the own certificate.
pub(crate) fn link_tls(config: &Config) -> Result<rustls::ClientConfig, String> {
    let identity = config
        .link
        .identity
        .identity
        .load()
        .map_err(|error| error.to_string())?;
    let anchors = config
        .link
        .identity
        .load_trust_anchors()
        .map_err(|error| error.to_string())?;
    tls::link_client(identity, anchors)
}
