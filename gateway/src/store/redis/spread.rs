//! Sessions, sealed values and learned facts: a key each, spread over a cluster. What finds
//! sessions by user and company, and all of them, are sets that may name one that is gone, and
//! never miss one that is there.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use redis::cmd;

use super::Redis;
use super::words::{self, hex};
use crate::clock::Timestamp;
use crate::secret::BearerHash;
use crate::store::{SessionRecord, StoreResult, Whose};

/// A day that a key stays after nothing of it counts, in milliseconds.
const SLACK: u64 = 86_400_000;

/// How many calls are under way at once where there are many to make.
const AT_ONCE: usize = 64;

/// The outcomes of many calls, in their order.
pub(super) async fn together<T>(
    calls: impl Iterator<Item = impl Future<Output = StoreResult<T>>>,
) -> StoreResult<Vec<T>> {
    stream::iter(calls).buffered(AT_ONCE).try_collect().await
}

impl Redis {
    pub(super) fn session_key(&self, id: BearerHash) -> String {
        format!("{}session:{{{}}}", self.prefix, hex(&id.0))
    }

    /// Where a session's last use is: beside it, in the same slot, so that a use is no change of
    /// the session which every gateway were told.
    fn seen_key(&self, id: BearerHash) -> String {
        format!("{}seen:{{{}}}", self.prefix, hex(&id.0))
    }

    pub(super) fn sealed_key(&self, name: &str) -> String {
        format!("{}sealed:{name}", self.prefix)
    }

    pub(super) fn facts_key(&self, resource: &str) -> String {
        format!("{}facts:{resource}", self.prefix)
    }

    /// The sets that find a session.
    fn indexes(&self, id: BearerHash, record: &SessionRecord) -> [String; 3] {
        let [first, ..] = id.0;
        [
            self.user_index(record.user.as_str()),
            self.company_index(record.company.as_str()),
            self.shard(first),
        ]
    }

    fn user_index(&self, user: &str) -> String {
        format!("{}sessions-of-user:{}", self.prefix, hex(user.as_bytes()))
    }

    fn company_index(&self, company: &str) -> String {
        let company = hex(company.as_bytes());
        format!("{}sessions-of-company:{company}", self.prefix)
    }

    fn shard(&self, first: u8) -> String {
        format!("{}sessions:{first:02x}", self.prefix)
    }

    pub(super) async fn put_session(
        &self,
        now: Timestamp,
        id: BearerHash,
        record: &SessionRecord,
    ) -> StoreResult<()> {
        let now = self.moment(now);
        let life = record
            .expires
            .as_millis()
            .saturating_sub(now)
            .saturating_add(SLACK);
        for index in self.indexes(id, record) {
            // What has expired leaves the set, and the set itself goes when nothing is left.
            let gone = now.saturating_sub(SLACK);
            let _: u64 = self
                .link
                .ask(cmd("ZREMRANGEBYSCORE").arg(&index).arg("-inf").arg(gone))
                .await?;
            let expires = record.expires.as_millis();
            let _: u64 = self
                .link
                .ask(cmd("ZADD").arg(&index).arg(expires).arg(hex(&id.0)))
                .await?;
            for how in ["NX", "GT"] {
                let _: u64 = self
                    .link
                    .ask(cmd("PEXPIRE").arg(&index).arg(life).arg(how))
                    .await?;
            }
        }
        let key = self.session_key(id);
        let mut put = cmd("HSET");
        put.arg(&key);
        for (name, value) in words::session_fields(record) {
            put.arg(name).arg(value);
        }
        let _: u64 = self.link.ask(&put).await?;
        let _: u64 = self.link.ask(cmd("PEXPIRE").arg(&key).arg(life)).await?;
        Ok(())
    }

    pub(super) async fn live_session(
        &self,
        now: Timestamp,
        id: BearerHash,
    ) -> StoreResult<Option<SessionRecord>> {
        // Whatever a Redis without an epoch still holds is void.
        if self
            .others
            .as_ref()
            .is_some_and(|others| others.epoch_missing())
        {
            return Ok(None);
        }
        let now = Timestamp::from_millis(self.moment(now));
        let found = self.session_record(id).await?;
        Ok(found.filter(|record| record.expires > now))
    }

    async fn session_record(&self, id: BearerHash) -> StoreResult<Option<SessionRecord>> {
        let mut script = self.scripts.session.key(self.session_key(id));
        let flat: Vec<String> = self.link.run(script.key(self.seen_key(id))).await?;
        if flat.is_empty() {
            return Ok(None);
        }
        words::session(&words::fields(flat)).map(Some)
    }

    /// Records that a session was used, if it is there.
    pub(super) async fn touch(&self, id: BearerHash, at: Timestamp) -> StoreResult<()> {
        let mut script = self.scripts.touch.key(self.session_key(id));
        script.key(self.seen_key(id)).arg(at.as_millis());
        let _: u8 = self.link.run(&script).await?;
        Ok(())
    }

    /// How many sessions have not passed their absolute limit.
    pub(super) async fn count(&self, now: Timestamp) -> StoreResult<u64> {
        let after = format!("({}", self.moment(now));
        let counting = (0..=u8::MAX).map(|first| {
            let mut count = cmd("ZCOUNT");
            count.arg(self.shard(first)).arg(&after).arg("+inf");
            async move { self.link.ask::<u64>(&count).await }
        });
        Ok(together(counting).await?.into_iter().sum())
    }

    /// Every session that `which` covers, past its limit or not.
    pub(super) async fn covered(
        &self,
        which: &Whose,
    ) -> StoreResult<Vec<(BearerHash, SessionRecord)>> {
        let ids = match which {
            Whose::Bearer(id) => vec![*id],
            Whose::Handle(user, _) | Whose::User(user, _) => {
                self.indexed(&self.user_index(user.as_str())).await?
            }
            Whose::Company(company) => self.indexed(&self.company_index(company.as_str())).await?,
            Whose::All => {
                let shards = (0..=u8::MAX).map(|first| async move {
                    let shard = self.shard(first);
                    self.indexed(&shard).await
                });
                let all = together(shards).await?;
                all.into_iter().flatten().collect()
            }
        };
        let mut found = Vec::with_capacity(ids.len());
        let records = ids.iter().copied().map(|id| self.session_record(id));
        let records = together(records).await?;
        for (id, record) in ids.into_iter().zip(records) {
            let covered = record.filter(|record| match which {
                Whose::Handle(_, handle) => record.handle == *handle,
                Whose::User(_, kept) => kept.as_ref() != Some(&record.handle),
                Whose::Bearer(_) | Whose::Company(_) | Whose::All => true,
            });
            found.extend(covered.map(|record| (id, record)));
        }
        Ok(found)
    }

    /// Ends a session; `false` if someone else just did.
    pub(super) async fn remove_session(
        &self,
        id: BearerHash,
        record: &SessionRecord,
    ) -> StoreResult<bool> {
        let removed: u64 = self.link.ask(cmd("DEL").arg(self.session_key(id))).await?;
        let _: u64 = self.link.ask(cmd("DEL").arg(self.seen_key(id))).await?;
        for index in self.indexes(id, record) {
            let _: u64 = self
                .link
                .ask(cmd("ZREM").arg(&index).arg(hex(&id.0)))
                .await?;
        }
        Ok(removed > 0)
    }

    async fn indexed(&self, index: &str) -> StoreResult<Vec<BearerHash>> {
        let mut ids: Vec<String> = self
            .link
            .ask(cmd("ZRANGE").arg(index).arg(0).arg(-1))
            .await?;
        ids.sort();
        ids.iter()
            .map(|id| words::unhex(id).map(BearerHash))
            .collect()
    }
}
