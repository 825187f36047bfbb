//! One session in memory: the [`Session`] that a request holds, and the life that all who hold
//! the same session share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify};

use super::assertion::Assertions;
use crate::clock::{SharedClock, Timestamp};
use crate::principal::Principal;
use crate::store::SessionRecord;

/// A session that was live when it was found, with its user as the directory then knew them.
///
/// When the directory changes the user's name, address or roles, the next request gets another
/// `Session` of the same life: what ends one ends the other.
pub struct Session {
    life: Arc<Life>,
    record: Arc<SessionRecord>,
    principal: Arc<Principal>,
    /// The directory's generation under which the principal was found.
    generation: AtomicU64,
    idle: Duration,
    clock: SharedClock,
    assertions: Assertions,
}

impl Session {
    pub(super) fn new(
        life: Arc<Life>,
        record: Arc<SessionRecord>,
        principal: Arc<Principal>,
        generation: u64,
        idle: Duration,
        clock: SharedClock,
    ) -> Self {
        Self {
            life,
            record,
            principal,
            generation: AtomicU64::new(generation),
            idle,
            clock,
            assertions: Assertions::default(),
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Its public name: for its user, for ops, and as the assertion's `sid`.
    #[must_use]
    pub fn handle(&self) -> &str {
        &self.record.handle
    }

    /// When its user logged in.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.record.created
    }

    /// Its absolute limit.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.record.expires
    }

    /// When it ends unless it is used before.
    #[must_use]
    pub fn idle_expires(&self) -> Timestamp {
        self.life.last_seen().plus(self.idle)
    }

    /// Whether it is neither revoked nor past a limit.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_live_at(self.clock.now())
    }

    /// Counts as a use: for streams, whose traffic is no request.
    pub fn touch(&self) {
        let now = self.clock.now();
        if self.is_live_at(now) {
            self.life.touch(now);
        }
    }

    /// Resolves when the session is over: revoked, its user gone or suspended, or past a limit.
    pub async fn ended(&self) {
        loop {
            // Listening before looking: what ends it between the two is heard.
            let ending = self.life.ending.notified();
            let now = self.clock.now();
            if !self.is_live_at(now) {
                return;
            }
            let left = self.expires().min(self.idle_expires()).since(now);
            // Either way the clock and the flag are looked at again: a use may have moved the limit.
            let _ = tokio::time::timeout(left, ending).await;
        }
    }

    /// Whether it may serve a request at `now` without anyone being asked.
    pub(super) fn holds(&self, now: Timestamp, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation && self.is_live_at(now)
    }

    /// Notes that the directory, under this generation, still says the same of the user.
    pub(super) fn judged_under(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    pub(super) const fn life(&self) -> &Arc<Life> {
        &self.life
    }

    pub(super) fn is_of(&self, life: &Arc<Life>) -> bool {
        Arc::ptr_eq(&self.life, life)
    }

    pub(super) const fn assertions(&self) -> &Assertions {
        &self.assertions
    }

    fn is_live_at(&self, now: Timestamp) -> bool {
        !self.life.is_ended() && now < self.record.expires && now < self.idle_expires()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("handle", &self.record.handle)
            .field("user", &self.principal.id)
            .finish_non_exhaustive()
    }
}

/// What everyone who holds a session shares: whether it has ended, and when it was used.
///
/// A life ends once and never begins again. If the store still holds its session after all (a
/// revocation failed there), the next request begins another life from what the store says.
#[derive(Default)]
pub(super) struct Life {
    ended: AtomicBool,
    ending: Notify,
    /// Set once the store was read.
    record: OnceLock<Arc<SessionRecord>>,
    last_seen: AtomicU64,
    /// The last use that the store knows of.
    written: AtomicU64,
    /// How often others have changed the session in the store.
    doubts: AtomicU64,
    /// How many of these the store was asked about since.
    cleared: AtomicU64,
    /// When the store was asked last, in milliseconds like [`Timestamp`].
    asked: AtomicU64,
    /// Held by the one request that asks store and directory, while others wait for what it finds.
    turn: Mutex<()>,
}

impl Life {
    /// Waits until nobody else is looking this session up.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Takes what the store said.
    pub(super) fn begin(&self, record: SessionRecord) -> Arc<SessionRecord> {
        let seen = record.last_seen.as_millis();
        self.last_seen.fetch_max(seen, Ordering::AcqRel);
        self.written.fetch_max(seen, Ordering::AcqRel);
        Arc::clone(self.record.get_or_init(|| Arc::new(record)))
    }

    /// What the store said, if it was asked.
    pub(super) fn record(&self) -> Option<Arc<SessionRecord>> {
        self.record.get().map(Arc::clone)
    }

    /// Others may have ended the session: the store is asked before it is believed again.
    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// How many doubts there were so far; to be read before the store is asked.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// The store was asked after so many doubts, and has the session.
    pub(super) fn clear(&self, doubts: u64, now: Timestamp) {
        self.cleared.fetch_max(doubts, Ordering::AcqRel);
        self.asked.fetch_max(now.as_millis(), Ordering::AcqRel);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.cleared.load(Ordering::Acquire) < self.doubts()
    }

    /// Whether the session nears its idle limit here by less than `within`, and the store was not
    /// asked for half of that: others may have used it.
    pub(super) fn nears_end(&self, now: Timestamp, idle: Duration, within: Duration) -> bool {
        let asked = Timestamp::from_millis(self.asked.load(Ordering::Acquire));
        now.plus(within) >= self.last_seen().plus(idle) && now >= asked.plus(within / 2)
    }

    /// Ends the session for everyone who holds it.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.ending.notify_waiters();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the session is past a limit; not so while the store was not asked.
    pub(super) fn is_past(&self, now: Timestamp, idle: Duration) -> bool {
        self.record
            .get()
            .is_some_and(|record| now >= record.expires || now >= self.last_seen().plus(idle))
    }

    pub(super) fn last_seen(&self) -> Timestamp {
        Timestamp::from_millis(self.last_seen.load(Ordering::Acquire))
    }

    /// Counts a use. Most requests of a busy session find its millisecond already there, and
    /// write nothing that other cores read.
    pub(super) fn touch(&self, now: Timestamp) {
        if self.last_seen() < now {
            self.last_seen.fetch_max(now.as_millis(), Ordering::AcqRel);
        }
    }

    /// The last use, if the store does not know of it.
    pub(super) fn unwritten(&self) -> Option<Timestamp> {
        self.unwritten_for(Duration::ZERO)
    }

    /// The same, where the store knows of none that is less than `least` before it.
    pub(super) fn unwritten_for(&self, least: Duration) -> Option<Timestamp> {
        let seen = self.last_seen();
        let written = Timestamp::from_millis(self.written.load(Ordering::Acquire));
        (seen > written && seen.since(written) >= least).then_some(seen)
    }

    /// Notes that the store knows of a use.
    pub(super) fn written(&self, at: Timestamp) {
        self.written.fetch_max(at.as_millis(), Ordering::AcqRel);
    }
}
