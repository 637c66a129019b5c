//! `[pinpoint]`: the zones with nothing but services records that edge-c serves to clients inside, from files or from what it
//! knows of the inner servers.

use std::net::IpAddr;

use common::config::name_server::{self, Authority, DnsZone, NameServer};
use common::config::{Table, Value};
use common::dns::Name;
use common::dns::service::{Host as ZoneHost, Service};
use common::net::{Deployment, Domain, Host};
use common::policy::allow_list::{Node, NodeKind};

use super::{Dns, ServiceDomain};

/// `[[pinpoint.server]]`: an inner server that clients are led to.
struct Server {
    kind: NodeKind,
    host: Domain,
    port: u16,
    priority: u16,
    weight: u16,
    addresses: Vec<IpAddr>,
    deployment: Deployment,
}

/// Reads `[pinpoint]`, for these domains and inner servers; `None` without it.
pub(super) fn read(
    root: &Table<'_>,
    domains: &[ServiceDomain],
    nodes: &[Node],
    (dns_table, dns): (&Table<'_>, &Dns),
) -> Option<NameServer> {
    let table = &root.table("pinpoint");
    if !table.is_present() {
        return None;
    }
    let allowed =
        "the names of the edge-c that serve these zones, such as [\"edge-c1.example.com\"]";
    if !table.has("name_servers") {
        table.refuse("name_servers", "is needed", allowed);
    }
    // Any name will do then: the configuration is refused.
    let instead = domains.first().map(|domain| domain.name.clone());
    let authority = Authority::read(table, instead.into_iter().collect());
    let servers: Vec<Server> = if table.has("server") {
        table.tables("server").iter().filter_map(server).collect()
    } else {
        warn_of_addresses(table, nodes);
        nodes.iter().filter_map(of_node).collect()
    };
    let entries = table.tables("zone");
    let mut zones: Vec<DnsZone> = Vec::new();
    for entry in &entries {
        let allowed = "the name of the zone, such as name = \"cisco-internal.example.com\"";
        let Some(name) = entry.required("name", allowed, Value::domain) else {
            continue;
        };
        let deployment = entry.optional("deployment", Value::deployment);
        zones.extend(
            name_server::zone_file(entry, &name, "deployment").or_else(|| {
                let deployment = deployment.unwrap_or_else(|| deployment_of(&name, domains));
                written(entry, &name, &deployment, (&servers, &authority))
            }),
        );
    }
    if !table.has("zone") {
        zones = of_domains(table, domains, (&servers, &authority));
    }
    let allowed = "inside addresses of this machine, such as [\"10.0.0.5:53\"]";
    let server = NameServer::read(table, allowed, zones);
    // What it does not serve it would not find at itself.
    if let Some(own) = dns.servers.iter().find(|own| server.listen.contains(own)) {
        let why = format!("has {own}, where this edge-c itself serves [pinpoint] and nothing else");
        dns_table.refuse("servers", why, "inside name servers");
    }
    Some(server)
}

fn warn_of_addresses(table: &Table<'_>, nodes: &[Node]) {
    let mut nodes = nodes.iter();
    let is_lost =
        |node: &&Node| label(node.kind).is_some() && matches!(node.host, Host::Address(_));
    if let Some(node) = nodes.find(is_lost) {
        let why = format!(
            "leaves the [[node]] {} out: a record leads to a name, not to an address",
            node.host
        );
        table.warn("server", why, "name it as a [[pinpoint.server]]");
    }
}

fn server(table: &Table<'_>) -> Option<Server> {
    let words = [NodeKind::Ucm, NodeKind::ImPresence].map(|kind| (kind.as_str(), kind));
    let allowed = "kind = \"ucm\" or \"imp\"";
    let kind = table.required("kind", allowed, |value| value.choice(&words));
    let allowed = "the name of the server, such as host = \"cucm1.example.com\"";
    let host = table.required("host", allowed, Value::domain);
    let number =
        |key, default, min| table.or(key, default, |value| value.integer(&(min..=u16::MAX)));
    Some(Server {
        kind: kind?,
        host: host?,
        port: number("port", SERVICE_PORT, 1),
        priority: number("priority", EQUAL, 0),
        weight: number("weight", EQUAL, 0),
        addresses: table.list("addresses", Value::ip_addr),
        deployment: table.or("deployment", Deployment::standard(), Value::deployment),
    })
}

/// A record leads to a name: nodes that are named by their address have none.
fn of_node(node: &Node) -> Option<Server> {
    let Host::Name(host) = &node.host else {
        return None;
    };
    Some(Server {
        kind: node.kind,
        host: host.clone(),
        port: node.port.unwrap_or(SERVICE_PORT),
        priority: EQUAL,
        weight: EQUAL,
        addresses: Vec::new(),
        deployment: node.deployment.clone(),
    })
}

/// The pinpoint zone of every domain.
fn of_domains(
    table: &Table<'_>,
    domains: &[ServiceDomain],
    parts: (&[Server], &Authority),
) -> Vec<DnsZone> {
    let zones = domains.iter().filter_map(|domain| {
        let name = Domain::parse(&format!("{PINPOINT}.{}", services_domain(domain))).ok()?;
        written(table, &name, &domain.deployment, parts)
    });
    zones.collect()
}

/// Where clients look for the services of a domain.
fn services_domain(domain: &ServiceDomain) -> &Domain {
    let elsewhere = domain.voice_services_domain.as_ref();
    elsewhere.unwrap_or(&domain.name)
}

/// Whose servers a zone leads to: those of the closest domain above it.
fn deployment_of(zone: &Domain, domains: &[ServiceDomain]) -> Deployment {
    let zone = Name::from(zone);
    let above = |domain: &&ServiceDomain| zone.is_within(&Name::from(services_domain(domain)));
    let closest = domains
        .iter()
        .filter(above)
        .max_by_key(|domain| services_domain(domain).as_str().len());
    closest.map_or_else(Deployment::standard, |domain| domain.deployment.clone())
}

fn written(
    table: &Table<'_>,
    apex: &Domain,
    deployment: &Deployment,
    (servers, authority): (&[Server], &Authority),
) -> Option<DnsZone> {
    let servers = servers
        .iter()
        .filter(|server| server.deployment == *deployment);
    let services: Vec<Service> = servers
        .clone()
        .filter_map(|server| {
            Some(Service {
                owner: owner(server.kind, apex)?,
                priority: server.priority,
                weight: server.weight,
                port: server.port,
                target: server.host.clone(),
            })
        })
        .collect();
    if services.is_empty() {
        let why = format!(
            "makes the zone {apex} without any record: no server of deployment \"{deployment}\" is named"
        );
        let allowed =
            "[[pinpoint.server]] with kind and host, or [[node]] of kind \"ucm\" or \"imp\"";
        table.refuse("name", why, allowed);
        return None;
    }
    let hosts = servers.filter(|server| !server.addresses.is_empty());
    let hosts = hosts.map(|server| ZoneHost {
        name: server.host.clone(),
        addresses: server.addresses.clone(),
    });
    // One server of two services has its addresses once.
    let mut hosts: Vec<ZoneHost> = hosts.collect();
    hosts.dedup();
    let allowed = "name servers outside the zone, or with addresses as a [[pinpoint.server]]";
    authority.write(table, apex, (services, hosts), allowed)
}

/// The name of a service in a zone; a zone may be for one of them alone, and has its name then.
fn owner(kind: NodeKind, apex: &Domain) -> Option<Domain> {
    let own = label(kind)?;
    let is_for = |label: &str| {
        let rest = apex.as_str().strip_prefix(label);
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    if is_for(own) {
        return Some(apex.clone());
    }
    let is_for_another = KINDS.into_iter().filter_map(label).any(is_for);
    if is_for_another {
        return None;
    }
    Domain::parse(&format!("{own}.{apex}")).ok()
}

const fn label(kind: NodeKind) -> Option<&'static str> {
    match kind {
        NodeKind::ImPresence => Some("_cuplogin._tcp"),
        NodeKind::Ucm => Some("_cisco-uds._tcp"),
        NodeKind::Tftp | NodeKind::Unity => None,
    }
}

/// The first label of the zone that clients look into where the domain itself has no services records.
const PINPOINT: &str = "cisco-internal";
const KINDS: [NodeKind; 2] = [NodeKind::Ucm, NodeKind::ImPresence];
const SERVICE_PORT: u16 = 8443;
const EQUAL: u16 = 10;

#[cfg(test)]
mod tests;
