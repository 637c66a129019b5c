//! Everything around edge-e that must be right: certificates, the public name, ports, the limit of open files.

use common::config::name_server::ZoneSource;
use common::config::{Loaded, Purpose};
use common::net::Domain;
use common::runtime::clock;
use common::runtime::doctor::{self, Finding, Report};

use crate::config::Config;

pub(super) async fn examine(loaded: &Loaded<Config>) -> Report {
    let config = &loaded.config;
    let mut report = Report::default();
    let file = loaded.file.display().to_string();
    report.add([Finding::pass("configuration", format!("{file} is valid"))]);
    let warnings = loaded.warnings.iter();
    report.add(warnings.map(|w| Finding::warn(&w.place.key, &w.why, &w.remedy)));
    report.add(certificates(config));
    report.add([doctor::resolves(&config.name, &config.advertised_addresses).await]);
    report.add(names(config).await);
    report.add(ports(config).await);
    report.add([doctor::open_files(config.limits.connections_max)]);
    report
}

fn certificates(config: &Config) -> Vec<Finding> {
    let now = clock::unix_now();
    let look = |key: &str, identity, names: &[_]| {
        doctor::certificate(key, identity, Purpose::Server, names, now)
    };
    let mut findings = Vec::new();
    for (index, identity) in config.public.certificates.iter().enumerate() {
        // The first is the default one; the others are for other names.
        let names = if index == 0 { &[&config.name][..] } else { &[] };
        findings.extend(look("public.certificates", identity, names));
    }
    findings.extend(look("link", &config.link.identity.identity, &[]));
    findings
}

/// Whether clients are led here, and not to the inside.
async fn names(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for zone in config.dns.iter().flat_map(|dns| &dns.zones) {
        let ZoneSource::Written(written) = &zone.source else {
            continue;
        };
        let mut owners: Vec<_> = written
            .services
            .iter()
            .map(|service| &service.owner)
            .collect();
        owners.dedup();
        for owner in owners {
            findings.push(doctor::leads_here(owner, &config.name, &zone.name).await);
            let domain = owner.parent().and_then(|tls| tls.parent());
            for label in ["_cisco-uds._tcp", "_cuplogin._tcp"] {
                let name = domain.as_ref().map(|domain| format!("{label}.{domain}"));
                if let Some(Ok(name)) = name.map(|name| Domain::parse(&name)) {
                    findings.push(doctor::is_hidden(&name).await);
                }
            }
        }
    }
    findings
}

async fn ports(config: &Config) -> Vec<Finding> {
    let admin = config.admin.listen;
    let is_running = doctor::answers(admin).await;
    let public = config.public.listen.iter().map(|at| ("public.listen", *at));
    let sip = config.sip.listen.iter().map(|at| ("sip.listen", *at));
    let link = config.link.listen.iter().map(|at| ("link.listen", *at));
    let dns = config.dns.iter().flat_map(|dns| &dns.listen);
    let dns = dns.map(|at| ("dns.listen", *at));
    let all = public
        .chain(sip)
        .chain(link)
        .chain(dns)
        .chain([("admin.listen", admin)]);
    all.map(|(key, at)| doctor::port(key, at, is_running))
        .collect()
}
