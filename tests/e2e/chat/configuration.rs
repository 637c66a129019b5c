//! What the pair is told for chat, beside what [`support::pair`] tells it.

use std::path::Path;

use support::netns;
use support::pair::{Member, Pair};
use toml::Table;

use super::scene::{OTHER_DOMAIN, Setup, first};
use crate::stage::DOMAIN;

/// The public side: 5222 and 5223, and pages.
pub(crate) fn edge_e(edge: &mut Member, setup: &Setup) {
    let public = first(netns::public(11));
    let listen = [5222, 5223].map(|port| format!("{public}:{port}"));
    edge.set("xmpp", "listen", listen.to_vec());
    edge.set("xmpp", "websocket_origins", vec![PAGE.to_owned()]);
    for (key, value) in &setup.edge {
        edge.set("xmpp", key, value.clone());
    }
}

/// The inside: which nodes have which domain.
pub(crate) fn edge_c(core: &mut Member, setup: &Setup) {
    let port = if setup.scheme == "tls" { 5223 } else { 5222 };
    let node = |host: &str| format!("{}:{host}:{port}", setup.scheme);
    let nodes = ["imp1", "imp2"].map(|name| node(&format!("{name}.{DOMAIN}")));
    let mut domains = vec![domain(DOMAIN, &nodes)];
    for (key, value) in &setup.domain {
        domains[0].insert((*key).to_owned(), value.clone());
    }
    if setup.has_other_domain {
        let address = first(netns::inside(43));
        domains.push(domain(OTHER_DOMAIN, &[node(&address.to_string())]));
    }
    core.set("xmpp", "session_gate", setup.gate);
    core.set("xmpp", "domain", domains);
}

/// TLS of clients passes edge-e and ends at edge-c, with this identity.
pub(crate) fn passthrough(pair: &mut Pair, identity: &Path) {
    let mut certificate = Table::new();
    for (key, extension) in [("chain", "pem"), ("key", "key")] {
        let file = identity.with_extension(extension);
        certificate.insert(key.to_owned(), file.display().to_string().into());
    }
    pair.edges[0].set("xmpp", "passthrough", true);
    pair.cores[0].set("xmpp", "certificates", vec![certificate]);
}

fn domain(name: &str, nodes: &[String]) -> Table {
    let mut table = Table::new();
    table.insert("names".to_owned(), vec![name].into());
    table.insert("nodes".to_owned(), nodes.to_vec().into());
    table
}

/// Whose pages may speak XMPP.
pub(crate) const PAGE: &str = "https://chat.example.com";
