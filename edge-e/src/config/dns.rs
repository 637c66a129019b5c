//! `[dns]`: the zones that edge-e serves, from files or from what it knows of its cluster.

use std::net::{IpAddr, SocketAddr};

use common::config::name_server::{self, Authority, DnsZone, NameServer};
use common::config::{Table, Value};
use common::dns::Name;
use common::dns::service::{Host, Service};
use common::limits;
use common::net::Domain;

use super::Public;

/// `[[dns.edge]]`: an edge of the cluster.
struct Edge {
    name: Domain,
    addresses: Vec<IpAddr>,
    port: u16,
    priority: u16,
    weight: u16,
}

/// Reads `[dns]`; `None` without it.
pub(super) fn read(
    root: &Table<'_>,
    name: Option<&Domain>,
    public: Option<&Public>,
    advertised: &[IpAddr],
) -> Option<NameServer> {
    let table = root.table("dns");
    if !table.is_present() {
        return None;
    }
    let mut edges: Vec<Edge> = table.tables("edge").iter().filter_map(edge).collect();
    if let (true, Some(name), Some(public)) = (edges.is_empty(), name, public) {
        edges.extend(own(&table, name, public, advertised));
    }
    let authority = Authority::read(&table, edges.iter().map(|edge| edge.name.clone()).collect());
    let allowed =
        "one [[dns.zone]] for each zone, such as name = \"_collab-edge._tls.example.com\"";
    let zones = table.required_tables("zone", allowed);
    let zones = zones
        .iter()
        .filter_map(|entry| zone(entry, &edges, &authority));
    let zones = zones.collect();
    let allowed = "the public addresses of this machine, such as [\"203.0.113.10:53\"]";
    Some(NameServer::read(&table, allowed, zones))
}

fn edge(table: &Table<'_>) -> Option<Edge> {
    let allowed = "the name that clients use, such as name = \"edge1.example.com\"";
    let name = table.required("name", allowed, Value::full_name);
    let allowed = "its public addresses, such as [\"203.0.113.10\"]";
    let addresses = table.required_list("addresses", allowed, Value::ip_addr);
    let number =
        |key, default, min| table.or(key, default, |value| value.integer(&(min..=u16::MAX)));
    Some(Edge {
        addresses,
        port: number("port", limits::PUBLIC_HTTPS_PORT, 1),
        priority: number("priority", 10, 0),
        weight: number("weight", 10, 0),
        name: name?,
    })
}

/// The only edge there is, where no other is named.
fn own(table: &Table<'_>, name: &Domain, public: &Public, advertised: &[IpAddr]) -> Option<Edge> {
    let own = public.listen.iter().map(SocketAddr::ip);
    let addresses: Vec<IpAddr> = match advertised {
        [] => own.filter(|address| !address.is_unspecified()).collect(),
        some => some.to_vec(),
    };
    if addresses.is_empty() {
        let why = "does not say which addresses clients see";
        let allowed = "[[dns.edge]] with name and addresses for each edge of the cluster, or advertised_addresses";
        table.refuse("edge", why, allowed);
        return None;
    }
    Some(Edge {
        name: name.clone(),
        addresses,
        port: public
            .listen
            .first()
            .map_or(limits::PUBLIC_HTTPS_PORT, SocketAddr::port),
        priority: 10,
        weight: 10,
    })
}

fn zone(table: &Table<'_>, edges: &[Edge], authority: &Authority) -> Option<DnsZone> {
    let allowed = "the name of the zone, such as name = \"_collab-edge._tls.example.com\"";
    let name = table.required("name", allowed, Value::domain)?;
    let domains = table.list("domains", Value::domain);
    if let Some(zone) = name_server::zone_file(table, &name, "domains") {
        return Some(zone);
    }
    let domains = if domains.is_empty() {
        let below_prefix = name.as_str().strip_prefix("_collab-edge._tls.");
        let domain = below_prefix.and_then(|rest| Domain::parse(rest).ok());
        vec![domain.unwrap_or_else(|| name.clone())]
    } else {
        domains
    };
    let services = services(table, &name, &domains, edges)?;
    let hosts = edges.iter().map(|edge| Host {
        name: edge.name.clone(),
        addresses: edge.addresses.clone(),
    });
    let allowed = "name servers that are a [[dns.edge]] or outside the zone";
    authority.write(table, &name, (services, hosts.collect()), allowed)
}

fn services(
    table: &Table<'_>,
    apex: &Domain,
    domains: &[Domain],
    edges: &[Edge],
) -> Option<Vec<Service>> {
    let zone = Name::from(apex);
    let mut services = Vec::new();
    for domain in domains {
        // A domain that leaves no room for the labels in front of it can't be served.
        let owner = Domain::parse(&format!("_collab-edge._tls.{domain}")).ok();
        let owner = owner.filter(|owner| Name::from(owner).is_within(&zone));
        let Some(owner) = owner else {
            let why = format!("_collab-edge._tls.{domain} is outside the zone {apex}");
            table.refuse(
                "domains",
                why,
                "domains whose _collab-edge._tls names are in the zone",
            );
            return None;
        };
        services.extend(edges.iter().map(|edge| Service {
            owner: owner.clone(),
            priority: edge.priority,
            weight: edge.weight,
            port: edge.port,
            target: edge.name.clone(),
        }));
    }
    Some(services)
}
