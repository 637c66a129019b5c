//! What is done at the beginning of every connection: the news that were missed, or everything; and giving back to the store
//! what it has lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::limits;
use common::mra::cookie::Tombstone;
use common::runtime::clock;
use common::session::{Session, SessionId};
use common::time::UnixTime;
use redis::aio::MultiplexedConnection;

use super::super::store::{PageMark, SessionStore as _, StoreError};
use super::address::{self, unavailable};
use super::{SharedStore, follow, keys, records};

impl SharedStore {
    /// Brings memory up to what the store has.
    pub(super) async fn catch_up_from(
        self: &Arc<Self>,
        client: &mut MultiplexedConnection,
    ) -> Result<(), StoreError> {
        self.check_key(client).await?;
        let process = process_of(client).await?;
        let (oldest, newest) = (follow::oldest(client).await?, follow::newest(client).await?);
        let position = *self.position.borrow();
        self.share_tombstones(client).await?;
        let known_process = self.heard().process.clone();
        let is_same = known_process.as_ref() == Some(&process);
        // Numbered news have no gaps: if the one behind the last that is known is there, so are all others.
        let has_missed_none = is_same && position <= newest && oldest <= position + 1;
        if !has_missed_none {
            self.config.metrics.reloads.inc();
            self.read_all(client, is_same).await?;
            self.position.send_replace(newest);
        }
        self.share_ring(client).await?;
        self.heard().process = Some(process);
        Ok(())
    }

    /// All nodes must seal under one key, or each would find nothing but rubbish.
    async fn check_key(&self, client: &mut MultiplexedConnection) -> Result<(), StoreError> {
        let probe = self.records.seal_probe()?;
        let mut command = redis::cmd("SET");
        command.arg(keys::PROBE).arg(probe).arg("NX");
        let _: Option<String> = command.query_async(client).await.map_err(address::failed)?;
        let found: Option<Vec<u8>> = redis::cmd("GET")
            .arg(keys::PROBE)
            .query_async(client)
            .await
            .map_err(address::failed)?;
        if found.is_some_and(|sealed| self.records.is_own_probe(&sealed)) {
            return Ok(());
        }
        Err(unavailable(
            "it is sealed under another state key: give all nodes the same [session] key_file",
        ))
    }

    /// Learns what was revoked meanwhile, and tells what only this node knows.
    async fn share_tombstones(
        self: &Arc<Self>,
        client: &mut MultiplexedConnection,
    ) -> Result<(), StoreError> {
        let now = clock::unix_now();
        let entries: Vec<(Vec<u8>, f64)> = redis::cmd("ZRANGEBYSCORE")
            .arg(keys::TOMBSTONES)
            .arg(now.0)
            .arg("+inf")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(0)
            .arg(limits::TOMBSTONES_MAX)
            .query_async(client)
            .await
            .map_err(address::failed)?;
        let there: Vec<Tombstone> = entries
            .into_iter()
            .filter_map(|(id, until)| {
                Some(Tombstone {
                    id: records::session_id(&id)?,
                    until: UnixTime(seconds(until)),
                })
            })
            .collect();
        let known: BTreeSet<SessionId> = there.iter().map(|tombstone| tombstone.id).collect();
        let own = self.memory.tombstones().into_iter();
        let untold: Vec<Tombstone> = own
            .filter(|tombstone| tombstone.until > now && !known.contains(&tombstone.id))
            .collect();
        for batch in untold.chunks(limits::STORE_BATCH) {
            tell_revoked(client, batch).await?;
        }
        let news: Vec<Tombstone> = there
            .into_iter()
            .filter(|tombstone| !self.memory.is_revoked(&tombstone.id))
            .collect();
        self.end(&news).await;
        Ok(())
    }

    /// Reads every session, refused address and node. What the store does not have is gone if it is the process that was
    /// known before; another one, after a restart or in another one's place, may have lost it, and gets it back.
    async fn read_all(
        &self,
        client: &mut MultiplexedConnection,
        is_same: bool,
    ) -> Result<(), StoreError> {
        let mut there = BTreeSet::new();
        let mut begun = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let (next, found): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg("{edge}:*")
                .arg("COUNT")
                .arg(limits::STORE_BATCH)
                .query_async(client)
                .await
                .map_err(address::failed)?;
            let ids = found
                .iter()
                .filter_map(|key| key.strip_prefix(keys::SESSION));
            let ids: Vec<SessionId> = ids.filter_map(|id| id.parse().ok()).collect();
            there.extend(ids.iter().copied());
            let unknown: Vec<SessionId> = ids
                .into_iter()
                .filter(|id| self.memory.look_up(id).is_none())
                .collect();
            begun.extend(self.fetch(client, &unknown).await?);
            self.read_bans_and_nodes(client, &found).await?;
            self.hear();
            cursor = next;
            if cursor == 0 || there.len() > limits::SESSIONS_MAX {
                break;
            }
        }
        begun.sort_by_key(|session| session.created);
        for session in begun {
            self.memory.add(session);
        }
        if !is_same {
            self.name_again(client).await?;
        }
        self.settle_rest(client, &there, is_same).await
    }

    async fn read_bans_and_nodes(
        &self,
        client: &mut MultiplexedConnection,
        found: &[String],
    ) -> Result<(), StoreError> {
        let bans = read_those(client, found, keys::BAN).await?;
        for ban in bans.iter().filter_map(|ban| self.records.open_ban(ban)) {
            self.bans.learn(ban, clock::unix_now());
        }
        let nodes = read_those(client, found, keys::NODE).await?;
        let nodes = nodes.iter().filter_map(|node| self.records.open_node(node));
        self.learn(nodes.collect());
        Ok(())
    }

    /// What memory has and the store has not.
    async fn settle_rest(
        &self,
        client: &mut MultiplexedConnection,
        there: &BTreeSet<SessionId>,
        is_same: bool,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.memory.page(after, limits::STORE_BATCH);
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(PageMark {
                expires: last.expires,
                id: last.id,
            });
            let rest: Vec<&Arc<Session>> = page
                .iter()
                .filter(|session| !there.contains(&session.id))
                .collect();
            if is_same {
                let gone: Vec<SessionId> = rest.iter().map(|session| session.id).collect();
                self.memory.evict(&gone);
            } else {
                self.give_back(client, &rest).await?;
            }
            self.hear();
        }
    }

    async fn give_back(
        &self,
        client: &mut MultiplexedConnection,
        sessions: &[&Arc<Session>],
    ) -> Result<(), StoreError> {
        for session in sessions {
            let sealed = self.records.seal_session(session)?;
            // 0: it was revoked, or another node was quicker.
            let _: i64 = keys::INSERT
                .key(keys::NEWS)
                .key(keys::TOMBSTONES)
                .key(keys::session(&session.id))
                .arg(limits::STORE_NEWS_MAX)
                .arg(session.id.0.as_slice())
                .arg(sealed)
                .arg(session.expires.0)
                .invoke_async(client)
                .await
                .map_err(address::failed)?;
        }
        Ok(())
    }

    /// Takes the filter keys over that all use, or gives the store its first.
    async fn share_ring(&self, client: &mut MultiplexedConnection) -> Result<(), StoreError> {
        if self.fetch_ring(client).await? {
            return Ok(());
        }
        let own = self.first_ring().clone();
        let sealed = self.records.seal_ring(&own)?;
        let _: Vec<u8> = keys::ROLL
            .key(keys::NEWS)
            .key(keys::RING)
            .arg(limits::STORE_NEWS_MAX)
            .arg("")
            .arg(own.version())
            .arg(sealed)
            .invoke_async(client)
            .await
            .map_err(address::failed)?;
        // Another node may have been quicker.
        self.fetch_ring(client).await.map(drop)
    }
}

/// What stands under those of the keys that begin with `prefix`, as far as it still does.
async fn read_those(
    client: &mut MultiplexedConnection,
    found: &[String],
    prefix: &str,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let wanted: Vec<&String> = found.iter().filter(|key| key.starts_with(prefix)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = redis::cmd("MGET");
    command.arg(wanted);
    let there: Vec<Option<Vec<u8>>> = command.query_async(client).await.map_err(address::failed)?;
    Ok(there.into_iter().flatten().collect())
}

pub(super) async fn tell_revoked(
    client: &mut MultiplexedConnection,
    tombstones: &[Tombstone],
) -> Result<(), StoreError> {
    let mut script = keys::REVOKE.key(keys::NEWS);
    script.key(keys::TOMBSTONES).arg(limits::STORE_NEWS_MAX);
    for tombstone in tombstones {
        script.key(keys::session(&tombstone.id));
        script.arg(tombstone.id.0.as_slice()).arg(tombstone.until.0);
    }
    let _: i64 = script.invoke_async(client).await.map_err(address::failed)?;
    Ok(())
}

/// Names the running server process: another one may have another memory.
async fn process_of(client: &mut MultiplexedConnection) -> Result<String, StoreError> {
    let text: String = redis::cmd("INFO")
        .arg("server")
        .query_async(client)
        .await
        .map_err(address::failed)?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("run_id:"));
    lines
        .next()
        .map(|id| id.trim().to_owned())
        .ok_or_else(|| unavailable("it does not say which process it is"))
}

/// A score of a sorted set; expiries are far below 2^53.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float to integer cast saturates"
)]
const fn seconds(score: f64) -> u64 {
    score as u64
}
