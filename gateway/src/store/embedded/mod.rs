//! The store of a single gateway: one redb file, which no other process may open meanwhile.
//!
//! Reads look at the last committed state and wait for nobody. Writes go through one thread, the
//! writer, which puts all that waits into one transaction, flushes it to the disk, and only
//! then answers.

mod budgets;
mod file;
mod lanes;
mod login;
mod sessions;
mod shield;
mod standing;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redb::{Database, ReadTransaction, ReadableDatabase};

use self::tables::{
    BUDGETS, BY_ACCOUNT, BY_COMPANY, BY_USER, CHALLENGES, DEVICES, FACTS, FAILURES, LANES, META,
    SEALED, SESSIONS, SUSPENDED, decode, encode, reading,
};
use self::writer::Writer;
use super::{
    AccountKey, Attempt, BudgetKey, Challenge, Charge, Charging, CodeHash, Completion,
    DeviceRecord, LearnedFacts, LinkHash, NewChallenge, Opening, SessionRecord, Shield, Standing,
    Store, StoreError, StoreResult, Whose,
};
use crate::clock::Timestamp;
use crate::config::{Fleet, Window};
use crate::principal::UserId;
use crate::secret::BearerHash;

/// Lanes of addresses without a user that are kept; beyond, the one unused the longest goes.
const MOST_STRANGERS: u64 = 100_000;
/// Expired things cleared away per [`Store::mark_time`].
const SWEEP: usize = 500;
/// Between a failed write and the attempt to open the file anew.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether another process has let go of the file.
const LOOK: Duration = Duration::from_millis(10);

/// The store in one file.
///
/// Dropping it finishes what was queued and lets go of the file.
pub struct Embedded {
    writer: Writer,
    shared: Arc<Shared>,
}

/// What the writing thread and the readers share.
struct Shared {
    /// Taken for writing only while a file that failed is opened anew.
    database: RwLock<Option<Database>>,
    opener: Opener,
    commits: AtomicU64,
}

type Opener = Box<dyn Fn() -> StoreResult<Database> + Send + Sync>;

impl Embedded {
    /// Opens the file, or makes it, with its folder, for its owner only.
    ///
    /// The whole file is verified, which takes about a second per gigabyte.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the file cannot be had, or another process has it open;
    /// [`StoreError::Damaged`] if it is torn, no store at all, or a newer version's.
    pub fn open(path: &Path) -> StoreResult<Self> {
        Self::start(opener(path), MOST_STRANGERS, RETRY)
    }

    /// As [`Self::open`], but waits for another process to let go of the file, as long as
    /// `patience`; `waits` is called once if there is one.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_in_turn(
        path: &Path,
        patience: Duration,
        waits: impl FnOnce() + Send,
    ) -> StoreResult<Self> {
        let end = Instant::now() + patience;
        let mut waits = Some(waits);
        let database = loop {
            if let Some(database) = file::try_open(path)? {
                break database;
            }
            if Instant::now() >= end {
                return Err(file::held(path));
            }
            if let Some(waits) = waits.take() {
                waits();
            }
            tokio::time::sleep(LOOK).await;
        };
        Self::start_on(database, opener(path), MOST_STRANGERS, RETRY)
    }

    /// Transactions committed since the file was opened; many operations share one.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    fn start(opener: Opener, most_strangers: u64, retry: Duration) -> StoreResult<Self> {
        let database = opener()?;
        Self::start_on(database, opener, most_strangers, retry)
    }

    fn start_on(
        database: Database,
        opener: Opener,
        most_strangers: u64,
        retry: Duration,
    ) -> StoreResult<Self> {
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(database)),
            opener,
            commits: AtomicU64::new(0),
        });
        let writer = Writer::start(Arc::clone(&shared), most_strangers, retry)?;
        Ok(Self { writer, shared })
    }
}

fn opener(path: &Path) -> Opener {
    let path = path.to_owned();
    Box::new(move || file::open(&path))
}

impl Shared {
    /// The last committed state.
    fn read(&self) -> StoreResult<ReadTransaction> {
        let not_open = || StoreError::Unavailable("it is being opened anew".to_owned());
        let database = self.database.try_read().map_err(|_| not_open())?;
        Ok(database.as_ref().ok_or_else(not_open)?.begin_read()?)
    }

    fn count_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    fn sessions(&self, which: &Whose) -> StoreResult<Vec<(BearerHash, SessionRecord)>> {
        let tx = self.read()?;
        sessions::sessions(
            &reading(&tx, SESSIONS)?,
            &reading(&tx, BY_USER)?,
            &reading(&tx, BY_COMPANY)?,
            which,
        )
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Embedded {
    async fn high_water(&self) -> StoreResult<Timestamp> {
        tables::high_water(&reading(&self.shared.read()?, META)?)
    }

    async fn mark_time(&self, now: Timestamp) -> StoreResult<()> {
        let work = move |tables: &mut tables::Tables<'_>| {
            tables.see(now)?;
            tables.sweep(now, SWEEP)
        };
        self.writer.write(work).await
    }

    async fn open_challenge(
        &self,
        now: Timestamp,
        challenge: NewChallenge,
        live: u32,
        budget: &[Window],
    ) -> StoreResult<Opening> {
        let budget = budget.to_vec();
        self.writer
            .write(move |tables| tables.open_challenge(now, &challenge, live, &budget))
            .await
    }

    async fn renew_challenge(
        &self,
        now: Timestamp,
        id: BearerHash,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Option<Challenge>> {
        self.writer
            .write(move |tables| tables.renew_challenge(now, id, code, lifetime))
            .await
    }

    async fn challenge(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<Challenge>> {
        login::live_challenge(&reading(&self.shared.read()?, CHALLENGES)?, now, id)
    }

    async fn charge_attempt(
        &self,
        now: Timestamp,
        id: BearerHash,
        attempts: u32,
        budget: &[Window],
        fleet: Fleet,
    ) -> StoreResult<Attempt> {
        let budget = budget.to_vec();
        self.writer
            .write(move |tables| tables.charge_attempt(now, id, attempts, &budget, fleet))
            .await
    }

    async fn complete_challenge(
        &self,
        now: Timestamp,
        completion: Completion,
    ) -> StoreResult<bool> {
        self.writer
            .write(move |tables| tables.complete_challenge(now, &completion))
            .await
    }

    async fn unlock(&self, account: AccountKey) -> StoreResult<()> {
        self.writer
            .write(move |tables| tables.unlock(account))
            .await
    }

    async fn charge_budgets(
        &self,
        now: Timestamp,
        asked: &[Charge],
        ours: &[Charge],
    ) -> StoreResult<Charging> {
        let (asked, ours) = (asked.to_vec(), ours.to_vec());
        self.writer
            .write(move |tables| tables.charge_budgets(now, &asked, &ours))
            .await
    }

    async fn drafts(&self, key: BudgetKey) -> StoreResult<Vec<(Timestamp, u32)>> {
        budgets::drafts(&reading(&self.shared.read()?, BUDGETS)?, key)
    }

    async fn follow_link(
        &self,
        now: Timestamp,
        id: BearerHash,
        link: LinkHash,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Option<Challenge>> {
        self.writer
            .write(move |tables| tables.follow_link(now, id, link, code, lifetime))
            .await
    }

    async fn shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<Shield> {
        shield::shield(&reading(&self.shared.read()?, META)?, now, fleet)
    }

    async fn raise_shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<()> {
        self.writer
            .write(move |tables| tables.raise_shield(now, fleet))
            .await
    }

    async fn lower_shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<()> {
        self.writer
            .write(move |tables| tables.lower_shield(now, fleet))
            .await
    }

    async fn session(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<SessionRecord>> {
        let table = reading(&self.shared.read()?, SESSIONS)?;
        let found: Option<SessionRecord> = tables::by_id(&table, &id.0, "session")?;
        Ok(found.filter(|record| record.expires > now))
    }

    async fn touch_sessions(&self, seen: &[(BearerHash, Timestamp)]) -> StoreResult<()> {
        let seen = seen.to_vec();
        self.writer
            .write(move |tables| tables.touch_sessions(&seen))
            .await
    }

    async fn sessions(
        &self,
        now: Timestamp,
        which: &Whose,
    ) -> StoreResult<Vec<(BearerHash, SessionRecord)>> {
        // There may be a million: the worker goes on with other requests meanwhile.
        let (shared, which) = (Arc::clone(&self.shared), which.clone());
        let mut found = tokio::task::spawn_blocking(move || shared.sessions(&which))
            .await
            .map_err(|error| StoreError::Unavailable(format!("a read ended early: {error}")))??;
        found.retain(|(_, record)| record.expires > now);
        Ok(found)
    }

    async fn revoke(&self, which: &Whose) -> StoreResult<Vec<BearerHash>> {
        let which = which.clone();
        self.writer.write(move |tables| tables.revoke(&which)).await
    }

    async fn device(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<DeviceRecord>> {
        let table = reading(&self.shared.read()?, DEVICES)?;
        let found: Option<DeviceRecord> = tables::by_id(&table, &id.0, "device")?;
        Ok(found.filter(|record| record.expires > now))
    }

    async fn devices(
        &self,
        now: Timestamp,
        account: AccountKey,
    ) -> StoreResult<Vec<(BearerHash, DeviceRecord)>> {
        let tx = self.shared.read()?;
        let (table, by_account) = (reading(&tx, DEVICES)?, reading(&tx, BY_ACCOUNT)?);
        let mut found = sessions::devices(&table, &by_account, account)?;
        found.retain(|(_, record)| record.expires > now);
        Ok(found)
    }

    async fn forget_device(&self, account: AccountKey, handle: &str) -> StoreResult<bool> {
        let handle = handle.to_owned();
        self.writer
            .write(move |tables| tables.forget_device(account, &handle))
            .await
    }

    async fn sealed(&self, name: &str) -> StoreResult<Option<Vec<u8>>> {
        tables::sealed(&reading(&self.shared.read()?, SEALED)?, name)
    }

    async fn put_sealed(
        &self,
        name: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> StoreResult<bool> {
        let (name, value) = (name.to_owned(), value.to_vec());
        let expected = expected.map(<[u8]>::to_vec);
        self.writer
            .write(move |tables| tables.put_sealed(&name, expected.as_deref(), &value))
            .await
    }

    async fn suspend(&self, user: &UserId) -> StoreResult<bool> {
        let user = user.clone();
        self.writer.write(move |tables| tables.suspend(&user)).await
    }

    async fn resume(&self, user: &UserId) -> StoreResult<bool> {
        let user = user.clone();
        self.writer.write(move |tables| tables.resume(&user)).await
    }

    async fn suspended(&self) -> StoreResult<Vec<UserId>> {
        standing::suspended(&reading(&self.shared.read()?, SUSPENDED)?)
    }

    async fn standing(&self, now: Timestamp, account: AccountKey) -> StoreResult<Standing> {
        let tx = self.shared.read()?;
        standing::standing(
            &reading(&tx, LANES)?,
            &reading(&tx, CHALLENGES)?,
            &reading(&tx, FAILURES)?,
            now,
            account,
        )
    }

    async fn take_failures(&self, account: AccountKey) -> StoreResult<u32> {
        let table = reading(&self.shared.read()?, FAILURES)?;
        if standing::failures(&table, account)?.before_login == 0 {
            return Ok(0);
        }
        self.writer
            .write(move |tables| tables.take_failures(account))
            .await
    }

    async fn learned_facts(&self, resource: &str) -> StoreResult<Option<LearnedFacts>> {
        let table = reading(&self.shared.read()?, FACTS)?;
        let kept = table.get(resource)?;
        kept.map(|kept| decode("learned fact", kept.value()))
            .transpose()
    }

    async fn learn_facts(&self, resource: &str, facts: LearnedFacts) -> StoreResult<bool> {
        let resource = resource.to_owned();
        let bytes = encode("learned fact", &facts)?;
        self.writer
            .write(move |tables| tables.learn_facts(&resource, &bytes))
            .await
    }

    async fn forget_facts(&self, resource: &str) -> StoreResult<()> {
        let resource = resource.to_owned();
        self.writer
            .write(move |tables| tables.forget_facts(&resource))
            .await
    }

    async fn ready(&self) -> StoreResult<()> {
        self.writer.write(|tables| tables.probe()).await
    }
}
