//! Which lives are in memory: those of cached sessions, of sessions that only an open stream
//! holds any more, of those that are just being looked up, and of those whose last use is not
//! written yet. Whoever ends a session finds its life here, so that nobody is passed over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::live::Life;
use crate::clock::Timestamp;
use crate::secret::BearerHash;
use crate::store::{SessionRecord, Whose};

/// Parts with a lock each; only look-ups that miss the cache come here.
const SHARDS: usize = 16;

#[derive(Default)]
pub(super) struct Registry {
    shards: [Shard; SHARDS],
}

#[derive(Default)]
pub(super) struct Shard(Mutex<HashMap<BearerHash, Arc<Life>>>);

/// A use that the store does not know of yet.
pub(super) struct Use {
    pub(super) id: BearerHash,
    pub(super) at: Timestamp,
    pub(super) life: Arc<Life>,
}

/// A life that is being looked up. What came of nothing leaves the registry with it.
pub(super) struct Entered<'a> {
    shard: &'a Shard,
    id: BearerHash,
    life: Arc<Life>,
}

impl Registry {
    /// The life of a session, a new one if there is none.
    pub(super) fn enter(&self, id: BearerHash) -> Entered<'_> {
        let shard = self.shard(&id);
        let life = Arc::clone(shard.lock().entry(id).or_default());
        Entered { shard, id, life }
    }

    /// The life of a session, if there is one.
    pub(super) fn peek(&self, id: &BearerHash) -> Option<Arc<Life>> {
        self.shard(id).lock().get(id).map(Arc::clone)
    }

    /// Takes the life of a session out.
    pub(super) fn remove(&self, id: &BearerHash) -> Option<Arc<Life>> {
        self.shard(id).lock().remove(id)
    }

    /// The sessions whose life `wanted` picks.
    pub(super) fn select(&self, wanted: impl Fn(&Life) -> bool) -> Vec<BearerHash> {
        let mut ids = Vec::new();
        for shard in &self.shards {
            let lives = shard.lock();
            ids.extend(
                lives
                    .iter()
                    .filter(|(_, life)| wanted(life))
                    .map(|(id, _)| *id),
            );
        }
        ids
    }

    /// The sessions that `which` covers or, where the store was not asked yet, may cover.
    pub(super) fn covered_by(&self, which: &Whose) -> Vec<BearerHash> {
        match which {
            Whose::Bearer(id) => vec![*id],
            _ => self.select(|life| life.record().is_none_or(|record| covers(which, &record))),
        }
    }

    /// What the store said of each session.
    pub(super) fn records(&self) -> Vec<(BearerHash, Arc<SessionRecord>)> {
        let mut records = Vec::new();
        for shard in &self.shards {
            let lives = shard.lock();
            records.extend(
                lives
                    .iter()
                    .filter_map(|(id, life)| Some((*id, life.record()?))),
            );
        }
        records
    }

    /// Lets go of the lives that nobody holds and of which nothing is left to write.
    pub(super) fn release_unused(&self) {
        for shard in &self.shards {
            // Only the registry hands out a life that nobody holds, and it is locked.
            shard
                .lock()
                .retain(|_, life| Arc::strong_count(life) > 1 || life.unwritten().is_some());
        }
    }

    pub(super) const fn shards(&self) -> &[Shard] {
        &self.shards
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, id: &BearerHash) -> &Shard {
        let [first, ..] = &self.shards;
        let [byte, ..] = id.0;
        self.shards.get(usize::from(byte) % SHARDS).unwrap_or(first)
    }
}

impl Shard {
    /// Adds the uses that the store does not know of yet, and of none `least` before them.
    pub(super) fn unwritten(&self, least: Duration, uses: &mut Vec<Use>) {
        uses.extend(self.lock().iter().filter_map(|(id, life)| {
            Some(Use {
                id: *id,
                at: life.unwritten_for(least)?,
                life: Arc::clone(life),
            })
        }));
    }

    /// Nothing that is done under the lock can leave the map half-changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<BearerHash, Arc<Life>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered<'_> {
    pub(super) const fn life(&self) -> &Arc<Life> {
        &self.life
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(entry) = self.shard.lock().entry(self.id) {
            // The registry and this one: nobody else holds it.
            let unheld = Arc::ptr_eq(entry.get(), &self.life) && Arc::strong_count(&self.life) == 2;
            if unheld && self.life.unwritten().is_none() {
                entry.remove();
            }
        }
    }
}

fn covers(which: &Whose, record: &SessionRecord) -> bool {
    match which {
        // By its identifier, which no record holds.
        Whose::Bearer(_) => false,
        Whose::Handle(user, handle) => record.user == *user && record.handle == *handle,
        Whose::User(user, spared) => {
            record.user == *user && spared.as_ref() != Some(&record.handle)
        }
        Whose::Company(company) => record.company == *company,
        Whose::All => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::{CompanyId, UserId};

    const NOON: Timestamp = Timestamp::from_millis(1_000);

    fn record(handle: &str, user: &str, company: &str) -> SessionRecord {
        SessionRecord {
            handle: handle.to_owned(),
            user: UserId::from(user),
            company: CompanyId::from(company),
            created: NOON,
            last_seen: NOON,
            expires: NOON,
            client: String::new(),
        }
    }

    #[test]
    fn a_use_that_is_not_written_keeps_a_life_that_nobody_holds() {
        let registry = Registry::default();
        let id = BearerHash([7; 32]);
        {
            let entered = registry.enter(id);
            entered.life().begin(record("h", "kari", "fjord"));
            entered.life().touch(Timestamp::from_millis(2_000));
        }
        registry.release_unused();
        let life = registry.peek(&id).unwrap();
        life.written(Timestamp::from_millis(2_000));
        drop(life);
        registry.release_unused();
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn those_covered_are_found_together_with_those_not_known_yet() {
        let registry = Registry::default();
        let entered: Vec<_> = (0..5)
            .map(|n| registry.enter(BearerHash([n; 32])))
            .collect();
        for (n, (handle, user, company)) in [
            ("a", "kari", "fjord"),
            ("b", "kari", "fjord"),
            ("a", "ola", "fjord"),
            ("c", "nils", "tinde"),
        ]
        .into_iter()
        .enumerate()
        {
            entered[n].life().begin(record(handle, user, company));
        }
        let kari = || UserId::from("kari");
        for (which, expected) in [
            (Whose::Bearer(BearerHash([3; 32])), &[3][..]),
            (Whose::Handle(kari(), "a".to_owned()), &[0, 4]),
            (Whose::User(kari(), None), &[0, 1, 4]),
            (Whose::User(kari(), Some("a".to_owned())), &[1, 4]),
            (Whose::Company(CompanyId::from("fjord")), &[0, 1, 2, 4]),
            (Whose::All, &[0, 1, 2, 3, 4]),
        ] {
            let mut found: Vec<_> = registry
                .covered_by(&which)
                .iter()
                .map(|id| id.0[0])
                .collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{which:?}");
        }
    }
}
