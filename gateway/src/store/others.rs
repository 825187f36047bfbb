//! The other gateways on a store that several share: what they change is told here as it happens,
//! and how far what is told may be relied on.
//!
//! What a gateway keeps in memory counts only while [`Others::is_current`]: the store has answered
//! a heartbeat, on the very connection that tells of changes, within the last second. Whatever it
//! told before that answer has been passed on by then.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::secret::BearerHash;

/// How long what is in memory may be believed after the store's last sign of life.
pub const BELIEF: Duration = Duration::from_secs(1);

/// Something that another gateway, or this one, has changed in the store.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A session was put, or ended.
    Session(BearerHash),
    /// Someone was suspended or resumed.
    Suspensions,
    /// A sealed value was exchanged.
    Sealed,
    /// What a resource is may have changed in the application.
    Facts(&'a FactsNews),
    /// Something may have been missed: nothing in memory is believed unasked.
    Anything,
}

/// Who has something of the store in memory. What is told is noted and not waited for.
pub trait Hears: Send + Sync {
    /// Notes a change.
    fn hear(&self, change: &Change<'_>);
}

/// That a request changes resources, told to the gateways that may know their facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsNews {
    /// The gateway that forwards it; its own news tell it nothing.
    pub by: u64,
    /// The change's number at that gateway.
    pub number: u64,
    /// How far it is.
    pub stage: Stage,
    /// What it changes: types and identifiers.
    pub of: Vec<(String, String)>,
}

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It is about to be forwarded.
    Begun,
    /// Its answer has come.
    Answered,
    /// Nobody waits for its answer any more.
    Abandoned,
}

/// What is known of the store's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It answers.
    Well,
    /// It has not answered for a moment, or ever.
    Silent,
    /// It answers, and has lost everything or was never prepared.
    NoEpoch,
    /// It answers, and may drop keys when its memory is full.
    Evicting,
}

/// The way on which others' changes are told.
pub struct Others {
    begun: Instant,
    grace: Duration,
    /// Milliseconds after `begun` at which the store was last known to have told everything.
    heard: AtomicU64,
    /// Whether a heartbeat waits for its answer longer than a call may take.
    late: AtomicBool,
    epoch_missing: AtomicBool,
    evicting: AtomicBool,
    hearers: Mutex<Vec<Weak<dyn Hears>>>,
}

impl Others {
    /// Nothing was heard yet; `grace` is what the configuration allows.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self {
            begun: Instant::now(),
            grace,
            heard: AtomicU64::new(0),
            late: AtomicBool::new(true),
            epoch_missing: AtomicBool::new(false),
            evicting: AtomicBool::new(false),
            hearers: Mutex::default(),
        }
    }

    /// From now on, this one is told.
    pub fn tell_too(&self, hearer: Weak<dyn Hears>) {
        self.hearers().push(hearer);
    }

    /// Whether what is in memory may be believed.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.silence() < BELIEF
    }

    /// Whether, besides, the store has answered as fast as a call must be: then it is not known
    /// to be down or slow.
    #[must_use]
    pub fn is_prompt(&self) -> bool {
        !self.late.load(Ordering::Acquire) && self.is_current()
    }

    /// Whether what is in memory may still serve what only reads, while the store does not answer.
    #[must_use]
    pub fn within_grace(&self) -> bool {
        self.silence() < self.grace
    }

    /// Whether nothing that depends on the store may go on: not even what is open already.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.silence() >= self.grace.max(BELIEF)
    }

    /// How long ago the store was last known to have told everything.
    #[must_use]
    pub fn silence(&self) -> Duration {
        match self.heard.load(Ordering::Acquire) {
            0 => Duration::MAX,
            heard => self
                .begun
                .elapsed()
                .saturating_sub(Duration::from_millis(heard)),
        }
    }

    /// Whether the store was heard at all, ever.
    #[must_use]
    pub fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire) > 0
    }

    /// How the store is.
    #[must_use]
    pub fn condition(&self) -> Condition {
        if !self.is_prompt() {
            Condition::Silent
        } else if self.epoch_missing() {
            Condition::NoEpoch
        } else if self.is_evicting() {
            Condition::Evicting
        } else {
            Condition::Well
        }
    }

    /// Whether the store, when it last answered, held no epoch.
    #[must_use]
    pub fn epoch_missing(&self) -> bool {
        self.epoch_missing.load(Ordering::Acquire)
    }

    /// Whether the store, when it was last asked, might drop keys.
    #[must_use]
    pub fn is_evicting(&self) -> bool {
        self.evicting.load(Ordering::Acquire)
    }

    /// Passes a change on to whoever may have something of it in memory.
    pub(super) fn tell(&self, change: &Change<'_>) {
        let mut hearers = self.hearers();
        hearers.retain(|hearer| hearer.strong_count() > 0);
        for hearer in hearers.iter().filter_map(Weak::upgrade) {
            hearer.hear(change);
        }
    }

    /// Notes since when everything is known, if it is, and whether an answer is late.
    pub(super) fn heard(&self, since: Option<Instant>, late: bool) {
        if let Some(since) = since {
            let after = since.saturating_duration_since(self.begun).as_millis();
            let after = u64::try_from(after).unwrap_or(u64::MAX).max(1);
            self.heard.store(after, Ordering::Release);
        }
        self.late.store(late || since.is_none(), Ordering::Release);
    }

    pub(super) fn note_epoch(&self, missing: bool) {
        self.epoch_missing.store(missing, Ordering::Release);
    }

    pub(super) fn note_evicting(&self, evicting: bool) {
        self.evicting.store(evicting, Ordering::Release);
    }

    fn hearers(&self) -> MutexGuard<'_, Vec<Weak<dyn Hears>>> {
        // Nothing that holds the lock can leave the list half changed.
        self.hearers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others")
            .field("condition", &self.condition())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_heard_or_long_ago_is_not_believed() {
        let others = Others::new(Duration::ZERO);
        assert!(!others.is_current() && others.silence() == Duration::MAX);
        others.heard(Some(Instant::now()), false);
        assert!(others.is_current() && others.is_prompt());
        others.heard(Some(Instant::now()), true);
        assert!(others.is_current() && !others.is_prompt());
        let long_ago = Others {
            begun: Instant::now().checked_sub(BELIEF * 3).unwrap(),
            ..Others::new(Duration::ZERO)
        };
        let since = Instant::now().checked_sub(BELIEF * 2).unwrap();
        long_ago.heard(Some(since), false);
        assert!(!long_ago.is_current() && !long_ago.is_prompt());
    }

    #[test]
    fn the_state_of_the_store_is_told_by_what_matters_most() {
        let others = Others::new(Duration::ZERO);
        assert_eq!(others.condition(), Condition::Silent);
        others.heard(Some(Instant::now()), false);
        assert_eq!(others.condition(), Condition::Well);
        others.note_evicting(true);
        assert_eq!(others.condition(), Condition::Evicting);
        others.note_epoch(true);
        assert_eq!(others.condition(), Condition::NoEpoch);
    }
}
