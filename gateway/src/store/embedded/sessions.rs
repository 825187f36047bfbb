//! Sessions and devices, with the indexes that find them by user, company and account.

use redb::ReadableTable;

use super::sweep::Kind;
use super::tables::{FIRST, Id, LAST, Tables, by_id, encode, lane_key};
use crate::clock::Timestamp;
use crate::secret::BearerHash;
use crate::store::{AccountKey, DeviceRecord, Lane, SessionRecord, StoreResult, Whose};

type Found<T> = Vec<(BearerHash, T)>;
type IndexKey = (&'static str, &'static Id);

impl Tables<'_> {
    /// Puts a new session, or changes one whose user, company and limit stay.
    pub(super) fn put_session(
        &mut self,
        id: BearerHash,
        record: &SessionRecord,
    ) -> StoreResult<()> {
        let bytes = encode("session", record)?;
        self.sessions.insert(&id.0, bytes.as_slice())?;
        self.by_user.insert((record.user.as_str(), &id.0), ())?;
        self.by_company
            .insert((record.company.as_str(), &id.0), ())?;
        self.expire_at(record.expires, Kind::Session, &id.0)
    }

    /// Ends a session, if there is one.
    pub(super) fn remove_session(&mut self, id: BearerHash) -> StoreResult<()> {
        let found: Option<SessionRecord> = by_id(&self.sessions, &id.0, "session")?;
        let Some(record) = found else { return Ok(()) };
        self.sessions.remove(&id.0)?;
        self.by_user.remove((record.user.as_str(), &id.0))?;
        self.by_company.remove((record.company.as_str(), &id.0))?;
        self.unexpire(record.expires, Kind::Session, &id.0)
    }

    /// See [`crate::store::Store::touch_sessions`].
    pub(super) fn touch_sessions(&mut self, seen: &[(BearerHash, Timestamp)]) -> StoreResult<()> {
        for (id, at) in seen {
            let found: Option<SessionRecord> = by_id(&self.sessions, &id.0, "session")?;
            if let Some(mut record) = found
                && record.last_seen < *at
            {
                record.last_seen = *at;
                let bytes = encode("session", &record)?;
                self.sessions.insert(&id.0, bytes.as_slice())?;
            }
        }
        Ok(())
    }

    /// See [`crate::store::Store::revoke`].
    pub(super) fn revoke(&mut self, which: &Whose) -> StoreResult<Vec<BearerHash>> {
        let covered = sessions(&self.sessions, &self.by_user, &self.by_company, which)?;
        for (id, _) in &covered {
            self.remove_session(*id)?;
        }
        Ok(covered.into_iter().map(|(id, _)| id).collect())
    }

    pub(super) fn put_device(&mut self, id: BearerHash, record: &DeviceRecord) -> StoreResult<()> {
        let bytes = encode("device", record)?;
        self.devices.insert(&id.0, bytes.as_slice())?;
        self.by_account.insert((&record.account.0, &id.0), ())?;
        self.expire_at(record.expires, Kind::Device, &id.0)
    }

    /// Forgets a device, if it is known; its lane is the caller's business.
    pub(super) fn remove_device(&mut self, id: BearerHash) -> StoreResult<()> {
        let found: Option<DeviceRecord> = by_id(&self.devices, &id.0, "device")?;
        let Some(record) = found else { return Ok(()) };
        self.devices.remove(&id.0)?;
        self.by_account.remove((&record.account.0, &id.0))?;
        self.unexpire(record.expires, Kind::Device, &id.0)
    }

    /// Forgets the devices unused the longest until `most` are left; never `newest`.
    pub(super) fn bound_devices(
        &mut self,
        newest: BearerHash,
        account: AccountKey,
        most: u32,
    ) -> StoreResult<()> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        let mut others = devices(&self.devices, &self.by_account, account)?;
        others.retain(|(id, _)| *id != newest);
        others.sort_by_key(|(_, record)| record.last_seen);
        let surplus = (others.len() + 1).saturating_sub(most);
        for (id, _) in others.into_iter().take(surplus) {
            self.forget_known(account, id)?;
        }
        Ok(())
    }

    /// See [`crate::store::Store::forget_device`].
    pub(super) fn forget_device(&mut self, account: AccountKey, handle: &str) -> StoreResult<bool> {
        let known = devices(&self.devices, &self.by_account, account)?;
        let named = known
            .into_iter()
            .find(|(_, device)| device.handle == handle);
        let Some((id, _)) = named else {
            return Ok(false);
        };
        self.forget_known(account, id)?;
        Ok(true)
    }

    /// Forgets a device with its lane, so that a challenge opened from it dies with it.
    fn forget_known(&mut self, account: AccountKey, id: BearerHash) -> StoreResult<()> {
        self.remove_device(id)?;
        self.forget_lane(lane_key(account, Lane::Known(id)))
    }
}

/// Every session that `which` covers, past its limit or not.
pub(super) fn sessions(
    table: &impl ReadableTable<&'static Id, &'static [u8]>,
    by_user: &impl ReadableTable<IndexKey, ()>,
    by_company: &impl ReadableTable<IndexKey, ()>,
    which: &Whose,
) -> StoreResult<Found<SessionRecord>> {
    let ids = match which {
        Whose::Bearer(id) => vec![id.0],
        Whose::Handle(user, _) | Whose::User(user, _) => indexed(by_user, user.as_str())?,
        Whose::Company(company) => indexed(by_company, company.as_str())?,
        Whose::All => table
            .iter()?
            .map(|entry| Ok(*entry?.0.value()))
            .collect::<StoreResult<_>>()?,
    };
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let record: Option<SessionRecord> = by_id(table, &id, "session")?;
        let covered = record.filter(|record| match which {
            Whose::Handle(_, handle) => record.handle == *handle,
            Whose::User(_, kept) => kept.as_ref() != Some(&record.handle),
            Whose::Bearer(_) | Whose::Company(_) | Whose::All => true,
        });
        found.extend(covered.map(|record| (BearerHash(id), record)));
    }
    Ok(found)
}

/// Every device of an account, expired or not.
pub(super) fn devices(
    table: &impl ReadableTable<&'static Id, &'static [u8]>,
    by_account: &impl ReadableTable<(&'static Id, &'static Id), ()>,
    account: AccountKey,
) -> StoreResult<Found<DeviceRecord>> {
    let mut found = Vec::new();
    for entry in by_account.range((&account.0, &FIRST)..=(&account.0, &LAST))? {
        let id = *entry?.0.value().1;
        let record: Option<DeviceRecord> = by_id(table, &id, "device")?;
        found.extend(record.map(|record| (BearerHash(id), record)));
    }
    Ok(found)
}

fn indexed(index: &impl ReadableTable<IndexKey, ()>, name: &str) -> StoreResult<Vec<Id>> {
    index
        .range((name, &FIRST)..=(name, &LAST))?
        .map(|entry| Ok(*entry?.0.value().1))
        .collect()
}
