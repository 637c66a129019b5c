//! The addresses that any edge-e refuses, as far as this node has heard. Decides about nobody: edge-e's jails do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::limits;
use common::policy::jail::Ban;
use common::time::UnixTime;

use super::announce::Announce;

/// At most [`limits::BANS_MAX`]; a full list drops the one that ends first.
#[derive(Debug)]
pub(super) struct Bans {
    known: Mutex<Known>,
    announce: Announce,
}

#[derive(Debug, Default)]
struct Known {
    until: BTreeMap<IpAddr, UnixTime>,
    order: BTreeSet<(UnixTime, IpAddr)>,
}

impl Bans {
    pub(super) fn new(announce: Announce) -> Self {
        Self {
            known: Mutex::default(),
            announce,
        }
    }

    /// Remembers a ban and tells every edge-e, if it is news; whether it was.
    pub(super) fn learn(&self, ban: Ban, now: UnixTime) -> bool {
        let Ban { network, until } = ban;
        let mut known = self.known();
        known.expire(now);
        let before = known.until.get(&network).copied();
        // Edges that tell each other of one ban would round it up for ever.
        let is_news = before.is_none_or(|before| until.since(before) > limits::BAN_SLACK);
        if until <= now || !is_news {
            return false;
        }
        if let Some(before) = before {
            known.order.remove(&(before, network));
        }
        while known.order.len() >= limits::BANS_MAX
            && let Some((_, first)) = known.order.pop_first()
        {
            known.until.remove(&first);
        }
        known.until.insert(network, until);
        known.order.insert((until, network));
        drop(known);
        self.announce.ban(ban);
        true
    }

    /// All that last beyond `now`.
    pub(super) fn all(&self, now: UnixTime) -> Vec<Ban> {
        let mut known = self.known();
        known.expire(now);
        let bans = known.order.iter();
        bans.map(|(until, network)| Ban {
            network: *network,
            until: *until,
        })
        .collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn expire(&mut self, now: UnixTime) {
        while let Some((until, network)) = self.order.first().copied()
            && until <= now
        {
            self.order.remove(&(until, network));
            self.until.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(last: u8, until: u64) -> Ban {
        Ban {
            network: IpAddr::from([192, 0, 2, last]),
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
    fn the_list_is_bounded() {
        let bans = Bans::new(Announce::default());
        let count = u32::try_from(limits::BANS_MAX).unwrap() + 10;

        for number in 0..count {
            let network = IpAddr::from(number.to_be_bytes());
            let until = UnixTime(1_000 + u64::from(number));
            bans.learn(Ban { network, until }, UnixTime(0));
        }

        let all = bans.all(UnixTime(0));
        assert_eq!(all.len(), limits::BANS_MAX);
        assert_eq!(all.first().unwrap().until, UnixTime(1_010));
    }
}
