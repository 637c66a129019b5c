//! Edge-e's view of sessions: enough to drop junk, expired and revoked cookies, not enough to let anybody in.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::{CookieValue, FilterKeys, SessionId, Tombstone, Tombstones, candidates};
use crate::id::CoreId;
use crate::time::UnixTime;

/// A cookie that edge-c may be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The core that keeps the record.
    pub core: CoreId,
    /// When the cookie ends.
    pub expiry: UnixTime,
    /// The session it names.
    pub id: SessionId,
}

/// Why a cookie goes no further. To the client all of them are 401; ordered by how far the cookie got.
///
/// Only [`Malformed`](Self::Malformed) and [`BadTag`](Self::BadTag) can't come from an honest client that slept too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refused {
    /// There is no cookie of that name.
    #[error("no cookie")]
    Missing,
    /// Not a cookie of ours.
    #[error("malformed cookie")]
    Malformed,
    /// Under a key that is not, or no longer, known.
    #[error("cookie under an unknown key")]
    UnknownKey,
    /// Not made by the key it names.
    #[error("forged cookie")]
    BadTag,
    /// Well made, and over.
    #[error("expired cookie")]
    Expired,
    /// Well made, and revoked.
    #[error("revoked session")]
    Revoked,
}

impl Refused {
    /// The label of this reason in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::BadTag => "bad_tag",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// The keys of every core and the sessions they revoked.
///
/// Bounds: 256 cores by the width of [`CoreId`], two keys each, and [`Tombstones`].
#[derive(Clone, Debug, Default)]
pub struct Filter {
    keys: BTreeMap<CoreId, FilterKeys>,
    tombstones: Tombstones,
}

impl Filter {
    /// Takes a core's keys in place of those it had.
    pub fn set_keys(&mut self, keys: FilterKeys) {
        self.keys.insert(keys.core, keys);
    }

    /// Forgets a core that left for good. Its tombstones stay until they expire.
    pub fn remove_core(&mut self, core: CoreId) {
        self.keys.remove(&core);
    }

    /// Remembers a revoked session.
    pub fn revoke(&mut self, tombstone: Tombstone) {
        self.tombstones.insert(tombstone);
    }

    /// Drops tombstones of sessions that have expired by `now`.
    pub fn expire(&mut self, now: UnixTime) {
        while self.tombstones.take_expired(now).is_some() {}
    }

    /// How many revoked sessions are remembered.
    #[must_use]
    pub fn tombstone_count(&self) -> usize {
        self.tombstones.len()
    }

    /// Whether there is any key to check cookies with. Without one every cookie is unknown, which says nothing about
    /// the clients.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether a request has a cookie of a core whose keys were never told.
    #[must_use]
    pub fn is_of_unknown_core(&self, fields: &HeaderMap) -> bool {
        candidates(fields)
            .filter_map(|text| CookieValue::parse(text).ok())
            .any(|cookie| !self.keys.contains_key(&cookie.key_id().core))
    }

    /// Decides about one cookie value.
    ///
    /// # Errors
    /// [`Refused`] with the first thing that is wrong; the tag is looked at before the time, so that nobody can make
    /// "expired" out of nothing.
    pub fn check(&self, cookie_text: &str, now: UnixTime) -> Result<Checked, Refused> {
        let cookie = CookieValue::parse(cookie_text).map_err(|_| Refused::Malformed)?;
        let key_id = cookie.key_id();
        let key = self
            .keys
            .get(&key_id.core)
            .and_then(|keys| keys.find(key_id.generation))
            .ok_or(Refused::UnknownKey)?;
        if !cookie.is_tagged_by(key) {
            return Err(Refused::BadTag);
        }
        let expiry = cookie.expiry();
        if expiry <= now {
            return Err(Refused::Expired);
        }
        let id = cookie.session_id();
        if self.tombstones.contains(&id) {
            return Err(Refused::Revoked);
        }
        Ok(Checked {
            core: key_id.core,
            expiry,
            id,
        })
    }

    /// Decides about a request: the first of its cookies that passes is the one that counts, and is returned with it.
    ///
    /// # Errors
    /// [`Refused`] of the cookie that got furthest, if none passes.
    pub fn check_request<'a>(
        &self,
        fields: &'a HeaderMap,
        now: UnixTime,
    ) -> Result<(Checked, &'a str), Refused> {
        let mut furthest = Refused::Missing;
        for text in candidates(fields) {
            match self.check(text, now) {
                Ok(checked) => return Ok((checked, text)),
                Err(refused) => furthest = furthest.max(refused),
            }
        }
        Err(furthest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mra::cookie::{FilterKey, KeyId};
    use http::header::COOKIE;

    const NOW: UnixTime = UnixTime(1_000);

    #[test]
    fn a_cookie_of_a_known_core_passes() {
        let cookie = cookie(1, 7, 2_000);

        assert_eq!(
            filter().check(&cookie.text(), NOW),
            Ok(Checked {
                core: CoreId(1),
                expiry: UnixTime(2_000),
                id: cookie.session_id(),
            })
        );
        assert!(
            filter()
                .check(&self::cookie(2, 0, 2_000).text(), NOW)
                .is_ok()
        );
    }

    #[test]
    fn a_cookie_of_a_core_that_never_came_is_told_from_others() {
        let fields = |core| {
            let field = format!("X-Auth={}", cookie(core, 7, 2_000).text());
            HeaderMap::from_iter([(COOKIE, field.parse().unwrap())])
        };

        assert!(!filter().is_of_unknown_core(&fields(1)));
        assert!(filter().is_of_unknown_core(&fields(9)));
        assert!(!filter().is_of_unknown_core(&HeaderMap::new()));
    }

    #[test]
    fn every_reason_has_its_own_refusal() {
        let mut filter = filter();
        let revoked = issue(1, 7, 2_000, [9; 18]);
        filter.revoke(Tombstone {
            id: revoked.session_id(),
            until: UnixTime(2_000),
        });
        let other_key = CookieValue::issue(
            &FilterKey::new([99; 32]),
            cookie(1, 7, 0).key_id(),
            UnixTime(2_000),
            [0; 18],
        );

        for (text, refused) in [
            ("junk".to_owned(), Refused::Malformed),
            (cookie(3, 7, 2_000).text(), Refused::UnknownKey),
            (cookie(1, 5, 2_000).text(), Refused::UnknownKey),
            (other_key.text(), Refused::BadTag),
            (cookie(1, 7, 1_000).text(), Refused::Expired),
            (revoked.text(), Refused::Revoked),
        ] {
            assert_eq!(filter.check(&text, NOW), Err(refused), "{text}");
        }
    }

    #[test]
    fn the_key_of_another_core_makes_no_cookie() {
        let stolen = CookieValue::issue(
            &key(2, 0),
            KeyId {
                core: CoreId(1),
                generation: 7,
            },
            UnixTime(2_000),
            [0; 18],
        );

        assert_eq!(filter().check(&stolen.text(), NOW), Err(Refused::BadTag));
    }

    #[test]
    fn two_generations_pass_and_the_third_is_gone() {
        let mut filter = filter();
        let (older, old) = (cookie(1, 6, 2_000), cookie(1, 7, 2_000));
        assert!(filter.check(&older.text(), NOW).is_ok());

        filter.set_keys(keys(1, 8, Some(7)));

        assert_eq!(filter.check(&older.text(), NOW), Err(Refused::UnknownKey));
        assert!(filter.check(&old.text(), NOW).is_ok());
        assert!(filter.check(&cookie(1, 8, 2_000).text(), NOW).is_ok());
    }

    #[test]
    fn a_tombstone_goes_when_the_cookie_itself_says_no() {
        let mut filter = filter();
        let cookie = cookie(1, 7, 2_000);
        filter.revoke(Tombstone {
            id: cookie.session_id(),
            until: UnixTime(2_000),
        });

        filter.expire(UnixTime(1_999));
        assert_eq!(
            filter.check(&cookie.text(), UnixTime(1_999)),
            Err(Refused::Revoked)
        );
        filter.expire(UnixTime(2_000));
        assert_eq!(filter.tombstone_count(), 0);
        assert_eq!(
            filter.check(&cookie.text(), UnixTime(2_000)),
            Err(Refused::Expired)
        );
    }

    #[test]
    fn the_first_cookie_that_verifies_wins_over_stale_ones() {
        let good = cookie(1, 7, 2_000).text();
        let stale = cookie(1, 7, 10).text();
        let mut fields = HeaderMap::new();
        fields.append(COOKIE, format!("X-Auth={stale}; a=b").parse().unwrap());
        fields.append(COOKIE, format!("c=d; X-Auth={good}").parse().unwrap());

        let (_, text) = filter().check_request(&fields, NOW).unwrap();

        assert_eq!(text, good);
    }

    #[test]
    fn only_the_first_four_cookies_are_tried_and_the_best_reason_is_kept() {
        let good = cookie(1, 7, 2_000).text();
        let stale = cookie(1, 7, 10).text();
        let request = |junk: usize, last: &str| {
            let mut value = format!("X-Auth={stale}; ");
            value.push_str(&"X-Auth=junk; ".repeat(junk));
            value.push_str(&format!("X-Auth={last}"));
            HeaderMap::from_iter([(COOKIE, value.parse().unwrap())])
        };

        assert!(filter().check_request(&request(2, &good), NOW).is_ok());
        assert_eq!(
            filter().check_request(&request(3, &good), NOW),
            Err(Refused::Expired)
        );
        assert_eq!(
            filter().check_request(&HeaderMap::new(), NOW),
            Err(Refused::Missing)
        );
    }

    fn filter() -> Filter {
        let mut filter = Filter::default();
        filter.set_keys(keys(1, 7, Some(6)));
        filter.set_keys(keys(2, 0, None));
        filter
    }

    fn key(core: u8, generation: u8) -> FilterKey {
        let mut octets = [core; 32];
        octets[0] = generation;
        FilterKey::new(octets)
    }

    fn keys(core: u8, latest: u8, earlier: Option<u8>) -> FilterKeys {
        FilterKeys {
            core: CoreId(core),
            latest: (latest, key(core, latest)),
            earlier: earlier.map(|generation| (generation, key(core, generation))),
        }
    }

    fn cookie(core: u8, generation: u8, expiry: u64) -> CookieValue {
        issue(core, generation, expiry, [0; 18])
    }

    fn issue(core: u8, generation: u8, expiry: u64, random: [u8; 18]) -> CookieValue {
        let key_id = KeyId {
            core: CoreId(core),
            generation,
        };
        CookieValue::issue(&key(core, generation), key_id, UnixTime(expiry), random)
    }
}
