//! The agreement of an edge-c that shares with nobody: all of it in this process, none of it outlives it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::limits;
use common::policy::jail::{Ban, UserTag};
use common::runtime::clock;
use common::time::UnixTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::announce::Announce;
use super::super::bans::Bans;
use super::super::key_ring::KeyRing;
use super::super::named::NamedNode;
use super::super::store::{StoreError, StoreFuture};
use super::{
    AgreedKey, Agreement, Claim, Holder, LoginCount, Nodes, OwnNode, Progress, StoreState,
};

/// See the module.
#[derive(Debug)]
pub(in super::super) struct Alone {
    flights: Mutex<Flights>,
    bans: Bans,
    ring: watch::Sender<Option<KeyRing>>,
    nodes: watch::Sender<Arc<Nodes>>,
}

#[derive(Debug, Default)]
struct Flights {
    by_key: BTreeMap<AgreedKey, Flight>,
    claims: u64,
}

#[derive(Debug)]
struct Flight {
    holder: Holder,
    stage: Claim,
    until: Instant,
}

impl Alone {
    pub(in super::super) fn new(announce: Announce) -> Self {
        Self {
            flights: Mutex::default(),
            bans: Bans::new(announce),
            ring: watch::Sender::new(None),
            nodes: watch::Sender::default(),
        }
    }

    fn claim_now(&self, key: AgreedKey, holder: Holder) -> Result<Claim, StoreError> {
        let now = Instant::now();
        let mut flights = self.flights();
        flights.by_key.retain(|_, flight| flight.until > now);
        if let Some(flight) = flights.by_key.get(&key) {
            return Ok(flight.stage.clone());
        }
        if flights.by_key.len() >= limits::REFRESH_FLIGHTS_MAX {
            let why = "too many refreshes are under way";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        flights.claims += 1;
        let fence = flights.claims;
        let flight = Flight {
            holder,
            stage: Claim::Held,
            until: now + limits::REFRESH_CLAIM_LIFETIME,
        };
        flights.by_key.insert(key, flight);
        Ok(Claim::Yours(fence))
    }

    fn progress_now(&self, key: &AgreedKey, holder: Holder, progress: Progress) -> bool {
        let now = Instant::now();
        let mut flights = self.flights();
        let own = flights.by_key.get_mut(key);
        let Some(flight) = own.filter(|flight| flight.holder == holder && flight.until > now)
        else {
            return false;
        };
        match progress {
            Progress::Departed => {
                flight.stage = Claim::Departed;
                flight.until = now + limits::REFRESH_DEPARTED_LIFETIME;
            }
            Progress::Landed(sealed) => {
                flight.stage = Claim::Landed(sealed);
                flight.until = now + limits::REFRESH_ANSWER_LIFETIME;
            }
            Progress::Released => {
                flights.by_key.remove(key);
            }
        }
        true
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agreement for Alone {
    fn claim(&self, key: AgreedKey, holder: Holder) -> StoreFuture<'_, Result<Claim, StoreError>> {
        ready(self.claim_now(key, holder))
    }

    fn progress(
        &self,
        key: AgreedKey,
        holder: Holder,
        progress: Progress,
    ) -> StoreFuture<'_, Result<bool, StoreError>> {
        ready(Ok(self.progress_now(&key, holder, progress)))
    }

    fn count_login(
        &self,
        _counts: [LoginCount; 2],
        _holder: Holder,
    ) -> StoreFuture<'_, Result<Option<Duration>, StoreError>> {
        ready(Ok(None))
    }

    fn excuse_login(
        &self,
        _counts: [LoginCount; 2],
        _holder: Holder,
    ) -> StoreFuture<'_, Result<(), StoreError>> {
        ready(Ok(()))
    }

    fn ban(&self, ban: Ban) -> StoreFuture<'_, Result<(), StoreError>> {
        self.bans.learn(ban, clock::unix_now());
        ready(Ok(()))
    }

    fn bans(&self) -> Vec<Ban> {
        self.bans.all(clock::unix_now())
    }

    fn is_banned(&self, network: IpAddr, user: Option<UserTag>, now: UnixTime) -> bool {
        self.bans.is_banned(network, user, now)
    }

    fn name_nodes(&self, _named: Vec<NamedNode>) -> StoreFuture<'_, Result<(), StoreError>> {
        ready(Ok(()))
    }

    fn roll(
        &self,
        _current: KeyRing,
        next: KeyRing,
    ) -> StoreFuture<'_, Result<KeyRing, StoreError>> {
        ready(Ok(next))
    }

    fn ring(&self) -> watch::Receiver<Option<KeyRing>> {
        self.ring.subscribe()
    }

    fn tell(&self, _own: OwnNode) {}

    fn nodes(&self) -> watch::Receiver<Arc<Nodes>> {
        self.nodes.subscribe()
    }

    fn state(&self) -> StoreState {
        StoreState::Up
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(value))
}
