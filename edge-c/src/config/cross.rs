//! What one key means for another: names used twice, servers that nobody could find, a cookie that no client
//! would send.

use std::collections::BTreeSet;

use common::config::{Table, Value};
use common::net::Domain;
use common::policy::allow_list::{Node, NodeKind};

use super::{Config, Edge};

/// Two edges with one name or one address would be one edge with two links.
pub(super) fn edges(tables: &[Table<'_>], edges: &[Edge]) {
    let mut names = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for (table, edge) in tables.iter().zip(edges) {
        if !names.insert(&edge.name) {
            table.refuse(
                "name",
                "is the name of an earlier [[edge]]",
                "a name of its own",
            );
        }
        if !addresses.insert(edge.address.to_string()) {
            table.refuse(
                "address",
                "is the address of an earlier [[edge]]",
                "an address of its own",
            );
        }
    }
}

/// The `Domain` of the cookie: clients send it back only to hosts below it (RFC 6265 section 5.1.3), and refuse the
/// sign-in without it. Left out, it is the parent that all edges have in common.
pub(super) fn cookie_domain(table: &Table<'_>, edges: Option<&[Edge]>) -> Option<Domain> {
    let set = table.optional("cookie_domain", Value::full_name);
    let was_refused = table.has("cookie_domain") && set.is_none();
    let edges = edges.filter(|edges| !edges.is_empty() && !was_refused)?;
    let parents: BTreeSet<_> = edges.iter().filter_map(|edge| edge.name.parent()).collect();
    let allowed = "a domain with a dot in it that the name of every edge is below";
    let Some(domain) = set.or_else(|| parents.first().filter(|_| parents.len() == 1).cloned())
    else {
        let why = "is needed: the edges have no parent domain in common";
        table.refuse("cookie_domain", why, allowed);
        return None;
    };
    if domain.parent().is_none() {
        let why = format!("would be {domain}, a top-level domain, which clients refuse");
        table.refuse("cookie_domain", why, allowed);
        return None;
    }
    if let Some(outside) = edges.iter().find(|edge| !is_below(&edge.name, &domain)) {
        let why = format!(
            "is no parent of {}: clients would not send the cookie there",
            outside.name
        );
        table.refuse("cookie_domain", why, allowed);
        return None;
    }
    Some(domain)
}

fn is_below(name: &Domain, parent: &Domain) -> bool {
    std::iter::successors(name.parent(), Domain::parent).any(|above| above == *parent)
}

/// Every domain once, and with a way to find its Unified CM.
pub(super) fn domains(tables: &[Table<'_>], dns: &Table<'_>, config: &Config) {
    let mut names = BTreeSet::new();
    for (table, domain) in tables.iter().zip(&config.domains) {
        if !names.insert(&domain.name) {
            table.refuse(
                "name",
                "is the name of an earlier [[domain]]",
                "each domain once",
            );
        }
        let is_ucm = |node: &&Node| node.kind == NodeKind::Ucm;
        let mut ucms = config.nodes.iter().filter(is_ucm);
        let has_ucm = ucms.any(|node| node.deployment == domain.deployment);
        if config.dns.servers.is_empty() && !has_ucm {
            let why = format!(
                "is needed: {} has no [[node]] of kind \"ucm\" in deployment \"{}\"",
                domain.name, domain.deployment
            );
            dns.refuse(
                "servers",
                why,
                "inside name servers, such as [\"10.0.0.53:53\"], or a [[node]]",
            );
        }
    }
}

/// A node once in a deployment, and one that somebody can reach.
pub(super) fn nodes(tables: &[Table<'_>], config: &Config) {
    let used: BTreeSet<_> = config
        .domains
        .iter()
        .map(|domain| &domain.deployment)
        .collect();
    let mut seen = BTreeSet::new();
    for (table, node) in tables.iter().zip(&config.nodes) {
        if !seen.insert((&node.deployment, node.kind, &node.host, node.port)) {
            table.refuse(
                "host",
                "is the same as an earlier [[node]]",
                "each node once",
            );
        }
        if !used.contains(&node.deployment) {
            let why = format!(
                "is \"{}\", which no [[domain]] has: nobody reaches this node",
                node.deployment
            );
            table.warn(
                "deployment",
                why,
                "correct the name, or give it to a [[domain]]",
            );
        }
    }
}
