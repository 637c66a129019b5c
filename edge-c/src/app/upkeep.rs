//! What is looked after while edge-c serves: the admin listener, gauges, readiness, automatic rules.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use common::limits;
use common::net::{Domain, HostPort};
use common::runtime::admin::{self, Admin, Condition, Readiness};
use common::runtime::clock;
use common::runtime::supervise::Supervisor;
use common::runtime::telemetry::LogControl;
use common::telemetry::{LinkPurpose, PoolState};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::watch;

use super::App;
use super::operator::Operator;
use super::sip::SipApp;
use super::xmpp::XmppApp;
use crate::allow_list::LiveAllowList;
use crate::config::Config;
use crate::discovery;
use crate::link_client::LinkClient;
use crate::metrics::SessionEnd;
use crate::sessions::StoreStats;

impl App {
    pub(super) fn admin(
        &self,
        listener: tokio::net::TcpListener,
        registry: Registry,
        config: &Config,
        log: LogControl,
        supervisor: &Supervisor,
    ) {
        let readiness = Readiness::default();
        let linked = readiness.condition(
            "link",
            "look at edge-e and the firewall between: edge-c dials it",
        );
        let remedy = "look at the server that [session.redis] names";
        let stored = readiness.condition("session store", remedy);
        drop(supervisor.spawn("tidy", tidy(self.clone(), linked, stored)));
        if let Some(media) = self.sip.as_ref().and_then(|sip| sip.media.clone()) {
            let remedy = "look at [media] of edge-e, and at the link to it";
            let stocked = readiness.condition("media ports", remedy);
            drop(supervisor.spawn("media_ports", media.until_stocked(stocked)));
        }
        let app = self.clone();
        let name = config.name.to_string();
        let admin = Admin {
            product: "edge-c",
            names: config.admin.names.clone(),
            registry: Arc::new(registry),
            readiness,
            status: Arc::new(move || app.status(&name)),
            log,
            drain: supervisor.drain().clone(),
            more: Some(Arc::new(Operator(self.sessions.clone()))),
        };
        drop(supervisor.spawn_vital("admin", admin::serve(listener, admin, supervisor.clone())));
    }

    /// Brings up to date what nobody counts as it happens.
    fn count(&self, counted: &mut Counted) {
        let (mut busy, mut open) = (0_usize, 0_usize);
        for link in &self.links {
            let (connections, requests) = link.load();
            let edge = link.edge().as_str();
            let link_metrics = &self.metrics.link;
            link_metrics
                .connections
                .of_both(edge, LinkPurpose::Https)
                .set(signed_number(connections));
            link_metrics
                .connections
                .of_both(edge, LinkPurpose::Control)
                .set(i64::from(*link.is_up().borrow()));
            link_metrics
                .connections
                .of_both(edge, LinkPurpose::Streams)
                .set(signed_number(link.stream_connections()));
            busy = busy.saturating_add(requests);
            open = open.saturating_add(connections);
        }
        let pool = &self.metrics.link.pool;
        pool.of(PoolState::Busy).set(signed_number(busy));
        pool.of(PoolState::Idle)
            .set(signed_number(open.saturating_sub(busy)));
        self.count_store();
        self.count_sessions(&mut counted.sessions);
        self.count_nodes(&mut counted.nodes);
    }

    /// Keeps the nodes that sign-ins named over a restart. Blocks for a small file, and only if there are others.
    pub(super) fn remember_nodes(&self) {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = remembered.as_mut()
            && let Err(error) = file.keep(&self.discovery, clock::unix_now())
        {
            tracing::warn!(side = "local", reason = %error, remedy = "look at state_dir",
                "nodes that users' records named are not remembered over a restart");
        }
    }

    fn count_sessions(&self, before: &mut StoreStats) {
        let now = self.sessions.stats();
        self.metrics.sessions.set(signed_number(now.sessions));
        let ended = &self.metrics.sessions_ended;
        for (reason, total, before) in [
            (SessionEnd::Evicted, now.evicted_total, before.evicted_total),
            (SessionEnd::Expired, now.expired_total, before.expired_total),
            (SessionEnd::Revoked, now.revoked_total, before.revoked_total),
        ] {
            ended.of(reason).inc_by(total.saturating_sub(before));
        }
        *before = now;
    }

    fn count_nodes(&self, before: &mut BTreeSet<HostPort>) {
        let health = Arc::clone(&self.discovery.health().borrow());
        let now: BTreeSet<HostPort> = health.keys().cloned().collect();
        if now != *before {
            self.metrics.node_up.clear();
            *before = now;
        }
        for (node, state) in health.iter() {
            if let Some(kind) = self.discovery.kind_of(node) {
                let up = self.metrics.node_up.of_both(&node.to_string(), kind);
                up.set(i64::from(state.is_up()));
            }
        }
    }

    fn status(&self, name: &str) -> serde_json::Value {
        let links: Vec<_> = self
            .links
            .iter()
            .map(|link| {
                let (connections, requests) = link.load();
                json!({ "edge": link.edge().as_str(), "is_up": *link.is_up().borrow(),
                    "https_connections": connections, "requests_under_way": requests })
            })
            .collect();
        let nodes: Vec<_> = self
            .discovery
            .health()
            .borrow()
            .iter()
            .map(|(node, state)| json!({ "node": node.to_string(), "state": format!("{state:?}") }))
            .collect();
        let sip = self.sip.as_ref().map(SipApp::status);
        let xmpp = self.xmpp.as_ref().map(XmppApp::status);
        json!({ "name": name, "links": links, "nodes": nodes, "sessions": self.sessions.stats().sessions,
            "blocked_requests": self.streams.blocked.to_json(), "sip": sip, "xmpp": xmpp })
    }
}

/// What was counted the last time.
#[derive(Default)]
struct Counted {
    sessions: StoreStats,
    nodes: BTreeSet<HostPort>,
}

fn signed_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Keeps the set of edges whose link is up and that do not drain: clients are told of these.
pub(super) async fn note_live(live: watch::Sender<Arc<BTreeSet<Domain>>>, link: Arc<LinkClient>) {
    let mut is_up = link.is_live();
    loop {
        let up = *is_up.borrow_and_update();
        live.send_modify(|edges| {
            let edges = Arc::make_mut(edges);
            if up {
                edges.insert(link.edge().clone());
            } else {
                edges.remove(link.edge());
            }
        });
        if is_up.changed().await.is_err() {
            return;
        }
    }
}

/// Makes automatic rules of the nodes that discovery knows, whenever that changes.
pub(super) async fn follow_nodes(app: App) {
    let mut nodes = app.discovery.nodes();
    loop {
        let known = Arc::clone(&nodes.borrow_and_update());
        renew_automatic_rules(&app.allow_list, &known);
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

pub(super) fn renew_automatic_rules(allow_list: &LiveAllowList, known: &[discovery::Node]) {
    match allow_list.set_nodes(known) {
        Ok(in_force) if in_force.is_changed => {
            tracing::info!(
                nodes = known.len(),
                rules = in_force.automatic_rules,
                "automatic rules renewed"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(side = "local", reason = %error,
            remedy = "look at what DNS and UDS name as nodes", "automatic rules stay as they were"),
    }
}

/// Now and then: closes connections that are too old, and notes whether an edge is linked.
async fn tidy(app: App, linked: Condition, stored: Condition) {
    let mut last_tidied = clock::now();
    let mut last_counted = clock::now();
    let mut counted = Counted::default();
    loop {
        if app.links.iter().any(|link| link.can_serve()) {
            linked.met();
        } else {
            note_trouble(&app.links, &linked);
        }
        app.note_store(&stored);
        if clock::elapsed(last_tidied) >= limits::TIDY_INTERVAL {
            last_tidied = clock::now();
            app.streams.upstreams.tidy();
            if let Some(sip) = &app.sip {
                sip.tidy();
            }
            app.expiry.tell(clock::unix_now());
            let keeper = app.clone();
            if let Err(panic) = tokio::task::spawn_blocking(move || keeper.remember_nodes()).await {
                tracing::error!(side = "local", reason = %panic, remedy = "report this",
                    "remembering nodes failed");
            }
        }
        if clock::elapsed(last_counted) >= limits::GAUGE_INTERVAL {
            last_counted = clock::now();
            app.count(&mut counted);
        }
        tokio::time::sleep(READINESS_INTERVAL).await;
    }
}

/// Says of every link why it does not stand, and what to do about the first.
fn note_trouble(links: &[Arc<LinkClient>], linked: &Condition) {
    let troubles = links
        .iter()
        .filter_map(|link| link.trouble().map(|trouble| (link.edge(), trouble)));
    let troubles: Vec<_> = troubles.collect();
    let reasons: Vec<String> = troubles
        .iter()
        .map(|(edge, trouble)| format!("{edge}: {}", trouble.reason))
        .collect();
    match troubles.into_iter().next() {
        Some((_, first)) => linked.unmet(
            format!("no edge-e is linked: {}", reasons.join("; ")),
            first.remedy,
        ),
        None => linked.unmet(
            "no edge-e is linked yet",
            "look at edge-e and the firewall between: edge-c dials it",
        ),
    }
}

/// A readiness that is asked for every second or so need not be younger.
const READINESS_INTERVAL: Duration = Duration::from_millis(200);
