//! XMPP inside: every node of every domain: found, reached, verified, serving the domain.

use std::sync::Arc;

use common::config::Purpose;
use common::net::Domain;
use common::runtime::clock;
use common::runtime::doctor::{self, Finding};
use common::xmpp::features::Offer;

use crate::app::settings::anchors;
use crate::app::xmpp::dialling;
use crate::config::Config;
use crate::discovery::dns::Dns;
use crate::upstream::xmpp::probe::probe;
use crate::upstream::xmpp::resolve::resolve;
use crate::upstream::xmpp::table::Table;
use crate::upstream::xmpp::{Dialling, Node};

pub(super) async fn examine(config: &Config, dns: &Dns) -> Vec<Finding> {
    let Some(xmpp) = &config.xmpp else {
        return Vec::new();
    };
    let anchors = match anchors(&xmpp.trust_anchors, config) {
        Ok(anchors) => Arc::new(anchors),
        Err(cause) => return vec![Finding::fail("xmpp", cause, "correct [xmpp]")],
    };
    let table = resolve(&xmpp.domains, &anchors, &Table::default(), dns).await;
    let names: Vec<_> = xmpp.names().collect();
    let mut findings = Vec::new();
    for (at, identity) in xmpp.certificates.iter().enumerate() {
        // The first one is for whoever no other fits.
        let names = if at == 0 { names.as_slice() } else { &[] };
        let now = clock::unix_now();
        findings.extend(doctor::certificate(
            "xmpp",
            identity,
            Purpose::Server,
            names,
            now,
        ));
    }
    let mut asking = Vec::new();
    for (domain, served) in table.domains() {
        if served.nodes.is_empty() {
            let remedy = "look at its `nodes` or `srv`, and at the inside DNS";
            let what = format!("xmpp {domain}");
            findings.push(Finding::fail(what, "no node of it has an address", remedy));
        }
        for ranked in &served.nodes {
            let (node, domain) = (Arc::clone(&ranked.node), domain.clone());
            let dialling = dialling(config);
            asking.push(tokio::spawn(
                async move { ask(&node, &domain, dialling).await },
            ));
        }
    }
    for one in asking {
        let broken = |error| Finding::fail("xmpp", format!("{error}"), "this is a bug: report it");
        findings.push(one.await.unwrap_or_else(broken));
    }
    findings
}

async fn ask(node: &Node, domain: &Domain, dialling: Dialling) -> Finding {
    let what = format!("xmpp {domain} at {}", node.place);
    match probe(node, domain, dialling).await {
        Ok(offer) if offer.binds_channel => Finding::warn(
            what,
            "it offers channel binding, which can't work through two TLS connections",
            "switch it off on the node, or see channel_binding of [[xmpp.domain]]",
        ),
        Ok(Offer { mechanisms, .. }) => {
            Finding::pass(what, format!("offers {}", mechanisms.join(", ")))
        }
        Err(error) => Finding::fail(what, error.to_string(), error.remedy()),
    }
}
