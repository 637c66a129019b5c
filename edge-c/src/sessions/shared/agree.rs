//! What the nodes agree on through the store.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::limits;
use common::policy::jail::{Ban, UserTag};
use common::runtime::clock;
use common::time::UnixTime;
use tokio::sync::watch;

use super::super::agreement::{
    AgreedKey, Agreement, Claim, Holder, LoginCount, Nodes, OwnNode, Progress, StoreState,
};
use super::super::key_ring::KeyRing;
use super::super::named::NamedNode;
use super::super::store::{StoreError, StoreFuture};
use super::address::{self, unavailable};
use super::metrics::StoreOperation;
use super::{SharedStore, keys};

impl SharedStore {
    async fn claim_now(&self, key: AgreedKey, holder: Holder) -> Result<Claim, StoreError> {
        let held = stage(HELD, &holder, &[]);
        let answer = self
            .ask(StoreOperation::Refresh, async |mut client| {
                let answer: redis::Value = keys::CLAIM
                    .key(keys::flight(&key))
                    .key(keys::FENCE)
                    .arg(held)
                    .arg(milliseconds(limits::REFRESH_CLAIM_LIFETIME))
                    .invoke_async(&mut client)
                    .await
                    .map_err(address::failed)?;
                Ok(answer)
            })
            .await?;
        let strange = || unavailable("it holds a refresh that can't be read");
        if let redis::Value::Int(fence) = answer {
            return u64::try_from(fence)
                .map(Claim::Yours)
                .map_err(|_| strange());
        }
        let octets: Vec<u8> = redis::from_redis_value(answer).map_err(|_| strange())?;
        match octets.split_at_checked(1 + HOLDER_BYTES) {
            Some(([HELD, ..], _)) => Ok(Claim::Held),
            Some(([DEPARTED, ..], _)) => Ok(Claim::Departed),
            Some(([LANDED, ..], sealed)) => Ok(Claim::Landed(sealed.to_vec())),
            Some(_) | None => Err(strange()),
        }
    }

    async fn progress_now(
        &self,
        key: AgreedKey,
        holder: Holder,
        progress: Progress,
    ) -> Result<bool, StoreError> {
        let (value, lifetime) = match progress {
            Progress::Departed => (
                stage(DEPARTED, &holder, &[]),
                limits::REFRESH_DEPARTED_LIFETIME,
            ),
            Progress::Landed(sealed) => (
                stage(LANDED, &holder, &sealed),
                limits::REFRESH_ANSWER_LIFETIME,
            ),
            Progress::Released => (Vec::new(), Duration::ZERO),
        };
        self.ask(StoreOperation::Refresh, async |mut client| {
            keys::PROGRESS
                .key(keys::flight(&key))
                .arg(holder.as_slice())
                .arg(value)
                .arg(milliseconds(lifetime))
                .invoke_async(&mut client)
                .await
                .map_err(address::failed)
        })
        .await
    }

    async fn count_now(
        &self,
        counts: [LoginCount; 2],
        holder: Holder,
    ) -> Result<Option<Duration>, StoreError> {
        let [device, network] = counts;
        let wait: u64 = self
            .ask(StoreOperation::Count, async |mut client| {
                keys::COUNT_LOGIN
                    .key(keys::login(&device.key))
                    .key(keys::login(&network.key))
                    .arg(holder.as_slice())
                    .arg(device.quota.count.get())
                    .arg(milliseconds(device.quota.window))
                    .arg(network.quota.count.get())
                    .arg(milliseconds(network.quota.window))
                    .invoke_async(&mut client)
                    .await
                    .map_err(address::failed)
            })
            .await?;
        Ok((wait > 0).then(|| Duration::from_millis(wait)))
    }

    async fn excuse_now(&self, counts: [LoginCount; 2], holder: Holder) -> Result<(), StoreError> {
        self.ask(StoreOperation::Count, async |mut client| {
            let mut pipe = redis::pipe();
            for count in counts {
                let key = keys::login(&count.key);
                pipe.cmd("ZREM").arg(key).arg(holder.as_slice()).ignore();
            }
            pipe.query_async(&mut client).await.map_err(address::failed)
        })
        .await
    }

    async fn ban_now(&self, ban: Ban) -> Result<(), StoreError> {
        if !self.bans.learn(ban, clock::unix_now()) {
            return Ok(());
        }
        let (tag, sealed) = self.records.seal_ban(ban)?;
        self.ask(StoreOperation::Ban, async |mut client| {
            keys::BAN_ONE
                .key(keys::NEWS)
                .key(keys::ban(&tag))
                .arg(limits::STORE_NEWS_MAX)
                .arg(sealed)
                .arg(ban.until.0)
                .invoke_async(&mut client)
                .await
                .map_err(address::failed)
        })
        .await
    }

    async fn roll_now(&self, current: KeyRing, next: KeyRing) -> Result<KeyRing, StoreError> {
        let sealed = self.records.seal_ring(&next)?;
        let in_force: Vec<u8> = self
            .ask(StoreOperation::Roll, async |mut client| {
                keys::ROLL
                    .key(keys::NEWS)
                    .key(keys::RING)
                    .arg(limits::STORE_NEWS_MAX)
                    .arg(current.version())
                    .arg(next.version())
                    .arg(sealed)
                    .invoke_async(&mut client)
                    .await
                    .map_err(address::failed)
            })
            .await?;
        let ring = self.records.open_ring(&in_force, self.me.core);
        ring.ok_or_else(|| unavailable("its filter keys can't be read"))
    }
}

impl Agreement for SharedStore {
    fn claim(&self, key: AgreedKey, holder: Holder) -> StoreFuture<'_, Result<Claim, StoreError>> {
        Box::pin(self.claim_now(key, holder))
    }

    fn progress(
        &self,
        key: AgreedKey,
        holder: Holder,
        progress: Progress,
    ) -> StoreFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.progress_now(key, holder, progress))
    }

    fn count_login(
        &self,
        counts: [LoginCount; 2],
        holder: Holder,
    ) -> StoreFuture<'_, Result<Option<Duration>, StoreError>> {
        Box::pin(self.count_now(counts, holder))
    }

    fn excuse_login(
        &self,
        counts: [LoginCount; 2],
        holder: Holder,
    ) -> StoreFuture<'_, Result<(), StoreError>> {
        Box::pin(self.excuse_now(counts, holder))
    }

    fn ban(&self, ban: Ban) -> StoreFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ban_now(ban))
    }

    fn bans(&self) -> Vec<Ban> {
        self.bans.all(clock::unix_now())
    }

    fn is_banned(&self, network: IpAddr, user: Option<UserTag>, now: UnixTime) -> bool {
        self.bans.is_banned(network, user, now)
    }

    fn name_nodes(&self, named: Vec<NamedNode>) -> StoreFuture<'_, Result<(), StoreError>> {
        Box::pin(self.name_now(named))
    }

    fn roll(
        &self,
        current: KeyRing,
        next: KeyRing,
    ) -> StoreFuture<'_, Result<KeyRing, StoreError>> {
        Box::pin(self.roll_now(current, next))
    }

    fn ring(&self) -> watch::Receiver<Option<KeyRing>> {
        self.ring.subscribe()
    }

    fn tell(&self, own: OwnNode) {
        self.own.send_replace(own);
    }

    fn nodes(&self) -> watch::Receiver<Arc<Nodes>> {
        self.nodes.subscribe()
    }

    fn state(&self) -> StoreState {
        let heard = self.heard();
        if heard.is_up {
            StoreState::Up
        } else if clock::elapsed(heard.at) < limits::STORE_GRACE {
            StoreState::ReadOnly
        } else {
            StoreState::Away
        }
    }
}

fn stage(stage: u8, holder: &Holder, rest: &[u8]) -> Vec<u8> {
    let octets = std::iter::once(&stage).chain(holder).chain(rest);
    octets.copied().collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const HOLDER_BYTES: usize = size_of::<Holder>();
const HELD: u8 = b'h';
const DEPARTED: u8 = b'd';
const LANDED: u8 = b'l';
