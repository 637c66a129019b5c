//! Who may connect: limits for all clients together and for each address, before TLS costs anything.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use common::limits;
use common::policy::jail::{Ban, Jail, Offence, Sentence, UserTag, Whom};
use common::policy::rate_limit::{Quota, Rate, SlidingWindows, TokenBuckets, TooOften, network_of};
use common::time::UnixTime;

use crate::config::Limits;

/// Counts connections and sign-in requests by address. An IPv6 client is its /64: it owns all of it.
pub struct Admission {
    state: Mutex<State>,
    /// Who hears of addresses and users that are blocked. Not set in tests of something else.
    tell: OnceLock<Tell>,
}

type Tell = Box<dyn Fn(IpAddr, Option<UserTag>, Duration) + Send + Sync>;

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

/// Why a sign-in is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSignIn {
    /// The address was blocked while the connection was open.
    #[error("the address is blocked after authorisation failures")]
    AddressBlocked {
        /// For how long.
        left: Duration,
    },
    /// `sign_in_per_address` is exceeded.
    #[error("sign_in_per_address exceeded")]
    TooOften(#[from] TooOften),
    /// Too many wrong passwords of this user came from the address.
    #[error("the user is blocked at this address after wrong passwords")]
    UserBlocked {
        /// For how long.
        left: Duration,
    },
}

impl NoSignIn {
    /// How long the client has to wait.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        match self {
            Self::AddressBlocked { left } | Self::UserBlocked { left } => *left,
            Self::TooOften(too_often) => too_often.retry_after,
        }
    }
}

/// Somebody who was let in until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Who it is.
    pub whom: Whom,
    /// For how long.
    pub time: Duration,
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

    /// Has `tell` called with each address that is blocked from now on, or user there, and for how long; of effect the first
    /// time.
    pub fn on_block(
        &self,
        tell: impl Fn(IpAddr, Option<UserTag>, Duration) + Send + Sync + 'static,
    ) {
        self.tell.get_or_init(|| Box::new(tell));
    }

    /// Blocks addresses, and users at an address, that another edge blocks.
    pub fn block(&self, bans: &[Ban], now: Instant, unix_now: UnixTime) {
        let (mut addresses, mut users) = (0_usize, 0_usize);
        let mut state = self.lock();
        for ban in bans {
            let (network, time) = (ban.network, ban.until.since(unix_now));
            match ban.user {
                None => addresses += usize::from(state.jail.block(network, time, now)),
                Some(user) => {
                    users += usize::from(state.jail.block_user(network, user, time, now));
                }
            }
        }
        drop(state);
        if addresses > 0 {
            tracing::info!(
                side = "downstream",
                count = addresses,
                reason = "another edge blocks them",
                remedy = "/status shows the addresses; [limits] jail exempt lets one in at once",
                "addresses blocked"
            );
        }
        if users > 0 {
            tracing::info!(
                side = "downstream",
                count = users,
                reason = "another edge blocks them",
                remedy = "ends by itself; the log of the other edge says more",
                "users blocked at an address"
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

    /// Lets a request without a session through, or not; `user` is who the client says it is, if it says so.
    ///
    /// # Errors
    /// [`NoSignIn`] says why not, and when the client may ask again.
    pub fn admit_sign_in(
        &self,
        address: IpAddr,
        user: Option<UserTag>,
        now: Instant,
    ) -> Result<(), NoSignIn> {
        let mut state = self.lock();
        // A connection that was open when its address was blocked.
        if let Some(until) = state.jail.blocked_until(address, now) {
            let left = until.saturating_duration_since(now);
            return Err(NoSignIn::AddressBlocked { left });
        }
        let until = user.and_then(|user| state.jail.user_blocked_until(address, user, now));
        if let Some(until) = until {
            let left = until.saturating_duration_since(now);
            return Err(NoSignIn::UserBlocked { left });
        }
        state.sign_ins.admit(network_of(address), now)?;
        Ok(())
    }

    /// Counts a failure; gives who is blocked if this was one too many.
    pub fn fail(&self, address: IpAddr, offence: Offence, now: Instant) -> Option<Blocked> {
        let mut state = self.lock();
        let user = match offence {
            Offence::WrongPassword(user) => user,
            Offence::Forgery => None,
        };
        let was_blocked =
            user.is_some_and(|user| state.jail.user_blocked_until(address, user, now).is_some());
        let was_address_blocked = state.jail.blocked_until(address, now).is_some();
        let sentence = state.jail.fail(address, offence, now);
        drop(state);
        let Sentence::Blocked { whom, until } = sentence else {
            return None;
        };
        let time = until.saturating_duration_since(now);
        match whom {
            Whom::Address if was_address_blocked => return None,
            Whom::User if was_blocked => return None,
            Whom::Address | Whom::User => {}
        }
        if let Some(tell) = self.tell.get() {
            tell(
                network_of(address),
                user.filter(|_| whom == Whom::User),
                time,
            );
        }
        Some(Blocked { whom, time })
    }

    /// Whether an address is blocked, or this user there.
    #[must_use]
    pub fn is_blocked(&self, address: IpAddr, user: Option<UserTag>, now: Instant) -> bool {
        let state = self.lock();
        let alone = user.and_then(|user| state.jail.user_blocked_until(address, user, now));
        alone
            .or_else(|| state.jail.blocked_until(address, now))
            .is_some()
    }

    /// How many addresses are blocked.
    pub fn jailed(&self, now: Instant) -> usize {
        self.lock().jail.blocked(now)
    }

    /// How many users are blocked at an address.
    pub fn jailed_users(&self, now: Instant) -> usize {
        self.lock().jail.blocked_users(now)
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
mod tests;
