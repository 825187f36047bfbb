//! Sessions of a store that several gateways share: what another one ends, ends here.
//!
//! A change that is told of a session only raises a doubt: its next request asks the store, and so
//! do we without waiting for one, so that open streams end as well. While nothing is told, the
//! store is asked on every request.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Notify;

use super::{Session, Sessions};
use crate::secret::{BearerHash, BearerId};
use crate::store::{Change, Hears, Others, StoreError};

/// How many doubts are looked into at once.
const AT_ONCE: usize = 64;
/// How long one waits that the store could not clear.
const AGAIN: Duration = Duration::from_millis(50);
/// How often a session's use is written down, at most, where every write is a call.
const USES: Duration = Duration::from_secs(60);

/// Sessions that others may have ended.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    ids: Mutex<Vec<BearerHash>>,
    raised: Notify,
}

impl Sessions {
    /// Asks the store about every session that others may have ended, as it is told, and ends those
    /// that are gone. To be run for as long as the gateway serves on a shared store.
    pub async fn clear_doubts(&self) {
        loop {
            let raised = self.doubts.raised.notified();
            let ids = mem::take(&mut *self.doubts.ids());
            if ids.is_empty() {
                raised.await;
                continue;
            }
            let unclear: Vec<BearerHash> = stream::iter(ids)
                .map(|id| async move { self.ask_again(id).await.is_err().then_some(id) })
                .buffer_unordered(AT_ONCE)
                .filter_map(std::future::ready)
                .collect()
                .await;
            if !unclear.is_empty() {
                tokio::time::sleep(AGAIN).await;
                self.doubts.ids().extend(unclear);
            }
        }
    }

    /// Asks the store about every session in memory; to be called while nothing is told.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store does not answer: then nobody knows what others have ended.
    pub async fn ask_for_all(&self) -> Result<(), StoreError> {
        stream::iter(self.registry.select(|life| life.record().is_some()))
            .map(|id| self.ask_again(id))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Asks the store about sessions near their idle limit, which may be used at another gateway.
    pub(super) async fn ask_for_idle(&self) {
        let (now, within) = (self.clock.now(), self.uses_written_every());
        let near = |life: &super::live::Life| life.nears_end(now, self.limits.idle, within);
        let ids = self.registry.select(near).into_iter();
        stream::iter(ids.map(|id| self.ask_again(id)))
            .buffer_unordered(AT_ONCE)
            .for_each(|asked| async move {
                if let Err(error) = asked {
                    tracing::debug!(%error, "whether an idle session is used elsewhere is not known");
                }
            })
            .await;
    }

    /// A use is written down when it is this much later than the last that was.
    pub(super) fn uses_written_every(&self) -> Duration {
        match &self.others {
            None => Duration::ZERO,
            Some(_) => USES.min(self.limits.idle / 10),
        }
    }

    pub(super) fn listen(self: &Arc<Self>) {
        if let Some(others) = &self.others {
            let hearer: Weak<Self> = Arc::downgrade(self);
            others.tell_too(hearer);
        }
    }

    pub(super) fn believes(&self, believing: fn(&Others) -> bool) -> bool {
        self.others.as_deref().is_none_or(believing)
    }

    /// A session in memory that may still read although the store does not answer.
    pub(super) fn within_grace(&self, cookie: &BearerId) -> Option<Arc<Session>> {
        let others = self
            .others
            .as_ref()
            .filter(|others| others.within_grace())?;
        let (now, generation) = (self.clock.now(), self.directory.generation());
        let session = self.cache.get(&cookie.hash())?;
        let serves = session.holds(now, generation) && others.was_heard();
        serves.then_some(session)
    }

    /// Ends what is in memory of a session that the store has no more.
    async fn ask_again(&self, id: BearerHash) -> Result<(), StoreError> {
        let Some(life) = self.registry.peek(&id) else {
            return Ok(());
        };
        let doubts = life.doubts();
        let now = self.clock.now();
        match self.store.session(now, id).await? {
            Some(record) => {
                life.clear(doubts, now);
                if life.record().is_some() {
                    life.begin(record);
                }
            }
            // One that nobody has read yet has just been put, or never was.
            None if life.record().is_some() => self.end(id),
            None => {}
        }
        Ok(())
    }

    fn doubt(&self, id: BearerHash) {
        let Some(life) = self.registry.peek(&id) else {
            return;
        };
        // In this order: who finds it in the cache after this finds it doubted.
        life.doubt();
        self.cache.remove(&id);
        self.doubts.raise(id);
    }
}

impl Hears for Sessions {
    fn hear(&self, change: &Change<'_>) {
        match change {
            Change::Session(id) => self.doubt(*id),
            Change::Anything => {
                let all = self.registry.select(|_| true);
                all.into_iter().for_each(|id| self.doubt(id));
            }
            Change::Suspensions | Change::Sealed | Change::Facts(_) => {}
        }
    }
}

impl Doubts {
    fn raise(&self, id: BearerHash) {
        self.ids().push(id);
        self.raised.notify_one();
    }

    fn ids(&self) -> MutexGuard<'_, Vec<BearerHash>> {
        // Nothing that holds the lock can leave the list half changed.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
