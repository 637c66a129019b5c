//! The zones that edge-c serves inside: its ports, and whether the inside name servers lead to them.

use common::config::name_server::{DnsZone, ZoneSource};
use common::dns::service::Service;
use common::net::{Domain, Host};
use common::runtime::doctor::{self, Finding};

use crate::config::Config;
use crate::discovery::dns::{Dns, DnsError, SrvAnswer};

pub(super) async fn examine(config: &Config, dns: &Dns, is_running: bool) -> Vec<Finding> {
    let Some(pinpoint) = &config.pinpoint else {
        return Vec::new();
    };
    let ports = pinpoint.listen.iter();
    let mut findings: Vec<_> = ports
        .map(|at| doctor::port("pinpoint.listen", *at, is_running))
        .collect();
    // Without inside name servers there is nobody to ask.
    if config.dns.servers.is_empty() {
        return findings;
    }
    for zone in &pinpoint.zones {
        let ZoneSource::Written(written) = &zone.source else {
            continue;
        };
        let mut owners: Vec<&Domain> = written
            .services
            .iter()
            .map(|service| &service.owner)
            .collect();
        owners.sort();
        owners.dedup();
        for owner in owners {
            let records = written
                .services
                .iter()
                .filter(|record| record.owner == *owner);
            let records: Vec<&Service> = records.collect();
            findings.push(leads_here(zone, owner, &records, dns.srv(owner).await));
        }
    }
    findings
}

/// Whether the inside name servers say the same as this zone.
fn leads_here(
    zone: &DnsZone,
    owner: &Domain,
    records: &[&Service],
    answer: Result<SrvAnswer, DnsError>,
) -> Finding {
    let what = format!("name {owner}");
    let remedy = format!(
        "let the inside name servers ask edge-c about the zone {}: a forward or stub zone, or NS records",
        zone.name
    );
    match answer {
        Ok(SrvAnswer::Records(found)) => {
            let is_said = |record: &&Service| {
                let target = Host::Name(record.target.clone());
                found.iter().any(|found| found.address == target)
            };
            if records.iter().all(is_said) && found.len() == records.len() {
                return Finding::pass(what, "is said by the inside name servers as it is here");
            }
            let cause = "leads elsewhere for the inside name servers";
            Finding::warn(what, cause, remedy)
        }
        Ok(SrvAnswer::Absent | SrvAnswer::Withdrawn) => {
            let cause = "does not exist for the inside name servers";
            Finding::warn(what, cause, remedy)
        }
        Err(error) => Finding::warn(what, error.to_string(), remedy),
    }
}
