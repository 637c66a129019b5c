//! `[dns]`: the zones that edge-e serves, from files or from what it knows of its cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::config::{FileKind, Table, Value};
use common::dns::Name;
use common::dns::rate::RatePolicy;
use common::dns::service::{Host, Service, ServiceZone};
use common::limits;
use common::net::Domain;

use super::Public;

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// UDP and TCP. Never empty.
    pub listen: Vec<SocketAddr>,
    /// The keys that a cluster shares; an edge alone makes its own.
    pub cookie_keys: Option<PathBuf>,
    /// How often the same is said to the same clients.
    pub rate: RatePolicy,
    /// What is served. Never empty.
    pub zones: Vec<DnsZone>,
    /// The edges of the cluster.
    pub edges: Vec<Domain>,
}

/// `[[dns.zone]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsZone {
    /// Its name.
    pub name: Domain,
    /// Where its records come from.
    pub source: ZoneSource,
}

/// Where the records of a zone come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneSource {
    /// A zone file.
    File(PathBuf),
    /// What the configuration says of the edges.
    Written(ServiceZone),
}

/// `[[dns.edge]]`: an edge of the cluster.
struct Edge {
    name: Domain,
    addresses: Vec<IpAddr>,
    port: u16,
    priority: u16,
    weight: u16,
}

/// What is the same in every zone that is written here.
struct Common {
    edges: Vec<Edge>,
    name_servers: Vec<Domain>,
    contact: Option<Domain>,
    serial: u32,
    ttl: u32,
    negative_ttl: u32,
}

/// Reads `[dns]`; `None` without it.
pub(super) fn read(
    root: &Table<'_>,
    name: Option<&Domain>,
    public: Option<&Public>,
    advertised: &[IpAddr],
) -> Option<Dns> {
    let table = root.table("dns");
    if !table.is_present() {
        return None;
    }
    let allowed = "the public addresses of this machine, such as [\"203.0.113.10:53\"]";
    let listen = table.required_list("listen", allowed, Value::socket_addr);
    let cookie_keys = table.optional("cookie_keys", |value| value.file(FileKind::CookieKeys));
    let rate = rate(&table.table("rate_limit"));
    let common = common(&table, name, public, advertised);
    let allowed =
        "one [[dns.zone]] for each zone, such as name = \"_collab-edge._tls.example.com\"";
    let zones: Vec<DnsZone> = table
        .required_tables("zone", allowed)
        .iter()
        .filter_map(|entry| zone(entry, &common))
        .collect();
    for (number, zone) in zones.iter().enumerate() {
        if zones
            .iter()
            .take(number)
            .any(|other| other.name == zone.name)
        {
            table.refuse("zone", format!("has {} twice", zone.name), "each zone once");
        }
    }
    Some(Dns {
        listen,
        cookie_keys,
        rate,
        zones,
        edges: common.edges.into_iter().map(|edge| edge.name).collect(),
    })
}

fn rate(table: &Table<'_>) -> RatePolicy {
    let default = RatePolicy::default();
    let count = |key, default, max| table.or(key, default, |value| value.integer(&(0..=max)));
    RatePolicy {
        responses_per_second: count(
            "responses_per_second",
            default.responses_per_second,
            limits::DNS_RESPONSES_PER_SECOND_SETTING_MAX,
        ),
        slip: count("slip", default.slip, limits::DNS_SLIP_SETTING_MAX),
        exempt: table.list("exempt", Value::ip_net),
    }
}

fn common(
    table: &Table<'_>,
    name: Option<&Domain>,
    public: Option<&Public>,
    advertised: &[IpAddr],
) -> Common {
    let mut edges: Vec<Edge> = table.tables("edge").iter().filter_map(edge).collect();
    if let (true, Some(name), Some(public)) = (edges.is_empty(), name, public) {
        edges.extend(own(table, name, public, advertised));
    }
    let mut name_servers = table.list("name_servers", Value::domain);
    if name_servers.is_empty() {
        name_servers = edges.iter().map(|edge| edge.name.clone()).collect();
    }
    let range = limits::DNS_TTL_MIN..=limits::DNS_TTL_SETTING_MAX;
    let seconds = |key, default| {
        let read: Duration = table.or(key, default, |value| value.duration(&range));
        u32::try_from(read.as_secs()).unwrap_or(u32::MAX)
    };
    Common {
        edges,
        name_servers,
        contact: table.optional("contact", Value::domain),
        serial: table.or("serial", 1, |value| value.integer(&(1..=u32::MAX))),
        ttl: seconds("ttl", limits::DNS_TTL_DEFAULT),
        negative_ttl: seconds("negative_ttl", limits::DNS_NEGATIVE_TTL_DEFAULT),
    }
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

fn zone(table: &Table<'_>, common: &Common) -> Option<DnsZone> {
    let allowed = "the name of the zone, such as name = \"_collab-edge._tls.example.com\"";
    let name = table.required("name", allowed, Value::domain)?;
    let apex = Name::from(&name);
    let file = table.optional("file", |value| value.file(FileKind::Zone(apex.clone())));
    let domains = table.list("domains", Value::domain);
    if let Some(path) = file {
        if table.has("domains") {
            let why = "stands beside file: the records are in the zone file";
            table.refuse("domains", why, "either file or domains");
        }
        let source = ZoneSource::File(path);
        return Some(DnsZone { name, source });
    }
    let domains = if domains.is_empty() {
        let below_prefix = name.as_str().strip_prefix("_collab-edge._tls.");
        let domain = below_prefix.and_then(|rest| Domain::parse(rest).ok());
        vec![domain.unwrap_or_else(|| name.clone())]
    } else {
        domains
    };
    let written = written(table, &name, &domains, common)?;
    if let Err(error) = written.records() {
        table.refuse(
            "name",
            format!("makes a zone that can't be served: {error}"),
            allowed,
        );
        return None;
    }
    let source = ZoneSource::Written(written);
    Some(DnsZone { name, source })
}

fn written(
    table: &Table<'_>,
    apex: &Domain,
    domains: &[Domain],
    common: &Common,
) -> Option<ServiceZone> {
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
        services.extend(common.edges.iter().map(|edge| Service {
            owner: owner.clone(),
            priority: edge.priority,
            weight: edge.weight,
            port: edge.port,
            target: edge.name.clone(),
        }));
    }
    let is_edge = |name: &Domain| common.edges.iter().any(|edge| edge.name == *name);
    let is_lost = |server: &&Domain| Name::from(*server).is_within(&zone) && !is_edge(server);
    if let Some(server) = common.name_servers.iter().find(is_lost) {
        let why =
            format!("has the name server {server} in the zone, and nothing says its addresses");
        table.refuse(
            "name",
            why,
            "name servers that are a [[dns.edge]] or outside the zone",
        );
        return None;
    }
    let contact = Domain::parse(&format!("hostmaster.{apex}"));
    Some(ServiceZone {
        apex: apex.clone(),
        name_servers: common.name_servers.clone(),
        contact: common.contact.clone().or_else(|| contact.ok())?,
        serial: common.serial,
        ttl: common.ttl,
        negative_ttl: common.negative_ttl,
        services,
        hosts: common
            .edges
            .iter()
            .map(|edge| Host {
                name: edge.name.clone(),
                addresses: edge.addresses.clone(),
            })
            .collect(),
    })
}
