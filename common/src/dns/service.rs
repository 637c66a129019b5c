//! A zone written by a configuration instead of a file: where a service is, and the addresses of its servers.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::Name;
use super::records::{Records, RecordsError};
use crate::net::Domain;

/// The first label of the names by which clients find edges.
pub const LABEL: &[u8] = b"_collab-edge";

/// What a zone says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceZone {
    /// Its name.
    pub apex: Domain,
    /// Who serves it; the first is named in the SOA record.
    pub name_servers: Vec<Domain>,
    /// Who looks after it: the mail address with `.` for `@`.
    pub contact: Domain,
    /// The serial number. Nobody transfers the zone, so it need not grow.
    pub serial: u32,
    /// How long answers may be kept, in seconds.
    pub ttl: u32,
    /// How long it may be kept that there is nothing, in seconds.
    pub negative_ttl: u32,
    /// Where services are.
    pub services: Vec<Service>,
    /// Servers and their addresses; those outside the zone are left out.
    pub hosts: Vec<Host>,
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name of the service, such as `_collab-edge._tls.example.com`.
    pub owner: Domain,
    /// Lower ones are tried first.
    pub priority: u16,
    /// The share among those of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The server.
    pub target: Domain,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: Domain,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl ServiceZone {
    /// The records of the zone.
    ///
    /// # Errors
    /// [`RecordsError`] if it can't be served.
    pub fn records(&self) -> Result<Records, RecordsError> {
        Records::parse(&Name::from(&self.apex), &self.text())
    }

    /// The zone as a file for any name server.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string can't fail.
        let (Ok(()) | Err(std::fmt::Error)) = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self {
            apex,
            contact,
            serial,
            ttl,
            negative_ttl,
            ..
        } = self;
        if let Some(first) = self.name_servers.first() {
            // Refresh, retry and expiry are for secondaries, of which there are none.
            writeln!(
                text,
                "{apex}. {ttl} IN SOA {first}. {contact}. {serial} 3600 600 86400 {negative_ttl}"
            )?;
        }
        for server in &self.name_servers {
            writeln!(text, "{apex}. {ttl} IN NS {server}.")?;
        }
        for service in &self.services {
            let Service {
                owner,
                priority,
                weight,
                port,
                target,
            } = service;
            writeln!(
                text,
                "{owner}. {ttl} IN SRV {priority} {weight} {port} {target}."
            )?;
        }
        let zone = Name::from(apex);
        let within = self
            .hosts
            .iter()
            .filter(|host| Name::from(&host.name).is_within(&zone));
        for host in within {
            for address in &host.addresses {
                let kind = if address.is_ipv4() { "A" } else { "AAAA" };
                writeln!(text, "{}. {ttl} IN {kind} {address}", host.name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn a_configured_zone_reads_as_a_zone_file() {
        let zone = ServiceZone {
            apex: domain("example.test"),
            name_servers: vec![domain("edge1.example.test"), domain("ns.other.test")],
            contact: domain("hostmaster.example.test"),
            serial: 7,
            ttl: 300,
            negative_ttl: 30,
            services: vec![Service {
                owner: domain("_collab-edge._tls.example.test"),
                priority: 10,
                weight: 5,
                port: 8443,
                target: domain("edge1.example.test"),
            }],
            hosts: vec![
                Host {
                    name: domain("edge1.example.test"),
                    addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
                },
                Host {
                    name: domain("ns.other.test"),
                    addresses: vec!["192.0.2.2".parse().unwrap()],
                },
            ],
        };

        let records = zone.records().unwrap();

        assert!(records.has(&Name::from(&domain("_collab-edge._tls.example.test"))));
        assert!(!records.has(&Name::from(&domain("ns.other.test"))));
        let lines = "example.test. 300 IN SOA edge1.example.test. hostmaster.example.test. 7 3600 600 86400 30\n\
            example.test. 300 IN NS edge1.example.test.\n\
            example.test. 300 IN NS ns.other.test.\n\
            _collab-edge._tls.example.test. 300 IN SRV 10 5 8443 edge1.example.test.\n\
            edge1.example.test. 300 IN A 192.0.2.1\n\
            edge1.example.test. 300 IN AAAA 2001:db8::1\n";
        assert_eq!(zone.text(), lines);
    }
}
