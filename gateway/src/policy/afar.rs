//! Changes that other gateways forward: what they change is unsettled here until they say that
//! their answer has come, and for a while if they never do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::facts::FactsCache;
use super::slots::GRACE;
use crate::clock::Timestamp;
use crate::secret;
use crate::store::{Change, FactsNews, Hears, Others, Stage};

/// How many changes of others are known one by one; what else they change is not kept for a while.
const KNOWN: usize = 10_000;

/// The other gateways on a shared store, as far as facts go.
pub(super) struct Afar {
    others: Option<Arc<Others>>,
    /// This gateway's own name in news.
    by: u64,
    number: AtomicU64,
    /// Others' changes under way, by gateway and number.
    begun: Mutex<HashMap<(u64, u64), Begun>>,
}

struct Begun {
    of: Vec<(String, String)>,
    at: Timestamp,
}

impl Afar {
    pub(super) fn new(others: Option<Arc<Others>>) -> Self {
        Self {
            others,
            by: u64::from_ne_bytes(secret::random()),
            number: AtomicU64::new(0),
            begun: Mutex::default(),
        }
    }

    /// Whether what others change is told, so that what is cached may be believed.
    pub(super) fn is_heard(&self) -> bool {
        self.others
            .as_ref()
            .is_none_or(|others| others.is_current())
    }

    /// Whether there may be others who want to know.
    pub(super) const fn is_shared(&self) -> bool {
        self.others.is_some()
    }

    /// News of a change of our own that begins.
    pub(super) fn begin(&self, of: Vec<(String, String)>) -> FactsNews {
        FactsNews {
            by: self.by,
            number: self.number.fetch_add(1, Ordering::Relaxed),
            stage: Stage::Begun,
            of,
        }
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<(u64, u64), Begun>> {
        // Nothing that holds the lock can leave the list half changed.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FactsCache {
    /// From now on it is told what others change.
    pub(super) fn listen(self: &Arc<Self>) {
        if let Some(others) = &self.afar.others {
            let hearer = Arc::downgrade(self);
            others.tell_too(hearer);
        }
    }

    /// Waits no longer for those who began a change long ago and may be gone.
    pub(super) fn give_up_on_others(&self) {
        let now = self.clock.now();
        self.afar.begun().retain(|_, begun| {
            let waits = now.since(begun.at) < GRACE;
            if !waits {
                self.settle_for_others(&begun.of, None);
            }
            waits
        });
    }

    fn hear_news(&self, news: &FactsNews) {
        if news.by == self.afar.by {
            return;
        }
        let name = (news.by, news.number);
        let mut begun = self.afar.begun();
        match news.stage {
            // A cluster tells some news more than once.
            Stage::Begun if begun.contains_key(&name) => {}
            Stage::Begun if begun.len() >= KNOWN => self.abandon(&news.of),
            Stage::Begun => {
                for (kind, id) in &news.of {
                    self.slots.change(kind, id);
                }
                let (of, at) = (news.of.clone(), self.clock.now());
                begun.insert(name, Begun { of, at });
            }
            Stage::Answered => {
                for (kind, id) in &news.of {
                    self.slots.drop_facts(kind, id);
                }
                if let Some(begun) = begun.remove(&name) {
                    self.settle_for_others(&begun.of, None);
                }
            }
            Stage::Abandoned => match begun.remove(&name) {
                Some(begun) => self.settle_for_others(&begun.of, Some(self.clock.now())),
                None => self.abandon(&news.of),
            },
        }
    }

    fn settle_for_others(&self, of: &[(String, String)], early: Option<Timestamp>) {
        for (kind, id) in of {
            self.slots.settle(kind, id, early);
        }
    }

    /// What these are is not kept for a while.
    fn abandon(&self, of: &[(String, String)]) {
        for (kind, id) in of {
            self.slots.change(kind, id);
        }
        self.settle_for_others(of, Some(self.clock.now()));
    }
}

impl Hears for FactsCache {
    fn hear(&self, change: &Change<'_>) {
        match change {
            Change::Facts(news) => self.hear_news(news),
            Change::Anything => self.slots.drop_all(),
            Change::Session(_) | Change::Suspensions | Change::Sealed => {}
        }
    }
}
