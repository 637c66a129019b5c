//! The life of the connection to the store: connect, read what was missed, then follow the news; and again when it breaks.

use std::convert::Infallible;
use std::sync::{Arc, MutexGuard, PoisonError};

use common::limits;
use common::mra::cookie::Tombstone;
use common::runtime::clock;
use common::session::{Session, SessionId};
use redis::aio::MultiplexedConnection;

use super::super::key_ring::KeyRing;
use super::super::store::{SessionStore as _, StoreError};
use super::address::{self, unavailable};
use super::records::News;
use super::{SharedStore, keys};

impl SharedStore {
    /// Keeps the copy in memory up to date for as long as it is polled.
    pub(in super::super) async fn live(self: Arc<Self>) -> Infallible {
        let mut failures = 0_u32;
        loop {
            let began = clock::now();
            let Err(why) = self.one_life().await;
            self.note_down(&why);
            if clock::elapsed(began) > limits::STORE_BACK_OFF_MAX {
                failures = 0;
            }
            let wait = limits::STORE_BACK_OFF_MIN.saturating_mul(2_u32.saturating_pow(failures));
            failures = failures.saturating_add(1);
            tokio::time::sleep(wait.min(limits::STORE_BACK_OFF_MAX)).await;
        }
    }

    /// One connection for questions and one for news, from their beginning to the end of either.
    async fn one_life(self: &Arc<Self>) -> Result<Infallible, StoreError> {
        let (mut client, client_driver) = self.config.dialer.connect().await?;
        let (mut news, news_driver) = self.config.dialer.connect().await?;
        let working = async {
            self.catch_up_from(&mut client).await?;
            self.tell_node(&mut client).await?;
            self.note_up(client.clone());
            // Neither ends but by a failure, and what either was about to do is done again in the next life.
            let mut telling = client.clone();
            tokio::select! {
                ended = self.follow(&mut client, &mut news) => ended,
                ended = self.keep_telling(&mut telling) => ended,
            }
        };
        tokio::select! {
            ended = working => ended,
            () = client_driver => Err(unavailable("it closed the connection")),
            () = news_driver => Err(unavailable("it closed the connection")),
        }
    }

    async fn follow(
        self: &Arc<Self>,
        client: &mut MultiplexedConnection,
        news: &mut MultiplexedConnection,
    ) -> Result<Infallible, StoreError> {
        loop {
            let position = *self.position.borrow();
            let entries = read_news(news, position).await?;
            self.hear();
            if let Some((first, _)) = entries.first()
                && *first != position + 1
            {
                return Err(unavailable(
                    "some of its news are missing: reading everything anew",
                ));
            }
            self.apply(client, entries).await?;
        }
    }

    /// Takes over what other nodes did, and what this one did itself: that changes nothing.
    pub(super) async fn apply(
        self: &Arc<Self>,
        client: &mut MultiplexedConnection,
        entries: Vec<(u64, Vec<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        let Some((last, _)) = entries.last() else {
            return Ok(());
        };
        let last = *last;
        let (mut begun, mut evicted, mut revoked) = (Vec::new(), Vec::new(), Vec::new());
        let mut named = Vec::new();
        let mut has_ring_changed = false;
        for (_, fields) in &entries {
            match self.records.read_news(fields) {
                News::Ban(ban) => {
                    self.bans.learn(ban, clock::unix_now());
                }
                News::Evicted(id) => evicted.push(id),
                News::Named(node) => named.push(node),
                News::Revoked(tombstone) => revoked.push(tombstone),
                News::Ring => has_ring_changed = true,
                News::Session(id) => begun.push(id),
                News::Unknown => {
                    tracing::debug!(
                        side = "upstream",
                        "the store tells something that is not known here"
                    );
                }
            }
        }
        // Before the sessions that need them.
        self.learn(named);
        self.end(&revoked).await;
        begun.retain(|id| self.memory.look_up(id).is_none());
        for session in self.fetch(client, &begun).await? {
            self.memory.add(session);
        }
        self.memory.evict(&evicted);
        if has_ring_changed {
            self.fetch_ring(client).await?;
        }
        self.position.send_replace(last);
        Ok(())
    }

    /// Ends sessions that another node has revoked: at once, and then on disk.
    pub(super) async fn end(self: &Arc<Self>, revoked: &[Tombstone]) {
        if revoked.is_empty() {
            return;
        }
        self.memory.end(revoked);
        if let Err(error) = self.bury(revoked).await {
            tracing::warn!(side = "local", reason = %error, remedy = "look at [session] state_dir",
                "revocations of other nodes are in the shared store only");
        }
    }

    /// The records of these sessions, as far as the store still has them.
    pub(super) async fn fetch(
        &self,
        client: &mut MultiplexedConnection,
        ids: &[SessionId],
    ) -> Result<Vec<Arc<Session>>, StoreError> {
        let mut sessions = Vec::new();
        for batch in ids.chunks(limits::STORE_BATCH) {
            let mut command = redis::cmd("MGET");
            for id in batch {
                command.arg(keys::session(id));
            }
            let sealed: Vec<Option<Vec<u8>>> =
                command.query_async(client).await.map_err(address::failed)?;
            let records = batch.iter().zip(sealed);
            sessions.extend(
                records.filter_map(|(id, sealed)| self.records.open_session(*id, &sealed?)),
            );
        }
        Ok(sessions)
    }

    pub(super) async fn fetch_ring(
        &self,
        client: &mut MultiplexedConnection,
    ) -> Result<bool, StoreError> {
        let sealed: Option<Vec<u8>> = redis::cmd("HGET")
            .arg(keys::RING)
            .arg("r")
            .query_async(client)
            .await
            .map_err(address::failed)?;
        let Some(sealed) = sealed else {
            return Ok(false);
        };
        let ring = self.records.open_ring(&sealed, self.me.core);
        let ring = ring.ok_or_else(|| unavailable("its filter keys can't be read"))?;
        self.first_ring().clone_from(&ring);
        self.ring.send_replace(Some(ring));
        Ok(true)
    }

    pub(super) fn first_ring(&self) -> MutexGuard<'_, KeyRing> {
        self.first_ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hear(&self) {
        self.heard().at = clock::now();
    }

    fn note_up(&self, client: MultiplexedConnection) {
        let mut heard = self.heard();
        heard.at = clock::now();
        heard.is_up = true;
        heard.trouble = None;
        drop(heard);
        self.client.send_replace(Some(client));
        tracing::info!(store = %self.config.dialer.address, "the session store answers");
    }

    fn note_down(&self, why: &StoreError) {
        self.client.send_replace(None);
        let why = why.to_string();
        let mut heard = self.heard();
        let is_news = heard.trouble.as_ref() != Some(&why);
        heard.is_up = false;
        heard.trouble = Some(why.clone());
        drop(heard);
        if is_news {
            tracing::warn!(
                side = "upstream", reason = why, store = %self.config.dialer.address,
                remedy = "look at the server that [session.redis] names; until then nobody new can sign in",
                "the session store is not available"
            );
        }
    }
}

/// The entries behind `position`, with their numbers; none if there is no news for a moment.
async fn read_news(
    news: &mut MultiplexedConnection,
    position: u64,
) -> Result<Vec<(u64, Vec<Vec<u8>>)>, StoreError> {
    let wait = u64::try_from(limits::STORE_NEWS_WAIT.as_millis()).unwrap_or(1);
    let answer: Option<Vec<(String, Vec<Entry>)>> = redis::cmd("XREAD")
        .arg("COUNT")
        .arg(limits::STORE_BATCH)
        .arg("BLOCK")
        .arg(wait)
        .arg("STREAMS")
        .arg(keys::NEWS)
        .arg(format!("{position}-0"))
        .query_async(news)
        .await
        .map_err(address::failed)?;
    let streams = answer.unwrap_or_default().into_iter();
    streams
        .flat_map(|(_, entries)| entries)
        .map(numbered)
        .collect()
}

/// An id and the fields and values by turns.
type Entry = (String, Vec<Vec<u8>>);

fn numbered((id, fields): Entry) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
    let number = id
        .split_once('-')
        .and_then(|(number, _)| number.parse().ok());
    number
        .map(|number| (number, fields))
        .ok_or_else(|| unavailable("its news have no numbers"))
}

/// The number of the last entry; 0 if there is none.
pub(super) async fn newest(client: &mut MultiplexedConnection) -> Result<u64, StoreError> {
    end_of_news(client, "XREVRANGE", "+", "-").await
}

/// The number of the first entry that the store still has; 0 if there is none.
pub(super) async fn oldest(client: &mut MultiplexedConnection) -> Result<u64, StoreError> {
    end_of_news(client, "XRANGE", "-", "+").await
}

async fn end_of_news(
    client: &mut MultiplexedConnection,
    command: &str,
    from: &str,
    to: &str,
) -> Result<u64, StoreError> {
    let entries: Vec<Entry> = redis::cmd(command)
        .arg(keys::NEWS)
        .arg(from)
        .arg(to)
        .arg("COUNT")
        .arg(1)
        .query_async(client)
        .await
        .map_err(address::failed)?;
    match entries.into_iter().next() {
        Some(entry) => numbered(entry).map(|(number, _)| number),
        None => Ok(0),
    }
}
