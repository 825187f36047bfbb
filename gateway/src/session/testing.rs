//! What the tests of this room stand on: a store and a directory in memory that can fail, count
//! and wait, and a house with people in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::Sessions;
use crate::clock::{ManualClock, Timestamp};
use crate::config;
use crate::directory::{Directory, DirectoryError, Person, PhoneNumber};
use crate::metrics::Metrics;
use crate::principal::{Company, EmailAddress, Principal, UserId};
use crate::secret::{BearerHash, BearerId};
use crate::store::{
    AccountKey, Attempt, BudgetKey, Challenge, Charge, Charging, CodeHash, Completion,
    DeviceRecord, LearnedFacts, LinkHash, NewChallenge, Opening, SessionRecord, Shield, Standing,
    Store, StoreError, StoreResult, Whose,
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const START: Timestamp = Timestamp::from_millis(1_795_515_607_123);

/// Everything that sessions need, and sessions.
pub(super) struct House {
    pub(super) store: Arc<Memory>,
    pub(super) directory: Arc<People>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) metrics: Metrics,
    pub(super) sessions: Arc<Sessions>,
}

impl House {
    /// Kari and Ola of fjord, Nils of tinde.
    pub(super) fn new() -> Self {
        Self::caching(super::CACHED)
    }

    pub(super) fn caching(capacity: usize) -> Self {
        let store = Arc::new(Memory::default());
        let directory = Arc::new(People::default());
        for (user, company) in [("kari", "fjord"), ("ola", "fjord"), ("nils", "tinde")] {
            directory.put(principal(user, company));
        }
        let clock = Arc::new(ManualClock::at(START));
        let metrics = Metrics::new().unwrap();
        let limits = config::Session {
            idle: HOUR,
            absolute: HOUR * 24,
        };
        let sessions = Sessions::with_capacity(
            capacity,
            store.clone(),
            directory.clone(),
            clock.clone(),
            limits,
            metrics.clone(),
        );
        Self {
            store,
            directory,
            clock,
            metrics,
            sessions,
        }
    }

    /// Puts a new session into the store, as a completed login does.
    pub(super) fn log_in(&self, user: &str) -> BearerId {
        let principal = self.directory.get(user);
        let (id, record) = self.sessions.prepare(&principal, "Firefox on Linux");
        self.store
            .sessions
            .lock()
            .unwrap()
            .insert(id.hash(), record);
        id
    }

    /// Whether a cookie still opens anything.
    pub(super) async fn opens(&self, id: &BearerId) -> bool {
        self.sessions.find(id).await.unwrap().is_some()
    }
}

pub(super) fn principal(user: &str, company: &str) -> Principal {
    let email = format!("{user}@{company}.example");
    Principal {
        id: UserId::from(user),
        email: EmailAddress::parse(&email).unwrap(),
        name: user.to_uppercase().into(),
        login: email.into(),
        company: Arc::new(Company {
            id: company.into(),
            name: company.to_uppercase().into(),
        }),
        roles: vec!["editor".into(), "bj\u{f8}rn, \"b\"".into()],
        suspended: false,
    }
}

/// A directory that a test writes in.
#[derive(Debug, Default)]
pub(super) struct People {
    people: Mutex<HashMap<UserId, Arc<Person>>>,
    generation: AtomicU64,
    pub(super) down: AtomicBool,
    /// Where look-ups by identifier wait with what they found.
    gate: Mutex<Option<Arc<Gate>>>,
}

impl People {
    pub(super) fn get(&self, user: &str) -> Arc<Principal> {
        self.people.lock().unwrap()[user].principal.clone()
    }

    pub(super) fn put(&self, principal: Principal) {
        let person = Person {
            phone: PhoneNumber::parse("+4790000001").unwrap(),
            principal: Arc::new(principal),
        };
        let id = person.principal.id.clone();
        self.people.lock().unwrap().insert(id, Arc::new(person));
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn change(&self, user: &str, change: impl FnOnce(&mut Principal)) {
        let mut principal = Principal::clone(&self.get(user));
        change(&mut principal);
        self.put(principal);
    }

    pub(super) fn close_gate(&self) -> Arc<Gate> {
        Gate::close(&self.gate)
    }

    pub(super) fn remove(&self, user: &str) {
        self.people.lock().unwrap().remove(user);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Directory for People {
    async fn by_email(&self, _: &EmailAddress) -> Result<Option<Arc<Person>>, DirectoryError> {
        unreachable!("a session knows its user by identifier")
    }

    async fn by_id(&self, id: &UserId) -> Result<Option<Arc<Person>>, DirectoryError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(DirectoryError("down".to_owned()));
        }
        let found = self.people.lock().unwrap().get(id).cloned();
        Gate::wait(&self.gate).await;
        Ok(found)
    }

    async fn by_login(&self, _: &str) -> Result<Option<Arc<Person>>, DirectoryError> {
        unreachable!("a session knows its user by identifier")
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

/// A store whose answers a test can hold back.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) sessions: Mutex<HashMap<BearerHash, SessionRecord>>,
    pub(super) keys: Mutex<HashMap<String, Vec<u8>>>,
    /// Reads of single sessions.
    pub(super) reads: AtomicUsize,
    /// Sessions touched, over all calls.
    pub(super) touched: AtomicUsize,
    pub(super) down: AtomicBool,
    /// Revocations take effect and are reported as failed.
    pub(super) revokes_and_fails: AtomicBool,
    /// Where reads of single sessions wait with what they read.
    gate: Mutex<Option<Arc<Gate>>>,
}

#[derive(Debug)]
pub(super) struct Gate {
    reached: Semaphore,
    passed: Semaphore,
}

impl Gate {
    fn close(place: &Mutex<Option<Arc<Self>>>) -> Arc<Self> {
        let gate = Arc::new(Self {
            reached: Semaphore::new(0),
            passed: Semaphore::new(0),
        });
        *place.lock().unwrap() = Some(gate.clone());
        gate
    }

    async fn wait(place: &Mutex<Option<Arc<Self>>>) {
        let gate = place.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.reached.add_permits(1);
            gate.passed.acquire().await.unwrap().forget();
        }
    }

    /// Returns when a read has been made and is held back.
    pub(super) async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    /// Lets everyone pass.
    pub(super) fn open(&self) {
        self.passed.add_permits(1_000);
    }
}

impl Memory {
    pub(super) fn close_gate(&self) -> Arc<Gate> {
        Gate::close(&self.gate)
    }

    pub(super) fn holds(&self, id: &BearerId) -> bool {
        self.sessions.lock().unwrap().contains_key(&id.hash())
    }

    pub(super) fn last_seen(&self, id: &BearerId) -> Timestamp {
        self.sessions.lock().unwrap()[&id.hash()].last_seen
    }

    fn check(&self) -> StoreResult<()> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("down".to_owned()));
        }
        Ok(())
    }
}

fn covers(which: &Whose, id: &BearerHash, record: &SessionRecord) -> bool {
    match which {
        Whose::Bearer(bearer) => bearer == id,
        Whose::Handle(user, handle) => record.user == *user && record.handle == *handle,
        Whose::User(user, spared) => {
            record.user == *user && spared.as_deref() != Some(&*record.handle)
        }
        Whose::Company(company) => record.company == *company,
        Whose::All => true,
    }
}

#[async_trait]
impl Store for Memory {
    async fn session(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<SessionRecord>> {
        self.check()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        let read = self.sessions.lock().unwrap().get(&id).cloned();
        Gate::wait(&self.gate).await;
        Ok(read.filter(|record| now < record.expires))
    }

    async fn touch_sessions(&self, seen: &[(BearerHash, Timestamp)]) -> StoreResult<()> {
        self.check()?;
        self.touched.fetch_add(seen.len(), Ordering::SeqCst);
        let mut sessions = self.sessions.lock().unwrap();
        for (id, at) in seen {
            if let Some(record) = sessions.get_mut(id) {
                record.last_seen = record.last_seen.max(*at);
            }
        }
        Ok(())
    }

    async fn sessions(
        &self,
        now: Timestamp,
        which: &Whose,
    ) -> StoreResult<Vec<(BearerHash, SessionRecord)>> {
        self.check()?;
        let sessions = self.sessions.lock().unwrap();
        Ok(sessions
            .iter()
            .filter(|(id, record)| now < record.expires && covers(which, id, record))
            .map(|(id, record)| (*id, record.clone()))
            .collect())
    }

    async fn revoke(&self, which: &Whose) -> StoreResult<Vec<BearerHash>> {
        self.check()?;
        let mut ended = Vec::new();
        self.sessions.lock().unwrap().retain(|id, record| {
            let covered = covers(which, id, record);
            if covered {
                ended.push(*id);
            }
            !covered
        });
        if self.revokes_and_fails.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("no answer".to_owned()));
        }
        Ok(ended)
    }

    async fn sealed(&self, name: &str) -> StoreResult<Option<Vec<u8>>> {
        self.check()?;
        Ok(self.keys.lock().unwrap().get(name).cloned())
    }

    async fn put_sealed(
        &self,
        name: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> StoreResult<bool> {
        self.check()?;
        let mut keys = self.keys.lock().unwrap();
        let won = keys.get(name).map(Vec::as_slice) == expected;
        if won {
            keys.insert(name.to_owned(), value.to_vec());
        }
        Ok(won)
    }

    async fn high_water(&self) -> StoreResult<Timestamp> {
        unreachable!("not a session's")
    }

    async fn mark_time(&self, _: Timestamp) -> StoreResult<()> {
        unreachable!("not a session's")
    }

    async fn open_challenge(
        &self,
        _: Timestamp,
        _: NewChallenge,
        _: u32,
        _: &[config::Window],
    ) -> StoreResult<Opening> {
        unreachable!("not a session's")
    }

    async fn renew_challenge(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: CodeHash,
        _: Duration,
    ) -> StoreResult<Option<Challenge>> {
        unreachable!("not a session's")
    }

    async fn challenge(&self, _: Timestamp, _: BearerHash) -> StoreResult<Option<Challenge>> {
        unreachable!("not a session's")
    }

    async fn charge_attempt(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: u32,
        _: &[config::Window],
        _: config::Fleet,
    ) -> StoreResult<Attempt> {
        unreachable!("not a session's")
    }

    async fn complete_challenge(&self, _: Timestamp, _: Completion) -> StoreResult<bool> {
        unreachable!("not a session's")
    }

    async fn unlock(&self, _: AccountKey) -> StoreResult<()> {
        unreachable!("not a session's")
    }

    async fn drafts(&self, _: BudgetKey) -> StoreResult<Vec<(Timestamp, u32)>> {
        unreachable!("not a session's")
    }

    async fn charge_budgets(
        &self,
        _: Timestamp,
        _: &[Charge],
        _: &[Charge],
    ) -> StoreResult<Charging> {
        unreachable!("not a session's")
    }

    async fn follow_link(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: LinkHash,
        _: CodeHash,
        _: Duration,
    ) -> StoreResult<Option<Challenge>> {
        unreachable!("not a session's")
    }

    async fn shield(&self, _: Timestamp, _: config::Fleet) -> StoreResult<Shield> {
        unreachable!("not a session's")
    }

    async fn raise_shield(&self, _: Timestamp, _: config::Fleet) -> StoreResult<()> {
        unreachable!("not a session's")
    }

    async fn lower_shield(&self, _: Timestamp, _: config::Fleet) -> StoreResult<()> {
        unreachable!("not a session's")
    }

    async fn device(&self, _: Timestamp, _: BearerHash) -> StoreResult<Option<DeviceRecord>> {
        unreachable!("not a session's")
    }

    async fn devices(
        &self,
        _: Timestamp,
        _: AccountKey,
    ) -> StoreResult<Vec<(BearerHash, DeviceRecord)>> {
        unreachable!("not a session's")
    }

    async fn forget_device(&self, _: AccountKey, _: &str) -> StoreResult<bool> {
        unreachable!("not a session's")
    }

    async fn suspend(&self, _: &UserId) -> StoreResult<bool> {
        unreachable!("not a session's")
    }

    async fn resume(&self, _: &UserId) -> StoreResult<bool> {
        unreachable!("not a session's")
    }

    async fn suspended(&self) -> StoreResult<Vec<UserId>> {
        unreachable!("not a session's")
    }

    async fn standing(&self, _: Timestamp, _: AccountKey) -> StoreResult<Standing> {
        unreachable!("not a session's")
    }

    async fn take_failures(&self, _: AccountKey) -> StoreResult<u32> {
        unreachable!("not a session's")
    }

    async fn learned_facts(&self, _: &str) -> StoreResult<Option<LearnedFacts>> {
        unreachable!("not a session's")
    }

    async fn learn_facts(&self, _: &str, _: LearnedFacts) -> StoreResult<bool> {
        unreachable!("not a session's")
    }

    async fn forget_facts(&self, _: &str) -> StoreResult<()> {
        unreachable!("not a session's")
    }

    async fn ready(&self) -> StoreResult<()> {
        self.check()
    }
}
