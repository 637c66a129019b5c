//! XMPP in edge-c: from its configuration to the streams that are served, and the tasks around it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use common::config::section::Identity;
use common::limits;
use common::net::Domain;
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::exit::RunError;
use common::tls::config as tls;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::settings::anchors;
use super::sip::SipApp;
use super::unusable;
use crate::config::{self, Config};
use crate::dial::DialError;
use crate::discovery::dns::Dns;
use crate::discovery::srv::Dice;
use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::tokens::TokenVerifier;
use crate::upstream::xmpp::probe::{ProbeError, probe};
use crate::upstream::xmpp::resolve::{self, DomainConfig};
use crate::upstream::xmpp::table::Table;
use crate::upstream::xmpp::{ConnectError, Dialling, Node};
use crate::xmpp::gate::{self, Stay};
use crate::xmpp::streams::{Owner, Stop};
use crate::xmpp::{Shared, Xmpp};

/// XMPP that runs, and what its tasks need.
#[derive(Clone)]
pub(super) struct XmppApp {
    pub(super) xmpp: Xmpp,
    configured: Arc<ArcSwap<Configured>>,
    dns: Arc<Dns>,
    /// The domains of the configuration have changed.
    changed: Arc<Notify>,
}

/// What look-ups are made of.
struct Configured {
    domains: Vec<DomainConfig>,
    anchors: Arc<RootCertStore>,
}

impl XmppApp {
    /// Serves `[xmpp]`, on the thread of SIP if there is one: connections of the link live there. `None` without `[xmpp]`.
    pub(super) fn start(
        config: &Config,
        sessions: &Sessions,
        dns: &Arc<Dns>,
        (metrics, tokens): (&Metrics, &Arc<TokenVerifier>),
        sip: Option<&SipApp>,
    ) -> Result<Option<Self>, RunError> {
        let Some(settings) = &config.xmpp else {
            return Ok(None);
        };
        let configured = configured(config, settings).map_err(unusable)?;
        let shared = Shared {
            table: ArcSwap::from_pointee(Table::without_nodes(&configured.domains)),
            is_looked_up: watch::Sender::new(false),
            gate: ArcSwap::from_pointee(settings.session_gate),
            sessions: sessions.clone(),
            tokens: Some(Arc::clone(tokens)),
            streams: Arc::default(),
            homes: crate::xmpp::homes::Homes::default(),
            metrics: metrics.xmpp.clone(),
            dialling: dialling(config),
            client_tls: ArcSwapOption::new(client_tls(settings).map_err(unusable)?),
        };
        Ok(Some(Self {
            xmpp: Xmpp::start(shared, sip.map(|sip| sip.sip.runtime())).map_err(unusable)?,
            configured: Arc::new(ArcSwap::from_pointee(configured)),
            dns: Arc::clone(dns),
            changed: Arc::default(),
        }))
    }

    /// Reads what may change while streams go on; the result puts it in force.
    pub(super) fn prepare<'a>(
        &'a self,
        config: &Config,
        settings: &'a config::xmpp::Xmpp,
    ) -> Result<impl FnOnce() + use<'a>, String> {
        let configured = configured(config, settings)?;
        let client_tls = client_tls(settings)?;
        Ok(move || {
            let shared = self.xmpp.shared();
            shared.client_tls.store(client_tls);
            shared.gate.store(Arc::new(settings.session_gate));
            self.configured.store(Arc::new(configured));
            self.changed.notify_one();
        })
    }

    /// Looks the nodes up, at once and then every now and then, and whenever the configuration changed.
    pub(super) async fn keep_nodes(self) {
        let mut ticks = interval(limits::XMPP_NODES_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut used = self.configured.load_full();
        loop {
            // Both are cancel safe: a tick comes again, a change stays noted.
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.changed.notified() => {}
            }
            let configured = self.configured.load_full();
            let shared = self.xmpp.shared();
            let is_same = Arc::ptr_eq(&configured, &used);
            // Nodes are made anew with what verifies them.
            let before = if is_same {
                shared.table.load_full()
            } else {
                Arc::default()
            };
            used = Arc::clone(&configured);
            let found =
                resolve::resolve(&configured.domains, &configured.anchors, &before, &self.dns);
            let found = Arc::new(found.await);
            tell_missing(&found, &before);
            if !found.has_same_nodes(&before) {
                shared.metrics.node_up.clear();
                shared.metrics.node_binds_channel.clear();
            }
            shared.table.store(Arc::clone(&found));
            shared.is_looked_up.send_replace(true);
            self.probe_all(&found).await;
        }
    }

    /// Asks every node every few seconds how it is.
    pub(super) async fn keep_probing(self) {
        let mut dice = Dice::from_entropy();
        loop {
            // Several cores don't ask all at once.
            let jitter = Duration::from_millis(dice.up_to(JITTER_MILLISECONDS));
            tokio::time::sleep(limits::XMPP_PROBE_INTERVAL.saturating_sub(jitter)).await;
            let table = self.xmpp.shared().table.load_full();
            self.probe_all(&table).await;
        }
    }

    async fn probe_all(&self, table: &Table) {
        let mut probes = JoinSet::new();
        for (domain, served) in table.domains() {
            for ranked in &served.nodes {
                let (node, domain) = (Arc::clone(&ranked.node), domain.clone());
                let shared = Arc::clone(self.xmpp.shared());
                probes.spawn(async move { probe_one(&shared, &node, &domain).await });
            }
        }
        while probes.join_next().await.is_some() {}
    }

    /// Ends the streams of users whose sessions were revoked, or are over.
    pub(super) async fn follow_sessions(self) {
        let shared = Arc::clone(self.xmpp.shared());
        let mut tombstones = shared.sessions.filter_feed().tombstones;
        let mut ticks = interval(limits::XMPP_EXPIRY_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both are cancel safe: a tick comes again, what was announced stays queued.
            tokio::select! {
                _ = ticks.tick() => self.xmpp.close_expired(clock::unix_now()),
                revoked = tombstones.recv() => {
                    if matches!(revoked, Err(broadcast::error::RecvError::Closed)) {
                        return;
                    }
                    let (gate, now) = (**shared.gate.load(), clock::unix_now());
                    let is_gone = |owner: &Owner| {
                        gate::stay(gate, &shared.sessions, owner, now) == Stay::Over
                    };
                    self.xmpp.close_users(is_gone);
                }
            }
        }
    }

    pub(super) async fn drain(self, signal: Signal) {
        self.xmpp.drain(signal).await;
    }

    pub(super) fn status(&self) -> Value {
        let shared = self.xmpp.shared();
        let table = shared.table.load();
        let domains = table.domains().map(|(name, served)| {
            let nodes = served.nodes.iter().map(|ranked| {
                let health = &ranked.node.health;
                let state = match health.known() {
                    None => "unknown",
                    Some(false) => "down",
                    Some(true) => "up",
                };
                json!({ "node": ranked.node.place.to_string(), "addresses": ranked.node.addresses,
                    "priority": ranked.priority, "state": state, "binds_channel": health.binds_channel() })
            });
            json!({ "domain": name.as_str(), "nodes": nodes.collect::<Vec<_>>() })
        });
        json!({ "streams": shared.streams.count(), "domains": domains.collect::<Vec<_>>() })
    }
}

/// A second failure makes a node down, so the second question is asked at once.
async fn probe_one(shared: &Shared, node: &Node, domain: &Domain) {
    for _ in 0..limits::XMPP_NODE_FAILURES {
        match probe(node, domain, shared.dialling).await {
            Ok(offer) => {
                shared.note_success(node);
                shared.note_offer(node, &offer);
                return;
            }
            Err(error) => {
                let was_up = node.health.is_up();
                shared.note_failure(node, domain, &error);
                if was_up && !node.health.is_up() && is_unreachable(&error) {
                    close_streams(shared, node);
                }
                if !was_up {
                    return;
                }
            }
        }
    }
}

/// Nobody answers at all: streams that stand are of no use either, and nobody tells their clients.
const fn is_unreachable(error: &ProbeError) -> bool {
    matches!(
        error,
        ProbeError::Connect(ConnectError::Dial(DialError::ConnectTimeout))
    )
}

fn close_streams(shared: &Shared, node: &Node) {
    let is_there = |owner: &Owner| owner.node.place == node.place;
    let closed = shared.streams.stop(Stop::NodeLost, usize::MAX, |stream| {
        stream.owner().is_some_and(is_there)
    });
    tracing::info!(closed, node = %node.place, reason = "the node can't be reached", "XMPP streams closed");
}

fn tell_missing(found: &Table, before: &Table) {
    for (domain, served) in found.domains() {
        let had_none = before
            .domain(domain)
            .is_some_and(|known| known.nodes.is_empty());
        if served.nodes.is_empty() && !had_none {
            tracing::warn!(side = "upstream", %domain, reason = "it has no XMPP node with an address",
                remedy = "look at nodes or srv of [[xmpp.domain]], and at the inside DNS", "nobody can sign in there");
        }
    }
}

fn configured(config: &Config, settings: &config::xmpp::Xmpp) -> Result<Configured, String> {
    Ok(Configured {
        domains: settings.domains.clone(),
        anchors: Arc::new(anchors(&settings.trust_anchors, config)?),
    })
}

/// What ends the TLS of clients whom edge-e passes through, if there are to be any.
fn client_tls(settings: &config::xmpp::Xmpp) -> Result<Option<Arc<ServerConfig>>, String> {
    let mut certified = settings
        .certificates
        .iter()
        .map(Identity::load)
        .collect::<Result<VecDeque<_>, _>>()
        .map_err(|error| error.to_string())?;
    let Some(default) = certified.pop_front() else {
        return Ok(None);
    };
    let certificates = tls::Certificates::new(default, certified.into());
    let config = tls::public_server(Arc::new(certificates));
    let mut config = config.map_err(|error| error.to_string())?;
    // As edge-e does where it ends it: who offers no protocol is let in, who offers others is not.
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// How nodes are connected to: no client waits long for one that doesn't answer.
pub(crate) fn dialling(config: &Config) -> Dialling {
    let timeout = config.inside.connect_timeout;
    Dialling {
        bind_address: config.inside.bind_address,
        timeout: timeout.min(limits::XMPP_CONNECT_TIMEOUT),
    }
}

const JITTER_MILLISECONDS: u64 = 1_000;
