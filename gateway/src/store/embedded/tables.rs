//! The tables of the file, their keys, and how a record is written.
//!
//! A record is one byte of version, then JSON. An index repeats what its record says; both change
//! in one transaction, so an index never lies.

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::secret::BearerHash;
use crate::store::{AccountKey, Lane, StoreError, StoreResult};

/// A hashed identifier as a key.
pub(super) type Id = [u8; 32];
/// Account, then which lane, then the device of a known lane.
pub(super) type LaneKey = [u8; 65];
/// Whose budget, then which.
pub(super) type BudgetId = [u8; 33];

type Definition<K, V> = TableDefinition<'static, K, V>;
type IdKey = &'static Id;
type Bytes = &'static [u8];

pub(super) const META: Definition<&str, u64> = TableDefinition::new("meta");
pub(super) const CHALLENGES: Definition<IdKey, Bytes> = TableDefinition::new("challenges");
pub(super) const LANES: Definition<&'static LaneKey, Bytes> = TableDefinition::new("lanes");
pub(super) const STRANGERS: Definition<(u64, &'static LaneKey), ()> =
    TableDefinition::new("strangers");
pub(super) const SESSIONS: Definition<IdKey, Bytes> = TableDefinition::new("sessions");
pub(super) const BY_USER: Definition<(&str, IdKey), ()> = TableDefinition::new("sessions_by_user");
pub(super) const BY_COMPANY: Definition<(&str, IdKey), ()> =
    TableDefinition::new("sessions_by_company");
pub(super) const DEVICES: Definition<IdKey, Bytes> = TableDefinition::new("devices");
pub(super) const BY_ACCOUNT: Definition<(IdKey, IdKey), ()> =
    TableDefinition::new("devices_by_account");
pub(super) const SEALED: Definition<&str, Bytes> = TableDefinition::new("sealed");
pub(super) const FACTS: Definition<&str, Bytes> = TableDefinition::new("learned_facts");
pub(super) const BUDGETS: Definition<&'static BudgetId, Bytes> = TableDefinition::new("budgets");
pub(super) const INVENTED: Definition<(u64, &'static BudgetId), ()> =
    TableDefinition::new("invented_budgets");
pub(super) const SUSPENDED: Definition<&str, ()> = TableDefinition::new("suspended");
pub(super) const FAILURES: Definition<IdKey, Bytes> = TableDefinition::new("failures");
pub(super) const EXPIRIES: Definition<(u64, u8, Bytes), ()> = TableDefinition::new("expiries");

/// The least and the greatest identifier, for ranges.
pub(super) const FIRST: Id = [0; 32];
pub(super) const LAST: Id = [u8::MAX; 32];

/// The layout of tables and keys that this version reads and writes.
const FORMAT: u64 = 1;
/// The version of every record.
const RECORD: u8 = 1;

/// All tables, open in one write transaction.
pub(super) struct Tables<'tx> {
    pub(super) meta: Table<'tx, &'static str, u64>,
    pub(super) challenges: Table<'tx, IdKey, Bytes>,
    pub(super) lanes: Table<'tx, &'static LaneKey, Bytes>,
    pub(super) strangers: Table<'tx, (u64, &'static LaneKey), ()>,
    pub(super) sessions: Table<'tx, IdKey, Bytes>,
    pub(super) by_user: Table<'tx, (&'static str, IdKey), ()>,
    pub(super) by_company: Table<'tx, (&'static str, IdKey), ()>,
    pub(super) devices: Table<'tx, IdKey, Bytes>,
    pub(super) by_account: Table<'tx, (IdKey, IdKey), ()>,
    pub(super) sealed: Table<'tx, &'static str, Bytes>,
    pub(super) facts: Table<'tx, &'static str, Bytes>,
    pub(super) budgets: Table<'tx, &'static BudgetId, Bytes>,
    pub(super) invented: Table<'tx, (u64, &'static BudgetId), ()>,
    pub(super) suspended: Table<'tx, &'static str, ()>,
    pub(super) failures: Table<'tx, IdKey, Bytes>,
    pub(super) expiries: Table<'tx, (u64, u8, Bytes), ()>,
    /// Lanes of addresses without a user, and budgets that anyone can invent, that are kept.
    pub(super) most_strangers: u64,
}

impl<'tx> Tables<'tx> {
    /// Opens every table, making those that are missing.
    pub(super) fn open(tx: &'tx WriteTransaction, most_strangers: u64) -> StoreResult<Self> {
        Ok(Self {
            meta: tx.open_table(META)?,
            challenges: tx.open_table(CHALLENGES)?,
            lanes: tx.open_table(LANES)?,
            strangers: tx.open_table(STRANGERS)?,
            sessions: tx.open_table(SESSIONS)?,
            by_user: tx.open_table(BY_USER)?,
            by_company: tx.open_table(BY_COMPANY)?,
            devices: tx.open_table(DEVICES)?,
            by_account: tx.open_table(BY_ACCOUNT)?,
            sealed: tx.open_table(SEALED)?,
            facts: tx.open_table(FACTS)?,
            budgets: tx.open_table(BUDGETS)?,
            invented: tx.open_table(INVENTED)?,
            suspended: tx.open_table(SUSPENDED)?,
            failures: tx.open_table(FAILURES)?,
            expiries: tx.open_table(EXPIRIES)?,
            most_strangers,
        })
    }

    /// Claims a new file for this layout; refuses one that a newer version laid out.
    pub(super) fn claim(&mut self) -> StoreResult<()> {
        let found = self.meta.get("format")?.map(|format| format.value());
        match found {
            None => {
                self.meta.insert("format", FORMAT)?;
                Ok(())
            }
            Some(FORMAT) => Ok(()),
            Some(other) => Err(StoreError::Damaged(format!(
                "layout {other} is not known to this version, which knows {FORMAT}"
            ))),
        }
    }

    /// Raises the latest moment seen.
    pub(super) fn see(&mut self, now: Timestamp) -> StoreResult<()> {
        if now > high_water(&self.meta)? {
            self.meta.insert("high_water", now.as_millis())?;
        }
        Ok(())
    }

    /// Writes something, so that the commit shows whether the file can be written.
    pub(super) fn probe(&mut self) -> StoreResult<()> {
        self.meta.insert("probe", 0)?;
        Ok(())
    }

    /// Keeps a sealed value, if what is there is still `expected`.
    pub(super) fn put_sealed(
        &mut self,
        name: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> StoreResult<bool> {
        if sealed(&self.sealed, name)?.as_deref() != expected {
            return Ok(false);
        }
        let mut versioned = Vec::with_capacity(value.len() + 1);
        versioned.push(RECORD);
        versioned.extend_from_slice(value);
        self.sealed.insert(name, versioned.as_slice())?;
        Ok(true)
    }

    /// Keeps what was learned of a resource, if nothing was.
    pub(super) fn learn_facts(&mut self, resource: &str, record: &[u8]) -> StoreResult<bool> {
        if self.facts.get(resource)?.is_some() {
            return Ok(false);
        }
        self.facts.insert(resource, record)?;
        Ok(true)
    }

    /// Forgets what was learned of a resource.
    pub(super) fn forget_facts(&mut self, resource: &str) -> StoreResult<()> {
        self.facts.remove(resource)?;
        Ok(())
    }
}

/// The latest moment seen.
pub(super) fn high_water(meta: &impl ReadableTable<&'static str, u64>) -> StoreResult<Timestamp> {
    let millis = meta.get("high_water")?.map_or(0, |moment| moment.value());
    Ok(Timestamp::from_millis(millis))
}

/// A sealed value, without its version.
pub(super) fn sealed(
    table: &impl ReadableTable<&'static str, Bytes>,
    name: &str,
) -> StoreResult<Option<Vec<u8>>> {
    table
        .get(name)?
        .map(|value| body("sealed value", value.value()).map(<[u8]>::to_vec))
        .transpose()
}

/// A record by its hashed identifier; `what` names its kind in errors.
pub(super) fn by_id<T: DeserializeOwned>(
    table: &impl ReadableTable<IdKey, Bytes>,
    id: &Id,
    what: &'static str,
) -> StoreResult<Option<T>> {
    table
        .get(id)?
        .map(|value| decode(what, value.value()))
        .transpose()
}

/// A record as it is kept.
pub(super) fn encode<T: Serialize>(what: &'static str, record: &T) -> StoreResult<Vec<u8>> {
    let mut out = vec![RECORD];
    serde_json::to_writer(&mut out, record)
        .map_err(|_| StoreError::Damaged(format!("a {what} that cannot be written")))?;
    Ok(out)
}

/// A record from how it is kept. The error never shows what the record holds.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> StoreResult<T> {
    serde_json::from_slice(body(what, bytes)?)
        .map_err(|error| StoreError::Damaged(format!("a {what}, at byte {}", error.column())))
}

fn body<'a>(what: &'static str, bytes: &'a [u8]) -> StoreResult<&'a [u8]> {
    match bytes.split_first() {
        Some((&RECORD, body)) => Ok(body),
        Some((version, _)) => Err(StoreError::Damaged(format!(
            "a {what} of version {version}, where {RECORD} is known"
        ))),
        None => Err(StoreError::Damaged(format!("an empty {what}"))),
    }
}

/// The key of an account's lane.
pub(super) fn lane_key(account: AccountKey, lane: Lane) -> LaneKey {
    let (tag, device) = match lane {
        Lane::Unknown => (0, FIRST),
        Lane::Known(device) => (1, device.0),
    };
    lane_key_of(account, tag, device)
}

/// The least and the greatest key that a lane of this account can have.
pub(super) fn lanes_of(account: AccountKey) -> (LaneKey, LaneKey) {
    (
        lane_key_of(account, 0, FIRST),
        lane_key_of(account, u8::MAX, LAST),
    )
}

/// The lane that a key names.
pub(super) fn lane_of(key: &LaneKey) -> Lane {
    match key.split_last_chunk::<32>() {
        Some(([.., 1], device)) => Lane::Known(BearerHash(*device)),
        _ => Lane::Unknown,
    }
}

fn lane_key_of(account: AccountKey, tag: u8, device: Id) -> LaneKey {
    let mut key = [0; 65];
    let parts = account.0.into_iter().chain([tag]).chain(device);
    for (slot, byte) in key.iter_mut().zip(parts) {
        *slot = byte;
    }
    key
}

/// A table opened for reading.
pub(super) fn reading<K: redb::Key + 'static, V: redb::Value + 'static>(
    tx: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
) -> StoreResult<redb::ReadOnlyTable<K, V>> {
    Ok(tx.open_table(table)?)
}

/// What redb says, in the store's own words.
pub(super) fn store_error(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(what) => StoreError::Damaged(what),
        other => StoreError::Unavailable(other.to_string()),
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                store_error(error)
            }
        }
    )*};
}

from_redb!(StorageError, TableError, TransactionError, CommitError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LearnedFacts;

    #[test]
    fn a_record_of_another_version_or_torn_is_damaged() {
        let facts = LearnedFacts {
            company: "fjord".into(),
            owner: None,
            at: Timestamp::from_millis(7),
        };
        let good = encode("fact", &facts).unwrap();
        assert_eq!(decode::<LearnedFacts>("fact", &good).unwrap(), facts);

        let mut newer = good.clone();
        newer[0] = 2;
        for bytes in [&newer[..], &good[..good.len() - 1], &good[..1], &[]] {
            let error = decode::<LearnedFacts>("fact", bytes).unwrap_err();
            assert!(matches!(error, StoreError::Damaged(_)), "{error}");
            assert!(!error.to_string().contains("fjord"), "{error}");
        }
    }
}
