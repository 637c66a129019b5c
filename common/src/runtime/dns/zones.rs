//! A name server and what its answers are made of: the zones of a configuration, the keys of cookies, and which edges are
//! gone. All of it may change while it serves.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{DnsServer, Metrics, Served, seed};
use crate::config::name_server::NameServer;
use crate::config::names;
use crate::config::pem::{FileError, FileFault};
use crate::dns::cookie::CookieKeys;
use crate::dns::records::Records;
use crate::dns::zone::Zone;
use crate::dns::{Name, Responder, number};
use crate::limits;
use crate::net::Domain;
use crate::runtime::clock;

/// What is served, and the server that serves it.
#[derive(Debug)]
pub struct ZoneServer {
    server: DnsServer,
    metrics: Metrics,
    known: Mutex<Known>,
}

/// What was read and is not served yet.
#[derive(Debug)]
pub struct Opened(Known);

/// What the answers are made of.
#[derive(Debug)]
struct Known {
    config: NameServer,
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

impl ZoneServer {
    /// Reads the zones and makes a server for them.
    ///
    /// # Errors
    /// [`FileError`] if a file can't be used.
    pub fn new(config: &NameServer, metrics: Metrics) -> Result<Self, FileError> {
        let known = Known::load(config, None)?;
        let server = Self {
            server: DnsServer::new(known.served(), metrics.clone()),
            metrics,
            known: Mutex::new(known),
        };
        server.count();
        Ok(server)
    }

    /// The server.
    pub const fn server(&self) -> &DnsServer {
        &self.server
    }

    /// Reads everything again, for a new configuration; nothing changes yet.
    ///
    /// # Errors
    /// [`FileError`] if a file can't be used.
    pub fn open(&self, config: &NameServer) -> Result<Opened, FileError> {
        let loaded = Known::load(config, Some(&self.known().cookies))?;
        Ok(Opened(loaded))
    }

    /// Serves what was read.
    pub fn take_over(&self, opened: Opened) {
        let mut known = self.known();
        let mut loaded = opened.0;
        loaded.gone.clone_from(&known.gone);
        self.server.replace(loaded.served());
        *known = loaded;
        drop(known);
        self.count();
    }

    /// These edges are gone, and it is `now`; whatever follows from it is served from now on. Whether the answers lead to
    /// others than before.
    pub fn look(&self, gone: BTreeSet<Domain>, now: Instant) -> bool {
        let mut known = self.known();
        let is_rolled = known.cookies.roll(now);
        let gone: BTreeSet<Domain> = gone
            .into_iter()
            .filter(|edge| known.leads_to(edge))
            .collect();
        if gone == known.gone && !is_rolled {
            return false;
        }
        let is_changed = gone != known.gone;
        known.gone = gone;
        self.server.replace(known.served());
        if is_changed {
            let text: Vec<&str> = known.gone.iter().map(Domain::as_str).collect();
            let left_out = text.join(" ");
            tracing::info!(left_out, "the edges in DNS answers have changed");
        }
        is_changed
    }

    /// To how many edges the answers lead.
    #[must_use]
    pub fn edges_answered(&self) -> usize {
        let served = self.server.served();
        let known = self.known();
        let names = known.zones.iter().flat_map(Records::services);
        let answered = names.map(|owner| {
            let zones = served.responder.zones().iter();
            zones
                .map(|zone| zone.count(&owner, number::SRV))
                .max()
                .unwrap_or(0)
        });
        answered.max().unwrap_or(0)
    }

    fn count(&self) {
        let known = self.known();
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

impl Known {
    fn load(config: &NameServer, cookies: Option<&Cookies>) -> Result<Self, FileError> {
        let zones = config.zones.iter().map(names::records);
        Ok(Self {
            zones: zones.collect::<Result<_, _>>()?,
            cookies: Cookies::load(config, cookies)?,
            config: config.clone(),
            gone: BTreeSet::new(),
        })
    }

    fn served(&self) -> Served {
        let gone = self.gone.iter().map(Name::from).collect();
        let zones = self.zones.iter().map(|records| Zone::new(records, &gone));
        Served {
            responder: Responder::new(zones.collect(), self.cookies.keys.clone()),
            rate: self.config.rate.clone(),
        }
    }

    fn leads_to(&self, edge: &Domain) -> bool {
        let edge = Name::from(edge);
        self.zones.iter().any(|records| records.leads_to(&edge))
    }
}

impl Cookies {
    /// The keys of the configuration, or own ones: those of before, if there are any.
    fn load(config: &NameServer, before: Option<&Self>) -> Result<Self, FileError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::name_server::{DnsZone, ZoneSource};
    use crate::dns::rate::RatePolicy;
    use crate::dns::service::ServiceZone;
    use prometheus_client::registry::Registry;

    fn zones() -> (ZoneServer, NameServer) {
        let domain = |text| Domain::parse(text).unwrap();
        let written = ServiceZone {
            apex: domain("cisco-internal.example.com"),
            name_servers: vec![domain("c1.example.com")],
            contact: domain("hostmaster.example.com"),
            serial: 1,
            ttl: 60,
            negative_ttl: 30,
            services: Vec::new(),
            hosts: Vec::new(),
        };
        let config = NameServer {
            listen: Vec::new(),
            cookie_keys: None,
            rate: RatePolicy::default(),
            zones: vec![DnsZone {
                name: written.apex.clone(),
                source: ZoneSource::Written(written),
            }],
        };
        let metrics = Metrics::register(&mut Registry::default());
        (ZoneServer::new(&config, metrics).unwrap(), config)
    }

    #[test]
    fn own_keys_are_rolled_and_survive_a_reload() {
        let (zones, config) = zones();
        let made = || zones.known().cookies.made;
        let first = made();

        zones.take_over(zones.open(&config).unwrap());
        assert_eq!(made(), first);

        let later = clock::now() + limits::DNS_COOKIE_KEY_LIFETIME;
        zones.look(BTreeSet::new(), later);
        assert_ne!(made(), first);
    }
}
