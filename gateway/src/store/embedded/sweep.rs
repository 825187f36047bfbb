//! Clearing away what has expired, a bounded piece at a time, by an index ordered in time.

use redb::ReadableTable;

use super::tables::{Id, Tables};
use crate::clock::Timestamp;
use crate::secret::BearerHash;
use crate::store::{StoreError, StoreResult};

/// What an entry of the index stands for; the number is part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Challenge = 0,
    Lane = 1,
    Session = 2,
    Device = 3,
    Budget = 4,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Challenge,
        Self::Lane,
        Self::Session,
        Self::Device,
        Self::Budget,
    ];
}

impl Tables<'_> {
    /// Clears away at most `most` things that had expired by `now`.
    pub(super) fn sweep(&mut self, now: Timestamp, most: usize) -> StoreResult<()> {
        let end = now.as_millis().saturating_add(1);
        let due = self
            .expiries
            .range(..(end, 0, [].as_slice()))?
            .take(most)
            .map(|entry| {
                let (place, _) = entry?;
                let (at, kind, key) = place.value();
                Ok((at, kind, key.to_vec()))
            })
            .collect::<StoreResult<Vec<_>>>()?;
        for (at, kind, key) in due {
            match self.clear(kind, &key) {
                // It stays and is an error to whoever asks for it; the sweep passes over it.
                Err(StoreError::Damaged(what)) => {
                    tracing::warn!(%what, "an expired record cannot be read and is left");
                }
                cleared => cleared?,
            }
            self.expiries.remove((at, kind, key.as_slice()))?;
        }
        Ok(())
    }

    /// Notes when a record is to be cleared away.
    pub(super) fn expire_at(&mut self, at: Timestamp, kind: Kind, key: &[u8]) -> StoreResult<()> {
        self.expiries
            .insert((at.as_millis(), kind as u8, key), ())?;
        Ok(())
    }

    /// Takes the note back.
    pub(super) fn unexpire(&mut self, at: Timestamp, kind: Kind, key: &[u8]) -> StoreResult<()> {
        self.expiries.remove((at.as_millis(), kind as u8, key))?;
        Ok(())
    }

    fn clear(&mut self, kind: u8, key: &[u8]) -> StoreResult<()> {
        let strange = || StoreError::Damaged("an index of expiries".to_owned());
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        let id = || Id::try_from(key).map_err(|_| strange());
        match kind.ok_or_else(strange)? {
            Kind::Challenge => {
                self.challenges.remove(&id()?)?;
                Ok(())
            }
            Kind::Lane => self.forget_lane(key.try_into().map_err(|_| strange())?),
            Kind::Session => self.remove_session(BearerHash(id()?)),
            Kind::Device => self.remove_device(BearerHash(id()?)),
            Kind::Budget => self.forget_budget(key.try_into().map_err(|_| strange())?),
        }
    }
}
