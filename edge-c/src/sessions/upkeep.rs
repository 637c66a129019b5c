//! What has to be done about sessions now and then: drop what has expired, roll the filter keys, write what changed.

use std::future::Future;
use std::sync::Arc;

use common::limits;
use common::time::UnixTime;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Sessions;
use super::key_ring::KeyRing;
use super::store::StoreError;

impl Sessions {
    /// Drops what has expired, rolls the filter keys if it is time, writes what changed. To be called every
    /// [`limits::SESSION_FLUSH_INTERVAL`], which [`Sessions::run`] does.
    ///
    /// # Errors
    /// [`StoreError`] if the snapshot could not be written; the changes wait for the next call.
    pub async fn maintain(&self, now: UnixTime) -> Result<(), StoreError> {
        self.0.store.expire(now);
        if let Some(next) = self.next_ring(now) {
            self.roll(next).await;
        }
        Arc::clone(&self.0.store).flush().await
    }

    /// Maintains until `stop` ends, and once more after that, so that a clean stop loses nothing.
    pub async fn run(&self, clock: impl Fn() -> UnixTime, stop: impl Future<Output = ()>) {
        let mut ticks = tokio::time::interval(limits::SESSION_FLUSH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        let mut ring = self.0.agreement.ring();
        let mut was_ok = true;
        loop {
            // All are cancel safe: a tick that isn't taken comes again, a change stays noted.
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                () = &mut stop => true,
                () = changed(&mut ring) => {
                    let next = ring.borrow_and_update().clone();
                    if let Some(next) = next {
                        self.take_over(next).await;
                    }
                    continue;
                }
            };
            let maintained = self.maintain(clock()).await;
            match &maintained {
                Err(why) if was_ok || is_last => {
                    tracing::warn!(side = "local", reason = %why, remedy = "look at [session] state_dir",
                        "session snapshot cannot be written");
                }
                Ok(()) if !was_ok => tracing::info!("session snapshot is written again"),
                Ok(()) | Err(_) => {}
            }
            was_ok = maintained.is_ok();
            if is_last {
                return;
            }
        }
    }

    /// The first roll, for a node that shares its keys with nobody.
    pub(super) fn roll_at_start(&self, now: UnixTime) {
        if let Some(next) = self.next_ring(now) {
            self.keep_ring(&next);
            self.use_ring(next);
        }
    }

    fn next_ring(&self, now: UnixTime) -> Option<KeyRing> {
        let nodes = self.0.agreement.nodes();
        // The node with the longest sessions decides: its cookies must verify until they expire.
        let lifetime = self.0.lifetime.max(nodes.borrow().lifetime_max);
        // Without random octets the old keys stay: not worse than before.
        self.ring()
            .rolled(now, KeyRing::interval(lifetime), self.0.random.as_ref())
            .ok()
            .flatten()
    }

    async fn roll(&self, next: KeyRing) {
        let current = self.ring().clone();
        match self.0.agreement.roll(current, next).await {
            Ok(agreed) => self.take_over(agreed).await,
            // The old keys stay until the store is back: nobody signs in without it anyway.
            Err(error) => {
                tracing::debug!(side = "upstream", reason = %error, "filter keys wait to be rolled");
            }
        }
    }

    async fn take_over(&self, ring: KeyRing) {
        let ring = ring.used_by(self.ring().core());
        if *self.ring() == ring {
            return;
        }
        let (sessions, kept) = (self.clone(), ring.clone());
        let keeping = tokio::task::spawn_blocking(move || sessions.keep_ring(&kept)).await;
        if let Err(error) = keeping {
            tracing::warn!(side = "local", reason = %error, remedy = "none", "filter keys are not kept");
        }
        self.use_ring(ring);
    }

    fn use_ring(&self, ring: KeyRing) {
        let keys = ring.filter_keys();
        *self.ring() = ring;
        tracing::info!(generation = keys.latest.0, "filter keys rolled");
        self.0.keys.send_replace(keys);
    }

    /// Keys that can't be kept are still used: a restart then signs users out, which is all that is lost.
    pub(super) fn keep_ring(&self, ring: &KeyRing) {
        let Some(snapshot) = &self.0.snapshot else {
            return;
        };
        if let Err(why) = snapshot.write_ring(ring) {
            tracing::warn!(side = "local", reason = %why, remedy = "look at [session] state_dir",
                "filter keys are not kept; a restart signs users out");
        }
    }
}

async fn changed(ring: &mut watch::Receiver<Option<KeyRing>>) {
    if ring.changed().await.is_err() {
        // Nobody changes it any more.
        std::future::pending::<()>().await;
    }
}
