//! From a valid configuration to a running edge-c, and back down in order.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::config::section::HttpsTransport;
use common::config::{ConfigErrors, Loaded};
use common::id::EdgeIndex;
use common::limits;
use common::link::control::message::Policy;
use common::link::greeting::Purpose;
use common::mra::access::Realm;
use common::mra::edge_config::SipRoute;
use common::net::{Domain, HostPort};
use common::policy::allow_list::OAuth;
use common::policy::rate_limit::Quota;
use common::runtime::admin::{self, Admin, Condition, Readiness};
use common::runtime::drain::{Drain, Signal};
use common::runtime::exit::RunError;
use common::runtime::expiry::Expiry;
use common::runtime::reload::{self, FileWatch, Hangups, ReloadMetrics};
use common::runtime::supervise::Supervisor;
use common::runtime::telemetry::LogControl;
use common::runtime::workers::Workers;
use common::runtime::{clock, greeting, lifecycle, listen};
use common::telemetry::{LinkPurpose, PoolState};
use common::tls::config as tls;
use http::HeaderValue;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::watch;

use crate::allow_list::LiveAllowList;
use crate::config::{self, Config};
use crate::dial::InsideTls;
use crate::discovery::dns::{Dns, DnsConfig};
use crate::discovery::srv::Dice;
use crate::discovery::{self, Discovery, ServedDomain};
use crate::link_client::{self, LinkClient};
use crate::metrics::{Metrics, SessionEnd};
use crate::policy;
use crate::sessions::random::SystemRandom;
use crate::sessions::{self, Sessions, StoreStats};
use crate::sign_in::{self, EdgePeer, SignIn};
use crate::sip::passwords::Passwords;
use crate::stream::Streams;
use crate::stream::blocked::Blocked;
use crate::uds::{self, Uds};
use crate::upstream::http::{self as upstream, Upstreams};
use sip::SipApp;

mod media;
pub(crate) mod sip;

/// Serves until `shutdown` resolves, then drains.
///
/// # Errors
/// [`RunError`] if a port or file can't be had or a vital task ends.
pub async fn run(
    loaded: Loaded<Config>,
    log: LogControl,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let supervisor = Supervisor::new(Drain::new());
    let mut registry = common::telemetry::registry("edge-c");
    supervisor.register(&mut registry);
    let metrics = Metrics::register(&mut registry);
    let reloads = ReloadMetrics::default();
    reloads.register(&mut registry);
    let config = &loaded.config;
    let listener = listen::bind(config.admin.listen)
        .map_err(|error| RunError::bind("admin.listen", config.admin.listen, &error))?;

    let app = App::new(config, metrics, &supervisor.drain().signal())?;
    app.keep_current(&loaded, &reloads, &supervisor).await?;
    app.spawn(config, &supervisor);
    app.admin(listener, registry, config, log, &supervisor);
    tracing::info!(name = %config.name, core_id = %config.core_id, version = link_client::VERSION, "serving");
    lifecycle::until_drained(&supervisor, shutdown, config.drain_grace, || async {}).await?;
    // What was issued since the last flush must outlive the process.
    if let Err(error) = app.sessions.maintain(clock::unix_now()).await {
        tracing::warn!(side = "local", reason = %error, remedy = "look at state_dir", "sessions were not saved");
    }
    Ok(())
}

/// Everything that lives as long as the process.
#[derive(Clone)]
struct App {
    sessions: Sessions,
    streams: Arc<Streams>,
    allow_list: Arc<LiveAllowList>,
    discovery: Arc<Discovery>,
    uds: Arc<Uds>,
    links: Vec<Arc<LinkClient>>,
    sip: Option<SipApp>,
    inside_tls: InsideTls,
    link_tls: Arc<ArcSwap<rustls::ClientConfig>>,
    policies: Vec<watch::Sender<Arc<Policy>>>,
    live_edges: watch::Sender<Arc<BTreeSet<Domain>>>,
    expiry: Arc<Expiry>,
    metrics: Metrics,
}

impl App {
    fn new(config: &Config, metrics: Metrics, drain: &Signal) -> Result<Self, RunError> {
        let dns = Arc::new(dns(config, &metrics)?);
        let discovery = Arc::new(Discovery::new(
            discovery_config(config),
            Arc::clone(&dns),
            Dice::from_entropy(),
        ));
        let inside_tls = Arc::new(ArcSwap::from_pointee(inside_tls(config).map_err(unusable)?));
        let uds = Uds::new(
            Arc::clone(&inside_tls),
            Arc::clone(&dns),
            config.inside.bind_address,
            uds_timeouts(config),
        );
        let uds = Arc::new(uds.counting(metrics.clone()));
        let sessions = Sessions::open(
            session_config(config),
            Arc::new(SystemRandom),
            clock::unix_now(),
        )
        .map_err(unusable)?;
        let allow_list = Arc::new(match &config.allow_list_file {
            Some(file) => LiveAllowList::load(file, OAuth::Off).map_err(unusable)?,
            None => LiveAllowList::without_file(OAuth::Off),
        });
        let upstreams = Upstreams::new(
            upstream_config(config),
            Arc::clone(&inside_tls),
            Arc::clone(&dns),
            Arc::clone(&discovery),
        )
        .counting(metrics.clone());
        let live_edges = watch::Sender::new(Arc::default());
        let sign_in = SignIn::new(
            sign_in_config(config)?,
            Arc::clone(&discovery),
            Arc::clone(&uds),
            live_edges.subscribe(),
        )
        .map_err(unusable)?
        .counting(metrics.cluster_lookups.clone());
        let passwords = Arc::new(sip::passwords(config).map_err(unusable)?);
        let parts = Parts {
            sessions: sessions.clone(),
            allow_list: Arc::clone(&allow_list),
            sign_in,
            upstreams,
            passwords: Arc::clone(&passwords),
        };
        let streams = Arc::new(streams(config, parts, metrics.clone())?);
        let link_tls = Arc::new(ArcSwap::from_pointee(link_tls(config).map_err(unusable)?));
        let expiry = Arc::new(Expiry::new(metrics.certificates.clone()));
        expiry.replace(in_use(config));
        let sip = SipApp::start(config, &sessions, &dns, passwords, &metrics)?;
        let mut app = Self {
            sessions,
            streams,
            allow_list,
            discovery,
            uds,
            links: Vec::new(),
            sip,
            inside_tls,
            link_tls,
            policies: Vec::new(),
            live_edges,
            expiry,
            metrics,
        };
        app.add_links(config, drain)?;
        Ok(app)
    }

    fn add_links(&mut self, config: &Config, drain: &Signal) -> Result<(), RunError> {
        let instance = greeting::instance();
        let workers = Workers::start("edge-c", config.worker_threads).map_err(unusable)?;
        for (index, edge) in (0..).zip(&config.edges) {
            let policy = policy::for_edge(config, edge).map_err(unusable)?;
            let policy = watch::Sender::new(Arc::new(policy));
            let link = LinkClient::new(
                link_config(config, edge, instance),
                Arc::clone(&self.link_tls),
                policy.subscribe(),
                self.sessions.clone(),
                Arc::clone(&self.streams),
                workers.clone(),
                self.metrics.clone(),
            );
            let link = match &self.sip {
                Some(sip) => link.with_streams(sip.sip.stream_service(drain.clone())),
                None => link,
            };
            let media = self.sip.as_ref().and_then(|sip| sip.media.as_ref());
            let link = link.with_media(media.and_then(|media| media.end(EdgeIndex(index))));
            self.links.push(Arc::new(link));
            self.policies.push(policy);
        }
        Ok(())
    }

    /// Reads the configuration, the files it names and the allow list again whenever one of them changes.
    async fn keep_current(
        &self,
        loaded: &Loaded<Config>,
        metrics: &ReloadMetrics,
        supervisor: &Supervisor,
    ) -> Result<(), RunError> {
        let hangups = Hangups::listen().map_err(unusable)?;
        let watch = FileWatch::new(watched(loaded), hangups.clone()).await;
        let app = self.clone();
        let file = loaded.file.clone();
        let edges: Vec<Domain> = loaded
            .config
            .edges
            .iter()
            .map(|edge| edge.name.clone())
            .collect();
        let apply = move || {
            let loaded = Config::load(&file, clock::unix_now()).map_err(Reload::Config)?;
            app.apply(&loaded.config, &edges)?;
            Ok::<_, Reload>(watched(&loaded))
        };
        drop(supervisor.spawn(
            "reload",
            reload::keep_current("configuration", watch, metrics.clone(), apply),
        ));
        if let Some((sip, path)) = self
            .sip
            .clone()
            .and_then(|sip| Some((sip, loaded.config.sip_digests()?)))
        {
            let watch = FileWatch::new(vec![path.clone()], hangups.clone()).await;
            let session = loaded.config.session.clone();
            let apply = move || sip.read_passwords(&session).map(|()| vec![path.clone()]);
            drop(supervisor.spawn(
                "sip_digests",
                reload::keep_current("sip_digests", watch, metrics.clone(), apply),
            ));
        }
        if let Some(path) = self.allow_list.path().map(ToOwned::to_owned) {
            let watch = FileWatch::new(vec![path.clone()], hangups).await;
            let list = Arc::clone(&self.allow_list);
            let apply = move || list.reload().map(|_| vec![path.clone()]);
            drop(supervisor.spawn(
                "allow_list",
                reload::keep_current("allow_list", watch, metrics.clone(), apply),
            ));
        }
        Ok(())
    }

    /// Takes over what may change while connections go on; all of it or nothing.
    fn apply(&self, config: &Config, edges: &[Domain]) -> Result<(), Reload> {
        let domains = policy::domains(config).map_err(Reload::other)?;
        let realm = Realm::parse(&config.sign_in.realm).map_err(Reload::other)?;
        let link = link_tls(config).map_err(Reload::Other)?;
        let inside = inside_tls(config).map_err(Reload::Other)?;
        let named: Vec<&Domain> = config.edges.iter().map(|edge| &edge.name).collect();
        if !named.iter().copied().eq(edges) {
            return Err(Reload::Other(
                "the list of [[edge]] has changed: restart edge-c for that".to_owned(),
            ));
        }
        let policies = config
            .edges
            .iter()
            .map(|edge| policy::for_edge(config, edge));
        let policies = policies
            .collect::<Result<Vec<_>, _>>()
            .map_err(Reload::other)?;
        match (&self.sip, &config.sip) {
            (Some(sip), _) => sip.apply(config).map_err(Reload::Other)?,
            (None, None) => {}
            (None, Some(_)) => {
                let reason = "[sip] is new: restart edge-c for that";
                return Err(Reload::Other(reason.to_owned()));
            }
        }
        self.discovery.reconfigure(discovery_config(config));
        self.streams.domains.store(Arc::new(domains));
        self.streams.realm.store(Arc::new(realm));
        self.inside_tls.store(Arc::new(inside));
        self.streams.upstreams.forget_connections();
        self.link_tls.store(Arc::new(link));
        self.expiry.replace(in_use(config));
        for (sender, policy) in self.policies.iter().zip(policies) {
            sender.send_replace(Arc::new(policy));
        }
        Ok(())
    }

    fn spawn(&self, config: &Config, supervisor: &Supervisor) {
        let drain = supervisor.drain();
        for link in &self.links {
            let (app, link) = (self.clone(), Arc::clone(link));
            let signal = drain.signal();
            let linking = async move {
                app.know_nodes().await;
                link.run(signal).await;
            };
            drop(supervisor.spawn_vital("link", lifecycle::until_over(linking, drain.signal())));
        }
        for link in &self.links {
            drop(supervisor.spawn(
                "live_edges",
                note_live(self.live_edges.clone(), Arc::clone(link)),
            ));
        }
        if let Some(media) = self.sip.as_ref().and_then(|sip| sip.media.as_ref()) {
            let running = media.clone().run();
            drop(supervisor.spawn_vital("media", lifecycle::until_over(running, drain.signal())));
        }
        if let Some(sip) = &self.sip {
            let (watched, over) = (sip.clone(), drain.signal());
            drop(supervisor.spawn_vital("sip", async move {
                tokio::select! {
                    ended = watched.sip.watch() => ended,
                    () = over.over() => Ok(()),
                }
            }));
            drop(supervisor.spawn("registrars", sip.clone().keep_registrars()));
            drop(supervisor.spawn("sip_revocations", sip.clone().follow_revocations()));
            drop(supervisor.spawn("sip_drain", sip.clone().drain(drain.signal())));
        }
        let sessions = self.sessions.clone();
        let signal = drain.signal();
        let keeping = async move {
            sessions
                .run(clock::unix_now, async move { signal.over().await })
                .await;
        };
        drop(supervisor.spawn_vital("sessions", lifecycle::until_over(keeping, drain.signal())));
        let (discovery, uds) = (Arc::clone(&self.discovery), Arc::clone(&self.uds));
        drop(supervisor.spawn_vital("discovery", async move {
            match discovery.run(uds).await {}
            #[expect(
                unreachable_code,
                reason = "it never ends; the type of the result is still needed"
            )]
            Ok::<(), String>(())
        }));
        drop(supervisor.spawn("automatic_rules", follow_nodes(self.clone())));
        tracing::debug!(
            domains = config.domains.len(),
            edges = config.edges.len(),
            "tasks started"
        );
    }

    /// Whoever signed in before a restart asks on at once: automatic rules must be there before requests are.
    async fn know_nodes(&self) {
        let looking_up = self.discovery.first_done();
        if tokio::time::timeout(limits::NODE_FIRST_LOOK_UP_MAX, looking_up)
            .await
            .is_err()
        {
            tracing::warn!(
                side = "upstream",
                reason = "the first look-up of the inner nodes takes long",
                remedy = "look at the inside DNS and UCM",
                "linking without their automatic rules"
            );
        }
        let nodes = Arc::clone(&self.discovery.nodes().borrow());
        renew_automatic_rules(self, &nodes);
    }

    fn admin(
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
        drop(supervisor.spawn("tidy", tidy(self.clone(), linked)));
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
        self.count_sessions(&mut counted.sessions);
        self.count_nodes(&mut counted.nodes);
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
        json!({ "name": name, "links": links, "nodes": nodes, "sessions": self.sessions.stats().sessions,
            "blocked_requests": self.streams.blocked.to_json(), "sip": sip })
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

/// The certificates that peers see, by the keys that name them.
fn in_use(config: &Config) -> impl Iterator<Item = (String, &Path)> {
    let link = config.link.identity.identity.chain.as_path();
    let sip = config.sip.as_ref().and_then(|sip| sip.identity.as_ref());
    let sip = sip.map(|identity| ("sip.certificate".to_owned(), identity.chain.as_path()));
    std::iter::once(("link.certificate".to_owned(), link)).chain(sip)
}

/// What requests are answered with.
struct Parts {
    sessions: Sessions,
    allow_list: Arc<LiveAllowList>,
    sign_in: SignIn,
    upstreams: Upstreams,
    passwords: Arc<Passwords>,
}

fn streams(config: &Config, parts: Parts, metrics: Metrics) -> Result<Streams, RunError> {
    Ok(Streams {
        domains: ArcSwap::from_pointee(policy::domains(config).map_err(unusable)?),
        sessions: parts.sessions,
        sign_in: parts.sign_in,
        allow_list: parts.allow_list,
        upstreams: parts.upstreams,
        realm: ArcSwap::from_pointee(Realm::parse(&config.sign_in.realm).map_err(unusable)?),
        is_location_rewritten: config.proxy.is_location_rewritten,
        via: HeaderValue::from_static("1.1 edge-c"),
        blocked: Blocked::default(),
        passwords: parts.passwords,
        metrics,
    })
}

/// Keeps the set of edges whose link is up: clients are told of these.
async fn note_live(live: watch::Sender<Arc<BTreeSet<Domain>>>, link: Arc<LinkClient>) {
    let mut is_up = link.is_up();
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
async fn follow_nodes(app: App) {
    let mut nodes = app.discovery.nodes();
    loop {
        let known = Arc::clone(&nodes.borrow_and_update());
        renew_automatic_rules(&app, &known);
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

fn renew_automatic_rules(app: &App, known: &[discovery::Node]) {
    match app.allow_list.set_nodes(known) {
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
async fn tidy(app: App, linked: Condition) {
    let mut last_tidied = clock::now();
    let mut last_counted = clock::now();
    let mut counted = Counted::default();
    loop {
        if app.links.iter().any(|link| *link.is_up().borrow()) {
            linked.met();
        } else {
            note_trouble(&app.links, &linked);
        }
        if clock::elapsed(last_tidied) >= limits::TIDY_INTERVAL {
            last_tidied = clock::now();
            app.streams.upstreams.tidy();
            if let Some(sip) = &app.sip {
                sip.tidy();
            }
            app.expiry.tell(clock::unix_now());
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

/// Why a reload left everything as it was.
#[derive(Debug, thiserror::Error)]
enum Reload {
    #[error("{0}")]
    Config(ConfigErrors),
    #[error("{0}")]
    Other(String),
}

impl Reload {
    fn other(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

fn watched(loaded: &Loaded<Config>) -> Vec<PathBuf> {
    let named = loaded.files.iter().map(|used| used.path.clone());
    let all = std::iter::once(loaded.file.clone()).chain(named);
    // The allow list is read by itself: a bad one must not hold back the rest, nor the other way round.
    all.filter(|path| Some(path) != loaded.config.allow_list_file.as_ref())
        .collect()
}

fn dns(config: &Config, metrics: &Metrics) -> Result<Dns, RunError> {
    let dns_config = DnsConfig {
        servers: config.dns.servers.clone(),
        timeout: config.dns.timeout,
    };
    let dns = Dns::new(&dns_config).map_err(unusable)?;
    Ok(dns.counting(metrics.dns_lookups.clone()))
}

fn discovery_config(config: &Config) -> discovery::Config {
    let domains = config.domains.iter().map(|domain| ServedDomain {
        name: domain.name.clone(),
        deployment: domain.deployment.clone(),
        voice_services_domain: domain.voice_services_domain.clone(),
    });
    discovery::Config {
        domains: domains.collect(),
        nodes: config.nodes.clone(),
        has_pinpoint_zone: config.dns.is_pinpoint_zone_asked,
    }
}

fn session_config(config: &Config) -> sessions::Config {
    sessions::Config {
        core: config.core_id,
        lifetime: config.session.lifetime,
        cookie_domain: Some(config.session.cookie_domain.clone()),
        state: sessions::State::Directory {
            path: config.session.state_dir.clone(),
            key_file: Some(config.session.key_file.clone()),
        },
    }
}

fn sign_in_config(config: &Config) -> Result<sign_in::Config, RunError> {
    let limit = config.sign_in.login_limit;
    let edges = config
        .edges
        .iter()
        .map(edge_peer)
        .collect::<Result<_, _>>()?;
    Ok(sign_in::Config {
        login_limit: Quota {
            count: std::num::NonZeroU32::new(limit.count).unwrap_or(std::num::NonZeroU32::MIN),
            window: limit.window,
        },
        credential_cache: config.sign_in.credential_cache,
        edges,
    })
}

fn edge_peer(edge: &config::Edge) -> Result<EdgePeer, RunError> {
    let sip_route = edge
        .sip_route
        .as_deref()
        .map(SipRoute::parse)
        .transpose()
        .map_err(unusable)?;
    Ok(EdgePeer {
        name: edge.name.clone(),
        advertised_addresses: edge.advertised_addresses.clone(),
        https_port: edge.https_port.get(),
        sip_port: edge.sip_port.get(),
        xmpp_port: edge.xmpp_port.get(),
        sip_route,
    })
}

fn uds_timeouts(config: &Config) -> uds::Timeouts {
    let inside = &config.inside;
    uds::Timeouts {
        connect: inside.connect_timeout,
        tls: inside.connect_timeout,
        answer: inside.response_timeout.min(limits::UDS_ANSWER_TIMEOUT),
    }
}

fn upstream_config(config: &Config) -> upstream::Config {
    let inside = &config.inside;
    upstream::Config {
        bind_address: inside.bind_address,
        connect_timeout: inside.connect_timeout,
        response_timeout: inside.response_timeout,
        idle_timeout: inside.idle_timeout,
        connections_per_node_max: inside.connections_per_node_max.get().into(),
    }
}

fn link_config(config: &Config, edge: &config::Edge, instance: u64) -> link_client::Config {
    link_client::Config {
        edge: edge.name.clone(),
        address: edge.address.clone(),
        certificate_name: edge.certificate_name.clone(),
        bind_address: config.link.bind_address,
        core: config.name.clone(),
        core_id: config.core_id,
        instance,
        https: match config.link.https_transport {
            HttpsTransport::H2 => Purpose::HttpsShared,
            HttpsTransport::Pool => Purpose::HttpsPool,
        },
        shared_connections: config.link.connections.get().into(),
    }
}

fn inside_tls(config: &Config) -> Result<rustls::ClientConfig, String> {
    let anchors = common::config::pem::trust_anchors(&config.inside.trust_anchors);
    tls::inside_client(anchors.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())
}

fn link_tls(config: &Config) -> Result<rustls::ClientConfig, String> {
    let identity = config
        .link
        .identity
        .identity
        .load()
        .map_err(|error| error.to_string())?;
    let anchors = config
        .link
        .identity
        .load_trust_anchors()
        .map_err(|error| error.to_string())?;
    tls::link_client(identity, anchors)
}

fn unusable(cause: impl std::fmt::Display) -> RunError {
    RunError::unusable("edge-c", cause)
}
