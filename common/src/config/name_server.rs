//! What a name server of an edge is told: where it listens, how often it answers, what its zones say.
//!
//! Which records a zone gets that is not a file is for the edge to say: those of the edges outside, those of inner servers
//! inside.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{FileKind, Table, Value};
use crate::dns::Name;
use crate::dns::rate::RatePolicy;
use crate::dns::service::{Host, Service, ServiceZone};
use crate::limits;
use crate::net::Domain;

/// A name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// UDP and TCP. Never empty.
    pub listen: Vec<SocketAddr>,
    /// The keys that a cluster shares; a server alone makes its own.
    pub cookie_keys: Option<PathBuf>,
    /// How often the same is said to the same clients.
    pub rate: RatePolicy,
    /// What is served. Never empty.
    pub zones: Vec<DnsZone>,
}

/// A zone.
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
    /// What the configuration says of servers.
    Written(ServiceZone),
}

/// What is the same in every zone that is written from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Who serves them; the first is named in the SOA record.
    name_servers: Vec<Domain>,
    contact: Option<Domain>,
    serial: u32,
    ttl: u32,
    negative_ttl: u32,
}

impl NameServer {
    /// Reads all but the zones from its section. `allowed` says what addresses to listen on.
    pub fn read(table: &Table<'_>, allowed: &str, zones: Vec<DnsZone>) -> Self {
        for (number, zone) in zones.iter().enumerate() {
            let mut before = zones.iter().take(number);
            if before.any(|other| other.name == zone.name) {
                table.refuse("zone", format!("has {} twice", zone.name), "each zone once");
            }
        }
        Self {
            listen: table.required_list("listen", allowed, Value::socket_addr),
            cookie_keys: table.optional("cookie_keys", |value| value.file(FileKind::CookieKeys)),
            rate: rate(&table.table("rate_limit")),
            zones,
        }
    }
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

/// The zone file that an entry names, if it names one; nothing that is made here may stand beside it, such as `beside`.
pub fn zone_file(table: &Table<'_>, name: &Domain, beside: &'static str) -> Option<DnsZone> {
    let apex = Name::from(name);
    let path = table.optional("file", |value| value.file(FileKind::Zone(apex.clone())))?;
    if table.has(beside) {
        let why = "stands beside file: the records are in the zone file";
        table.refuse(beside, why, format!("either file or {beside}"));
    }
    Some(DnsZone {
        name: name.clone(),
        source: ZoneSource::File(path),
    })
}

impl Authority {
    /// Reads it from the section of the name server. Without `name_servers` those of the parameter serve.
    pub fn read(table: &Table<'_>, name_servers: Vec<Domain>) -> Self {
        let range = limits::DNS_TTL_MIN..=limits::DNS_TTL_SETTING_MAX;
        let seconds = |key, default| {
            let read: Duration = table.or(key, default, |value| value.duration(&range));
            u32::try_from(read.as_secs()).unwrap_or(u32::MAX)
        };
        let named = table.list("name_servers", Value::domain);
        Self {
            name_servers: if named.is_empty() {
                name_servers
            } else {
                named
            },
            contact: table.optional("contact", Value::domain),
            serial: table.or("serial", 1, |value| value.integer(&(1..=u32::MAX))),
            ttl: seconds("ttl", limits::DNS_TTL_DEFAULT),
            negative_ttl: seconds("negative_ttl", limits::DNS_NEGATIVE_TTL_DEFAULT),
        }
    }

    /// A zone with these services and, as far as they are in it, hosts. What can't be served is noted at the key `name` of
    /// `table`; `servers_allowed` says which name servers there may be.
    pub fn write(
        &self,
        table: &Table<'_>,
        apex: &Domain,
        (services, hosts): (Vec<Service>, Vec<Host>),
        servers_allowed: &str,
    ) -> Option<DnsZone> {
        let zone = Name::from(apex);
        let is_host = |name: &Domain| hosts.iter().any(|host| host.name == *name);
        let is_lost = |server: &&Domain| Name::from(*server).is_within(&zone) && !is_host(server);
        if let Some(server) = self.name_servers.iter().find(is_lost) {
            let why =
                format!("has the name server {server} in the zone, and nothing says its addresses");
            table.refuse("name", why, servers_allowed);
            return None;
        }
        let contact = Domain::parse(&format!("hostmaster.{apex}"));
        let written = ServiceZone {
            apex: apex.clone(),
            name_servers: self.name_servers.clone(),
            contact: self.contact.clone().or_else(|| contact.ok())?,
            serial: self.serial,
            ttl: self.ttl,
            negative_ttl: self.negative_ttl,
            services,
            hosts,
        };
        if let Err(error) = written.records() {
            let why = format!("makes a zone that can't be served: {error}");
            table.refuse("name", why, "the name of a zone");
            return None;
        }
        Some(DnsZone {
            name: apex.clone(),
            source: ZoneSource::Written(written),
        })
    }
}
