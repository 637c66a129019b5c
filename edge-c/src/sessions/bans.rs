//! Whom any edge-e refuses, as far as this node has heard: addresses, and users at an address. Decides about nobody: edge-e's
//! jails do.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::limits;
use common::policy::deadlines::Deadlines;
use common::policy::jail::{Ban, UserTag};
use common::time::UnixTime;

use super::announce::Announce;

/// At most [`limits::BANS_MAX`] addresses and [`limits::USER_BANS_MAX`] users; a full list drops the one that ends first, and
/// none of the other.
#[derive(Debug)]
pub(super) struct Bans {
    known: Mutex<Known>,
    announce: Announce,
}

#[derive(Debug)]
struct Known {
    addresses: List,
    users: List,
}

#[derive(Debug)]
struct List {
    ends: Deadlines<Whom>,
    max: usize,
}

type Whom = (IpAddr, Option<UserTag>);

impl Bans {
    pub(super) fn new(announce: Announce) -> Self {
        let known = Known {
            addresses: List::new(limits::BANS_MAX),
            users: List::new(limits::USER_BANS_MAX),
        };
        Self {
            known: Mutex::new(known),
            announce,
        }
    }

    /// Remembers a ban and tells every edge-e, if it is news; whether it was.
    pub(super) fn learn(&self, ban: Ban, now: UnixTime) -> bool {
        let is_news = self.known().list(ban.user).learn(ban, now);
        if is_news {
            self.announce.ban(ban);
        }
        is_news
    }

    /// All that last beyond `now`.
    pub(super) fn all(&self, now: UnixTime) -> Vec<Ban> {
        let mut known = self.known();
        let Known { addresses, users } = &mut *known;
        addresses.expire(now);
        users.expire(now);
        addresses.bans().chain(users.bans()).collect()
    }

    /// Whether everybody at an address is refused, or this user.
    pub(super) fn is_banned(&self, network: IpAddr, user: Option<UserTag>, now: UnixTime) -> bool {
        let mut known = self.known();
        let until = known.list(user).ends.get(&(network, user));
        until.is_some_and(|until| until > now)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    const fn list(&mut self, user: Option<UserTag>) -> &mut List {
        match user {
            None => &mut self.addresses,
            Some(_) => &mut self.users,
        }
    }
}

impl List {
    fn new(max: usize) -> Self {
        Self {
            ends: Deadlines::default(),
            max,
        }
    }

    fn learn(&mut self, ban: Ban, now: UnixTime) -> bool {
        let (whom, until) = ((ban.network, ban.user), ban.until);
        self.expire(now);
        let before = self.ends.get(&whom);
        // Edges that tell each other of one ban would round it up for ever.
        let is_news = before.is_none_or(|before| until.since(before) > limits::BAN_SLACK);
        if until <= now || !is_news {
            return false;
        }
        // One that goes on for longer pushes nobody out.
        self.ends.remove(whom);
        while self.ends.len() >= self.max && self.ends.pop_first().is_some() {}
        self.ends.set(whom, until);
        true
    }

    fn bans(&self) -> impl Iterator<Item = Ban> + '_ {
        let all = self.ends.iter();
        all.map(|(until, (network, user))| Ban {
            network,
            user,
            until,
        })
    }

    fn expire(&mut self, now: UnixTime) {
        while self.ends.pop_due(now).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(last: u8, until: u64) -> Ban {
        Ban {
            network: IpAddr::from([192, 0, 2, last]),
            user: None,
            until: UnixTime(until),
        }
    }

    #[test]
    fn a_ban_is_told_once_and_again_only_if_it_lasts_longer() {
        let announce = Announce::default();
        let mut told = announce.bans();
        let bans = Bans::new(announce);

        assert!(bans.learn(ban(1, 600), UnixTime(0)));
        assert!(!bans.learn(ban(1, 601), UnixTime(1)));
        assert!(bans.learn(ban(1, 1_200), UnixTime(600)));
        assert!(!bans.learn(ban(2, 600), UnixTime(600)), "over already");

        assert_eq!(told.try_recv().unwrap(), ban(1, 600));
        assert_eq!(told.try_recv().unwrap(), ban(1, 1_200));
        assert!(told.try_recv().is_err());
        assert_eq!(bans.all(UnixTime(1_199)), [ban(1, 1_200)]);
        assert_eq!(bans.all(UnixTime(1_200)), []);
    }

    #[test]
    fn a_user_who_is_refused_is_not_everybody_there_nor_the_other_way_round() {
        let bans = Bans::new(Announce::default());
        let (alice, bob) = (UserTag::of("alice"), UserTag::of("bob"));
        let of_alice = Ban {
            user: Some(alice),
            ..ban(1, 600)
        };
        assert!(bans.learn(of_alice, UnixTime(0)));
        assert!(bans.learn(ban(2, 600), UnixTime(0)));

        let is_banned =
            |last, user, now| bans.is_banned(IpAddr::from([192, 0, 2, last]), user, UnixTime(now));

        assert!(is_banned(1, Some(alice), 599) && !is_banned(1, Some(alice), 600));
        assert!(!is_banned(1, Some(bob), 1) && !is_banned(1, None, 1));
        assert!(is_banned(2, None, 1) && !is_banned(2, Some(alice), 1));
        assert_eq!(bans.all(UnixTime(0)), [ban(2, 600), of_alice]);
    }

    #[test]
    fn the_lists_are_bounded_and_users_push_out_no_address() {
        let bans = Bans::new(Announce::default());
        let count = u32::try_from(limits::BANS_MAX).unwrap() + 10;

        for user in [None, Some(UserTag::of("alice"))] {
            for number in 0..count {
                let ban = Ban {
                    network: IpAddr::from(number.to_be_bytes()),
                    user,
                    until: UnixTime(1_000 + u64::from(number)),
                };
                bans.learn(ban, UnixTime(0));
            }
        }

        let all = bans.all(UnixTime(0));
        assert_eq!(all.len(), limits::BANS_MAX + limits::USER_BANS_MAX);
        assert_eq!(all.first().unwrap().until, UnixTime(1_010));
        let of_users = all.iter().filter(|ban| ban.user.is_some());
        assert_eq!(of_users.count(), limits::USER_BANS_MAX);
    }
}
