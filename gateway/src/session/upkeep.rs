//! What is done for all sessions every few seconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::live::Life;
use super::registry::Use;
use super::{SessionError, Sessions};
use crate::clock::Timestamp;
use crate::store::Whose;

/// Sessions whose use is written in one operation of the store; a batch ends with the registry's
/// shard that filled it.
const FLUSHED_AT_ONCE: usize = 4_096;

/// How many sessions may be counted per second, on average, for the metric of live sessions.
const COUNTED_PER_SECOND: u64 = 1_000;

/// How often a shared store is asked how many there are.
const COUNTED_EVERY: Duration = Duration::from_secs(30);

impl Sessions {
    /// Writes down which sessions were used since the last time, lets go of those past their
    /// limits, and does what [`Sessions::recheck`] does. To be called every few seconds and at
    /// exit: after a crash the idle limit counts from the last flush, so that a session may end
    /// earlier by that much, never later.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; what was not written is tried again the next time.
    pub async fn flush(self: &Arc<Self>) -> Result<(), SessionError> {
        self.flush_uses(self.uses_written_every()).await
    }

    /// The same at exit: no use is left for later.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn flush_all(self: &Arc<Self>) -> Result<(), SessionError> {
        self.flush_uses(Duration::ZERO).await
    }

    async fn flush_uses(self: &Arc<Self>, least: Duration) -> Result<(), SessionError> {
        if self.others.is_some() {
            self.ask_for_idle().await;
        }
        let now = self.clock.now();
        let past = |life: &Life| life.is_past(now, self.limits.idle);
        self.registry
            .select(past)
            .into_iter()
            .for_each(|id| self.end(id));
        let mut used = Vec::new();
        for shard in self.registry.shards() {
            shard.unwritten(least, &mut used);
            if used.len() >= FLUSHED_AT_ONCE {
                self.write(&mut used).await?;
            }
        }
        self.write(&mut used).await?;
        self.registry.release_unused();
        self.recheck().await?;
        self.count(now).await
    }

    /// Judges every session in memory again if the directory has changed, and ends those whose
    /// user is gone, suspended or with another company, so that open streams end without a
    /// further request. Costs one atomic load while nothing has changed.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; the next call tries again.
    pub async fn recheck(self: &Arc<Self>) -> Result<(), SessionError> {
        let generation = self.directory.generation();
        if self.rechecked.load(Ordering::Acquire) == generation {
            return Ok(());
        }
        let mut ended = Vec::new();
        let records = self.registry.records();
        let users: Vec<_> = records.iter().map(|(_, one)| one.user.clone()).collect();
        self.directory.expect(&users).await?;
        for (id, record) in records {
            if self.principal(&record).await?.is_none() {
                self.end(id);
                ended.push(Whose::Bearer(id));
            }
        }
        try_join_all(ended.iter().map(|one| self.revoke(one))).await?;
        self.rechecked.store(generation, Ordering::Release);
        Ok(())
    }

    /// Ends what is in memory of every session, open streams included, because nobody can tell any
    /// more whose user may still be there. The store keeps them: the next request begins anew.
    pub fn let_go(&self) {
        self.end_all(&Whose::All);
    }

    async fn write(&self, used: &mut Vec<Use>) -> Result<(), SessionError> {
        if used.is_empty() {
            return Ok(());
        }
        let seen: Vec<_> = used.iter().map(|one| (one.id, one.at)).collect();
        self.store.touch_sessions(&seen).await?;
        for one in used.drain(..) {
            one.life.written(one.at);
        }
        Ok(())
    }

    /// Counts the live sessions of the store for the metric: the more there are, the less often.
    async fn count(&self, now: Timestamp) -> Result<(), SessionError> {
        if now.as_millis() < self.count_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (count, pause) = match self.store.count_sessions(now).await? {
            Some(count) => (usize::try_from(count).unwrap_or(usize::MAX), COUNTED_EVERY),
            None => {
                let count = self.all(&Whose::All).await?.len();
                let pause = count as u64 * 1_000 / COUNTED_PER_SECOND;
                (count, Duration::from_millis(pause))
            }
        };
        self.metrics
            .sessions_live
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        self.count_at
            .store(now.plus(pause).as_millis(), Ordering::Relaxed);
        Ok(())
    }
}
