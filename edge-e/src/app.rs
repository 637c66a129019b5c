//! From a valid configuration to a running edge-e, and back down in order. Every socket is bound before anything serves.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::config::Loaded;
use common::config::name_server::NameServer;
use common::limits;
use common::link::trouble::LastTrouble;
use common::runtime::admin::{self, Admin, Condition, Readiness};
use common::runtime::drain::Drain;
use common::runtime::exit::RunError;
use common::runtime::expiry::Expiry;
use common::runtime::reload::ReloadMetrics;
use common::runtime::supervise::Supervisor;
use common::runtime::telemetry::LogControl;
use common::runtime::udp::BulkSocket;
use common::runtime::workers::Workers;
use common::runtime::workers::seats::Seats;
use common::runtime::{clock, dns, greeting, lifecycle, listen};
use common::tls::config::{self as tls, Certificates};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use crate::admission::Admission;
use crate::config::Config;
use crate::cores::Cores;
use crate::link_server::LinkServer;
use crate::listener::front::Front;
use crate::listener::https::{self, Https};
use crate::listener::media;
use crate::listener::sip::Sip;
use crate::listener::xmpp::Xmpp;
use crate::metrics::{Listener, Metrics};
use crate::names::Names;

mod reload;
mod settings;

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
    let mut registry = common::telemetry::registry("edge-e");
    supervisor.register(&mut registry);
    let mut bound = Bound::bind(&loaded.config)?;
    let app = App::new(&loaded.config, Metrics::register(&mut registry))?;
    let reloads = ReloadMetrics::default();
    reloads.register(&mut registry);

    app.keep_current(&loaded, reloads, &supervisor).await?;
    let cores = Arc::clone(&app.cores);
    let grace = loaded.config.drain_grace;
    app.start_media(
        std::mem::take(&mut bound.trunks),
        &loaded.config,
        &supervisor,
    )?;
    app.serve(bound, registry, loaded.config, log, &supervisor);
    let told = async {
        cores.report_draining();
    };
    lifecycle::until_drained(&supervisor, shutdown, grace, || told).await?;
    Ok(())
}

/// Every listening socket.
struct Bound {
    public: Vec<TcpListener>,
    sip: Vec<TcpListener>,
    xmpp: Vec<TcpListener>,
    link: Vec<TcpListener>,
    /// Where media trunks arrive; empty on an edge without media.
    trunks: Vec<BulkSocket>,
    dns: Vec<dns::Sockets>,
    admin: TcpListener,
}

impl Bound {
    fn bind(config: &Config) -> Result<Self, RunError> {
        let bind = |key: &str, address| {
            listen::bind(address).map_err(|e| RunError::bind(key, address, &e))
        };
        let all = |key: &str, addresses: &[SocketAddr]| {
            addresses
                .iter()
                .map(|at| bind(key, *at))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            public: all("public.listen", &config.public.listen)?,
            sip: all("sip.listen", &config.sip.listen)?,
            xmpp: all("xmpp.listen", &config.xmpp.listen)?,
            link: all("link.listen", &config.link.listen)?,
            trunks: match &config.media {
                Some(_) => trunks(&config.link.listen)?,
                None => Vec::new(),
            },
            dns: names_sockets(config.dns.as_ref())?,
            admin: bind("admin.listen", config.admin.listen)?,
        })
    }
}

/// The link's addresses once more, for UDP.
fn trunks(addresses: &[SocketAddr]) -> Result<Vec<BulkSocket>, RunError> {
    let bind = |at: &SocketAddr| {
        BulkSocket::bind(*at).map_err(|error| {
            let error = io::Error::new(error.kind(), format!("can't use UDP on {at}: {error}"));
            RunError::bind("link.listen", *at, &error)
        })
    };
    addresses.iter().map(bind).collect()
}

/// The sockets that names are served on.
fn names_sockets(config: Option<&NameServer>) -> Result<Vec<dns::Sockets>, RunError> {
    let bind = |at: &SocketAddr| {
        dns::Sockets::bind(*at).map_err(|error| RunError::bind("dns.listen", *at, &error))
    };
    config
        .iter()
        .flat_map(|dns| &dns.listen)
        .map(bind)
        .collect()
}

/// Everything that lives as long as the process.
#[derive(Clone)]
struct App {
    cores: Arc<Cores>,
    admission: Arc<Admission>,
    certificates: Arc<Certificates>,
    expiry: Arc<Expiry>,
    https: Arc<Https>,
    sip: Arc<Sip>,
    sip_front: Front,
    xmpp: Arc<Xmpp>,
    link: Arc<LinkServer>,
    /// `None` on an edge that serves no names.
    names: Option<Arc<Names>>,
    metrics: Metrics,
}

impl App {
    fn new(config: &Config, metrics: Metrics) -> Result<Self, RunError> {
        let (default, others) =
            settings::certificates(&config.public.certificates).map_err(unusable)?;
        let certificates = Arc::new(Certificates::new(default, others));
        let tls = tls::public_server(Arc::clone(&certificates)).map_err(unusable)?;
        let cores: Arc<Cores> = Arc::default();
        let workers = Workers::start("edge-e", config.worker_threads).map_err(unusable)?;
        let admission = Admission::new(config.limits.clone());
        cores.share_blocks(&admission);
        let sip = Arc::new(Sip {
            cores: Arc::clone(&cores),
            admission: Arc::clone(&admission),
            metrics: metrics.clone(),
            settings: config.sip.clone(),
        });
        let sip_front = Front {
            admission: Arc::clone(&admission),
            tls: Arc::new(settings::without_alpn(&tls)),
            metrics: metrics.clone(),
            workers: workers.clone(),
            listener: Listener::Sip,
        };
        let xmpp = Arc::new(Xmpp::new(
            Arc::clone(&cores),
            Arc::clone(&admission),
            metrics.clone(),
            config.xmpp.clone(),
            &tls,
        ));
        let https = Arc::new(Https {
            websockets: settings::websockets(config, &sip, &xmpp),
            cores: Arc::clone(&cores),
            front: Front {
                tls: Arc::new(tls),
                listener: Listener::Public,
                ..sip_front.clone()
            },
            timeouts: https::timeouts(config.public.stall_timeout),
            started: clock::now(),
        });
        let link = Arc::new(LinkServer {
            name: config.name.clone(),
            instance: greeting::instance(),
            cores: Arc::clone(&cores),
            settings: ArcSwap::from_pointee(settings::link(&config.link).map_err(unusable)?),
            metrics: metrics.clone(),
            seats: Seats::new(workers.count()),
            workers,
            trouble: LastTrouble::default(),
        });
        let names = config
            .dns
            .as_ref()
            .map(|dns| Names::new(&config.name, dns, metrics.dns.clone()));
        let names = names.transpose().map_err(unusable)?.map(Arc::new);
        let expiry = Arc::new(Expiry::new(metrics.certificates.clone()));
        expiry.replace(settings::in_use(config));
        Ok(Self {
            cores,
            admission,
            certificates,
            expiry,
            https,
            sip,
            sip_front,
            xmpp,
            link,
            names,
            metrics,
        })
    }

    /// Starts the media thread, if this edge has media.
    fn start_media(
        &self,
        trunks: Vec<BulkSocket>,
        config: &Config,
        supervisor: &Supervisor,
    ) -> Result<(), RunError> {
        let Some(ports) = &config.media else {
            return Ok(());
        };
        let parts = media::Parts {
            ports: media::MediaPorts {
                listen: ports.listen.clone(),
                advertised: ports.as_advertised(&config.advertised_addresses),
                ports: ports.ports.clone(),
            },
            trunks,
            tls: Arc::clone(&self.link.settings.load().tls),
            gate: Arc::clone(&self.link).gate(),
            metrics: self.metrics.media.clone(),
        };
        let (handle, ended) = media::start(parts).map_err(unusable)?;
        self.cores.set_media(handle);
        let drain = supervisor.drain().signal();
        let watching = async move {
            tokio::select! {
                // The thread says why it ended, or was killed by a panic.
                error = ended => Err(error.unwrap_or_else(|_| io::Error::other("it panicked"))),
                () = drain.over() => Ok(()),
            }
        };
        drop(supervisor.spawn_vital("media", watching));
        Ok(())
    }

    fn serve(
        self,
        bound: Bound,
        registry: Registry,
        config: Config,
        log: LogControl,
        supervisor: &Supervisor,
    ) {
        let drain = supervisor.drain();
        for listener in bound.link {
            let serving = Arc::clone(&self.link).serve(listener, drain.signal());
            drop(supervisor.spawn_vital("link", lifecycle::until_over(serving, drain.signal())));
        }
        for listener in bound.public {
            let serving = Arc::clone(&self.https).serve(listener, drain.signal());
            drop(supervisor.spawn_vital("public", lifecycle::until_over(serving, drain.signal())));
        }
        for listener in bound.sip {
            let front = self.sip_front.clone();
            let serving = Arc::clone(&self.sip).serve(front, listener, drain.signal());
            drop(supervisor.spawn_vital("sip", lifecycle::until_over(serving, drain.signal())));
        }
        for listener in bound.xmpp {
            let front = Front {
                listener: Listener::Xmpp,
                ..self.sip_front.clone()
            };
            let serving = Arc::clone(&self.xmpp).serve(front, listener, drain.signal());
            drop(supervisor.spawn_vital("xmpp", lifecycle::until_over(serving, drain.signal())));
        }
        if let Some(names) = &self.names {
            for sockets in bound.dns {
                let serving = names.server().clone().serve(sockets, drain.signal());
                drop(supervisor.spawn_vital("dns", serving));
            }
            let keeping = Arc::clone(names).keep(Arc::clone(&self.cores), drain.signal());
            drop(supervisor.spawn("names", keeping));
        }
        let readiness = Readiness::default();
        let linked = readiness.condition("link", "look at edge-c and its log: it dials this edge");
        drop(supervisor.spawn("tidy", tidy(self.clone(), linked)));
        let name = config.name.to_string();
        let admin = Admin {
            product: "edge-e",
            names: config.admin.names,
            registry: Arc::new(registry),
            readiness,
            status: Arc::new(move || self.status(&name)),
            log,
            drain: drain.clone(),
            more: None,
        };
        drop(supervisor.spawn_vital(
            "admin",
            admin::serve(bound.admin, admin, supervisor.clone()),
        ));
        tracing::info!(name = %config.name, version = crate::link_server::VERSION, "serving");
    }

    /// Sets the gauges that nobody keeps.
    fn count(&self) {
        self.cores.count(&self.metrics);
        let jailed = self.admission.jailed(clock::now());
        let jailed = i64::try_from(jailed).unwrap_or(i64::MAX);
        self.metrics.jailed.set(jailed);
        let users = self.admission.jailed_users(clock::now());
        let users = i64::try_from(users).unwrap_or(i64::MAX);
        self.metrics.jailed_users.set(users);
    }

    fn status(&self, name: &str) -> serde_json::Value {
        let cores = self.cores.all();
        let cores: Vec<_> = cores
            .iter()
            .map(|core| {
                json!({
                    "name": core.name().as_str(),
                    "core_id": core.id().0,
                    "is_connected": core.is_connected(),
                    "is_draining": core.is_draining(),
                    "link_connections": core.connections(),
                    "requests_under_way": core.pool().busy(),
                })
            })
            .collect();
        let jailed: Vec<_> = self
            .admission
            .jailed_addresses(clock::now())
            .into_iter()
            .map(|(address, left)| json!({ "address": address, "seconds_left": left.as_secs() }))
            .collect();
        let jailed_users = self.admission.jailed_users(clock::now());
        json!({
            "name": name, "connections": self.admission.open(), "cores": cores, "jailed": jailed,
            "jailed_users": jailed_users,
        })
    }
}

/// Now and then: forgets what has expired, and notes whether there is anybody to ask.
async fn tidy(app: App, linked: Condition) {
    let mut last_tidied = clock::now();
    let mut last_counted = clock::now();
    loop {
        if app.cores.is_any_available() {
            linked.met();
        } else if let Some(trouble) = app.link.trouble.last() {
            let reason = format!("no edge-c is linked: {}", trouble.reason);
            linked.unmet(reason, trouble.remedy);
        } else {
            linked.unmet(
                "no edge-c is linked, and none has dialled",
                "look at edge-c and its log: it dials this edge",
            );
        }
        if clock::elapsed(last_counted) >= limits::GAUGE_INTERVAL {
            last_counted = clock::now();
            app.count();
        }
        if clock::elapsed(last_tidied) >= limits::TIDY_INTERVAL {
            last_tidied = clock::now();
            app.cores.tidy(clock::unix_now());
            app.expiry.tell(clock::unix_now());
        }
        tokio::time::sleep(READINESS_INTERVAL).await;
    }
}

/// A readiness that is asked for every second or so need not be younger.
const READINESS_INTERVAL: Duration = Duration::from_millis(200);

fn unusable(cause: impl std::fmt::Display) -> RunError {
    RunError::unusable("edge-e", cause)
}
