//! DNS zones as a description, and one question to a server. The servers are [`crate::bind`] and
//! [`crate::embedded_dns`].

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use crate::place::Place;
use crate::world::{Node, World};

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Without the trailing dot.
    pub origin: String,
    /// Seconds; of every record and of negative answers.
    pub ttl: u32,
    /// Without SOA and NS, which each server adds.
    pub records: Vec<Record>,
}

/// One record; names are absolute, without the trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The owner.
    pub name: String,
    /// Type and value.
    pub value: RecordValue,
}

/// Type and value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordValue {
    /// A or AAAA.
    Address(IpAddr),
    /// SRV (RFC 2782).
    Srv {
        /// Lower is asked first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// Where the service listens.
        port: u16,
        /// Which host has it.
        target: String,
    },
}

impl Zone {
    /// An empty zone with a short time to live, as tests that change it need.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            ttl: 2,
            records: Vec::new(),
        }
    }

    /// The zone of a world's domain as the inside sees it: `_cisco-uds` and `_cuplogin` with the
    /// priorities and weights of the planning guide's kind, and the addresses of every node.
    #[must_use]
    pub fn inside(world: &World) -> Self {
        let mut zone = Self::new(&world.domain);
        zone.add_services(&world.domain, world);
        zone.add_nodes(world);
        zone
    }

    /// The two zones of a company with a pinpoint subdomain: addresses in the domain itself, the
    /// services in `cisco-internal.<domain>`.
    #[must_use]
    pub fn pinpoint(world: &World) -> [Self; 2] {
        let mut hosts = Self::new(&world.domain);
        hosts.add_nodes(world);
        let origin = format!("cisco-internal.{}", world.domain);
        let mut services = Self::new(&origin);
        services.add_services(&origin, world);
        [hosts, services]
    }

    /// Adds one SRV record `service.<domain>`.
    pub fn add_srv(&mut self, name: &str, (priority, weight): (u16, u16), port: u16, target: &str) {
        self.records.push(Record {
            name: name.to_owned(),
            value: RecordValue::Srv {
                priority,
                weight,
                port,
                target: target.to_owned(),
            },
        });
    }

    /// Adds A and AAAA records.
    pub fn add_host(&mut self, node: &Node) {
        for address in &node.addresses {
            self.records.push(Record {
                name: node.host.clone(),
                value: RecordValue::Address(*address),
            });
        }
    }

    fn add_services(&mut self, domain: &str, world: &World) {
        const ORDER: [(u16, u16); 4] = [(1, 5), (1, 20), (2, 20), (6, 30)];
        let services = [
            (
                "_cisco-uds",
                world.nodes().map(|(_, node)| node).collect::<Vec<_>>(),
            ),
            ("_cuplogin", world.im_presence.iter().collect()),
        ];
        for (service, nodes) in services {
            for (node, order) in nodes.into_iter().zip(ORDER) {
                let name = format!("{service}._tcp.{domain}");
                self.add_srv(&name, order, world.ports.uds, &node.host);
            }
        }
    }

    fn add_nodes(&mut self, world: &World) {
        for (_, node) in world.nodes() {
            self.add_host(node);
        }
        for node in &world.im_presence {
            self.add_host(node);
        }
        self.add_host(&world.photos);
    }

    /// The zone as a master file (RFC 1035 section 5).
    #[must_use]
    pub fn master_file(&self) -> String {
        let (origin, ttl) = (&self.origin, self.ttl);
        let mut text = format!(
            "$TTL {ttl}\n\
             {origin}. SOA ns.{origin}. hostmaster.{origin}. 1 3600 600 86400 {ttl}\n\
             {origin}. NS ns.{origin}.\n\
             ns.{origin}. A 192.0.2.53\n"
        );
        for record in &self.records {
            let name = &record.name;
            match &record.value {
                RecordValue::Address(IpAddr::V4(v4)) => writeln!(text, "{name}. A {v4}"),
                RecordValue::Address(IpAddr::V6(v6)) => writeln!(text, "{name}. AAAA {v6}"),
                RecordValue::Srv {
                    priority,
                    weight,
                    port,
                    target,
                } => writeln!(text, "{name}. SRV {priority} {weight} {port} {target}."),
            }
            .expect("a String takes all");
        }
        text
    }
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// `NOERROR`, `NXDOMAIN` ..
    pub code: ResponseCode,
    /// The answers in their presentation form, sorted.
    pub records: Vec<String>,
}

/// Asks one question over UDP, from a place, once.
pub fn ask(place: &Place, server: SocketAddr, name: &str, kind: RecordType) -> Result<DnsAnswer> {
    let mut message = Message::query();
    let id = message.metadata.id;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(Name::from_ascii(name)?, kind));
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = place.udp(any)?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    socket.connect(server)?;
    socket.send(&message.to_vec()?)?;
    let mut buffer = vec![0; 4096];
    let length = socket
        .recv(&mut buffer)
        .with_context(|| format!("Failed to hear from {server}"))?;
    let answer = Message::from_vec(buffer.get(..length).context("a longer answer than asked")?)?;
    ensure!(answer.metadata.id == id, "an answer to another question");
    let mut records: Vec<String> = answer
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    records.sort();
    Ok(DnsAnswer {
        code: answer.metadata.response_code,
        records,
    })
}

/// A server on the same machine that has not answered by then never got the question.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
