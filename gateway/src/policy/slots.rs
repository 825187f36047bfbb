//! When what is known of a resource was last dropped, and whether a change of it is under way.
//!
//! A drop needs no search. Time is counted in *epochs*: every drop begins one, and notes it in
//! the dropped resource's slot of a fixed table. What was asked for in an earlier epoch than its
//! slot names is not believed, be it cached or still in flight. Two resources may share a slot;
//! then one's drop costs the other a look-up, and nothing else.
//!
//! From the moment a change is forwarded its slot is *unsettled*: nothing that is read then is
//! kept, for nobody knows whether it was read before or after the application made the change.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;

/// How many slots drops are noted in.
const SLOTS: usize = 4096;

/// How long a slot stays unsettled after a change whose answer nobody waited for. The
/// application may still be at work on it.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// The table.
pub(super) struct Slots {
    epoch: AtomicU64,
    slots: Box<[Slot]>,
    hasher: RandomState,
}

#[derive(Default)]
struct Slot {
    /// When it was last dropped.
    epoch: AtomicU64,
    /// How many changes are under way.
    changes: AtomicU64,
    /// Unsettled until then, in milliseconds like [`Timestamp`].
    until: AtomicU64,
}

/// When a look-up began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    epoch: u64,
    at: Timestamp,
}

impl Begun {
    /// The moment.
    pub(super) const fn moment(self) -> Timestamp {
        self.at
    }

    /// Before every drop.
    pub(super) const fn at(now: Timestamp) -> Self {
        Self { epoch: 0, at: now }
    }

    /// The older of both.
    pub(super) fn older(self, other: Self) -> Self {
        Self {
            epoch: self.epoch.min(other.epoch),
            at: self.at.min(other.at),
        }
    }

    /// Whether this began no earlier than another.
    pub(super) fn is_since(self, other: Self) -> bool {
        self.epoch >= other.epoch && self.at >= other.at
    }
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            epoch: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The beginning of a look-up.
    pub(super) fn begin(&self, now: Timestamp) -> Begun {
        Begun {
            epoch: self.epoch.load(Ordering::SeqCst),
            at: now,
        }
    }

    /// The same, later than every look-up that began before.
    pub(super) fn begin_anew(&self, now: Timestamp) -> Begun {
        Begun {
            epoch: self.epoch.fetch_add(1, Ordering::SeqCst) + 1,
            at: now,
        }
    }

    /// Stops believing what is known of a resource, and of what lies in it, now and from
    /// look-ups under way.
    pub(super) fn drop_facts(&self, name: &str, id: &str) {
        if let Some(slot) = self.slot(name, id) {
            self.note(slot);
        }
    }

    /// Stops believing anything that is known.
    pub(super) fn drop_all(&self) {
        self.slots.iter().for_each(|slot| self.note(slot));
    }

    /// Whether a resource was not dropped since a look-up of it began.
    pub(super) fn stands(&self, begun: Begun, name: &str, id: &str) -> bool {
        self.slot(name, id)
            .is_some_and(|slot| begun.epoch >= slot.epoch.load(Ordering::SeqCst))
    }

    /// Whether no change of a resource was under way since a look-up of it began: else what it
    /// found is not kept. One that ended meanwhile has dropped it, which [`Slots::stands`] tells.
    pub(super) fn is_settled(&self, begun: Begun, name: &str, id: &str) -> bool {
        self.slot(name, id).is_some_and(|slot| {
            slot.changes.load(Ordering::SeqCst) == 0
                && begun.at.as_millis() >= slot.until.load(Ordering::SeqCst)
        })
    }

    /// A change is forwarded.
    pub(super) fn change(&self, name: &str, id: &str) {
        if let Some(slot) = self.slot(name, id) {
            // In this order: who reads the new epoch finds the slot unsettled.
            slot.changes.fetch_add(1, Ordering::SeqCst);
            self.note(slot);
        }
    }

    /// A change is over: its answer came, or nobody waited for it after `early`.
    pub(super) fn settle(&self, name: &str, id: &str, early: Option<Timestamp>) {
        if let Some(slot) = self.slot(name, id) {
            if let Some(now) = early {
                let until = now.plus(GRACE).as_millis();
                slot.until.fetch_max(until, Ordering::SeqCst);
            }
            // In this order: who finds the slot settled begins in the new epoch, or is dropped.
            self.note(slot);
            slot.changes.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn note(&self, slot: &Slot) {
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        slot.epoch.fetch_max(epoch, Ordering::SeqCst);
    }

    fn slot(&self, name: &str, id: &str) -> Option<&Slot> {
        // By name, not number: a drop must be seen by every policy set in force meanwhile.
        let mut hasher = self.hasher.build_hasher();
        name.hash(&mut hasher);
        id.hash(&mut hasher);
        let slots = self.slots.len() as u64;
        let place = usize::try_from(hasher.finish() % slots).ok()?;
        self.slots.get(place)
    }
}
