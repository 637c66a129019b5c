//! Response rate limiting: a source address that is forged must not make this server flood the one it belongs to.
//!
//! A bucket for each network of clients and each thing that is answered. What is over the rate is dropped, but for
//! every so many, which go out empty and truncated: a real client asks again over TCP.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use siphasher::sip::SipHasher13;

use crate::limits;

/// How much is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatePolicy {
    /// The same answer to the same network, so many times a second; 0 for no limit.
    pub responses_per_second: u32,
    /// One of so many answers over the rate goes out truncated; 0 for none.
    pub slip: u32,
    /// Networks that are not limited.
    pub exempt: Vec<IpNet>,
}

impl Default for RatePolicy {
    fn default() -> Self {
        Self {
            responses_per_second: limits::DNS_RESPONSES_PER_SECOND_DEFAULT,
            slip: limits::DNS_SLIP_DEFAULT,
            exempt: Vec::new(),
        }
    }
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateVerdict {
    /// Nobody hears anything.
    Drop,
    /// It goes out.
    Send,
    /// It goes out empty, so that the client asks again over TCP.
    Slip,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness<'a> {
    /// Records of this name (in lower case) and type.
    Records(&'a [u8], u16),
    /// Names that exist without such a record.
    NoData,
    /// Names that do not exist.
    NxDomain,
    /// Everything else.
    Refusal,
}

/// The buckets. Their number is fixed; of many clients the latest are remembered.
#[derive(Debug)]
pub struct Limiter {
    key: [u8; 16],
    started: Instant,
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    tag: u64,
    /// Of the last answer, in milliseconds since the start.
    at_ms: u64,
    /// Thousandths of answers that may go out.
    left: u64,
    /// Answers over the rate.
    over: u32,
}

/// Thousandths of one answer.
const ONE: u64 = 1_000;

impl Limiter {
    /// Nobody has been answered yet. `key` is random, so that nobody can choose which bucket is his.
    #[must_use]
    pub fn new(key: [u8; 16], now: Instant) -> Self {
        let sets = limits::DNS_RATE_SETS.saturating_mul(limits::DNS_RATE_WAYS);
        Self {
            key,
            started: now,
            slots: vec![Slot::default(); sets],
        }
    }

    /// Decides about an answer to `client`, and counts it.
    pub fn verdict(
        &mut self,
        policy: &RatePolicy,
        client: IpAddr,
        likeness: Likeness<'_>,
        now: Instant,
    ) -> RateVerdict {
        let rate = u64::from(policy.responses_per_second);
        if rate == 0 || policy.exempt.iter().any(|net| net.contains(&client)) {
            return RateVerdict::Send;
        }
        let at_ms = now.saturating_duration_since(self.started).as_millis();
        let at_ms = u64::try_from(at_ms).unwrap_or(u64::MAX);
        let tag = self.tag(client, likeness);
        let full = rate.saturating_mul(ONE);
        let Some(slot) = self.slot(tag, at_ms, full) else {
            return RateVerdict::Send;
        };
        let elapsed = at_ms.saturating_sub(slot.at_ms);
        slot.left = slot
            .left
            .saturating_add(elapsed.saturating_mul(rate))
            .min(full);
        slot.at_ms = at_ms;
        if let Some(left) = slot.left.checked_sub(ONE) {
            slot.left = left;
            return RateVerdict::Send;
        }
        slot.over = slot.over.wrapping_add(1);
        match slot.over.checked_rem(policy.slip) {
            Some(0) => RateVerdict::Slip,
            Some(_) | None => RateVerdict::Drop,
        }
    }

    /// Never 0, which is the tag of a slot that nobody has.
    fn tag(&self, client: IpAddr, likeness: Likeness<'_>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        match client.to_canonical() {
            IpAddr::V4(v4) => hasher.write_u32(u32::from(v4) >> 8),
            IpAddr::V6(v6) => hasher.write_u128(u128::from(v6) >> 72),
        }
        match likeness {
            Likeness::Records(name, kind) => {
                hasher.write_u16(kind);
                hasher.write(name);
            }
            Likeness::NoData => hasher.write_u8(1),
            Likeness::NxDomain => hasher.write_u8(2),
            Likeness::Refusal => hasher.write_u8(3),
        }
        hasher.finish().max(1)
    }

    /// The slot with this tag, or else the one of its set that has been quiet for longest, as full as a new one.
    fn slot(&mut self, tag: u64, at_ms: u64, full: u64) -> Option<&mut Slot> {
        let sets = u64::try_from(limits::DNS_RATE_SETS).ok()?;
        let set = usize::try_from(tag.checked_rem(sets)?).ok()?;
        let first = set.saturating_mul(limits::DNS_RATE_WAYS);
        let ways = self
            .slots
            .get_mut(first..)?
            .get_mut(..limits::DNS_RATE_WAYS)?;
        let known = ways.iter().position(|slot| slot.tag == tag);
        let quiet =
            || (0..limits::DNS_RATE_WAYS).min_by_key(|way| ways.get(*way).map(|slot| slot.at_ms));
        let way = known.or_else(quiet)?;
        let slot = ways.get_mut(way)?;
        if slot.tag != tag {
            *slot = Slot {
                tag,
                at_ms,
                left: full,
                over: 0,
            };
        }
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::epoch;

    const NAME: &[u8] = b"\x01a\0";

    fn policy(responses_per_second: u32, slip: u32) -> RatePolicy {
        RatePolicy {
            responses_per_second,
            slip,
            exempt: vec!["192.0.2.0/24".parse().unwrap()],
        }
    }

    fn ask(limiter: &mut Limiter, policy: &RatePolicy, client: &str, now: Instant) -> RateVerdict {
        let client = client.parse().unwrap();
        limiter.verdict(policy, client, Likeness::Records(NAME, 1), now)
    }

    fn count(verdicts: &[RateVerdict], which: RateVerdict) -> usize {
        verdicts.iter().filter(|verdict| **verdict == which).count()
    }

    #[test]
    fn over_the_rate_one_of_two_is_truncated_and_the_other_dropped() {
        let start = epoch();
        let mut limiter = Limiter::new([7; 16], start);
        let policy = policy(20, 2);

        let verdicts: Vec<_> = (0..400)
            .map(|_| ask(&mut limiter, &policy, "198.51.100.1", start))
            .collect();

        assert_eq!(count(&verdicts, RateVerdict::Send), 20);
        assert_eq!(count(&verdicts, RateVerdict::Slip), 190);
        assert_eq!(count(&verdicts, RateVerdict::Drop), 190);
    }

    #[test]
    fn a_bucket_fills_with_time_and_no_further_than_one_second() {
        let start = epoch();
        let mut limiter = Limiter::new([7; 16], start);
        let policy = policy(20, 0);
        for (at, expected) in [(0, 20), (500, 10), (60_000, 20)] {
            let now = start + Duration::from_millis(at);

            let verdicts: Vec<_> = (0..100)
                .map(|_| ask(&mut limiter, &policy, "198.51.100.1", now))
                .collect();

            assert_eq!(count(&verdicts, RateVerdict::Send), expected, "{at}");
            assert_eq!(count(&verdicts, RateVerdict::Slip), 0, "{at}");
        }
    }

    #[test]
    fn other_networks_other_answers_and_exempt_clients_have_their_own() {
        let now = epoch();
        let mut limiter = Limiter::new([7; 16], now);
        let policy = policy(1, 0);
        assert_eq!(
            ask(&mut limiter, &policy, "198.51.100.1", now),
            RateVerdict::Send
        );

        assert_eq!(
            ask(&mut limiter, &policy, "198.51.100.254", now),
            RateVerdict::Drop
        );
        assert_eq!(
            ask(&mut limiter, &policy, "::ffff:198.51.100.3", now),
            RateVerdict::Drop
        );
        assert_eq!(
            ask(&mut limiter, &policy, "198.51.101.1", now),
            RateVerdict::Send
        );
        let client = "198.51.100.1".parse().unwrap();
        for likeness in [
            Likeness::Records(NAME, 28),
            Likeness::Records(b"\x01b\0", 1),
            Likeness::NoData,
            Likeness::NxDomain,
            Likeness::Refusal,
        ] {
            let verdict = limiter.verdict(&policy, client, likeness, now);
            assert_eq!(verdict, RateVerdict::Send, "{likeness:?}");
        }
        for _ in 0..100 {
            assert_eq!(
                ask(&mut limiter, &policy, "192.0.2.9", now),
                RateVerdict::Send
            );
        }
    }

    #[test]
    fn a_limited_client_stays_limited_while_thousands_of_others_come() {
        let start = epoch();
        let mut limiter = Limiter::new([7; 16], start);
        let policy = policy(5, 0);
        let mut sent = 0;
        for step in 0..20_000_u32 {
            let now = start + Duration::from_micros(u64::from(step) * 50);
            let other = IpAddr::from((0x0A00_0000 + (step << 8)).to_be_bytes());
            limiter.verdict(&policy, other, Likeness::NxDomain, now);
            if ask(&mut limiter, &policy, "198.51.100.1", now) == RateVerdict::Send {
                sent += 1;
            }
        }

        // One second: the burst and what came in during it.
        assert!(sent <= 10, "{sent}");
    }
}
