//! `[sip]` and `[[registrar]]`: whether there is SIP, where registrars are and how they are spoken to.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::config::section::{self, Identity};
use common::config::{Problem, Table, Value};
use common::limits;
use common::net::{Deployment, Host};
use common::sip::digest::Algorithm;
use common::sip::proxy::{
    Authentication, MediaPolicy, RegistrarMode, SessionGate, TokenPolicy, Transport,
};

use rustls::sign::CertifiedKey;

use super::Config;
use super::tokens::{Issuer, IssuerKind};
use crate::upstream::sip::listen::Listen;
use crate::upstream::sip::resolve::{NodePlace, Nodes, RegistrarConfig, SrvName, split_transport};

/// `[sip]`: SIP towards the inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// Where registrars reach edge-c. Never empty.
    pub listen: Vec<Listen>,
    /// Own certificate towards registrars; there is one if `listen` has TLS.
    pub identity: Option<Identity>,
    /// Files of the authorities that sign registrars' certificates; those of `[inside]` if the key is left out.
    pub trust_anchors: Vec<PathBuf>,
    /// Whether whoever connects by TLS must show a certificate.
    pub is_certificate_required: bool,
    /// Further names of edge-c that routes may have.
    pub names: Vec<Host>,
    /// Whether clients need a live HTTPS session.
    pub session_gate: SessionGate,
    /// Whether a client may register somebody else.
    pub may_register_others: bool,
    /// Whose business Bearer tokens are.
    pub tokens: TokenPolicy,
    /// How often clients should say that they are there.
    pub flow_timer: Duration,
    /// The registrars. Never empty.
    pub registrars: Vec<RegistrarConfig>,
}

impl Sip {
    /// The realms in which edge-c authenticates phones itself.
    #[must_use]
    pub fn realms(&self) -> Vec<Arc<str>> {
        let registrars = self.registrars.iter();
        let realms = registrars.filter_map(|registrar| match &registrar.authentication {
            Authentication::Edge { realm, .. } => Some(Arc::clone(realm)),
            Authentication::Registrar => None,
        });
        realms.collect()
    }
}

/// Reads certificate and key anew.
///
/// # Errors
/// A text about the file at fault.
pub fn load(identity: &Identity) -> Result<CertifiedKey, String> {
    identity.load().map_err(|error| error.to_string())
}

/// The `[[registrar]]` tables: at least one if there is `[sip]`.
pub(super) fn registrar_tables<'a>(root: &Table<'a>) -> Vec<Table<'a>> {
    if root.has("sip") {
        root.required_tables("registrar", "[[registrar]] with name, hosts and nodes")
    } else {
        root.tables("registrar")
    }
}

/// Reads both; `None` without `[sip]`, and if something is wrong with it.
pub(super) fn read(table: &Table<'_>, tables: &[Table<'_>], has_media: bool) -> Option<Sip> {
    let registrars = named(tables);
    if !table.is_present() {
        if let Some(first) = tables.first() {
            let allowed = "[sip] with listen, where registrars reach edge-c";
            first.refuse("name", "has no effect without [sip]", allowed);
        }
        return None;
    }
    let allowed = "a list such as [\"udp:10.0.0.5:5060\", \"tls:10.0.0.5:5061\"]";
    let listen = table.required_list("listen", allowed, listen);
    let has_tls = listen.iter().any(|one| one.transport == Transport::Tls);
    let identity = (has_tls || table.has("certificate") || table.has("key"))
        .then(|| Identity::read(table, "certificate", "key"));
    let gates = [
        ("off", SessionGate::Off),
        ("user", SessionGate::User),
        ("user+ip", SessionGate::UserAndAddress),
    ];
    let tokens = [("pass", TokenPolicy::Pass), ("verify", TokenPolicy::Verify)];
    let timer = limits::SIP_FLOW_TIMER_MIN..=limits::SIP_FLOW_TIMER_MAX;
    let sip = Sip {
        trust_anchors: table.list("trust_anchors", section::trust_anchor),
        is_certificate_required: table.or("require_certificate", true, Value::boolean),
        names: table.list("names", Value::host),
        session_gate: table.or("session_gate", SessionGate::Off, |value| {
            value.choice(&gates)
        }),
        may_register_others: table.or("register_others", false, Value::boolean),
        tokens: table.or("tokens", TokenPolicy::Pass, |value| value.choice(&tokens)),
        flow_timer: table.or("flow_timer", limits::SIP_FLOW_TIMER_DEFAULT, |value| {
            value.duration(&timer)
        }),
        registrars: registrars?,
        identity: match identity {
            None => None,
            Some(identity) => Some(identity?),
        },
        listen,
    };
    listeners(table, &sip.listen);
    if !has_media {
        let why = "is without [media]: calls are set up, and no media passes";
        table.warn(
            "listen",
            why,
            "add [media], unless clients reach phones inside by another way",
        );
    }
    nodes(tables, &sip);
    Some(sip)
}

fn named(tables: &[Table<'_>]) -> Option<Vec<RegistrarConfig>> {
    let registrars: Vec<_> = tables.iter().map(registrar).collect();
    let registrars: Vec<_> = registrars.into_iter().collect::<Option<_>>()?;
    let mut names = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    for (table, registrar) in tables.iter().zip(&registrars) {
        if !names.insert(&registrar.name) {
            table.refuse(
                "name",
                "is the name of an earlier [[registrar]]",
                "a name of its own",
            );
        }
        for host in &registrar.hosts {
            if !hosts.insert(host) {
                let why = format!("has {host}, which an earlier [[registrar]] has");
                table.refuse("hosts", why, "each host at one registrar");
            }
        }
    }
    (!registrars.is_empty()).then_some(registrars)
}

fn registrar(table: &Table<'_>) -> Option<RegistrarConfig> {
    let allowed = "a word for logs and metrics, such as name = \"cucm\"";
    let name = table.required("name", allowed, |value| value.text().map(Arc::<str>::from));
    let allowed = "the part after the @ of the addresses it answers for, such as [\"example.com\"]";
    let hosts = table.required_list("hosts", allowed, Value::host);
    let modes = [
        ("path", RegistrarMode::Path),
        ("path-always", RegistrarMode::PathAlways),
        ("contact", RegistrarMode::Contact),
    ];
    let media = [
        ("rtp", MediaPolicy::Rtp),
        ("srtp", MediaPolicy::Srtp),
        ("as-offered", MediaPolicy::AsOffered),
    ];
    let mode = table.or("mode", RegistrarMode::Path, |value| value.choice(&modes));
    let media = table.or("media", MediaPolicy::Rtp, |value| value.choice(&media));
    let is_edge = table.or("authentication", false, |value| {
        value.choice(&[("registrar", false), ("edge", true)])
    });
    let realm = table.optional("realm", super::read::realm);
    let deployment = table.or("deployment", Deployment::standard(), Value::deployment);
    let nodes = nodes_of(table);
    let first = hosts.first()?.to_string();
    if realm.is_some() && !is_edge {
        let why = "has no effect while the registrar authenticates";
        table.warn(
            "realm",
            why,
            "set authentication = \"edge\", or leave it out",
        );
    }
    let algorithms = algorithms(table, is_edge);
    let realm: Arc<str> = realm.unwrap_or(first).into();
    Some(RegistrarConfig {
        name: name?,
        hosts,
        nodes: nodes?,
        mode,
        media,
        authentication: if is_edge {
            Authentication::Edge { realm, algorithms }
        } else {
            Authentication::Registrar
        },
        deployment,
    })
}

/// What edge-c asks phones for, the preferred one first.
fn algorithms(table: &Table<'_>, is_edge: bool) -> Arc<[Algorithm]> {
    if !table.has("algorithms") {
        return Algorithm::USUAL.into();
    }
    let words = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let listed = table.list("algorithms", |value| value.choice(&words));
    let distinct: BTreeSet<Algorithm> = listed.iter().copied().collect();
    if listed.is_empty() || distinct.len() < listed.len() {
        let allowed =
            "each of \"SHA-512-256\", \"SHA-256\" and \"MD5\" once at most, and one at least";
        table.refuse("algorithms", "is empty or has one twice", allowed);
    }
    if !is_edge {
        let why = "has no effect while the registrar authenticates";
        let remedy = "set authentication = \"edge\", or leave it out";
        table.warn("algorithms", why, remedy);
    }
    listed.into()
}

fn nodes_of(table: &Table<'_>) -> Option<Nodes> {
    let srv = table.optional("srv", |value| {
        value.parsed::<SrvName>(
            "\"_sips._tcp.example.com\", \"_sip._tcp.example.com\" or \"_sip._udp.example.com\"",
        )
    });
    let allowed = "a list such as [\"tls:cucm1.example.com:5061\", \"udp:10.0.0.10:5060\"]";
    if table.has("srv") {
        if table.has("nodes") {
            let nodes: Vec<NodePlace> = table.list("nodes", |value| value.parsed(allowed));
            drop(nodes);
            table.refuse("nodes", "stands beside srv", "one of the two");
        }
        return srv.map(Nodes::Srv);
    }
    let nodes = table.required_list("nodes", allowed, |value| value.parsed::<NodePlace>(allowed));
    if nodes.len() > limits::SIP_NODES_MAX {
        let allowed = format!("at most {} nodes", limits::SIP_NODES_MAX);
        table.refuse("nodes", "has too many", allowed);
    }
    (!nodes.is_empty()).then_some(Nodes::Named(nodes))
}

fn listen(value: &Value<'_>) -> Result<Listen, Problem> {
    let allowed = "\"udp:10.0.0.5:5060\", \"tcp:[2001:db8::5]:5060\" or \"tls:10.0.0.5:5061\"";
    let refused = |why: &'static str| Problem::invalid(why, allowed);
    let (transport, address) = split_transport(value.text()?)
        .ok_or_else(|| refused("does not begin with udp:, tcp: or tls:"))?;
    let address: std::net::SocketAddr = address
        .parse()
        .map_err(|_| refused("has no address and port after the transport"))?;
    if address.ip().is_unspecified() {
        return Err(refused("is no address that registrars could be told"));
    }
    Ok(Listen { transport, address })
}

fn listeners(table: &Table<'_>, listen: &[Listen]) {
    let mut seen = BTreeSet::new();
    for one in listen {
        if one.address.port() != 0 && !seen.insert(*one) {
            let why = format!("has {}:{} twice", one.transport.uri_name(), one.address);
            table.refuse("listen", why, "each once");
        }
    }
}

/// Requests of a node arrive where the Via of ours says: so each transport that nodes have is listened on.
fn nodes(tables: &[Table<'_>], sip: &Sip) {
    for (table, registrar) in tables.iter().zip(&sip.registrars) {
        let (key, transports): (_, BTreeSet<Transport>) = match &registrar.nodes {
            Nodes::Named(nodes) => ("nodes", nodes.iter().map(|node| node.transport).collect()),
            Nodes::Srv(srv) => ("srv", BTreeSet::from([srv.transport])),
        };
        for transport in transports {
            if sip.listen.iter().all(|one| one.transport != transport) {
                let of = transport.uri_name();
                let why = format!("wants {of}, and [sip] listen has no {of} address to answer to");
                table.refuse(key, why, format!("an entry \"{of}:..\" in [sip] listen"));
            }
        }
    }
}

/// SRV records and names need somebody to ask; users of a deployment that no domain has reach nothing.
pub(super) fn cross(tables: &[Table<'_>], dns: &Table<'_>, config: &Config) {
    let Some(sip) = &config.sip else {
        return;
    };
    let used: BTreeSet<_> = config
        .domains
        .iter()
        .map(|domain| &domain.deployment)
        .collect();
    for (table, registrar) in tables.iter().zip(&sip.registrars) {
        let needs_dns = match &registrar.nodes {
            Nodes::Srv(_) => true,
            Nodes::Named(nodes) => nodes
                .iter()
                .any(|node| matches!(node.place.host, Host::Name(_))),
        };
        if needs_dns && config.dns.servers.is_empty() {
            let why = format!(
                "is needed: the nodes of registrar \"{}\" are names",
                registrar.name
            );
            dns.refuse(
                "servers",
                why,
                "inside name servers, such as [\"10.0.0.53:53\"]",
            );
        }
        if !used.contains(&registrar.deployment) {
            let why = format!("is \"{}\", which no [[domain]] has", registrar.deployment);
            table.warn(
                "deployment",
                why,
                "correct the name, or give it to a [[domain]]",
            );
        }
    }
}

/// Nobody waits for an answer in the middle of SIP: tokens are verified by keys at hand or not at all.
pub(super) fn cross_tokens(table: &Table<'_>, config: &Config) {
    let is_verified = |sip: &Sip| sip.tokens == TokenPolicy::Verify;
    if !config.sip.as_ref().is_some_and(is_verified) {
        return;
    }
    let has_keys = |issuer: &Issuer| match issuer.kind {
        IssuerKind::Jwks { .. } | IssuerKind::Static { .. } => true,
        IssuerKind::Introspection { .. } | IssuerKind::Uds => false,
    };
    if !config.issuers.iter().any(has_keys) {
        let why = "needs keys to verify tokens with";
        let allowed = "an [[issuer]] of kind \"jwks\" or \"static\", or tokens = \"pass\"";
        table.refuse("tokens", why, allowed);
    }
}

#[cfg(test)]
mod tests;
