//! The names by which clients find the edges of this cluster: the zones that are served, and which edges the answers
//! lead to. An edge that drains or has lost its links leaves the answers; of the others the edge-c tell that they share.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::config::names;
use common::config::pem::{FileError, FileFault};
use common::dns::cookie::CookieKeys;
use common::dns::rate::RatePolicy;
use common::dns::records::Records;
use common::dns::zone::Zone;
use common::dns::{Name, Responder, number};
use common::limits;
use common::net::Domain;
use common::runtime::clock;
use common::runtime::dns::{DnsServer, Metrics, Served, seed};
use common::runtime::drain::Signal;

use crate::config::dns::{Dns, DnsZone, ZoneSource};
use crate::cores::Cores;

/// What is served, and the server that serves it.
#[derive(Debug)]
pub struct Names {
    own: Domain,
    server: DnsServer,
    metrics: Metrics,
    known: Mutex<Known>,
}

/// What the answers are made of.
#[derive(Debug)]
struct Known {
    config: Dns,
    zones: Vec<Records>,
    cookies: Cookies,
    gone: BTreeSet<Domain>,
}

/// The keys of cookies.
#[derive(Debug)]
struct Cookies {
    keys: CookieKeys,
    /// When the own key was made; `None` for keys from a file.
    made: Option<Instant>,
}

impl Names {
    /// Reads the zones and makes a server for them, for the edge `own`.
    ///
    /// # Errors
    /// [`FileError`] if a file can't be used.
    pub fn new(own: &Domain, config: &Dns, metrics: Metrics) -> Result<Self, FileError> {
        let known = Known::load(config, None)?;
        let served = known.served();
        let names = Self {
            own: own.clone(),
            server: DnsServer::new(served, metrics.clone()),
            metrics,
            known: Mutex::new(known),
        };
        names.count();
        Ok(names)
    }

    /// The server.
    pub const fn server(&self) -> &DnsServer {
        &self.server
    }

    /// Reads everything again, for a new configuration.
    ///
    /// # Errors
    /// [`FileError`] if a file can't be used; everything stays as it was.
    pub fn apply(&self, config: &Dns) -> Result<(), FileError> {
        let mut known = self.known();
        let mut loaded = Known::load(config, Some(&known.cookies))?;
        loaded.gone.clone_from(&known.gone);
        self.server.replace(loaded.served());
        *known = loaded;
        drop(known);
        self.count();
        Ok(())
    }

    /// Follows the state of the edges until the drain is over.
    pub async fn keep(self: Arc<Self>, cores: Arc<Cores>, drain: Signal) {
        let mut last_linked = None;
        let watching = async {
            loop {
                let now = clock::now();
                if cores.is_any_available() {
                    last_linked = Some(now);
                }
                let is_linked = last_linked.is_some_and(|last| {
                    now.saturating_duration_since(last) < limits::DNS_LINK_GONE_AFTER
                });
                let mut gone = cores.edges_gone();
                // What the cores say of this edge it knows better itself.
                if is_linked && !drain.is_draining() {
                    gone.remove(&self.own);
                } else {
                    gone.insert(self.own.clone());
                }
                self.look(gone, now);
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = watching => {}
            () = drain.over() => {}
        }
    }

    /// These edges are gone; whatever follows from it is served from now on.
    fn look(&self, gone: BTreeSet<Domain>, now: Instant) {
        let mut known = self.known();
        let is_rolled = known.cookies.roll(now);
        let gone: BTreeSet<Domain> = gone
            .into_iter()
            .filter(|edge| known.leads_to(edge))
            .collect();
        if gone == known.gone && !is_rolled {
            return;
        }
        let is_changed = gone != known.gone;
        known.gone = gone;
        self.server.replace(known.served());
        if is_changed {
            let text: Vec<&str> = known.gone.iter().map(Domain::as_str).collect();
            let left_out = text.join(" ");
            tracing::info!(left_out, "the edges in DNS answers have changed");
        }
        drop(known);
        self.count();
    }

    fn count(&self) {
        let served = self.server.served();
        let known = self.known();
        let answered = known.service_names().map(|owner| {
            let zones = served.responder.zones().iter();
            zones
                .map(|zone| zone.count(&owner, number::SRV))
                .max()
                .unwrap_or(0)
        });
        let answered = answered.max().unwrap_or(0);
        self.metrics
            .edges
            .set(i64::try_from(answered).unwrap_or(i64::MAX));
        let expire = known
            .zones
            .iter()
            .filter_map(Records::signatures_expire)
            .min();
        let expire = expire.map_or(0, |expire| i64::try_from(expire.0).unwrap_or(i64::MAX));
        self.metrics.signatures_expire.set(expire);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often the state of the edges is looked at: a resolver that asks right after a change may get the old answer.
const INTERVAL: Duration = Duration::from_millis(200);

impl Known {
    fn load(config: &Dns, cookies: Option<&Cookies>) -> Result<Self, FileError> {
        let zones = config.zones.iter().map(records).collect::<Result<_, _>>()?;
        Ok(Self {
            zones,
            cookies: Cookies::load(config, cookies)?,
            config: config.clone(),
            gone: BTreeSet::new(),
        })
    }

    fn served(&self) -> Served {
        let gone = self.gone.iter().map(Name::from).collect();
        let zones = self.zones.iter().map(|records| Zone::new(records, &gone));
        let rate: RatePolicy = self.config.rate.clone();
        Served {
            responder: Responder::new(zones.collect(), self.cookies.keys.clone()),
            rate,
        }
    }

    /// The names of the services in the zones.
    fn service_names(&self) -> impl Iterator<Item = Name> {
        self.zones.iter().flat_map(Records::services)
    }

    fn leads_to(&self, edge: &Domain) -> bool {
        let edge = Name::from(edge);
        self.zones.iter().any(|records| records.leads_to(&edge))
    }
}

impl Cookies {
    /// The keys of the configuration, or own ones: those of before, if there are any.
    fn load(config: &Dns, before: Option<&Self>) -> Result<Self, FileError> {
        if let Some(path) = &config.cookie_keys {
            return Ok(Self {
                keys: names::cookie_keys(path)?,
                made: None,
            });
        }
        if let Some(Self {
            keys,
            made: Some(made),
        }) = before
        {
            return Ok(Self {
                keys: keys.clone(),
                made: Some(*made),
            });
        }
        let failed = |error: io::Error| FileError {
            path: "/dev/urandom".into(),
            fault: FileFault::Read(error.to_string()),
        };
        Ok(Self {
            keys: CookieKeys::of_one(seed().map_err(failed)?),
            made: Some(clock::now()),
        })
    }

    /// Makes a new key when the own one is old; `true` if it did.
    fn roll(&mut self, now: Instant) -> bool {
        let is_old =
            |made: Instant| now.saturating_duration_since(made) >= limits::DNS_COOKIE_KEY_LIFETIME;
        if !self.made.is_some_and(is_old) {
            return false;
        }
        // Without random numbers the old key is used on.
        let Ok(key) = seed() else {
            return false;
        };
        self.keys = self.keys.rolled(key);
        self.made = Some(now);
        true
    }
}

fn records(zone: &DnsZone) -> Result<Records, FileError> {
    match &zone.source {
        ZoneSource::File(path) => names::zone(path, &Name::from(&zone.name)),
        ZoneSource::Written(written) => written.records().map_err(|error| FileError {
            path: zone.name.as_str().into(),
            fault: FileFault::Zone(error.to_string()),
        }),
    }
}

#[cfg(test)]
mod tests;
