//! On which node a user was last, so that a stream that is resumed (XEP-0198) finds its other half, and a user who was
//! sent home once goes there at once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::limits;
use common::net::Domain;
use common::time::UnixTime;

use crate::upstream::xmpp::NodePlace;

/// The map. Names are kept as hashes, places once.
#[derive(Debug, Default)]
pub struct Homes {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    users: BTreeMap<u64, Home>,
    places: Vec<NodePlace>,
}

#[derive(Clone, Copy, Debug)]
struct Home {
    place: u16,
    until: UnixTime,
}

impl Homes {
    /// Where the user is at home, as far as that is known and still counts.
    #[must_use]
    pub fn of(&self, user: &str, domain: &Domain, now: UnixTime) -> Option<NodePlace> {
        let key = self.key(user, domain);
        let known = self.lock();
        let home = known.users.get(&key).filter(|home| home.until > now)?;
        known.places.get(usize::from(home.place)).cloned()
    }

    /// Notes where the user is, for `kept`.
    pub fn note(
        &self,
        user: &str,
        domain: &Domain,
        place: &NodePlace,
        kept: Duration,
        now: UnixTime,
    ) {
        let key = self.key(user, domain);
        let mut known = self.lock();
        if known.users.len() >= limits::XMPP_HOMES_MAX {
            known.users.retain(|_, home| home.until > now);
        }
        let Some(place) = known.number(place) else {
            return;
        };
        let until = UnixTime(now.0.saturating_add(kept.as_secs()));
        if let Some(home) = known.users.get_mut(&key) {
            // What a node said lasts longer than where the user happened to be.
            let until = if home.place == place {
                until.max(home.until)
            } else {
                until
            };
            *home = Home { place, until };
        } else if known.users.len() < limits::XMPP_HOMES_MAX {
            known.users.insert(key, Home { place, until });
        }
    }

    fn key(&self, user: &str, domain: &Domain) -> u64 {
        let local = user.rsplit_once('@').map_or(user, |(local, _)| local);
        self.hasher
            .hash_one((local.to_lowercase(), domain.as_str()))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn number(&mut self, place: &NodePlace) -> Option<u16> {
        if let Some(number) = self.places.iter().position(|known| known == place) {
            return u16::try_from(number).ok();
        }
        if self.places.len() >= limits::XMPP_HOME_PLACES_MAX {
            // Nodes come and go over months: begin anew.
            self.places.clear();
            self.users.clear();
        }
        self.places.push(place.clone());
        u16::try_from(self.places.len().saturating_sub(1)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_forgotten_after_its_time_and_belongs_to_one_domain() {
        let homes = Homes::default();
        let place: NodePlace = "tls:imp1.example.com:5223".parse().unwrap();
        let domain = Domain::parse("example.com").unwrap();
        let hour = Duration::from_hours(1);
        homes.note("Alice", &domain, &place, hour, UnixTime(1000));
        let other = Domain::parse("other.test").unwrap();
        assert_eq!(homes.of("alice", &other, UnixTime(1000)), None);
        assert_eq!(homes.of("bob", &domain, UnixTime(1000)), None);
        assert_eq!(homes.of("alice", &domain, UnixTime(4600)), None);

        assert_eq!(
            homes.of("alice@example.com", &domain, UnixTime(4599)),
            Some(place)
        );
    }

    #[test]
    fn what_a_node_said_outlasts_where_the_user_was() {
        let homes = Homes::default();
        let place: NodePlace = "tls:imp1.example.com:5223".parse().unwrap();
        let domain = Domain::parse("example.com").unwrap();
        homes.note(
            "alice",
            &domain,
            &place,
            Duration::from_hours(24),
            UnixTime(0),
        );
        homes.note(
            "alice",
            &domain,
            &place,
            Duration::from_mins(10),
            UnixTime(0),
        );

        assert_eq!(homes.of("alice", &domain, UnixTime(3600)), Some(place));
    }
}
