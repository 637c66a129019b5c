//! Everything around edge-e that must be right: certificates, the public name, ports, the limit of open files.

use common::config::{Loaded, Purpose};
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

async fn ports(config: &Config) -> Vec<Finding> {
    let admin = config.admin.listen;
    let is_running = doctor::answers(admin).await;
    let public = config.public.listen.iter().map(|at| ("public.listen", *at));
    let sip = config.sip.listen.iter().map(|at| ("sip.listen", *at));
    let link = config.link.listen.iter().map(|at| ("link.listen", *at));
    let all = public
        .chain(sip)
        .chain(link)
        .chain([("admin.listen", admin)]);
    all.map(|(key, at)| doctor::port(key, at, is_running))
        .collect()
}
