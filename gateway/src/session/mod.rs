//! Sessions: who a cookie's bearer is, on every request.
//!
//! The store is the truth; this room keeps what it read of it in memory, so that a request costs
//! one cache hit. What ends a session ends it here at once, for everyone who holds it:
//! [`Sessions::revoke`] changes the store first, then every [`Session`] in memory. The idle and
//! absolute limits are looked at on every request; a change of the directory on the next one.
//! A cookie that names nothing costs one read of the store and leaves no trace.

pub mod assertion;
mod live;
mod registry;
mod sharing;
mod suspension;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod upkeep;

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use data_encoding::HEXLOWER;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

pub use live::Session;
pub use suspension::Suspensions;

use crate::clock::SharedClock;
use crate::config;
use crate::directory::{DirectoryError, SharedDirectory};
use crate::metrics::Metrics;
use crate::principal::{Principal, UserId};
use crate::secret::{self, BearerHash, BearerId};
use crate::store::{Others, SessionRecord, SharedStore, StoreError, Whose};
use registry::Registry;
use sharing::Doubts;

/// How long a revocation waits, once the store has it, so that other gateways have heard of it
/// when it is said to be done. Their heartbeat bounds it where they have not.
const HEARD_WITHIN: Duration = Duration::from_millis(50);

/// Sessions kept in memory. One that is pushed out is read again when it is next used.
const CACHED: usize = 100_000;

/// Every session of this gateway.
pub struct Sessions {
    store: SharedStore,
    directory: SharedDirectory,
    clock: SharedClock,
    limits: config::Session,
    metrics: Metrics,
    cache: Cache<BearerHash, Arc<Session>, UnitWeighter, Uniform>,
    registry: Registry,
    /// The directory's generation under which every session in memory was judged last.
    rechecked: AtomicU64,
    /// When the metric is counted again, in milliseconds since the epoch.
    count_at: AtomicU64,
    /// The other gateways, where the store is shared.
    others: Option<Arc<Others>>,
    /// Sessions that others may have ended.
    doubts: Doubts,
}

/// Why nobody can tell whose a cookie is. Whoever sees it refuses: nothing fails open.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory did not answer.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl Sessions {
    /// Sessions on a store, with their users in a directory.
    #[must_use]
    pub fn new(
        store: SharedStore,
        directory: SharedDirectory,
        clock: SharedClock,
        limits: config::Session,
        metrics: Metrics,
    ) -> Arc<Self> {
        Self::with_capacity(CACHED, store, directory, clock, limits, metrics)
    }

    fn with_capacity(
        capacity: usize,
        store: SharedStore,
        directory: SharedDirectory,
        clock: SharedClock,
        limits: config::Session,
        metrics: Metrics,
    ) -> Arc<Self> {
        let rechecked = AtomicU64::new(directory.generation());
        let others = store.others();
        let sessions = Arc::new(Self {
            store,
            directory,
            clock,
            limits,
            metrics,
            cache: Cache::with(
                capacity,
                capacity as u64,
                UnitWeighter,
                Uniform,
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            registry: Registry::default(),
            rechecked,
            count_at: AtomicU64::new(0),
            others,
            doubts: Doubts::default(),
        });
        sessions.listen();
        sessions
    }

    /// The live session that a cookie names, for what may change something, and counts as its use; `None` if it names none: never
    /// one that is revoked, idle or past its absolute limit, or whose user is gone, suspended or
    /// with another company.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if store or directory had to be asked and did not answer.
    pub async fn find(
        self: &Arc<Self>,
        cookie: &BearerId,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        self.find_while(cookie, Others::is_prompt).await
    }

    /// The same for what only reads: where the store is shared and does not answer, what is in
    /// memory is believed for a moment, and for the configured grace.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if store or directory had to be asked and did not answer.
    pub async fn find_to_read(
        self: &Arc<Self>,
        cookie: &BearerId,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        match self.find_while(cookie, Others::is_current).await {
            Err(SessionError::Store(error)) => match self.within_grace(cookie) {
                Some(session) => Ok(Some(session)),
                None => Err(error.into()),
            },
            found => found,
        }
    }

    /// From memory while that is current, by `believing`; otherwise the store is asked.
    async fn find_while(
        self: &Arc<Self>,
        cookie: &BearerId,
        believing: fn(&Others) -> bool,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        let id = cookie.hash();
        let now = self.clock.now();
        match self.cache.get(&id) {
            Some(session)
                if session.holds(now, self.directory.generation()) && self.believes(believing) =>
            {
                session.life().touch(now);
                Ok(Some(session))
            }
            _ => self.look_up(id, believing).await,
        }
    }

    /// A new session for a login to put into the store, together with what its cookie carries.
    #[must_use]
    pub fn prepare(&self, principal: &Principal, client: &str) -> (BearerId, SessionRecord) {
        let now = self.clock.now();
        let record = SessionRecord {
            handle: HEXLOWER.encode(&secret::random::<16>()),
            user: principal.id.clone(),
            company: principal.company.id.clone(),
            created: now,
            last_seen: now,
            expires: now.plus(self.limits.absolute),
            client: client.to_owned(),
        };
        (BearerId::generate(), record)
    }

    /// A user's live sessions, the one used last first.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`].
    pub async fn list(&self, user: &UserId) -> Result<Vec<SessionRecord>, SessionError> {
        self.all(&Whose::User(user.clone(), None)).await
    }

    /// The live sessions that `which` covers, the one used last first.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`].
    pub async fn all(&self, which: &Whose) -> Result<Vec<SessionRecord>, SessionError> {
        let now = self.clock.now();
        let mut live = Vec::new();
        for (id, record) in self.store.sessions(now, which).await? {
            let mut record = self.bounded(record);
            if let Some(life) = self.registry.peek(&id) {
                record.last_seen = record.last_seen.max(life.last_seen());
            }
            if now < record.expires && now < record.last_seen.plus(self.limits.idle) {
                live.push(record);
            }
        }
        live.sort_by(|a, b| {
            (b.last_seen, b.created, &b.handle).cmp(&(a.last_seen, a.created, &a.handle))
        });
        Ok(live)
    }

    /// Ends every session that `which` covers, in the store and then here, open streams included;
    /// returns how many the store had. Goes through even if the caller stops waiting.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`] if the store may still hold them. What this gateway had in memory
    /// has ended all the same, and is read anew if it is shown again.
    pub async fn revoke(self: &Arc<Self>, which: &Whose) -> Result<usize, SessionError> {
        let (sessions, which) = (Arc::clone(self), which.clone());
        let task = tokio::spawn(async move {
            let revoked = sessions.store.revoke(&which).await;
            match &revoked {
                Ok(ids) => ids.iter().for_each(|&id| sessions.end(id)),
                Err(_) => sessions.end_all(&which),
            }
            let ended = revoked.as_ref().is_ok_and(|ids| !ids.is_empty());
            if ended && sessions.store.others().is_some() {
                tokio::time::sleep(HEARD_WITHIN).await;
            }
            revoked
        });
        let revoked = task
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))?;
        Ok(revoked.len())
    }

    /// Ends here a session that the store has ended already, as a completed login does with the
    /// one that its browser held.
    pub fn forget_replaced(&self, id: BearerHash) {
        self.end(id);
    }

    /// The way of every request that is no plain hit.
    async fn look_up(
        self: &Arc<Self>,
        id: BearerHash,
        believing: fn(&Others) -> bool,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        // Entered before the store is read: a revocation that this read does not see finds the
        // life here, and ends it.
        let entry = self.registry.enter(id);
        let life = entry.life();
        let _turn = life.turn().await;
        let now = self.clock.now();
        let generation = self.directory.generation();
        let doubts = life.doubts();
        let believed = self.believes(believing) && !life.is_doubted();
        let cached = self.cache.get(&id).filter(|session| session.is_of(life));
        if believed
            && cached
                .as_ref()
                .is_some_and(|session| session.holds(now, generation))
        {
            life.touch(now);
            return Ok(cached);
        }
        // Where the store is shared, another gateway may know of a later use.
        let past = self.others.is_some() && life.is_past(now, self.limits.idle);
        let record = match life.record() {
            Some(record) if believed && !past => record,
            known => match self.store.session(now, id).await? {
                Some(record) => {
                    life.clear(doubts, now);
                    life.begin(self.bounded(record))
                }
                None => {
                    if known.is_some() {
                        self.end(id);
                    }
                    return Ok(None);
                }
            },
        };
        if life.is_past(now, self.limits.idle) {
            return self.over(id).await;
        }
        let Some(principal) = self.principal(&record).await? else {
            return self.over(id).await;
        };
        let session = match cached {
            Some(session) if **session.principal() == *principal => {
                session.judged_under(generation);
                session
            }
            _ => {
                let session = Arc::new(Session::new(
                    Arc::clone(life),
                    record,
                    principal,
                    generation,
                    self.limits.idle,
                    Arc::clone(&self.clock),
                ));
                self.cache.insert(id, Arc::clone(&session));
                session
            }
        };
        life.touch(now);
        // It may have been ended, or run out, while store and directory were asked.
        let live = session.is_live();
        if !live || life.is_doubted() {
            self.cache.remove_if(&id, |cached| cached.is_of(life));
        }
        Ok(Some(session).filter(|_| live))
    }

    /// Ends a session for good that has been found to be over.
    async fn over(self: &Arc<Self>, id: BearerHash) -> Result<Option<Arc<Session>>, SessionError> {
        self.end(id);
        self.revoke(&Whose::Bearer(id)).await?;
        Ok(None)
    }

    /// Ends what is in memory of a session.
    fn end(&self, id: BearerHash) {
        if let Some(life) = self.registry.remove(&id) {
            life.end();
        }
        self.cache.remove(&id);
    }

    /// Ends what is in memory of every session that `which` may cover.
    fn end_all(&self, which: &Whose) {
        for id in self.registry.covered_by(which) {
            self.end(id);
        }
    }

    /// The user of a session, if they may still use it.
    async fn principal(
        &self,
        record: &SessionRecord,
    ) -> Result<Option<Arc<Principal>>, DirectoryError> {
        let person = self.directory.by_id(&record.user).await?;
        Ok(person
            .map(|person| Arc::clone(&person.principal))
            .filter(|principal| !principal.suspended && principal.company.id == record.company))
    }

    /// A record under the absolute limit as it is configured now, where that is the shorter one.
    fn bounded(&self, mut record: SessionRecord) -> SessionRecord {
        record.expires = record
            .expires
            .min(record.created.plus(self.limits.absolute));
        record
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("limits", &self.limits)
            .field("cached", &self.cache.len())
            .finish_non_exhaustive()
    }
}

/// Takes a [`BearerHash`] for its own hash: it is SHA-256 of what the gateway drew at random, so
/// nobody chooses which of the cached ones fall together.
#[derive(Clone, Copy, Debug)]
struct Uniform;

#[derive(Debug, Default)]
struct FirstBytes(u64);

impl BuildHasher for Uniform {
    type Hasher = FirstBytes;

    fn build_hasher(&self) -> FirstBytes {
        FirstBytes::default()
    }
}

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    /// The array's length, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
