//! The filter keys of this core: made here, rolled, two valid at any time. What they are used for is in
//! [`common::mra::cookie`].
//!
//! A new key is announced [`limits::FILTER_KEY_LEAD`] before the first cookie is made with it, so every edge-e knows it by
//! then. The one before stays until the next is announced: longer than any session that began under it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use common::id::CoreId;
use common::limits;
use common::mra::cookie::{CookieValue, FilterKey, FilterKeys, KeyId};
use common::time::UnixTime;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::random::{Random, RandomError, draw};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    generation: u8,
    key: FilterKey,
    created: UnixTime,
    issues_from: UnixTime,
}

/// The keys of one core, and from when each is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRing {
    core: CoreId,
    latest: Entry,
    earlier: Option<Entry>,
}

impl KeyRing {
    /// Starts with one key that is used at once: nobody holds an older cookie.
    pub(super) fn start(
        core: CoreId,
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<Self, RandomError> {
        // Where an earlier ring got lost, its cookies should name a key that is unknown, rather than look forged under
        // a new one of the same number: any generation may be the first.
        let [generation] = draw(random)?;
        Ok(Self {
            core,
            latest: Entry {
                generation,
                key: FilterKey::new(draw(random)?),
                created: now,
                issues_from: now,
            },
            earlier: None,
        })
    }

    /// How often to roll: daily, and never so fast that a key goes while a session under it lives.
    pub(super) fn interval(lifetime: Duration) -> Duration {
        limits::FILTER_KEY_INTERVAL.max(lifetime.saturating_add(limits::FILTER_KEY_LEAD))
    }

    /// The ring after a roll, or `None` if it isn't time.
    pub(super) fn rolled(
        &self,
        now: UnixTime,
        interval: Duration,
        random: &dyn Random,
    ) -> Result<Option<Self>, RandomError> {
        let is_due = now.since(self.latest.created) >= interval;
        // Made while the clock was far ahead: it would stay for as long as that was wrong.
        let is_from_the_future = self.latest.created.since(now) >= interval;
        if !is_due && !is_from_the_future {
            return Ok(None);
        }
        Ok(Some(Self {
            core: self.core,
            latest: Entry {
                generation: self.latest.generation.wrapping_add(1),
                key: FilterKey::new(draw(random)?),
                created: now,
                issues_from: now.plus(limits::FILTER_KEY_LEAD),
            },
            earlier: Some(self.latest.clone()),
        }))
    }

    /// The key that new cookies are made with.
    pub(super) fn issuing(&self, now: UnixTime) -> (KeyId, &FilterKey) {
        let entry = match &self.earlier {
            Some(earlier) if now < self.latest.issues_from => earlier,
            Some(_) | None => &self.latest,
        };
        let key_id = KeyId {
            core: self.core,
            generation: entry.generation,
        };
        (key_id, &entry.key)
    }

    /// Whether one of the keys made the tag of a cookie, whichever core says that it issued it.
    pub(super) fn has_tagged(&self, cookie: &CookieValue) -> bool {
        let generation = cookie.key_id().generation;
        let mut entries = std::iter::once(&self.latest).chain(&self.earlier);
        entries.any(|entry| entry.generation == generation && cookie.is_tagged_by(&entry.key))
    }

    /// The same keys, used by another core.
    pub(super) fn used_by(self, core: CoreId) -> Self {
        Self { core, ..self }
    }

    /// Names this ring among all that were ever made.
    pub(super) fn version(&self) -> String {
        let Entry {
            generation,
            created,
            ..
        } = self.latest;
        format!("{created}:{generation}")
    }

    pub(super) const fn core(&self) -> CoreId {
        self.core
    }

    /// What every edge-e is told.
    pub(super) fn filter_keys(&self) -> FilterKeys {
        let pair = |entry: &Entry| (entry.generation, entry.key.clone());
        FilterKeys {
            core: self.core,
            latest: pair(&self.latest),
            earlier: self.earlier.as_ref().map(pair),
        }
    }

    /// The ring for the snapshot, to be sealed.
    pub(super) fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let stored = |entry: &Entry| StoredEntry {
            generation: entry.generation,
            key: Zeroizing::new(STANDARD_NO_PAD.encode(entry.key.reveal())),
            created: entry.created,
            issues_from: entry.issues_from,
        };
        let ring = StoredRing {
            version: VERSION,
            core: self.core,
            latest: stored(&self.latest),
            earlier: self.earlier.as_ref().map(stored),
        };
        serde_json::to_vec(&ring).ok().map(Zeroizing::new)
    }

    /// Reads what [`KeyRing::encode`] wrote; `None` if it is anything else.
    pub(super) fn decode(octets: &[u8]) -> Option<Self> {
        let ring: StoredRing = serde_json::from_slice(octets).ok()?;
        if ring.version != VERSION {
            return None;
        }
        Some(Self {
            core: ring.core,
            latest: ring.latest.read()?,
            earlier: match ring.earlier {
                Some(entry) => Some(entry.read()?),
                None => None,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct StoredRing {
    version: u8,
    core: CoreId,
    latest: StoredEntry,
    earlier: Option<StoredEntry>,
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    generation: u8,
    #[serde(with = "key_text")]
    key: Zeroizing<String>,
    created: UnixTime,
    issues_from: UnixTime,
}

mod key_text {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

impl StoredEntry {
    fn read(self) -> Option<Entry> {
        let octets = Zeroizing::new(STANDARD_NO_PAD.decode(self.key.as_bytes()).ok()?);
        let key: [u8; 32] = octets.as_slice().try_into().ok()?;
        Some(Entry {
            generation: self.generation,
            key: FilterKey::new(key),
            created: self.created,
            issues_from: self.issues_from,
        })
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::super::random::tests::CountedRandom;
    use super::*;
    use common::mra::cookie::Filter;

    const DAY: u64 = 24 * 60 * 60;

    fn ring(now: u64, random: &CountedRandom) -> KeyRing {
        KeyRing::start(CoreId(1), UnixTime(now), random).unwrap()
    }

    fn rolled(ring: &KeyRing, now: u64, random: &CountedRandom) -> Option<KeyRing> {
        ring.rolled(UnixTime(now), Duration::from_secs(DAY), random)
            .unwrap()
    }

    #[test]
    fn a_new_key_is_announced_before_it_is_used() {
        let random = CountedRandom::default();
        let first = ring(1_000, &random);
        assert_eq!(rolled(&first, 1_000 + DAY - 1, &random), None);

        let second = rolled(&first, 1_000 + DAY, &random).unwrap();

        let announced = second.filter_keys();
        let (old, _) = first.issuing(UnixTime(1_000));
        assert_eq!(announced.earlier.as_ref().unwrap().0, old.generation);
        assert_eq!(second.issuing(UnixTime(1_000 + DAY + 59)).0, old);
        let (new, _) = second.issuing(UnixTime(1_000 + DAY + 60));
        assert_eq!(new.generation, announced.latest.0);
        assert_eq!(new.generation, old.generation.wrapping_add(1));
    }

    #[test]
    fn every_cookie_passes_the_filter_until_it_expires() {
        for lifetime in [0, 28_800, 604_800] {
            let interval = KeyRing::interval(Duration::from_secs(lifetime));
            let random = CountedRandom::default();
            let mut ring = ring(0, &random);
            let mut filter = Filter::default();
            filter.set_keys(ring.filter_keys());
            let mut issued: Vec<CookieValue> = Vec::new();
            for minute in 0..(3 * interval.as_secs() / 60) {
                let now = UnixTime(minute * 60);
                if let Some(next) = ring.rolled(now, interval, &random).unwrap() {
                    ring = next;
                    filter.set_keys(ring.filter_keys());
                }
                issued.retain(|cookie| cookie.expiry() > now);
                if minute % 60 == 59 || now.0 % interval.as_secs() < 120 {
                    let (key_id, key) = ring.issuing(now);
                    let expiry = now.plus(Duration::from_secs(lifetime));
                    issued.push(CookieValue::issue(key, key_id, expiry, [0; 18]));
                    for cookie in issued.iter().filter(|cookie| cookie.expiry() > now) {
                        assert!(
                            filter.check(&cookie.text(), now).is_ok(),
                            "{lifetime} {now}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_ring_reads_back_as_written() {
        let random = CountedRandom::default();
        let one = ring(1_000, &random);
        let two = rolled(&one, 1_000 + DAY, &random).unwrap();

        for ring in [one, two] {
            assert_eq!(KeyRing::decode(&ring.encode().unwrap()), Some(ring));
        }
        assert_eq!(KeyRing::decode(b"{}"), None);
    }

    #[test]
    fn a_key_made_under_a_wrong_clock_does_not_stay() {
        let random = CountedRandom::default();
        let future = ring(100 * DAY, &random);

        assert_eq!(rolled(&future, 100 * DAY - 60, &random), None);
        assert!(rolled(&future, DAY, &random).is_some());
    }

    #[test]
    fn generations_go_round() {
        let random = CountedRandom::default();
        let mut ring = ring(0, &random);
        ring.latest.generation = 255;

        let next = rolled(&ring, DAY, &random).unwrap();

        assert_eq!(next.filter_keys().latest.0, 0);
        assert_eq!(next.filter_keys().earlier.unwrap().0, 255);
    }
}
