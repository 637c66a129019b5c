//! Everything around edge-c that must be right: its certificate, every edge-e, the inside DNS, the inner servers.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use common::config::{Loaded, Purpose};
use common::mra::edge_config::KnownService;
use common::net::{Host, HostPort};
use common::runtime::clock;
use common::runtime::doctor::{self, Finding, Report, TlsProbe};
use rustls::ClientConfig;

use crate::app::settings;
use crate::config::{Config, Edge, ServiceDomain};
use crate::discovery::dns::{Dns, SrvAnswer};
use crate::discovery::{Node, NodeKind};

mod pinpoint;
mod sip;
mod xmpp;

pub(super) async fn examine(loaded: &Loaded<Config>) -> Report {
    let config = &loaded.config;
    let mut report = Report::default();
    let file = loaded.file.display().to_string();
    report.add([Finding::pass("configuration", format!("{file} is valid"))]);
    let warnings = loaded.warnings.iter();
    report.add(warnings.map(|w| Finding::warn(&w.place.key, &w.why, &w.remedy)));
    report.add(certificate(config));
    report.add([state_folder(&config.session.state_dir)]);
    let is_running = doctor::answers(config.admin.listen).await;
    report.add([doctor::port(
        "admin.listen",
        config.admin.listen,
        is_running,
    )]);
    report.add(links(config).await);
    report.add(inside(config).await);
    if let Ok(dns) = Dns::new(&settings::dns_config(config)) {
        report.add(pinpoint::examine(config, &dns, is_running).await);
        report.add(sip::examine(config, &dns, is_running).await);
        report.add(xmpp::examine(config, &dns).await);
    }
    report
}

fn certificate(config: &Config) -> Vec<Finding> {
    let identity = &config.link.identity.identity;
    let now = clock::unix_now();
    doctor::certificate("link", identity, Purpose::Client, &[&config.name], now)
}

fn state_folder(folder: &Path) -> Finding {
    let what = "session.state_dir";
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => Finding::pass(what, format!("{shown} is there")),
        Ok(_) => Finding::fail(what, format!("{shown} is not a folder"), "name a folder"),
        Err(error) => Finding::warn(
            what,
            format!("{shown}: {error}"),
            "make it, owned by the user of the service (StateDirectory= in the unit file does)",
        ),
    }
}

/// Every edge-e, through TCP and TLS with the link's own certificates on both sides.
async fn links(config: &Config) -> Vec<Finding> {
    match settings::link_tls(config).map(Arc::new) {
        Ok(tls) => {
            let bind = config.link.bind_address;
            probe_all(config.edges.iter().map(|edge| link(edge, bind, &tls))).await
        }
        Err(cause) => vec![Finding::fail("links", cause, "correct [link]")],
    }
}

fn link(edge: &Edge, bind: Option<IpAddr>, config: &Arc<ClientConfig>) -> TlsProbe {
    TlsProbe {
        what: format!("link to {}", edge.name),
        address: edge.address.clone(),
        name: Host::Name(edge.certificate_name.clone()),
        config: Arc::clone(config),
        bind,
    }
}

/// The services records of every domain, and every inner server that they or the configuration name.
async fn inside(config: &Config) -> Vec<Finding> {
    let dns = match Dns::new(&settings::dns_config(config)) {
        Ok(dns) => dns,
        Err(error) => {
            return vec![Finding::fail(
                "inside DNS",
                error.to_string(),
                "correct [dns]",
            )];
        }
    };
    let mut findings = Vec::new();
    let mut servers = configured(config);
    for domain in &config.domains {
        let (finding, found) = services(config, &dns, domain).await;
        findings.push(finding);
        servers.extend(found);
    }
    servers.sort();
    servers.dedup();
    let tls = match settings::inside_tls(config).map(Arc::new) {
        Ok(tls) => tls,
        Err(cause) => {
            findings.push(Finding::fail("inner servers", cause, "correct [inside]"));
            return findings;
        }
    };
    let mut probes = Vec::new();
    for server in servers {
        match dns.addresses(&server.host).await {
            Ok(addresses) => probes.extend(addresses.first().map(|address| TlsProbe {
                what: format!("inner server {server}"),
                address: HostPort {
                    host: Host::Address(*address),
                    port: server.port,
                },
                name: server.host.clone(),
                config: Arc::clone(&tls),
                bind: config.inside.bind_address,
            })),
            Err(error) => {
                let remedy = "give it an address record in the inside DNS";
                let what = format!("inner server {server}");
                findings.push(Finding::fail(what, error.to_string(), remedy));
            }
        }
    }
    findings.extend(probe_all(probes).await);
    findings
}

/// Servers of `[[node]]` that speak TLS on a port of their own.
fn configured(config: &Config) -> Vec<HostPort> {
    let port = |kind| match kind {
        NodeKind::ImPresence | NodeKind::Ucm => Some(UDS_PORT),
        NodeKind::Unity => Some(HTTPS_PORT),
        NodeKind::Tftp => None,
    };
    let nodes = config.nodes.iter();
    let nodes = nodes.filter_map(|node| {
        let usual = port(node.kind)?;
        Some(HostPort {
            host: node.host.clone(),
            port: node.port.unwrap_or(usual),
        })
    });
    nodes.collect()
}

/// `_cisco-uds` of a domain, without which no client can sign in.
async fn services(config: &Config, dns: &Dns, domain: &ServiceDomain) -> (Finding, Vec<HostPort>) {
    let zone = domain
        .voice_services_domain
        .as_ref()
        .unwrap_or(&domain.name);
    let mut zones = vec![zone.to_string()];
    if config.dns.is_pinpoint_zone_asked {
        zones.push(format!("cisco-internal.{zone}"));
    }
    let what = format!("services of {}", domain.name);
    let mut failure = None;
    for zone in zones {
        match dns.service(KnownService::CiscoUds, &zone).await {
            Ok(SrvAnswer::Records(records)) => {
                let found: Vec<_> = records
                    .into_iter()
                    .map(|record| HostPort {
                        host: record.address,
                        port: record.port,
                    })
                    .collect();
                let list: Vec<_> = found.iter().map(HostPort::to_string).collect();
                let detail = format!("_cisco-uds._tcp.{zone} names {}", list.join(", "));
                return (Finding::pass(what, detail), found);
            }
            Ok(SrvAnswer::Absent | SrvAnswer::Withdrawn) => {}
            Err(error) => failure = Some(error),
        }
    }
    let is_ucm = |node: &Node| node.kind == NodeKind::Ucm;
    let is_configured = config
        .nodes
        .iter()
        .any(|node| is_ucm(node) && node.deployment == domain.deployment);
    let finding = match failure {
        Some(error) => {
            let remedy = "are the servers of [dns] right, running and reachable on port 53?";
            Finding::fail(what, error.to_string(), remedy)
        }
        None if is_configured => Finding::pass(what, "no SRV record, but a [[node]]"),
        None => Finding::fail(
            what,
            format!("_cisco-uds._tcp.{zone} has no SRV record"),
            "make one in the inside DNS, or name a [[node]] of kind \"ucm\"",
        ),
    };
    (finding, Vec::new())
}

/// All at the same time: each may take seconds.
async fn probe_all(probes: impl IntoIterator<Item = TlsProbe>) -> Vec<Finding> {
    let tasks: Vec<_> = probes
        .into_iter()
        .map(|probe| (probe.what.clone(), tokio::spawn(doctor::probe(probe))))
        .collect();
    let mut findings = Vec::new();
    for (what, task) in tasks {
        let broken = |error| Finding::fail(what, format!("{error}"), "this is a bug: report it");
        findings.push(task.await.unwrap_or_else(broken));
    }
    findings
}

const UDS_PORT: u16 = 8443;
const HTTPS_PORT: u16 = 443;
