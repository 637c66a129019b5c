//! `[xmpp]` and `[[xmpp.domain]]`: whether there is XMPP, which domains have which nodes, and who may sign in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::config::section::{self, Identity};
use common::config::{Table, Value};
use common::limits;
use common::net::{Domain, Host};
use common::xmpp::features::{ChannelBinding, FeaturePolicy};

use super::Config;
use crate::upstream::xmpp::NodePlace;
use crate::upstream::xmpp::resolve::{DomainConfig, Nodes};
use crate::xmpp::gate::SessionGate;

/// `[xmpp]`: chat and presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xmpp {
    /// Whether clients need a live HTTPS session.
    pub session_gate: SessionGate,
    /// Files of the authorities that sign nodes' certificates; those of `[inside]` if the key is left out.
    pub trust_anchors: Vec<PathBuf>,
    /// What ends the TLS of clients whom edge-e passes through, the default one first; of none if it is empty.
    pub certificates: Vec<Identity>,
    /// The domains. Never empty; no two have a name in common.
    pub domains: Vec<DomainConfig>,
}

impl Xmpp {
    /// The names of all domains.
    pub fn names(&self) -> impl Iterator<Item = &Domain> {
        self.domains.iter().flat_map(|domain| &domain.names)
    }
}

/// Reads both; `None` without `[xmpp]`, and if something is wrong with it.
pub(super) fn read(table: &Table<'_>) -> Option<Xmpp> {
    if !table.is_present() {
        return None;
    }
    let gates = [
        ("off", SessionGate::Off),
        ("user", SessionGate::User),
        ("user+ip", SessionGate::UserAndAddress),
    ];
    let session_gate = table.or("session_gate", SessionGate::Off, |value| {
        value.choice(&gates)
    });
    let trust_anchors = table.list("trust_anchors", section::trust_anchor);
    let certificates = table.tables("certificates");
    let certificates = certificates
        .iter()
        .map(|entry| Identity::read(entry, "chain", "key"));
    let certificates: Option<Vec<_>> = certificates.collect();
    let tables = table.required_tables(
        "domain",
        "[[xmpp.domain]] with names, such as [\"example.com\"]",
    );
    let domains: Vec<_> = tables.iter().map(domain).collect();
    let domains: Vec<_> = domains.into_iter().collect::<Option<_>>()?;
    let mut names = BTreeSet::new();
    for (table, domain) in tables.iter().zip(&domains) {
        for name in &domain.names {
            if !names.insert(name) {
                let why = format!("has {name} for a second time");
                table.refuse("names", why, "each domain once");
            }
        }
    }
    (!domains.is_empty()).then_some(Xmpp {
        session_gate,
        trust_anchors,
        certificates: certificates?,
        domains,
    })
}

fn domain(table: &Table<'_>) -> Option<DomainConfig> {
    let allowed = "the part after the @ of addresses, such as [\"example.com\"]";
    let names = table.required_list("names", allowed, Value::domain);
    let nodes = nodes(table);
    let bindings = [
        ("pass", ChannelBinding::Pass),
        ("strip", ChannelBinding::Strip),
        ("refuse", ChannelBinding::Refuse),
    ];
    let features = FeaturePolicy {
        channel_binding: table.or("channel_binding", ChannelBinding::Pass, |value| {
            value.choice(&bindings)
        }),
        hides_nodes: table.or("hide_nodes", false, Value::boolean),
    };
    let domain = DomainConfig {
        names,
        nodes: nodes?,
        certificate_names: table.list("certificate_names", Value::host),
        features,
        is_told_clients: table.or("proxy_protocol", false, Value::boolean),
    };
    (!domain.names.is_empty()).then_some(domain)
}

fn nodes(table: &Table<'_>) -> Option<Nodes> {
    let allowed =
        "a list such as [\"starttls:imp1.example.com:5222\", \"tls:imp2.example.com:5223\"]";
    let zone = table.optional("srv", Value::domain);
    if !table.has("nodes") {
        return (zone.is_some() || !table.has("srv")).then_some(Nodes::Zone(zone));
    }
    let nodes = table.required_list("nodes", allowed, |value| value.parsed::<NodePlace>(allowed));
    if table.has("srv") {
        table.refuse("nodes", "stands beside srv", "one of the two");
        return None;
    }
    if nodes.len() > limits::XMPP_NODES_MAX {
        let allowed = format!("at most {} nodes", limits::XMPP_NODES_MAX);
        table.refuse("nodes", "has too many", allowed);
    }
    (!nodes.is_empty()).then_some(Nodes::Named(nodes))
}

/// SRV records and names need somebody to ask.
pub(super) fn cross(dns: &Table<'_>, config: &Config) {
    let Some(xmpp) = &config.xmpp else {
        return;
    };
    if !config.dns.servers.is_empty() {
        return;
    }
    let needs_dns = |domain: &&DomainConfig| match &domain.nodes {
        Nodes::Zone(_) => true,
        Nodes::Named(nodes) => nodes
            .iter()
            .any(|node| matches!(node.place.host, Host::Name(_))),
    };
    if let Some(domain) = xmpp.domains.iter().find(needs_dns) {
        let name = domain.names.first().map(Domain::as_str).unwrap_or_default();
        let why = format!("is needed: the nodes of XMPP domain {name} are names");
        dns.refuse(
            "servers",
            why,
            "inside name servers, such as [\"10.0.0.53:53\"]",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const REST: &str = include_str!("../../../deploy/edge-c.example.toml");

    fn parse(xmpp: &str) -> Result<Option<Xmpp>, String> {
        let text = format!("{REST}\n{xmpp}");
        let loaded = Config::parse(Path::new("edge-c.toml"), &text);
        loaded
            .map(|loaded| loaded.config.xmpp)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn without_the_section_there_is_no_xmpp_and_a_domain_is_found_by_its_own_records() {
        assert_eq!(parse("").unwrap(), None);

        let xmpp = parse("[xmpp]\n[[xmpp.domain]]\nnames = [\"Example.com\"]\n")
            .unwrap()
            .unwrap();

        assert_eq!(xmpp.session_gate, SessionGate::Off);
        assert_eq!(xmpp.domains[0].nodes, Nodes::Zone(None));
        assert_eq!(
            xmpp.names().map(Domain::as_str).collect::<Vec<_>>(),
            ["example.com"]
        );
    }

    #[test]
    fn every_key_is_read() {
        let xmpp = parse(
            "[xmpp]\nsession_gate = \"user+ip\"\n[[xmpp.domain]]\nnames = [\"a.example\", \"b.example\"]\n\
             nodes = [\"starttls:imp1.example.com:5222\", \"tls:10.0.0.7:5223\"]\ncertificate_names = [\"imp.example.com\"]\n\
             channel_binding = \"strip\"\nhide_nodes = true\nproxy_protocol = true\n[[xmpp.domain]]\nnames = [\"c.example\"]\n\
             srv = \"c.local\"\n",
        )
        .unwrap()
        .unwrap();

        assert_eq!(xmpp.session_gate, SessionGate::UserAndAddress);
        let first = &xmpp.domains[0];
        assert!(matches!(&first.nodes, Nodes::Named(nodes) if nodes.len() == 2));
        assert_eq!(first.features.channel_binding, ChannelBinding::Strip);
        assert!(first.features.hides_nodes && first.is_told_clients);
        assert_eq!(first.certificate_names.len(), 1);
        assert!(
            matches!(&xmpp.domains[1].nodes, Nodes::Zone(Some(zone)) if zone.as_str() == "c.local")
        );
    }

    #[test]
    fn what_can_not_be_is_refused_with_what_is_allowed() {
        for (wrong, said) in [
            ("[xmpp]\n", "[[xmpp.domain]]"),
            ("[xmpp]\n[[xmpp.domain]]\nnames = []\n", "names"),
            (
                "[xmpp]\n[[xmpp.domain]]\nnames = [\"a.example\", \"a.example\"]\n",
                "each domain once",
            ),
            (
                "[xmpp]\n[[xmpp.domain]]\nnames = [\"a.example\"]\nnodes = [\"imp1:5222\"]\n",
                "starttls:",
            ),
            (
                "[xmpp]\n[[xmpp.domain]]\nnames = [\"a.example\"]\nnodes = [\"tls:10.0.0.7:1\"]\nsrv = \"a.example\"\n",
                "one of the two",
            ),
            (
                "[xmpp]\nsession_gate = \"on\"\n[[xmpp.domain]]\nnames = [\"a.example\"]\n",
                "user+ip",
            ),
        ] {
            let refused = parse(wrong).unwrap_err();
            assert!(refused.contains(said), "{wrong}: {refused}");
        }
    }
}
