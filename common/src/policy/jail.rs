//! Users at an address, and whole addresses, that are refused for a while after too many authorisation failures.
//!
//! The caller decides what a failure is: a wrong password and a forged token are, a genuine token that has expired is
//! not. A success clears nothing, or whoever knows one password could guess others for ever. Wrong passwords count for
//! the user at the address, so that an office behind one address is not locked out by one of its phones; for the address
//! there is a second bound, for who tries one password with many users.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::policy::fading::Fading;
use crate::policy::rate_limit::{Quota, SlidingWindows, network_of};
use crate::time::UnixTime;

/// When somebody is refused, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailPolicy {
    /// This many wrong passwords of one user at one address, and forgeries of one address, are forgiven; the next one is
    /// one too many.
    pub failures_max: NonZeroU32,
    /// This many wrong passwords of one address are forgiven, whoever's they are.
    pub address_failures_max: NonZeroU32,
    /// How long a failure counts.
    pub window: Duration,
    /// How long somebody is refused.
    pub block: Duration,
    /// Addresses that are never refused.
    pub exempt: Vec<IpNet>,
}

impl Default for JailPolicy {
    /// More than 5 failures in 10 minutes, or 100 wrong passwords of an address: 10 minutes, nobody exempt.
    fn default() -> Self {
        Self {
            failures_max: limits::JAIL_FAILURES_MAX,
            address_failures_max: limits::JAIL_ADDRESS_FAILURES_MAX,
            window: limits::JAIL_WINDOW,
            block: limits::JAIL_BLOCK,
            exempt: Vec::new(),
        }
    }
}

/// A user, as far as counting goes: a hash of the name in lower case. Nobody has proved it. As text it is base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UserTag([u8; 16]);

/// A text that is no [`UserTag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no tag of a user")]
pub struct NoUserTag;

impl UserTag {
    /// The tag of a name, whatever its letter case.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let lower = name.to_lowercase();
        let hash = digest::digest(&digest::SHA256, lower.as_bytes());
        let mut tag = [0; 16];
        for (to, from) in tag.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(tag)
    }

    /// The tag that another edge has written.
    #[must_use]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// For another edge.
    #[must_use]
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<UserTag> for String {
    fn from(tag: UserTag) -> Self {
        STANDARD_NO_PAD.encode(tag.0)
    }
}

impl TryFrom<String> for UserTag {
    type Error = NoUserTag;

    fn try_from(text: String) -> Result<Self, NoUserTag> {
        let octets = STANDARD_NO_PAD.decode(text).map_err(|_| NoUserTag)?;
        octets.try_into().map(Self).map_err(|_| NoUserTag)
    }
}

/// What a client did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// A cookie or token that nobody has issued: of the address, since it names no user that could be believed.
    Forgery,
    /// A wrong password, of this user; of the address like a forgery, if nobody says whose it was.
    WrongPassword(Option<UserTag>),
}

/// Who is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Everybody at the address.
    Address,
    /// One user at the address.
    User,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// Somebody is refused from now on, or was already.
    Blocked {
        /// Who.
        whom: Whom,
        /// When they are let in again.
        until: Instant,
    },
    /// The failure was counted.
    Counted,
    /// The address is exempt.
    Exempt,
}

/// An address (IPv6: the first of its /64 network), or a user there, that one edge refuses and the others shall refuse too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Which, as [`network_of`] gives it.
    pub network: IpAddr,
    /// Whom alone; everybody there, if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserTag>,
    /// When it is let in again.
    pub until: UnixTime,
}

/// The addresses (IPv6: /64 networks) and users that failed, and those that are refused.
#[derive(Debug)]
pub struct Jail {
    policy: JailPolicy,
    forgeries: SlidingWindows<IpAddr>,
    wrong_passwords: SlidingWindows<IpAddr>,
    users: SlidingWindows<(IpAddr, UserTag)>,
    blocked: Fading<IpAddr, ()>,
    blocked_users: Fading<(IpAddr, UserTag), ()>,
}

impl Jail {
    /// An empty jail, bounded by [`limits::JAIL_ADDRESSES_MAX`] and [`limits::JAIL_PASSWORD_ADDRESSES_MAX`].
    #[must_use]
    pub fn new(policy: JailPolicy) -> Self {
        let quota = |forgiven: NonZeroU32| Quota {
            count: forgiven.saturating_add(1),
            window: policy.window,
        };
        let few = quota(policy.failures_max);
        let many = quota(policy.address_failures_max);
        Self {
            policy,
            forgeries: SlidingWindows::new(few, limits::JAIL_ADDRESSES_MAX),
            wrong_passwords: SlidingWindows::new(many, limits::JAIL_PASSWORD_ADDRESSES_MAX),
            users: SlidingWindows::new(few, limits::JAIL_ADDRESSES_MAX),
            blocked: Fading::new(limits::JAIL_ADDRESSES_MAX),
            blocked_users: Fading::new(limits::JAIL_ADDRESSES_MAX),
        }
    }

    /// Counts an authorisation failure of `address`.
    pub fn fail(&mut self, address: IpAddr, offence: Offence, now: Instant) -> Sentence {
        self.blocked.expire(now);
        self.blocked_users.expire(now);
        if self.is_exempt(address) {
            return Sentence::Exempt;
        }
        let network = network_of(address);
        if let Some((until, ())) = self.blocked.get(&network, now) {
            let whom = Whom::Address;
            return Sentence::Blocked { whom, until };
        }
        let Some(until) = now.checked_add(self.policy.block) else {
            return Sentence::Counted;
        };
        let of_address = match offence {
            Offence::Forgery | Offence::WrongPassword(None) => {
                is_over(&mut self.forgeries, &network, self.policy.failures_max, now)
            }
            Offence::WrongPassword(Some(_)) => is_over(
                &mut self.wrong_passwords,
                &network,
                self.policy.address_failures_max,
                now,
            ),
        };
        if of_address {
            self.forget(network);
            self.blocked.put(network, until, ());
            let whom = Whom::Address;
            return Sentence::Blocked { whom, until };
        }
        let Offence::WrongPassword(Some(user)) = offence else {
            return Sentence::Counted;
        };
        let (key, whom) = ((network, user), Whom::User);
        if let Some((until, ())) = self.blocked_users.get(&key, now) {
            return Sentence::Blocked { whom, until };
        }
        if !is_over(&mut self.users, &key, self.policy.failures_max, now) {
            return Sentence::Counted;
        }
        self.blocked_users.put(key, until, ());
        Sentence::Blocked { whom, until }
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        let mut exempt = self.policy.exempt.iter();
        exempt.any(|net| net.contains(&canonical))
    }

    /// What the address did until now.
    fn forget(&mut self, network: IpAddr) {
        self.forgeries.forget(&network);
        self.wrong_passwords.forget(&network);
    }

    /// Refuses `address` for `time` because another edge does, never longer than this jail would itself; whether that is
    /// news. Who is exempt here stays exempt.
    pub fn block(&mut self, address: IpAddr, time: Duration, now: Instant) -> bool {
        let network = network_of(address);
        let Some(until) = self.shared_until(address, time, now) else {
            return false;
        };
        let change = prolong(&mut self.blocked, network, until, now);
        if change.is_some() {
            self.forget(network);
        }
        change == Some(Prolonged::New)
    }

    /// The same for one user at `address`.
    pub fn block_user(
        &mut self,
        address: IpAddr,
        user: UserTag,
        time: Duration,
        now: Instant,
    ) -> bool {
        let key = (network_of(address), user);
        let Some(until) = self.shared_until(address, time, now) else {
            return false;
        };
        let change = prolong(&mut self.blocked_users, key, until, now);
        if change.is_some() {
            self.users.forget(&key);
        }
        change == Some(Prolonged::New)
    }

    /// Until when somebody at `address` is refused because another edge asks for so long; `None` for those who are exempt.
    fn shared_until(&self, address: IpAddr, time: Duration, now: Instant) -> Option<Instant> {
        if time.is_zero() || self.is_exempt(address) {
            return None;
        }
        now.checked_add(time.min(self.policy.block))
    }

    /// Until when `address` is refused, if it is.
    #[must_use]
    pub fn blocked_until(&self, address: IpAddr, now: Instant) -> Option<Instant> {
        self.blocked
            .get(&network_of(address), now)
            .map(|(until, ())| until)
    }

    /// Until when `user` is refused at `address`, if the user alone is.
    #[must_use]
    pub fn user_blocked_until(
        &self,
        address: IpAddr,
        user: UserTag,
        now: Instant,
    ) -> Option<Instant> {
        let found = self.blocked_users.get(&(network_of(address), user), now);
        found.map(|(until, ())| until)
    }

    /// Lets `address` in again and forgets its failures; whether it was refused.
    pub fn release(&mut self, address: IpAddr) -> bool {
        let network = network_of(address);
        self.forget(network);
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

    /// How many users are refused at an address now.
    pub fn blocked_users(&mut self, now: Instant) -> usize {
        self.blocked_users.expire(now);
        self.blocked_users.len()
    }
}

/// What became of somebody whom another edge refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prolonged {
    /// Was refused already, and is for longer now.
    Longer,
    /// Was not refused.
    New,
}

/// Has `key` blocked until then; `None` if it is for as long already.
fn prolong<K: Ord + Clone>(
    blocked: &mut Fading<K, ()>,
    key: K,
    until: Instant,
    now: Instant,
) -> Option<Prolonged> {
    blocked.expire(now);
    let known = blocked.get(&key, now).map(|(known, ())| known);
    let change = match known {
        Some(known) if known >= until => return None,
        Some(_) => Prolonged::Longer,
        None => Prolonged::New,
    };
    blocked.put(key, until, ());
    Some(change)
}

/// Counts one more; whether it is more than is forgiven. What was one too many is forgotten: after the block it begins anew.
fn is_over<K: Ord + Clone>(
    counted: &mut SlidingWindows<K>,
    key: &K,
    forgiven: NonZeroU32,
    now: Instant,
) -> bool {
    let count = counted.record(key.clone(), now);
    let is_over = count > usize::try_from(forgiven.get()).unwrap_or(usize::MAX);
    if is_over {
        counted.forget(key);
    }
    is_over
}

#[cfg(test)]
mod tests;
