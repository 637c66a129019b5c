//! Taking over changed files while connections go on.

use std::path::PathBuf;
use std::sync::Arc;

use common::config::{ConfigErrors, Loaded};
use common::mra::access::Realm;
use common::net::Domain;
use common::runtime::clock;
use common::runtime::exit::RunError;
use common::runtime::reload::{self, FileWatch, Hangups, ReloadMetrics};
use common::runtime::supervise::Supervisor;

use super::{App, settings, unusable};
use crate::config::Config;
use crate::policy;

impl App {
    /// Reads the configuration, the files it names and the allow list again whenever one of them changes.
    pub(super) async fn keep_current(
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
        let started = loaded.settings.clone();
        let apply = move || {
            let loaded = Config::load(&file, clock::unix_now()).map_err(Reload::Config)?;
            app.apply(&loaded.config, &edges)?;
            reload::tell_waiting(&started, &loaded.settings, LIVE);
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
        let link = settings::link_tls(config).map_err(Reload::Other)?;
        let inside = settings::inside_tls(config).map_err(Reload::Other)?;
        let store = settings::store_tls(config).map_err(Reload::Other)?;
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
        let sip = agreed("sip", self.sip.as_ref(), config.sip.as_ref());
        let sip = sip?.map(|(sip, settings)| sip.prepare(config, settings));
        let sip = sip.transpose().map_err(Reload::Other)?;
        let xmpp = agreed("xmpp", self.xmpp.as_ref(), config.xmpp.as_ref());
        let xmpp = xmpp?.map(|(xmpp, settings)| xmpp.prepare(config, settings));
        let xmpp = xmpp.transpose().map_err(Reload::Other)?;
        let pinpoint = agreed("pinpoint", self.pinpoint.as_ref(), config.pinpoint.as_ref());
        let pinpoint = pinpoint?.map(|(pinpoint, settings)| pinpoint.open(settings));
        let pinpoint = pinpoint.transpose().map_err(Reload::other)?;
        let issuers = self.tokens.open(&config.issuers);
        let issuers = issuers.map_err(Reload::Other)?;
        // Nothing fails from here on.
        if let Some(commit) = sip {
            commit();
        }
        if let Some(commit) = xmpp {
            commit();
        }
        if let (Some(pinpoint), Some(opened)) = (&self.pinpoint, pinpoint) {
            pinpoint.take_over(opened);
        }
        self.tokens.take_over(issuers);
        self.streams.sso.reconfigure(config.sso_relay.as_ref());
        self.streams.home_sso.reconfigure(config);
        self.discovery
            .reconfigure(settings::discovery_config(config));
        self.streams.domains.store(Arc::new(domains));
        self.streams.realm.store(Arc::new(realm));
        self.inside_tls.store(Arc::new(inside));
        self.streams.upstreams.forget_connections();
        if let (Some(current), Some(store)) = (&self.store_tls, store) {
            current.store(Arc::new(store));
        }
        self.link_tls.store(Arc::new(link));
        self.expiry.replace(settings::in_use(config));
        for (sender, policy) in self.policies.iter().zip(policies) {
            sender.send_replace(Arc::new(policy));
        }
        Ok(())
    }
}

/// The settings that [`App::apply`] puts in force; all others wait for a restart.
const LIVE: &[&str] = &[
    "domain",
    "inside.trust_anchors",
    "issuer",
    "link.certificate",
    "link.key",
    "link.trust_anchors",
    "media.networks",
    "node",
    "pinpoint.contact",
    "pinpoint.cookie_keys",
    "pinpoint.name_servers",
    "pinpoint.negative_ttl",
    "pinpoint.rate_limit",
    "pinpoint.serial",
    "pinpoint.server",
    "pinpoint.ttl",
    "pinpoint.zone",
    "registrar",
    "session.redis.trust_anchors",
    "sign_in.realm",
    "sip.certificate",
    "sip.key",
    "sip.trust_anchors",
    "sso",
    "xmpp",
];

/// What runs, with the table that it is configured by; a whole table comes and goes with a restart only.
fn agreed<'a, P, S>(
    table: &str,
    running: Option<&'a P>,
    configured: Option<&'a S>,
) -> Result<Option<(&'a P, &'a S)>, Reload> {
    match (running, configured) {
        (Some(part), Some(settings)) => Ok(Some((part, settings))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Reload::Other(format!(
            "[{table}] is gone: restart edge-c for that"
        ))),
        (None, Some(_)) => Err(Reload::Other(format!(
            "[{table}] is new: restart edge-c for that"
        ))),
    }
}

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

#[cfg(test)]
mod tests {
    use common::config::Settings;

    use super::LIVE;

    fn settings(text: &str) -> Settings {
        Settings::of(text.parse().unwrap())
    }

    #[test]
    fn what_is_put_in_force_does_not_wait_for_a_restart() {
        let started = settings("[session.redis]\naddress = 'store:6379'");
        let newer = "[session.redis]\naddress = 'store:6379'\ntrust_anchors = ['own.pem']\n\
            [[issuer]]\nname = 'idp'\n[sso]\nrate_limit = { count = 3 }\n[[sso.rule]]\nissuer = 'idp'";

        assert!(started.changed_but(&settings(newer), LIVE).is_empty());
    }

    #[test]
    fn what_is_not_waits() {
        let started = settings("[session.redis]\naddress = 'store:6379'");
        let newer = settings("[session.redis]\naddress = 'other:6379'");

        assert_eq!(started.changed_but(&newer, LIVE), ["session.redis.address"]);
    }
}
