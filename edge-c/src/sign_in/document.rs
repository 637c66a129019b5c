//! The edge configuration of one user: what discovery and the home cluster say, and the edges that live.

use std::collections::BTreeSet;
use std::net::IpAddr;

use common::limits;
use common::mra::edge_config::{
    EdgeConfig, KnownService, Service, ServiceAnswer, ServiceName, SipRoute, SipRouteError,
    TlsServer,
};
use common::net::{Domain, Host, HostPort};

use super::EdgePeer;
use crate::discovery::{Discovery, ServedDomain};
use crate::home_cluster::Home;

/// What stands in the document beside the answers of DNS.
pub(super) struct Parts<'a> {
    pub(super) domain: &'a ServedDomain,
    pub(super) services: &'a [ServiceName],
    pub(super) home: &'a Home,
    pub(super) edges: &'a [EdgePeer],
    /// The edge that the client came through.
    pub(super) edge: &'a Domain,
    pub(super) live: &'a BTreeSet<Domain>,
}

pub(super) async fn compose(
    discovery: &Discovery,
    parts: &Parts<'_>,
) -> Result<EdgeConfig, SipRouteError> {
    let is_asked = |service: KnownService| {
        parts
            .services
            .iter()
            .any(|name| name.known() == Some(service))
    };
    let answer = async |service: KnownService, is_needed: bool| {
        if is_needed {
            discovery.service(parts.domain, service).await
        } else {
            ServiceAnswer::NameError
        }
    };
    let configured = discovery.tftp_servers(&parts.domain.deployment);
    let (tftp, uds, cup) = tokio::join!(
        // Without configured TFTP servers the ones of DNS fill their list too.
        answer(
            KnownService::CiscoPhoneTftp,
            is_asked(KnownService::CiscoPhoneTftp) || configured.is_empty(),
        ),
        answer(KnownService::CiscoUds, is_asked(KnownService::CiscoUds)),
        answer(KnownService::CupLogin, is_asked(KnownService::CupLogin)),
    );
    let tftp_servers = if configured.is_empty() {
        targets(&tftp)
    } else {
        configured
    };
    let services = parts
        .services
        .iter()
        .map(|name| Service {
            name: name.clone(),
            answer: match name.known() {
                Some(KnownService::CiscoPhoneTftp) => tftp.clone(),
                Some(KnownService::CiscoUds) => uds.clone(),
                Some(KnownService::CupLogin) => cup.clone(),
                // No client can make edge-c look up a name of its own choice.
                None => ServiceAnswer::NameError,
            },
        })
        .collect();
    let edges = live_edges(parts);
    let servers = |port: fn(&EdgePeer) -> u16| {
        edges
            .iter()
            .map(|edge| TlsServer {
                address: Host::Name(edge.name.clone()),
                tls_port: port(edge),
            })
            .collect()
    };
    Ok(EdgeConfig {
        services,
        tftp_servers,
        sip_edges: servers(|edge| edge.sip_port),
        sip_route: sip_route(parts)?,
        xmpp_edges: servers(|edge| edge.xmpp_port),
        http_edges: servers(|edge| edge.https_port),
        user_uds: home_nodes(discovery, parts.home),
    })
}

/// The edges that live, or all of them if none is known to.
fn live_edges<'a>(parts: &Parts<'a>) -> Vec<&'a EdgePeer> {
    let is_live = |edge: &&EdgePeer| parts.live.contains(&edge.name);
    let live: Vec<_> = parts.edges.iter().filter(is_live).collect();
    let edges = if live.is_empty() {
        parts.edges.iter().collect()
    } else {
        live
    };
    edges
        .into_iter()
        .take(limits::EDGE_CONFIG_SERVERS_MAX)
        .collect()
}

/// The route through the edge that the client uses now; it is opaque to the client and understood by every edge.
fn sip_route(parts: &Parts<'_>) -> Result<SipRoute, SipRouteError> {
    let own = parts.edges.iter().find(|edge| edge.name == *parts.edge);
    let edge = own.or_else(|| parts.edges.first()).ok_or(SipRouteError)?;
    if let Some(route) = &edge.sip_route {
        return Ok(route.clone());
    }
    let host = match edge.advertised_addresses.first() {
        Some(IpAddr::V4(v4)) => v4.to_string(),
        Some(IpAddr::V6(v6)) => format!("[{v6}]"),
        None => edge.name.to_string(),
    };
    SipRoute::parse(&format!("<sip:{host}:{};transport=tls;lr>", edge.sip_port))
}

/// The nodes of the home cluster that live, the home node first; all of them if none is known to.
fn home_nodes(discovery: &Discovery, home: &Home) -> Vec<TlsServer> {
    let port = home.node.port;
    let is_up = |host: &&Host| {
        discovery.is_up(&HostPort {
            host: (*host).clone(),
            port,
        })
    };
    let up: Vec<_> = home.nodes.iter().filter(is_up).collect();
    let hosts = if up.is_empty() {
        home.nodes.iter().collect()
    } else {
        up
    };
    hosts
        .into_iter()
        .take(limits::EDGE_CONFIG_SERVERS_MAX)
        .map(|host| TlsServer {
            address: host.clone(),
            tls_port: port,
        })
        .collect()
}

fn targets(answer: &ServiceAnswer) -> Vec<Host> {
    match answer {
        ServiceAnswer::Servers(servers) => servers
            .iter()
            .map(|server| server.address.clone())
            .collect(),
        ServiceAnswer::NameError | ServiceAnswer::ServerFailure => Vec::new(),
    }
}
