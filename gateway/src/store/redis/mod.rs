//! The store of several gateways: Redis, whose scripts make each operation atomic.
//!
//! All of the login's state hangs together under one hash tag (`login.rs` and the scripts in
//! `lua/`); sessions and learned facts are spread over a cluster (`spread.rs`). What counts is
//! decided by the gateway's clock; Redis' own expiry only clears away, a day later.

mod ears;
mod link;
mod login;
mod masters;
mod scripts;
mod spread;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::{FromRedisValue, ScriptInvocation, cmd};

use self::ears::{Ears, Names};
use self::link::{Link, NO_EPOCH};
use self::scripts::Scripts;
use self::spread::together;
use super::{
    AccountKey, Attempt, BudgetKey, Challenge, Charge, Charging, CodeHash, Completion,
    DeviceRecord, FactsNews, LearnedFacts, LinkHash, NewChallenge, Opening, Others, SessionRecord,
    Shield, Standing, Store, StoreError, StoreResult, Whose,
};
use crate::clock::Timestamp;
use crate::config::{Fleet, RedisStore, Window};
use crate::principal::UserId;
use crate::secret::{self, BearerHash};

/// Lanes of addresses without a user that are kept, and budgets that anyone can invent; beyond,
/// the one unused the longest goes.
const MOST_STRANGERS: u64 = 100_000;

/// What is said of a Redis whose configuration was changed under us.
const EVICTS: &str = "`maxmemory-policy` of redis is not `noeviction` any more";

/// State shared by several gateways.
pub struct Redis {
    link: Link,
    scripts: Scripts,
    prefix: String,
    /// What the names of the login's keys begin with.
    login: String,
    most_strangers: u64,
    /// The latest moment that was passed in, in milliseconds: time does not go back behind it.
    latest: AtomicU64,
    /// The other gateways, once we are among them.
    others: Option<Arc<Others>>,
    /// What listens to them.
    ears: Option<Ears>,
}

/// What `state init` found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// There was an epoch already; nothing was done.
    Already,
    /// The epoch is written; the Redis was a young one.
    Young,
    /// The epoch is written; the Redis had lost what it knew, so the shield is raised.
    AfterLoss,
}

impl Redis {
    /// Connects to a Redis that `state init` has prepared, or to one that has yet to be.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if it cannot be reached, refuses us, or may drop keys when its
    /// memory is full (`maxmemory-policy` must be `noeviction`).
    pub async fn open(settings: &RedisStore) -> StoreResult<Self> {
        let redis = Self {
            link: Link::open(settings).await?,
            scripts: Scripts::new(),
            login: format!("{}{{login}}:", settings.prefix),
            prefix: settings.prefix.clone(),
            most_strangers: MOST_STRANGERS,
            latest: AtomicU64::new(0),
            others: None,
            ears: None,
        };
        redis.refuse_eviction().await?;
        Ok(redis)
    }

    /// The same for a gateway, which keeps some of it in memory: it hears of what other gateways
    /// change from now on.
    ///
    /// # Errors
    ///
    /// As [`Redis::open`].
    pub async fn join(settings: &RedisStore) -> StoreResult<Self> {
        let mut redis = Self::open(settings).await?;
        let others = Arc::new(Others::new(settings.grace));
        let names = Names {
            session: format!("{}session:{{", redis.prefix),
            suspended: redis.login_key("suspended"),
            sealed: redis.sealed_key(""),
            epoch: redis.login_key("epoch"),
            lost: redis.login_key("lost"),
            facts: redis.facts_channel(),
        };
        redis.ears = Some(Ears::listen(settings, names, Arc::clone(&others))?);
        redis.others = Some(others);
        Ok(redis)
    }

    /// Writes the epoch that tells a young Redis from a flushed one, if there is none. Where
    /// something was `lost`, as gateways note that saw an epoch go, the shield is raised by hand
    /// first: nobody knows any more what was spent.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if Redis cannot be written.
    pub async fn init(&self, now: Timestamp, lost: bool) -> StoreResult<Prepared> {
        let mut script = self.scripts.init.key(&self.login);
        script
            .arg(words::hex(&secret::random::<16>()))
            .arg(self.moment(now))
            .arg(u8::from(lost));
        let told: String = self.run(&script).await?;
        match told.as_str() {
            "already" => Ok(Prepared::Already),
            "young" => Ok(Prepared::Young),
            "lost" => Ok(Prepared::AfterLoss),
            _ => Err(words::damaged("answer")),
        }
    }

    /// The epoch; `None` in a Redis that is new or was flushed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if Redis does not answer.
    pub async fn epoch(&self) -> StoreResult<Option<String>> {
        self.link.ask(cmd("GET").arg(self.login_key("epoch"))).await
    }

    /// Keys that Redis drops by itself when its memory is full would be spent attempts forgiven.
    async fn refuse_eviction(&self) -> StoreResult<()> {
        let told: Result<Vec<String>, _> = self
            .link
            .ask(cmd("CONFIG").arg("GET").arg("maxmemory-policy"))
            .await;
        match told.as_deref() {
            Ok([_, policy]) if policy != "noeviction" => Err(StoreError::Unavailable(format!(
                "`maxmemory-policy` of redis is `{policy}`; it must be `noeviction`, for keys that it drops would be attempts forgiven"
            ))),
            Ok(_) => Ok(()),
            // A managed Redis may not tell.
            Err(error) => {
                tracing::warn!(%error, "cannot see redis' `maxmemory-policy`; make sure that it is `noeviction`");
                Ok(())
            }
        }
    }

    /// A moment that is never earlier than one that was passed in before.
    fn moment(&self, now: Timestamp) -> u64 {
        let now = now.as_millis();
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    fn login_key(&self, name: &str) -> String {
        format!("{}{name}", self.login)
    }

    fn facts_channel(&self) -> String {
        format!("{}facts-changed", self.prefix)
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> StoreResult<T> {
        // What a Redis drops by itself would be spent attempts forgiven.
        if self
            .others
            .as_ref()
            .is_some_and(|others| others.is_evicting())
        {
            return Err(StoreError::Unavailable(EVICTS.to_owned()));
        }
        self.link.run(script).await
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("link", &self.link)
            .field("prefix", &self.prefix)
            .field("ears", &self.ears)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Redis {
    async fn high_water(&self) -> StoreResult<Timestamp> {
        let told: Option<u64> = self
            .link
            .ask(cmd("HGET").arg(self.login_key("meta")).arg("high_water"))
            .await?;
        Ok(Timestamp::from_millis(told.unwrap_or_default()))
    }

    async fn mark_time(&self, now: Timestamp) -> StoreResult<()> {
        self.mark(now).await
    }

    async fn open_challenge(
        &self,
        now: Timestamp,
        challenge: NewChallenge,
        live: u32,
        budget: &[Window],
    ) -> StoreResult<Opening> {
        self.open_one(now, &challenge, live, budget).await
    }

    async fn renew_challenge(
        &self,
        now: Timestamp,
        id: BearerHash,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Option<Challenge>> {
        self.replace_code(now, id, code, lifetime, None).await
    }

    async fn challenge(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<Challenge>> {
        self.live_challenge(now, id).await
    }

    async fn charge_attempt(
        &self,
        now: Timestamp,
        id: BearerHash,
        attempts: u32,
        budget: &[Window],
        fleet: Fleet,
    ) -> StoreResult<Attempt> {
        self.charge(now, id, attempts, budget, fleet).await
    }

    async fn complete_challenge(
        &self,
        now: Timestamp,
        completion: Completion,
    ) -> StoreResult<bool> {
        if !self.use_up(now, &completion).await? {
            return Ok(false);
        }
        // Whatever fails from here on, the code is used up and the person logs in again.
        if let Some(replaced) = completion.replaces {
            self.revoke(&Whose::Bearer(replaced)).await?;
        }
        self.put_session(now, completion.session, &completion.record)
            .await?;
        Ok(true)
    }

    async fn unlock(&self, account: AccountKey) -> StoreResult<()> {
        let mut script = self.scripts.unlock.key(&self.login);
        self.run(script.arg(words::hex(&account.0))).await
    }

    async fn charge_budgets(
        &self,
        now: Timestamp,
        asked: &[Charge],
        ours: &[Charge],
    ) -> StoreResult<Charging> {
        self.draw(now, asked, ours).await
    }

    async fn drafts(&self, key: BudgetKey) -> StoreResult<Vec<(Timestamp, u32)>> {
        self.drafts_of(key).await
    }

    async fn follow_link(
        &self,
        now: Timestamp,
        id: BearerHash,
        link: LinkHash,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Option<Challenge>> {
        self.replace_code(now, id, code, lifetime, Some(link)).await
    }

    async fn shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<Shield> {
        self.shield_script(now, fleet, "read").await
    }

    async fn raise_shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<()> {
        self.shield_script(now, fleet, "raise").await.map(drop)
    }

    async fn lower_shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<()> {
        self.shield_script(now, fleet, "lower").await.map(drop)
    }

    async fn session(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<SessionRecord>> {
        self.live_session(now, id).await
    }

    async fn touch_sessions(&self, seen: &[(BearerHash, Timestamp)]) -> StoreResult<()> {
        let seen = seen.iter().copied();
        let touching = seen.map(|(id, at)| self.touch(id, at));
        together(touching).await.map(drop)
    }

    async fn sessions(
        &self,
        now: Timestamp,
        which: &Whose,
    ) -> StoreResult<Vec<(BearerHash, SessionRecord)>> {
        let now = Timestamp::from_millis(self.moment(now));
        let mut found = self.covered(which).await?;
        found.retain(|(_, record)| record.expires > now);
        Ok(found)
    }

    async fn revoke(&self, which: &Whose) -> StoreResult<Vec<BearerHash>> {
        let covered = self.covered(which).await?;
        let ending = covered.into_iter().map(|(id, record)| async move {
            let ended = self.remove_session(id, &record).await?;
            Ok(ended.then_some(id))
        });
        let ended = together(ending).await?;
        Ok(ended.into_iter().flatten().collect())
    }

    async fn count_sessions(&self, now: Timestamp) -> StoreResult<Option<u64>> {
        self.count(now).await.map(Some)
    }

    async fn device(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<DeviceRecord>> {
        self.live_device(now, &words::hex(&id.0)).await
    }

    async fn devices(
        &self,
        now: Timestamp,
        account: AccountKey,
    ) -> StoreResult<Vec<(BearerHash, DeviceRecord)>> {
        self.devices_of(now, account).await
    }

    async fn forget_device(&self, account: AccountKey, handle: &str) -> StoreResult<bool> {
        let mut script = self.scripts.forget_device.key(&self.login);
        self.run(script.arg(words::hex(&account.0)).arg(handle))
            .await
    }

    async fn sealed(&self, name: &str) -> StoreResult<Option<Vec<u8>>> {
        self.link.ask(cmd("GET").arg(self.sealed_key(name))).await
    }

    async fn put_sealed(
        &self,
        name: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> StoreResult<bool> {
        let mut script = self.scripts.exchange.key(self.sealed_key(name));
        script.arg(value);
        if let Some(expected) = expected {
            script.arg(expected);
        }
        self.run(&script).await
    }

    async fn suspend(&self, user: &UserId) -> StoreResult<bool> {
        self.link
            .ask(
                cmd("SADD")
                    .arg(self.login_key("suspended"))
                    .arg(user.as_str()),
            )
            .await
    }

    async fn resume(&self, user: &UserId) -> StoreResult<bool> {
        self.link
            .ask(
                cmd("SREM")
                    .arg(self.login_key("suspended"))
                    .arg(user.as_str()),
            )
            .await
    }

    async fn suspended(&self) -> StoreResult<Vec<UserId>> {
        let users: Vec<String> = self
            .link
            .ask(cmd("SMEMBERS").arg(self.login_key("suspended")))
            .await?;
        Ok(users.iter().map(|user| user.as_str().into()).collect())
    }

    async fn standing(&self, now: Timestamp, account: AccountKey) -> StoreResult<Standing> {
        self.standing_of(now, account).await
    }

    async fn take_failures(&self, account: AccountKey) -> StoreResult<u32> {
        let mut script = self.scripts.take_failures.key(&self.login);
        self.run(script.arg(words::hex(&account.0))).await
    }

    async fn learned_facts(&self, resource: &str) -> StoreResult<Option<LearnedFacts>> {
        let kept: Option<Vec<u8>> = self
            .link
            .ask(cmd("GET").arg(self.facts_key(resource)))
            .await?;
        kept.map(|kept| serde_json::from_slice(&kept).map_err(|_| words::damaged("learned fact")))
            .transpose()
    }

    async fn learn_facts(&self, resource: &str, facts: LearnedFacts) -> StoreResult<bool> {
        let bytes = serde_json::to_vec(&facts)
            .map_err(|error| StoreError::Damaged(format!("a learned fact: {error}")))?;
        let made: Option<String> = self
            .link
            .ask(
                cmd("SET")
                    .arg(self.facts_key(resource))
                    .arg(bytes)
                    .arg("NX"),
            )
            .await?;
        Ok(made.is_some())
    }

    async fn forget_facts(&self, resource: &str) -> StoreResult<()> {
        let _: u64 = self
            .link
            .ask(cmd("DEL").arg(self.facts_key(resource)))
            .await?;
        Ok(())
    }

    fn others(&self) -> Option<Arc<Others>> {
        self.others.clone()
    }

    async fn tell_facts(&self, news: &FactsNews) -> StoreResult<()> {
        let news = serde_json::to_string(news)
            .map_err(|error| StoreError::Damaged(format!("news of facts: {error}")))?;
        let mut telling = cmd("PUBLISH");
        telling.arg(self.facts_channel()).arg(news);
        self.link.ask::<u64>(&telling).await.map(drop)
    }

    async fn ready(&self) -> StoreResult<()> {
        if self
            .others
            .as_ref()
            .is_some_and(|others| others.is_evicting())
        {
            return Err(StoreError::Unavailable(EVICTS.to_owned()));
        }
        match self.epoch().await? {
            None => Err(StoreError::Unavailable(NO_EPOCH.to_owned())),
            Some(_) => {
                let probe = cmd("SET").arg(self.login_key("probe")).arg(1).to_owned();
                self.link.ask::<()>(&probe).await
            }
        }
    }
}
