//! SIP in edge-c: from its configuration to the thread that serves it, and the tasks around it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::id::EdgeIndex;
use common::limits;
use common::net::{Host, HostPort};
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::exit::RunError;
use common::session::UserName;
use common::sip::flow_token::FlowTokenKeys;
use common::sip::proxy::{EdgeName, IdentityPolicy, NodeState, Registrar, SessionGate};
use common::tls::config as tls;
use rustls::{ClientConfig, ServerConfig};
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast};
use tokio::time::{MissedTickBehavior, interval};

use super::media::MediaApp;
use super::settings::anchors;
use super::unusable;
use crate::config::{self, Config};
use crate::discovery::dns::Dns;
use crate::discovery::srv::Dice;
use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::sip::passwords::{self, Passwords, Stored, StoredError};
use crate::sip::users::{self, Users};
use crate::sip::{self, InnerTls, Services, Sip, StartError};
use crate::tokens::TokenVerifier;
use crate::upstream::sip::resolve::{RegistrarConfig, Resolver};

/// SIP that runs, and what its tasks need.
#[derive(Clone)]
pub(super) struct SipApp {
    pub(super) sip: Arc<Sip>,
    pub(super) media: Option<MediaApp>,
    tls: InnerTls,
    registrars: Arc<ArcSwap<Vec<RegistrarConfig>>>,
    gate: SessionGate,
    sessions: Sessions,
    dns: Arc<Dns>,
    passwords: Arc<Passwords>,
    /// The registrars of the configuration have changed.
    changed: Arc<Notify>,
}

impl SipApp {
    /// Binds every socket of `[sip]` and starts its thread; `None` without `[sip]`.
    pub(super) fn start(
        config: &Config,
        sessions: &Sessions,
        dns: &Arc<Dns>,
        passwords: Arc<Passwords>,
        tokens: &Arc<TokenVerifier>,
        metrics: &Metrics,
    ) -> Result<Option<Self>, RunError> {
        let Some(settings) = &config.sip else {
            return Ok(None);
        };
        let tls = InnerTls {
            client: Arc::new(ArcSwap::from_pointee(
                client_tls(config, settings).map_err(unusable)?,
            )),
            server: server_tls(config, settings)
                .map_err(unusable)?
                .map(|tls| Arc::new(ArcSwap::from_pointee(tls))),
        };
        let media = MediaApp::start(config, metrics)?;
        let services = Services {
            bodies: MediaApp::bodies(media.as_ref()),
            dead_calls: media.as_ref().and_then(MediaApp::dead_calls),
            users: Arc::new(
                Users::new(sessions.clone(), Arc::clone(&passwords))
                    .with_tokens(Arc::clone(tokens)),
            ),
            tls: tls.clone(),
            metrics: metrics.sip.clone(),
        };
        let sip_config = sip_config(config, settings, sessions)?;
        let sip = Sip::start(sip_config, services).map_err(not_started)?;
        Ok(Some(Self {
            sip: Arc::new(sip),
            tls,
            registrars: Arc::new(ArcSwap::from_pointee(settings.registrars.clone())),
            gate: settings.session_gate,
            sessions: sessions.clone(),
            dns: Arc::clone(dns),
            passwords,
            changed: Arc::default(),
            media,
        }))
    }

    /// Forgets what was learned of users who have signed out.
    pub(super) fn tidy(&self) {
        let now = clock::unix_now();
        let is_gone = |user: &UserName| !self.sessions.is_signed_in(user, None, now);
        self.passwords.forget(is_gone);
    }

    /// Reads what may change while connections go on; the result puts it in force.
    pub(super) fn prepare<'a>(
        &'a self,
        config: &Config,
        settings: &'a config::sip::Sip,
    ) -> Result<impl FnOnce() + use<'a>, String> {
        let client = client_tls(config, settings)?;
        let server = server_tls(config, settings)?;
        let networks = match (&self.media, &config.media) {
            (Some(media), Some(settings)) => Some((media, settings.networks.clone())),
            (None, None) => None,
            (Some(_), None) => return Err("[media] is gone: restart edge-c for that".to_owned()),
            (None, Some(_)) => return Err("[media] is new: restart edge-c for that".to_owned()),
        };
        Ok(move || {
            if let Some((media, networks)) = networks {
                media.set_networks(networks);
            }
            if let (Some(current), Some(server)) = (&self.tls.server, server) {
                current.store(Arc::new(server));
            }
            self.tls.client.store(Arc::new(client));
            self.passwords.set_realms(settings.realms());
            self.registrars.store(Arc::new(settings.registrars.clone()));
            self.changed.notify_one();
        })
    }

    /// Looks the registrars' nodes up, at once and then every now and then, and whenever the configuration changed.
    pub(super) async fn keep_registrars(self) {
        let mut resolver = Resolver::default();
        let mut dice = Dice::from_entropy();
        let mut known: Vec<Registrar> = Vec::new();
        let mut ticks = interval(REGISTRARS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both are cancel safe: a tick comes again, a change stays noted.
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.changed.notified() => {}
            }
            let configured = self.registrars.load_full();
            let found = resolver
                .resolve(&configured, &known, &self.dns, &mut dice)
                .await;
            if !is_same(&found, &known) {
                for registrar in found.iter().filter(|registrar| registrar.nodes.is_empty()) {
                    tracing::warn!(side = "upstream", registrar = %registrar.name, reason = "it has no node with an address",
                        remedy = "look at its `nodes` or `srv`, and at the inside DNS", "nobody can register there");
                }
                known.clone_from(&found);
                self.sip.set_registrars(found);
            }
        }
    }

    /// Closes the connections of users whose sessions were revoked.
    pub(super) async fn follow_revocations(self) {
        let mut tombstones = self.sessions.filter_feed().tombstones;
        while !matches!(
            tombstones.recv().await,
            Err(broadcast::error::RecvError::Closed)
        ) {
            if self.gate != SessionGate::Off {
                self.sip
                    .close_users(|aor| users::is_gone(&self.sessions, aor));
            }
        }
    }

    /// Reads the sealed file of phones' passwords anew.
    pub(super) fn read_passwords(&self, session: &config::Session) -> Result<(), StoredError> {
        let stored = Stored::read(&passwords::sealed_file(session)?)?;
        self.passwords.set_stored(stored);
        Ok(())
    }

    pub(super) async fn drain(self, signal: Signal) {
        self.sip.drain(signal).await;
    }

    pub(super) fn status(&self) -> Value {
        let status = self.sip.status();
        let nodes = status.nodes.iter().map(|node| {
            let state = match node.state {
                None => "unknown",
                Some(NodeState::Down) => "down",
                Some(NodeState::Up) => "up",
            };
            json!({ "registrar": &*node.registrar, "transport": node.transport.uri_name(),
                "address": node.address, "host": node.host.to_string(), "state": state })
        });
        json!({ "connections": status.flows, "registrations": status.registrations, "dialogs": status.dialogs,
            "connections_inside": status.connections, "nodes": nodes.collect::<Vec<_>>() })
    }
}

/// The hashes that are known at the start; none without SIP.
pub(super) fn passwords(config: &Config) -> Result<Passwords, StoredError> {
    let realms = config
        .sip
        .as_ref()
        .map(config::sip::Sip::realms)
        .unwrap_or_default();
    let stored = if realms.is_empty() {
        Stored::default()
    } else {
        Stored::read(&passwords::sealed_file(&config.session)?)?
    };
    Ok(Passwords::new(realms, stored))
}

/// The order among nodes of one registrar is drawn anew by each look-up, which is no reason to tell anybody.
fn is_same(found: &[Registrar], known: &[Registrar]) -> bool {
    let sorted = |registrars: &[Registrar]| {
        let mut registrars = registrars.to_vec();
        for registrar in &mut registrars {
            registrar.nodes.sort_by_key(|node| node.id);
        }
        registrars
    };
    sorted(found) == sorted(known)
}

fn sip_config(
    config: &Config,
    settings: &config::sip::Sip,
    sessions: &Sessions,
) -> Result<sip::Config, RunError> {
    let key = sessions.derived_key(FLOW_TOKEN_LABEL).map_err(unusable)?;
    let edges = config.edges.iter().zip(0..);
    let edges = edges.map(|(edge, index)| {
        let at = |host| HostPort {
            host,
            port: edge.sip_port.get(),
        };
        // Addresses first: clients are told one if there is one.
        let addresses = edge.advertised_addresses.iter().copied();
        let mut hosts = addresses.map(|address| at(Host::Address(address)));
        let name = at(Host::Name(edge.name.clone()));
        EdgeName {
            index: EdgeIndex(index),
            host: hosts.next().unwrap_or_else(|| name.clone()),
            others: hosts.chain([name]).collect(),
        }
    });
    Ok(sip::Config {
        listen: settings.listen.clone(),
        names: settings.names.clone(),
        edges: edges.collect(),
        edge_names: config.edges.iter().map(|edge| edge.name.clone()).collect(),
        identity: IdentityPolicy {
            session_gate: settings.session_gate,
            may_register_others: settings.may_register_others,
            tokens: settings.tokens,
        },
        flow_token_keys: FlowTokenKeys::new(&key, None),
        flow_timer: settings.flow_timer,
        connect_timeout: config.inside.connect_timeout,
    })
}

/// How connections to registrars are verified, and the own certificate.
pub(crate) fn client_tls(
    config: &Config,
    settings: &config::sip::Sip,
) -> Result<ClientConfig, String> {
    let identity = settings
        .identity
        .as_ref()
        .map(config::sip::load)
        .transpose()?;
    let anchors = anchors(&settings.trust_anchors, config)?;
    tls::sip_client(identity, anchors).map_err(|error| error.to_string())
}

fn server_tls(
    config: &Config,
    settings: &config::sip::Sip,
) -> Result<Option<ServerConfig>, String> {
    let Some(identity) = &settings.identity else {
        return Ok(None);
    };
    let asked_for = settings
        .is_certificate_required
        .then(|| anchors(&settings.trust_anchors, config));
    tls::sip_server(config::sip::load(identity)?, asked_for.transpose()?).map(Some)
}

fn not_started(error: StartError) -> RunError {
    match error {
        StartError::Bind { listen, error } => RunError::bind("sip.listen", listen.address, &error),
        StartError::Random | StartError::Thread(_) => unusable(error),
    }
}

/// As often as inner nodes are looked up; answers come from the cache until their TTL ends.
const REGISTRARS_INTERVAL: Duration = limits::SIP_REGISTRARS_INTERVAL;
const FLOW_TOKEN_LABEL: &[u8] = b"edge-c sip flow token 1";
