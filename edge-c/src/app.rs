//! From a valid configuration to a running edge-c, and back down in order.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use common::config::Loaded;
use common::id::EdgeIndex;
use common::limits;
use common::link::control::message::Policy;
use common::mra::access::Realm;
use common::net::Domain;
use common::policy::allow_list::OAuth;
use common::runtime::drain::{Drain, Signal};
use common::runtime::exit::RunError;
use common::runtime::expiry::Expiry;
use common::runtime::reload::ReloadMetrics;
use common::runtime::supervise::Supervisor;
use common::runtime::telemetry::LogControl;
use common::runtime::workers::Workers;
use common::runtime::{clock, greeting, lifecycle, listen};
use http::HeaderValue;
use tokio::sync::watch;

use crate::allow_list::LiveAllowList;
use crate::config::Config;
use crate::dial::InsideTls;
use crate::discovery::Discovery;
use crate::discovery::dns::Dns;
use crate::discovery::remembered::Remembered;
use crate::discovery::srv::Dice;
use crate::link_client::{self, Cluster, LinkClient, StreamService};
use crate::metrics::Metrics;
use crate::pinpoint::Pinpoint;
use crate::policy;
use crate::sessions::Sessions;
use crate::sign_in::SignIn;
use crate::sip::passwords::Passwords;
use crate::sso::Sso;
use crate::sso::ask::HomeSso;
use crate::stream::Streams;
use crate::stream::blocked::Blocked;
use crate::tokens::{Fetcher, SelfCall, TokenVerifier};
use crate::uds::Uds;
use crate::upstream::http::Upstreams;
use sip::SipApp;
use upkeep::{follow_nodes, note_live, renew_automatic_rules};
use xmpp::XmppApp;

mod media;
mod operator;
mod reload;
pub(crate) mod settings;
pub(crate) mod sip;
mod store;
mod upkeep;
pub(crate) mod xmpp;

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
    let names = config.pinpoint.as_ref().map(Pinpoint::bind).transpose()?;

    let app = App::new(config, metrics, &supervisor.drain().signal())?;
    app.keep_current(&loaded, &reloads, &supervisor).await?;
    app.spawn(config, &supervisor);
    if let (Some(pinpoint), Some(sockets)) = (&app.pinpoint, names) {
        pinpoint.spawn(sockets, &supervisor);
    }
    app.admin(listener, registry, config, log, &supervisor);
    tracing::info!(name = %config.name, core_id = %config.core_id, version = link_client::VERSION, "serving");
    lifecycle::until_drained(&supervisor, shutdown, config.drain_grace, || async {}).await?;
    app.remember_nodes();
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
    remembered: Arc<Mutex<Option<Remembered>>>,
    uds: Arc<Uds>,
    links: Vec<Arc<LinkClient>>,
    sip: Option<SipApp>,
    xmpp: Option<XmppApp>,
    /// `None` on an edge that serves no zones inside.
    pinpoint: Option<Pinpoint>,
    tokens: Arc<TokenVerifier>,
    inside_tls: InsideTls,
    store_tls: Option<InsideTls>,
    link_tls: Arc<ArcSwap<rustls::ClientConfig>>,
    policies: Vec<watch::Sender<Arc<Policy>>>,
    /// The edges that are linked to this edge-c.
    own_edges: watch::Sender<Arc<BTreeSet<Domain>>>,
    /// The edges that are linked to any edge-c that shares with this one.
    live_edges: watch::Sender<Arc<BTreeSet<Domain>>>,
    expiry: Arc<Expiry>,
    metrics: Metrics,
}

impl App {
    fn new(config: &Config, metrics: Metrics, drain: &Signal) -> Result<Self, RunError> {
        let dns = Arc::new(settings::dns(config, &metrics)?);
        let discovery = Arc::new(Discovery::new(
            settings::discovery_config(config),
            Arc::clone(&dns),
            Dice::from_entropy(),
        ));
        let remembered = recall_nodes(config, &discovery);
        let inside_tls = replaceable(settings::inside_tls(config))?;
        let uds = Arc::new(uds(config, &inside_tls, &dns).counting(metrics.clone()));
        let allow_list = Arc::new(allow_list(config)?);
        let sink = store::node_sink(&discovery, &allow_list);
        let (sessions, store_tls) = store::open(config, &dns, &metrics, sink)?;
        let upstreams = upstreams(config, &inside_tls, &dns, &discovery).counting(metrics.clone());
        let inside = (&inside_tls, &dns, &discovery, &uds);
        let tokens = Arc::new(token_verifier(config, inside, &metrics).map_err(unusable)?);
        let live_edges = watch::Sender::new(Arc::default());
        let sign_in = SignIn::new(
            settings::sign_in_config(config)?,
            Arc::clone(&discovery),
            Arc::clone(&uds),
            live_edges.subscribe(),
        )
        .map_err(unusable)?
        .counting(metrics.cluster_lookups.clone())
        .counting_with(sessions.clone())
        .with_tokens(Arc::clone(&tokens));
        let passwords = Arc::new(sip::passwords(config).map_err(unusable)?);
        let sso = sso(config, &tokens, &sessions, &metrics);
        let parts = Parts {
            sessions: sessions.clone(),
            allow_list: Arc::clone(&allow_list),
            sign_in,
            upstreams,
            sso,
            home_sso: HomeSso::new(config, Arc::clone(&discovery), Arc::clone(&uds)),
            passwords: Arc::clone(&passwords),
        };
        let streams = Arc::new(streams(config, parts, metrics.clone())?);
        let link_tls = replaceable(settings::link_tls(config))?;
        let expiry = Arc::new(expiry(config, &metrics));
        let sip = SipApp::start(config, &sessions, &dns, passwords, &tokens, &metrics)?;
        let xmpp = XmppApp::start(config, &sessions, &dns, (&metrics, &tokens), sip.as_ref())?;
        let pinpoint = pinpoint(config, &metrics)?;
        let mut app = Self {
            sessions,
            streams,
            allow_list,
            discovery,
            remembered,
            uds,
            links: Vec::new(),
            sip,
            xmpp,
            pinpoint,
            tokens,
            inside_tls,
            store_tls,
            link_tls,
            policies: Vec::new(),
            own_edges: watch::Sender::default(),
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
        let edges: Arc<[_]> = config.edges.iter().map(|edge| edge.name.clone()).collect();
        for (index, edge) in (0..).zip(&config.edges) {
            let policy = policy::for_edge(config, edge).map_err(unusable)?;
            let policy = watch::Sender::new(Arc::new(policy));
            let link = LinkClient::new(
                settings::link_config(config, edge, instance),
                Arc::clone(&self.link_tls),
                policy.subscribe(),
                self.sessions.clone(),
                Arc::clone(&self.streams),
                workers.clone(),
                self.metrics.clone(),
            );
            let link = match self.stream_service(drain) {
                Some(service) => link.with_streams(service),
                None => link,
            };
            let link = link.with_cluster(Cluster {
                edges: Arc::clone(&edges),
                live: self.live_edges.subscribe(),
            });
            let media = self.sip.as_ref().and_then(|sip| sip.media.as_ref());
            let link = link.with_media(media.and_then(|media| media.end(EdgeIndex(index))));
            self.links.push(Arc::new(link));
            self.policies.push(policy);
        }
        Ok(())
    }

    fn stream_service(&self, drain: &Signal) -> Option<StreamService> {
        let sip = self.sip.as_ref();
        let sip = sip.map(|sip| sip.sip.stream_service(drain.clone()));
        match &self.xmpp {
            Some(xmpp) => Some(xmpp.xmpp.stream_service(drain.clone(), sip)),
            None => sip,
        }
    }

    fn spawn(&self, config: &Config, supervisor: &Supervisor) {
        let drain = supervisor.drain();
        for link in &self.links {
            let (app, link) = (self.clone(), Arc::clone(link));
            let signal = drain.signal();
            let linking = async move {
                tokio::join!(app.know_nodes(), app.know_store());
                link.run(signal).await;
            };
            drop(supervisor.spawn_vital("link", lifecycle::until_over(linking, drain.signal())));
        }
        for link in &self.links {
            drop(supervisor.spawn(
                "live_edges",
                note_live(self.own_edges.clone(), Arc::clone(link)),
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
        self.spawn_xmpp(supervisor);
        self.spawn_store(supervisor);
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
        let tokens = Arc::clone(&self.tokens);
        drop(supervisor.spawn("issuer_keys", async move { tokens.run().await }));
        drop(supervisor.spawn("automatic_rules", follow_nodes(self.clone())));
        tracing::debug!(
            domains = config.domains.len(),
            edges = config.edges.len(),
            "tasks started"
        );
    }

    fn spawn_xmpp(&self, supervisor: &Supervisor) {
        if let Some(xmpp) = &self.xmpp {
            let signal = supervisor.drain().signal();
            drop(supervisor.spawn("xmpp_nodes", xmpp.clone().keep_nodes()));
            drop(supervisor.spawn("xmpp_probes", xmpp.clone().keep_probing()));
            drop(supervisor.spawn("xmpp_sessions", xmpp.clone().follow_sessions()));
            drop(supervisor.spawn("xmpp_drain", xmpp.clone().drain(signal)));
        }
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
        renew_automatic_rules(&self.allow_list, &nodes);
    }
}

/// Nodes that only a sign-in named are needed by sessions that go on. Without the file all else works.
fn recall_nodes(config: &Config, discovery: &Discovery) -> Arc<Mutex<Option<Remembered>>> {
    let session = &config.session;
    let opened = Remembered::open(&session.state_dir, &session.key_file);
    let recalled = opened.and_then(|mut file| {
        let now = clock::unix_now();
        file.recall(discovery, now).map(|()| file)
    });
    if let Err(error) = &recalled {
        tracing::warn!(side = "local", reason = %error,
            remedy = "look at state_dir; remove the file if it can't be read",
            "nodes that users' records named are not remembered: they are known again after a sign-in");
    }
    Arc::new(Mutex::new(recalled.ok()))
}

fn pinpoint(config: &Config, metrics: &Metrics) -> Result<Option<Pinpoint>, RunError> {
    let pinpoint = config.pinpoint.as_ref();
    let pinpoint = pinpoint.map(|pinpoint| Pinpoint::new(pinpoint, metrics.names.clone()));
    pinpoint.transpose().map_err(unusable)
}

fn expiry(config: &Config, metrics: &Metrics) -> Expiry {
    let expiry = Expiry::new(metrics.certificates.clone());
    expiry.replace(settings::in_use(config));
    expiry
}

fn sso(
    config: &Config,
    tokens: &Arc<TokenVerifier>,
    sessions: &Sessions,
    metrics: &Metrics,
) -> Sso {
    let relay = config.sso_relay.as_ref();
    let (tokens, sessions) = (Arc::clone(tokens), sessions.clone());
    Sso::new(relay, tokens, sessions, metrics.sso.clone())
}

fn uds(config: &Config, tls: &InsideTls, dns: &Arc<Dns>) -> Uds {
    let (tls, dns) = (Arc::clone(tls), Arc::clone(dns));
    Uds::new(
        tls,
        dns,
        config.inside.bind_address,
        settings::uds_timeouts(config),
    )
}

/// What a reload replaces while it is in use.
fn replaceable<T>(made: Result<T, String>) -> Result<Arc<ArcSwap<T>>, RunError> {
    let made = made.map_err(unusable)?;
    Ok(Arc::new(ArcSwap::from_pointee(made)))
}

fn upstreams(
    config: &Config,
    tls: &InsideTls,
    dns: &Arc<Dns>,
    discovery: &Arc<Discovery>,
) -> Upstreams {
    Upstreams::new(
        settings::upstream_config(config),
        Arc::clone(tls),
        Arc::clone(dns),
        Arc::clone(discovery),
    )
}

/// Connections to issuers are a pool of their own: no flood of requests for pages takes those for keys.
fn token_verifier(
    config: &Config,
    (tls, dns, discovery, uds): (&InsideTls, &Arc<Dns>, &Arc<Discovery>, &Arc<Uds>),
    metrics: &Metrics,
) -> Result<TokenVerifier, String> {
    let upstreams = upstreams(config, tls, dns, discovery).counting(metrics.clone());
    let self_call = SelfCall::new(Arc::clone(discovery), Arc::clone(uds));
    let fetcher = Fetcher::new(Arc::new(upstreams));
    TokenVerifier::new(&config.issuers, fetcher, self_call, metrics.tokens.clone())
}

fn allow_list(config: &Config) -> Result<LiveAllowList, RunError> {
    match &config.allow_list_file {
        Some(file) => LiveAllowList::load(file, OAuth::Off).map_err(unusable),
        None => Ok(LiveAllowList::without_file(OAuth::Off)),
    }
}

/// What requests are answered with.
struct Parts {
    sessions: Sessions,
    allow_list: Arc<LiveAllowList>,
    sign_in: SignIn,
    upstreams: Upstreams,
    sso: Sso,
    home_sso: HomeSso,
    passwords: Arc<Passwords>,
}

fn streams(config: &Config, parts: Parts, metrics: Metrics) -> Result<Streams, RunError> {
    Ok(Streams {
        domains: ArcSwap::from_pointee(policy::domains(config).map_err(unusable)?),
        sessions: parts.sessions,
        sign_in: parts.sign_in,
        allow_list: parts.allow_list,
        upstreams: parts.upstreams,
        sso: parts.sso,
        home_sso: parts.home_sso,
        realm: ArcSwap::from_pointee(Realm::parse(&config.sign_in.realm).map_err(unusable)?),
        is_location_rewritten: config.proxy.is_location_rewritten,
        via: HeaderValue::from_static("1.1 edge-c"),
        blocked: Blocked::default(),
        passwords: parts.passwords,
        metrics,
    })
}

fn unusable(cause: impl std::fmt::Display) -> RunError {
    RunError::unusable("edge-c", cause)
}
