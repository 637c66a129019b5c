//! Addresses that are refused for a while after too many authorisation failures.
//!
//! The caller decides what a failure is: a wrong password and a forged token are, a genuine token that has expired is
//! not. A success clears nothing, or whoever knows one password could guess others for ever.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::policy::fading::Fading;
use crate::policy::rate_limit::{Quota, SlidingWindows, network_of};
use crate::time::UnixTime;

/// When an address is refused, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailPolicy {
    /// This many failures are forgiven; the next one is one too many.
    pub failures_max: NonZeroU32,
    /// How long a failure counts.
    pub window: Duration,
    /// How long an address is refused.
    pub block: Duration,
    /// Addresses that are never refused.
    pub exempt: Vec<IpNet>,
}

impl Default for JailPolicy {
    /// More than 5 failures in 10 minutes: 10 minutes, nobody exempt.
    fn default() -> Self {
        Self {
            failures_max: limits::JAIL_FAILURES_MAX,
            window: limits::JAIL_WINDOW,
            block: limits::JAIL_BLOCK,
            exempt: Vec::new(),
        }
    }
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// The address is refused from now until then.
    Blocked {
        /// When it is let in again.
        until: Instant,
    },
    /// The failure was counted.
    Counted,
    /// The address is exempt.
    Exempt,
}

/// An address (IPv6: the first of its /64 network) that one edge refuses and the others shall refuse too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Which, as [`network_of`] gives it.
    pub network: IpAddr,
    /// When it is let in again.
    pub until: UnixTime,
}

/// The addresses (IPv6: /64 networks) that failed, and those that are refused.
#[derive(Debug)]
pub struct Jail {
    policy: JailPolicy,
    failures: SlidingWindows<IpAddr>,
    blocked: Fading<IpAddr, ()>,
}

impl Jail {
    /// An empty jail, bounded by [`limits::JAIL_ADDRESSES_MAX`].
    #[must_use]
    pub fn new(policy: JailPolicy) -> Self {
        let quota = Quota {
            count: policy.failures_max.saturating_add(1),
            window: policy.window,
        };
        Self {
            policy,
            failures: SlidingWindows::new(quota, limits::JAIL_ADDRESSES_MAX),
            blocked: Fading::new(limits::JAIL_ADDRESSES_MAX),
        }
    }

    /// Counts an authorisation failure of `address`.
    pub fn fail(&mut self, address: IpAddr, now: Instant) -> Sentence {
        self.blocked.expire(now);
        let canonical = address.to_canonical();
        if self
            .policy
            .exempt
            .iter()
            .any(|net| net.contains(&canonical))
        {
            return Sentence::Exempt;
        }
        let network = network_of(address);
        if let Some((until, ())) = self.blocked.get(&network, now) {
            return Sentence::Blocked { until };
        }
        let count = self.failures.record(network, now);
        let forgiven = usize::try_from(self.policy.failures_max.get()).unwrap_or(usize::MAX);
        if count <= forgiven {
            return Sentence::Counted;
        }
        self.failures.forget(&network);
        let Some(until) = now.checked_add(self.policy.block) else {
            return Sentence::Counted;
        };
        self.blocked.put(network, until, ());
        Sentence::Blocked { until }
    }

    /// Refuses `address` for `time` because another edge does, never longer than this jail would itself; whether that is
    /// news. Who is exempt here stays exempt.
    pub fn block(&mut self, address: IpAddr, time: Duration, now: Instant) -> bool {
        self.blocked.expire(now);
        let canonical = address.to_canonical();
        if self
            .policy
            .exempt
            .iter()
            .any(|net| net.contains(&canonical))
        {
            return false;
        }
        let network = network_of(address);
        let Some(until) = now.checked_add(time.min(self.policy.block)) else {
            return false;
        };
        let known = self.blocked.get(&network, now).map(|(until, ())| until);
        if time.is_zero() || known.is_some_and(|known| known >= until) {
            return false;
        }
        self.failures.forget(&network);
        self.blocked.put(network, until, ());
        known.is_none()
    }

    /// Until when `address` is refused, if it is.
    #[must_use]
    pub fn blocked_until(&self, address: IpAddr, now: Instant) -> Option<Instant> {
        self.blocked
            .get(&network_of(address), now)
            .map(|(until, ())| until)
    }

    /// Lets `address` in again and forgets its failures; whether it was refused.
    pub fn release(&mut self, address: IpAddr) -> bool {
        let network = network_of(address);
        self.failures.forget(&network);
        self.blocked.remove(&network).is_some()
    }

    /// Who is refused now and until when, in the order of addresses; the first `count_max`.
    #[must_use]
    pub fn refused(&self, now: Instant, count_max: usize) -> Vec<(IpAddr, Instant)> {
        let entries = self.blocked.iter().filter(|(_, until)| *until > now);
        entries.take(count_max).collect()
    }

    /// How many addresses are refused now.
    pub fn blocked(&mut self, now: Instant) -> usize {
        self.blocked.expire(now);
        self.blocked.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::testing::epoch;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_sixth_failure_blocks_for_ten_minutes() {
        let now = epoch();
        let mut jail = Jail::new(JailPolicy::default());
        for _ in 0..5 {
            assert_eq!(jail.fail(v4(1), now), Sentence::Counted);
        }
        assert_eq!(jail.blocked_until(v4(1), now), None);

        let until = now + MINUTE * 10;
        assert_eq!(jail.fail(v4(1), now), Sentence::Blocked { until });

        assert_eq!(jail.blocked_until(v4(1), now), Some(until));
        assert_eq!(jail.blocked_until(v4(2), now), None);
        assert_eq!(jail.blocked_until(v4(1), until), None);
        assert_eq!(jail.blocked(now), 1);
        assert_eq!(jail.refused(now, 9), [(v4(1), until)]);
        assert_eq!(jail.refused(until, 9), []);
        assert_eq!(jail.blocked(until), 0);
    }

    #[test]
    fn failures_while_blocked_do_not_prolong_it() {
        let now = epoch();
        let mut jail = Jail::new(JailPolicy::default());
        for _ in 0..6 {
            jail.fail(v4(1), now);
        }
        let until = now + MINUTE * 10;

        assert_eq!(
            jail.fail(v4(1), now + MINUTE * 9),
            Sentence::Blocked { until }
        );
        assert_eq!(jail.fail(v4(1), until), Sentence::Counted);
    }

    #[test]
    fn old_failures_do_not_count() {
        let now = epoch();
        let mut jail = Jail::new(JailPolicy::default());

        for minute in 0..60 {
            let sentence = jail.fail(v4(1), now + MINUTE * 2 * minute);
            assert_eq!(sentence, Sentence::Counted, "{minute}");
        }
    }

    #[test]
    fn exempt_networks_are_never_blocked() {
        let now = epoch();
        let mut jail = Jail::new(JailPolicy {
            exempt: vec!["192.0.2.0/24".parse().unwrap()],
            ..JailPolicy::default()
        });

        for _ in 0..100 {
            assert_eq!(jail.fail(v4(1), now), Sentence::Exempt);
            let mapped = "::ffff:192.0.2.1".parse().unwrap();
            assert_eq!(jail.fail(mapped, now), Sentence::Exempt);
        }
    }

    #[test]
    fn changing_the_address_within_a_network_does_not_help() {
        let now = epoch();
        let mut jail = Jail::new(JailPolicy::default());

        for host in 0..6_u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
            jail.fail(IpAddr::V6(address), now);
        }

        assert!(
            jail.blocked_until("2001:db8::9".parse().unwrap(), now)
                .is_some()
        );
        assert!(
            jail.blocked_until("2001:db8:0:1::9".parse().unwrap(), now)
                .is_none()
        );
    }

    #[test]
    fn a_release_is_a_clean_slate() {
        let now = epoch();
        let mut jail = Jail::new(JailPolicy::default());
        for _ in 0..6 {
            jail.fail(v4(1), now);
        }

        assert!(jail.release(v4(1)));

        assert!(!jail.release(v4(1)));
        assert_eq!(jail.blocked_until(v4(1), now), None);
        assert_eq!(jail.fail(v4(1), now), Sentence::Counted);
    }

    #[test]
    fn an_address_that_another_edge_refuses_is_refused_here_too_but_not_longer() {
        let now = epoch();
        let mut jail = Jail::new(JailPolicy {
            exempt: vec!["192.0.2.9/32".parse().unwrap()],
            ..JailPolicy::default()
        });

        assert!(jail.block(v4(1), MINUTE * 3, now));
        assert!(!jail.block(v4(1), MINUTE * 2, now), "shorter");
        assert!(!jail.block(v4(1), MINUTE * 600, now), "known already");
        assert!(!jail.block(v4(9), MINUTE, now), "exempt");
        assert!(!jail.block(v4(2), Duration::ZERO, now), "over");

        assert_eq!(jail.blocked_until(v4(1), now), Some(now + MINUTE * 10));
        assert_eq!(jail.blocked(now), 1);
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }
}
