//! Taking over changed files while connections go on.

use std::path::PathBuf;
use std::sync::Arc;

use common::config::name_server::NameServer;
use common::config::pem::FileError;
use common::config::{ConfigErrors, Loaded};
use common::runtime::clock;
use common::runtime::exit::RunError;
use common::runtime::reload::{self, FileWatch, Hangups, ReloadMetrics};
use common::runtime::supervise::Supervisor;

use super::{App, settings, unusable};
use crate::config::Config;

impl App {
    /// Reads the configuration and the files it names again whenever one of them changes.
    pub(super) async fn keep_current(
        &self,
        loaded: &Loaded<Config>,
        metrics: ReloadMetrics,
        supervisor: &Supervisor,
    ) -> Result<(), RunError> {
        let hangups = Hangups::listen().map_err(unusable)?;
        let watch = FileWatch::new(watched(loaded), hangups).await;
        let app = self.clone();
        let file = loaded.file.clone();
        let started = loaded.settings.clone();
        let apply = move || {
            let loaded = Config::load(&file, clock::unix_now()).map_err(Reload::Config)?;
            app.apply(&loaded.config)?;
            reload::tell_waiting(&started, &loaded.settings, LIVE);
            Ok::<_, Reload>(watched(&loaded))
        };
        drop(supervisor.spawn(
            "reload",
            reload::keep_current("configuration", watch, metrics, apply),
        ));
        Ok(())
    }

    /// Takes over what may change while connections go on; all of it or nothing.
    fn apply(&self, config: &Config) -> Result<(), Reload> {
        let (default, others) = settings::certificates(&config.public.certificates)?;
        let link = settings::link(&config.link).map_err(Reload::Tls)?;
        self.apply_names(config.dns.as_ref())?;
        self.certificates.replace(default, others);
        if let Some(media) = self.cores.media() {
            media.set_tls(&link.tls).map_err(Reload::Tls)?;
        }
        self.link.settings.store(Arc::new(link));
        self.cores.keep_only(&config.link.allowed_cores);
        self.admission.set_limits(config.limits.clone());
        self.expiry.replace(settings::in_use(config));
        Ok(())
    }

    /// Sockets are neither opened nor closed while running: [`LIVE`] does not name them.
    fn apply_names(&self, config: Option<&NameServer>) -> Result<(), Reload> {
        match (&self.names, config) {
            (Some(names), Some(dns)) => names.apply(dns).map_err(Reload::File),
            (Some(_), None) | (None, _) => Ok(()),
        }
    }
}

/// Why a reload left everything as it was.
#[derive(Debug, thiserror::Error)]
enum Reload {
    #[error("{0}")]
    Config(ConfigErrors),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}")]
    Tls(String),
}

/// The settings that [`App::apply`] puts in force; all others wait for a restart.
const LIVE: &[&str] = &[
    "dns.contact",
    "dns.cookie_keys",
    "dns.edge",
    "dns.name_servers",
    "dns.negative_ttl",
    "dns.rate_limit",
    "dns.serial",
    "dns.ttl",
    "dns.zone",
    "limits",
    "link.allowed_cores",
    "link.certificate",
    "link.key",
    "link.trust_anchors",
    "public.certificates",
];

fn watched(loaded: &Loaded<Config>) -> Vec<PathBuf> {
    let named = loaded.files.iter().map(|used| used.path.clone());
    std::iter::once(loaded.file.clone()).chain(named).collect()
}
