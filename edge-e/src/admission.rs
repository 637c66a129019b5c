//! Who may connect: limits for all clients together and for each address, before TLS costs anything.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use common::limits;
use common::policy::jail::{Ban, Jail, Sentence};
use common::policy::rate_limit::{Quota, Rate, SlidingWindows, TokenBuckets, TooOften, network_of};
use common::time::UnixTime;

use crate::config::Limits;

/// Counts connections and sign-in requests by address. An IPv6 client is its /64: it owns all of it.
pub struct Admission {
    state: Mutex<State>,
    /// Who hears of addresses that are blocked. Not set in tests of something else.
    tell: OnceLock<Tell>,
}

type Tell = Box<dyn Fn(IpAddr, Duration) + Send + Sync>;

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_tuple("Admission").field(&*state).finish()
    }
}

#[derive(Debug)]
struct State {
    limits: Limits,
    open: u32,
    per_network: HashMap<IpAddr, u32>,
    arrivals: TokenBuckets<IpAddr>,
    sign_ins: SlidingWindows<IpAddr>,
    jail: Jail,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotAdmitted {
    /// `connections_max` is reached.
    #[error("connections_max reached")]
    Full,
    /// The address is blocked.
    #[error("the address is blocked after authorisation failures")]
    Jailed,
    /// `connections_per_address_max` is reached.
    #[error("connections_per_address_max reached")]
    AddressFull,
    /// `connections_per_second_per_address` is exceeded.
    #[error("connections_per_second_per_address exceeded")]
    TooOften,
}

/// A connection that was let in; it counts until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    network: IpAddr,
}

impl Admission {
    /// Nobody is connected yet.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        let state = State {
            open: 0,
            per_network: HashMap::new(),
            arrivals: arrivals(&limits),
            sign_ins: sign_ins(&limits),
            jail: Jail::new(limits.jail.clone()),
            limits,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            tell: OnceLock::new(),
        })
    }

    /// Has `tell` called with each address that is blocked from now on, and for how long; of effect the first time.
    pub fn on_block(&self, tell: impl Fn(IpAddr, Duration) + Send + Sync + 'static) {
        self.tell.get_or_init(|| Box::new(tell));
    }

    /// Blocks addresses that another edge blocks.
    pub fn block(&self, bans: &[Ban], now: Instant, unix_now: UnixTime) {
        let mut state = self.lock();
        let news = bans
            .iter()
            .filter(|ban| {
                state
                    .jail
                    .block(ban.network, ban.until.since(unix_now), now)
            })
            .count();
        drop(state);
        if news > 0 {
            tracing::info!(
                side = "downstream",
                count = news,
                reason = "another edge blocks them",
                remedy = "/status shows the addresses; [limits] jail exempt lets one in at once",
                "addresses blocked"
            );
        }
    }

    /// Uses other limits from now on; who is connected stays. What addresses did until now is forgotten.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.lock();
        state.arrivals = arrivals(&limits);
        state.sign_ins = sign_ins(&limits);
        // A reload for other reasons must not let anybody out.
        if state.limits.jail != limits.jail {
            state.jail = Jail::new(limits.jail.clone());
        }
        state.limits = limits;
    }

    /// Lets a connection in, or not.
    ///
    /// # Errors
    /// [`NotAdmitted`] names the limit.
    pub fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Admitted, NotAdmitted> {
        let network = network_of(address);
        let mut state = self.lock();
        if state.jail.blocked_until(address, now).is_some() {
            return Err(NotAdmitted::Jailed);
        }
        if state.open >= state.limits.connections_max {
            return Err(NotAdmitted::Full);
        }
        let of_network = state.per_network.get(&network).copied().unwrap_or(0);
        if of_network >= state.limits.connections_per_address_max {
            return Err(NotAdmitted::AddressFull);
        }
        state
            .arrivals
            .admit(network, now)
            .map_err(|_| NotAdmitted::TooOften)?;
        state.open = state.open.saturating_add(1);
        state
            .per_network
            .insert(network, of_network.saturating_add(1));
        drop(state);
        Ok(Admitted {
            admission: Arc::clone(self),
            network,
        })
    }

    /// Lets a request without a session through, or not.
    ///
    /// # Errors
    /// [`TooOften`] says when the address may ask again.
    pub fn admit_sign_in(&self, address: IpAddr, now: Instant) -> Result<(), TooOften> {
        let mut state = self.lock();
        // A connection that was open when its address was blocked.
        if let Some(until) = state.jail.blocked_until(address, now) {
            let retry_after = until.saturating_duration_since(now);
            return Err(TooOften { retry_after });
        }
        state.sign_ins.admit(network_of(address), now)
    }

    /// Counts a forged cookie or a wrong password; gives for how long the address is blocked if this was one too many.
    pub fn fail(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        let was_blocked = state.jail.blocked_until(address, now).is_some();
        let sentence = state.jail.fail(address, now);
        drop(state);
        let blocked = match sentence {
            Sentence::Blocked { until } if !was_blocked => {
                Some(until.saturating_duration_since(now))
            }
            Sentence::Blocked { .. } | Sentence::Counted | Sentence::Exempt => None,
        };
        if let (Some(time), Some(tell)) = (blocked, self.tell.get()) {
            tell(network_of(address), time);
        }
        blocked
    }

    /// How many addresses are blocked.
    pub fn jailed(&self, now: Instant) -> usize {
        self.lock().jail.blocked(now)
    }

    /// Some of the addresses that are blocked, and for how long.
    #[must_use]
    pub fn jailed_addresses(&self, now: Instant) -> Vec<(IpAddr, Duration)> {
        let refused = self.lock().jail.refused(now, limits::JAIL_SHOWN_MAX);
        let left =
            |(address, until): (IpAddr, Instant)| (address, until.saturating_duration_since(now));
        refused.into_iter().map(left).collect()
    }

    /// Connections at this moment.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.lock().open
    }

    fn leave(&self, network: IpAddr) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        let left = state
            .per_network
            .get(&network)
            .copied()
            .unwrap_or(0)
            .saturating_sub(1);
        if left == 0 {
            state.per_network.remove(&network);
        } else {
            state.per_network.insert(network, left);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.leave(self.network);
    }
}

/// A second's worth may come at once: a client opens several connections together.
fn arrivals(limits: &Limits) -> TokenBuckets<IpAddr> {
    let per_second = limits.connections_per_second_per_address.max(1);
    let burst = std::num::NonZeroU32::new(per_second).unwrap_or(std::num::NonZeroU32::MIN);
    let interval = Duration::from_secs(1) / per_second;
    TokenBuckets::new(Rate { burst, interval }, limits::ADDRESSES_LIMITED_MAX)
}

fn sign_ins(limits: &Limits) -> SlidingWindows<IpAddr> {
    let rate = limits.sign_in_per_address;
    let quota = Quota {
        count: std::num::NonZeroU32::new(rate.count).unwrap_or(std::num::NonZeroU32::MIN),
        window: rate.window,
    };
    SlidingWindows::new(quota, limits::ADDRESSES_LIMITED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::section;
    use common::policy::jail::JailPolicy;
    use common::runtime::clock;

    const LIMITS: Limits = Limits {
        connections_max: 3,
        connections_per_address_max: 2,
        connections_per_second_per_address: 100,
        sign_in_per_address: section::Rate {
            count: 2,
            window: Duration::from_secs(60),
        },
        jail: JailPolicy {
            failures_max: limits::JAIL_FAILURES_MAX,
            window: limits::JAIL_WINDOW,
            block: limits::JAIL_BLOCK,
            exempt: Vec::new(),
        },
    };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn connections_count_for_their_address_and_for_all() {
        let admission = Admission::new(LIMITS);
        let now = clock::now();
        let first = admission.admit(address("192.0.2.1"), now).unwrap();
        let _second = admission.admit(address("192.0.2.1"), now).unwrap();

        assert_eq!(
            admission.admit(address("192.0.2.1"), now).map(drop),
            Err(NotAdmitted::AddressFull)
        );
        let _third = admission.admit(address("192.0.2.2"), now).unwrap();
        assert_eq!(
            admission.admit(address("192.0.2.3"), now).map(drop),
            Err(NotAdmitted::Full)
        );

        drop(first);
        assert!(admission.admit(address("192.0.2.1"), now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_client_is_its_whole_network() {
        let admission = Admission::new(LIMITS);
        let now = clock::now();
        let _first = admission.admit(address("2001:db8::1"), now).unwrap();
        let _second = admission.admit(address("2001:db8::2"), now).unwrap();

        assert_eq!(
            admission.admit(address("2001:db8::3"), now).map(drop),
            Err(NotAdmitted::AddressFull)
        );
        assert!(admission.admit(address("2001:db8:0:1::1"), now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn new_connections_are_limited_by_the_second() {
        let admission = Admission::new(Limits {
            connections_per_second_per_address: 2,
            ..LIMITS
        });
        let now = clock::now();
        for _ in 0..2 {
            admission.admit(address("192.0.2.1"), now).unwrap();
        }

        assert_eq!(
            admission.admit(address("192.0.2.1"), now).map(drop),
            Err(NotAdmitted::TooOften)
        );
        assert!(
            admission
                .admit(address("192.0.2.1"), now + Duration::from_secs(1))
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn sign_ins_are_limited_apart() {
        let admission = Admission::new(LIMITS);
        let now = clock::now();
        admission.admit_sign_in(address("192.0.2.1"), now).unwrap();
        admission.admit_sign_in(address("192.0.2.1"), now).unwrap();

        assert!(admission.admit_sign_in(address("192.0.2.1"), now).is_err());
        assert!(admission.admit_sign_in(address("192.0.2.2"), now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_blocked_for_a_while_after_too_many_failures() {
        let admission = Admission::new(LIMITS);
        let (now, guesser) = (clock::now(), address("192.0.2.1"));
        for _ in 0..5 {
            assert_eq!(admission.fail(guesser, now), None);
        }
        assert!(admission.admit(guesser, now).is_ok());

        assert_eq!(admission.fail(guesser, now), Some(limits::JAIL_BLOCK));

        assert_eq!(admission.fail(guesser, now), None, "told once");
        let refused = admission.admit(guesser, now).map(drop);
        assert_eq!(refused, Err(NotAdmitted::Jailed));
        assert!(admission.admit_sign_in(guesser, now).is_err());
        assert!(admission.admit(address("192.0.2.2"), now).is_ok());
        assert_eq!(admission.jailed_addresses(now).len(), 1);
        assert!(admission.admit(guesser, now + limits::JAIL_BLOCK).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_edge_blocks_is_told_once_and_blocked_by_another() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (here, there) = (Admission::new(LIMITS), Admission::new(LIMITS));
        let heard = Arc::clone(&told);
        here.on_block(move |network, time| heard.lock().unwrap().push((network, time)));
        let (now, guesser) = (clock::now(), address("192.0.2.1"));
        for _ in 0..9 {
            here.fail(guesser, now);
        }
        let told = told.lock().unwrap().clone();
        assert_eq!(told, [(guesser, limits::JAIL_BLOCK)]);

        let ban = Ban {
            network: guesser,
            until: UnixTime(1_000).plus(limits::JAIL_BLOCK),
        };
        there.block(&[ban], now, UnixTime(1_000));

        let refused = there.admit(guesser, now).map(drop);
        assert_eq!(refused, Err(NotAdmitted::Jailed));
        assert!(there.admit(address("192.0.2.2"), now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_lets_nobody_out_unless_it_is_about_that() {
        let admission = Admission::new(LIMITS);
        let (now, guesser) = (clock::now(), address("192.0.2.1"));
        for _ in 0..6 {
            admission.fail(guesser, now);
        }

        admission.set_limits(Limits {
            connections_max: 7,
            ..LIMITS
        });
        assert_eq!(admission.jailed(now), 1);

        let mut limits = LIMITS;
        limits.jail.exempt.push("192.0.2.1/32".parse().unwrap());
        admission.set_limits(limits);
        assert_eq!(admission.jailed(now), 0);
    }
}
