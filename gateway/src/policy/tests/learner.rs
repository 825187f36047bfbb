//! A store that only learns.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::config::{Fleet, Window};
use crate::principal::UserId;
use crate::secret::BearerHash;
use crate::store::{
    AccountKey, Attempt, BudgetKey, Challenge, Charge, Charging, CodeHash, Completion,
    DeviceRecord, LearnedFacts, LinkHash, NewChallenge, Opening, SessionRecord, Shield, Standing,
    Store, StoreError, StoreResult, Whose,
};

fn elsewhere<T>() -> StoreResult<T> {
    panic!("policies ask the store for facts and nothing else")
}

/// A store that keeps facts and nothing else.
#[derive(Debug, Default)]
pub(super) struct Learner {
    pub(super) facts: Mutex<BTreeMap<String, LearnedFacts>>,
    pub(super) broken: AtomicBool,
}

impl Learner {
    fn check(&self) -> StoreResult<()> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it is broken".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Learner {
    async fn learned_facts(&self, resource: &str) -> StoreResult<Option<LearnedFacts>> {
        self.check()?;
        Ok(self.facts.lock().unwrap().get(resource).cloned())
    }

    async fn learn_facts(&self, resource: &str, facts: LearnedFacts) -> StoreResult<bool> {
        self.check()?;
        let mut known = self.facts.lock().unwrap();
        let new = !known.contains_key(resource);
        known.entry(resource.to_owned()).or_insert(facts);
        Ok(new)
    }

    async fn forget_facts(&self, resource: &str) -> StoreResult<()> {
        self.check()?;
        self.facts.lock().unwrap().remove(resource);
        Ok(())
    }

    async fn high_water(&self) -> StoreResult<Timestamp> {
        elsewhere()
    }
    async fn mark_time(&self, _: Timestamp) -> StoreResult<()> {
        elsewhere()
    }
    async fn open_challenge(
        &self,
        _: Timestamp,
        _: NewChallenge,
        _: u32,
        _: &[Window],
    ) -> StoreResult<Opening> {
        elsewhere()
    }
    async fn renew_challenge(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: CodeHash,
        _: Duration,
    ) -> StoreResult<Option<Challenge>> {
        elsewhere()
    }
    async fn challenge(&self, _: Timestamp, _: BearerHash) -> StoreResult<Option<Challenge>> {
        elsewhere()
    }
    async fn charge_attempt(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: u32,
        _: &[Window],
        _: Fleet,
    ) -> StoreResult<Attempt> {
        elsewhere()
    }
    async fn complete_challenge(&self, _: Timestamp, _: Completion) -> StoreResult<bool> {
        elsewhere()
    }
    async fn unlock(&self, _: AccountKey) -> StoreResult<()> {
        elsewhere()
    }

    async fn drafts(&self, _: BudgetKey) -> StoreResult<Vec<(Timestamp, u32)>> {
        elsewhere()
    }
    async fn charge_budgets(
        &self,
        _: Timestamp,
        _: &[Charge],
        _: &[Charge],
    ) -> StoreResult<Charging> {
        elsewhere()
    }
    async fn follow_link(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: LinkHash,
        _: CodeHash,
        _: Duration,
    ) -> StoreResult<Option<Challenge>> {
        elsewhere()
    }
    async fn shield(&self, _: Timestamp, _: Fleet) -> StoreResult<Shield> {
        elsewhere()
    }
    async fn raise_shield(&self, _: Timestamp, _: Fleet) -> StoreResult<()> {
        elsewhere()
    }
    async fn lower_shield(&self, _: Timestamp, _: Fleet) -> StoreResult<()> {
        elsewhere()
    }
    async fn session(&self, _: Timestamp, _: BearerHash) -> StoreResult<Option<SessionRecord>> {
        elsewhere()
    }
    async fn touch_sessions(&self, _: &[(BearerHash, Timestamp)]) -> StoreResult<()> {
        elsewhere()
    }
    async fn sessions(
        &self,
        _: Timestamp,
        _: &Whose,
    ) -> StoreResult<Vec<(BearerHash, SessionRecord)>> {
        elsewhere()
    }
    async fn revoke(&self, _: &Whose) -> StoreResult<Vec<BearerHash>> {
        elsewhere()
    }
    async fn device(&self, _: Timestamp, _: BearerHash) -> StoreResult<Option<DeviceRecord>> {
        elsewhere()
    }
    async fn devices(
        &self,
        _: Timestamp,
        _: AccountKey,
    ) -> StoreResult<Vec<(BearerHash, DeviceRecord)>> {
        elsewhere()
    }
    async fn forget_device(&self, _: AccountKey, _: &str) -> StoreResult<bool> {
        elsewhere()
    }
    async fn sealed(&self, _: &str) -> StoreResult<Option<Vec<u8>>> {
        elsewhere()
    }
    async fn put_sealed(&self, _: &str, _: Option<&[u8]>, _: &[u8]) -> StoreResult<bool> {
        elsewhere()
    }
    async fn suspend(&self, _: &UserId) -> StoreResult<bool> {
        elsewhere()
    }
    async fn resume(&self, _: &UserId) -> StoreResult<bool> {
        elsewhere()
    }
    async fn suspended(&self) -> StoreResult<Vec<UserId>> {
        elsewhere()
    }
    async fn standing(&self, _: Timestamp, _: AccountKey) -> StoreResult<Standing> {
        elsewhere()
    }
    async fn take_failures(&self, _: AccountKey) -> StoreResult<u32> {
        elsewhere()
    }
    async fn ready(&self) -> StoreResult<()> {
        elsewhere()
    }
}
