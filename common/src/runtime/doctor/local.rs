//! What can be seen on this machine: certificates, ports, names, the limit of open files.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::Finding;
use crate::config::certificate::Facts;
use crate::config::duration::Text;
use crate::config::section::Identity;
use crate::config::{Purpose, pem};
use crate::limits;
use crate::net::Domain;
use crate::runtime::{exit, listen};
use crate::time::UnixTime;

/// Looks at a certificate and its key, and whether it is for `names`.
#[must_use]
pub fn certificate(
    key: &str,
    identity: &Identity,
    purpose: Purpose,
    names: &[&Domain],
    now: UnixTime,
) -> Vec<Finding> {
    let what = format!("certificate {key}");
    if let Err(error) = pem::certified_key(&identity.chain, &identity.key) {
        return vec![Finding::fail(what, error.to_string(), error.remedy())];
    }
    let facts = match Facts::of_leaf(&identity.chain) {
        Ok(facts) => facts,
        Err(error) => return vec![Finding::fail(what, error.to_string(), error.remedy())],
    };
    let faults = facts.faults(purpose, now).into_iter();
    let mut findings: Vec<_> = faults
        .map(|(why, remedy)| {
            let is_fatal = facts.not_after <= now || facts.not_before > now;
            if is_fatal {
                Finding::fail(&what, why, remedy)
            } else {
                Finding::warn(&what, why, remedy)
            }
        })
        .collect();
    for name in names.iter().filter(|name| !facts.covers_name(name)) {
        let remedy = format!("add DNS:{name} to its subject alternative name");
        findings.push(Finding::warn(&what, format!("is not for {name}"), remedy));
    }
    if findings.is_empty() {
        let days = facts.not_after.since(now).as_secs() / 86_400;
        let detail = format!(
            "for {}, {days} days left, key matches",
            facts.names.join(", ")
        );
        findings.push(Finding::pass(what, detail));
    }
    findings
}

/// Whether `address` can be listened on. If `is_running`, this service has it already and that is as it should be.
#[must_use]
pub fn port(key: &str, address: SocketAddr, is_running: bool) -> Finding {
    let what = format!("listener {key} {address}");
    match listen::bind(address) {
        Ok(_) => Finding::pass(what, "free"),
        Err(error) if is_running && error.kind() == io::ErrorKind::AddrInUse => {
            Finding::pass(what, "in use, and this service is running")
        }
        Err(error) => Finding::fail(what, error.to_string(), exit::bind_remedy(error.kind())),
    }
}

/// Whether something answers at `address`: the admin listener of this service, which then has its ports.
pub async fn answers(address: SocketAddr) -> bool {
    let connecting = tokio::net::TcpStream::connect(address);
    let connected = tokio::time::timeout(limits::DOCTOR_DEADLINE, connecting).await;
    matches!(connected, Ok(Ok(_)))
}

/// Whether `name` has an address, and one of `expected` unless that is empty.
pub async fn resolves(name: &Domain, expected: &[IpAddr]) -> Finding {
    let what = format!("name {name}");
    let lookup = tokio::net::lookup_host((name.as_str(), 0));
    let found = tokio::time::timeout(limits::DOCTOR_DEADLINE, lookup).await;
    let remedy = format!("give {name} an A or AAAA record where clients look it up");
    let addresses: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.map(|at| at.ip()).collect(),
        Ok(Err(error)) => return Finding::warn(what, error.to_string(), remedy),
        Err(_) => {
            let cause = format!("no answer within {}", Text(limits::DOCTOR_DEADLINE));
            return Finding::warn(what, cause, remedy);
        }
    };
    let list: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    let list = list.join(", ");
    let is_expected = |address: &IpAddr| expected.contains(address);
    if expected.is_empty() || addresses.iter().any(is_expected) {
        return Finding::pass(what, list);
    }
    let cause = format!("resolves here to {list}, none of which is advertised");
    Finding::warn(what, cause, "correct advertised_addresses, or the record")
}

/// Whether as many files may be open as `connections` need.
#[must_use]
pub fn open_files(connections: u32) -> Finding {
    let what = "open files";
    let limits = std::fs::read_to_string(Path::new("/proc/self/limits")).unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let Some(soft) = soft.and_then(|soft| soft.parse::<u64>().ok()) else {
        return Finding::pass(what, "no limit is known");
    };
    let needed = u64::from(connections).saturating_add(limits::OPEN_FILES_RESERVE);
    if soft >= needed {
        return Finding::pass(what, format!("{soft} allowed, {needed} needed at most"));
    }
    let cause = format!("only {soft} allowed, {needed} needed with that many connections");
    Finding::warn(
        what,
        cause,
        format!("set LimitNOFILE={needed} in the unit file, or lower limits.connections_max"),
    )
}
