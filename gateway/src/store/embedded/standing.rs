//! Who is suspended, and what stands against an account.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::lanes::LaneRecord;
use super::login::live_challenge;
use super::tables::{Id, LaneKey, Tables, by_id, decode, encode, lane_of, lanes_of};
use crate::clock::Timestamp;
use crate::principal::UserId;
use crate::store::{AccountKey, Challenge, LaneStanding, Standing, StoreResult};

/// Where failures at addresses without a user are counted, all together: the same work as for
/// those with one, and nothing that grows.
const NOBODY: AccountKey = AccountKey([0; 32]);

/// Comparisons of an account that failed. One that is being made counts as failed until the login
/// that it opens says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failures {
    pub(super) since_login: u32,
    pub(super) before_login: u32,
}

impl Tables<'_> {
    /// See [`crate::store::Store::suspend`].
    pub(super) fn suspend(&mut self, user: &UserId) -> StoreResult<bool> {
        Ok(self.suspended.insert(user.as_str(), ())?.is_none())
    }

    /// See [`crate::store::Store::resume`].
    pub(super) fn resume(&mut self, user: &UserId) -> StoreResult<bool> {
        Ok(self.suspended.remove(user.as_str())?.is_some())
    }

    /// Counts a comparison that was charged.
    pub(super) fn count_failure(&mut self, challenge: &Challenge) -> StoreResult<()> {
        let account = match challenge.user {
            Some(_) => challenge.account,
            None => NOBODY,
        };
        let mut failures = failures(&self.failures, account)?;
        failures.since_login = failures.since_login.saturating_add(1);
        self.put_failures(account, failures)
    }

    /// A login ends what is counted; its own comparison did not fail.
    pub(super) fn failures_end(&mut self, account: AccountKey) -> StoreResult<()> {
        let failures = failures(&self.failures, account)?;
        self.put_failures(
            account,
            Failures {
                since_login: 0,
                before_login: failures.since_login.saturating_sub(1),
            },
        )
    }

    /// See [`crate::store::Store::take_failures`].
    pub(super) fn take_failures(&mut self, account: AccountKey) -> StoreResult<u32> {
        let failures = failures(&self.failures, account)?;
        self.put_failures(
            account,
            Failures {
                before_login: 0,
                ..failures
            },
        )?;
        Ok(failures.before_login)
    }

    fn put_failures(&mut self, account: AccountKey, failures: Failures) -> StoreResult<()> {
        if failures == Failures::default() {
            self.failures.remove(&account.0)?;
        } else {
            let bytes = encode("count of failures", &failures)?;
            self.failures.insert(&account.0, bytes.as_slice())?;
        }
        Ok(())
    }
}

/// Everyone who is suspended.
pub(super) fn suspended(table: &impl ReadableTable<&'static str, ()>) -> StoreResult<Vec<UserId>> {
    table
        .iter()?
        .map(|entry| Ok(UserId::from(entry?.0.value())))
        .collect()
}

/// What has failed at an account.
pub(super) fn failures(
    table: &impl ReadableTable<&'static Id, &'static [u8]>,
    account: AccountKey,
) -> StoreResult<Failures> {
    Ok(by_id(table, &account.0, "count of failures")?.unwrap_or_default())
}

/// What stands against an account.
pub(super) fn standing(
    lanes: &impl ReadableTable<&'static LaneKey, &'static [u8]>,
    challenges: &impl ReadableTable<&'static Id, &'static [u8]>,
    failed: &impl ReadableTable<&'static Id, &'static [u8]>,
    now: Timestamp,
    account: AccountKey,
) -> StoreResult<Standing> {
    let (first, last) = lanes_of(account);
    let mut standing = Vec::new();
    for entry in lanes.range::<&LaneKey>(&first..=&last)? {
        let (key, value) = entry?;
        let record: LaneRecord = decode("lane", value.value())?;
        let mut live = Vec::new();
        for living in &record.live {
            live.extend(live_challenge(challenges, now, living.id)?);
        }
        standing.push(LaneStanding {
            lane: lane_of(key.value()),
            charges: record.charges,
            live,
        });
    }
    let failures = failures(failed, account)?;
    Ok(Standing {
        lanes: standing,
        failed_since_login: failures.since_login,
        failed_before_login: failures.before_login,
    })
}
