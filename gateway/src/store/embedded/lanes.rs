//! Lanes: the counters that an account's budgets are kept by, and the challenges that draw on them.

use std::time::Duration;

use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

use super::sweep::Kind;
use super::tables::{LaneKey, Tables, decode, encode};
use crate::clock::Timestamp;
use crate::config::Window;
use crate::secret::BearerHash;
use crate::store::StoreResult;

/// What is kept of an account's lane.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LaneRecord {
    /// Comparisons charged and not given back, oldest first.
    pub(super) charges: Vec<Timestamp>,
    /// Its challenges, oldest first; some may have expired.
    pub(super) live: Vec<Living>,
    /// When nothing of it counts any more.
    pub(super) expires: Timestamp,
    /// Latest use, where the address has no user: its place in the queue of strangers.
    pub(super) stranger: Option<Timestamp>,
}

/// A lane's challenge, with what it takes to remove it unread.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Living {
    pub(super) id: BearerHash,
    pub(super) expires: Timestamp,
}

/// A lane on its way from the file and back.
pub(super) struct LoadedLane {
    key: LaneKey,
    stored: Option<Placed>,
    pub(super) record: LaneRecord,
}

/// Where the indexes hold a stored lane.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Placed {
    expires: Timestamp,
    stranger: Option<Timestamp>,
}

impl LaneRecord {
    const fn placed(&self) -> Placed {
        Placed {
            expires: self.expires,
            stranger: self.stranger,
        }
    }

    /// Drops what no longer counts. Without a window there is no budget, and nothing is dropped.
    pub(super) fn prune(&mut self, now: Timestamp, budget: &[Window]) {
        self.live.retain(|living| living.expires > now);
        if let Some(longest) = longest(budget) {
            self.charges.retain(|charge| charge.plus(longest) > now);
        }
    }

    /// Charges a comparison.
    pub(super) fn charge(&mut self, now: Timestamp, budget: &[Window]) {
        let Some(longest) = longest(budget) else {
            return;
        };
        let place = self.charges.partition_point(|charge| *charge <= now);
        self.charges.insert(place, now);
        self.expires = self.expires.max(now.plus(longest));
    }

    /// Gives one comparison charged then back, if it still counts.
    pub(super) fn give_back(&mut self, charged_at: Timestamp) {
        if let Ok(place) = self.charges.binary_search(&charged_at) {
            self.charges.remove(place);
        }
    }
}

impl Tables<'_> {
    /// An account's lane; an unused one where none is kept.
    pub(super) fn lane(&self, key: LaneKey) -> StoreResult<LoadedLane> {
        let stored = self.lanes.get(&key)?;
        let record: Option<LaneRecord> = stored
            .map(|value| decode("lane", value.value()))
            .transpose()?;
        Ok(LoadedLane {
            key,
            stored: record.as_ref().map(LaneRecord::placed),
            record: record.unwrap_or_default(),
        })
    }

    /// Keeps a lane, or forgets it if nothing is charged and nothing lives.
    pub(super) fn save_lane(&mut self, lane: LoadedLane) -> StoreResult<()> {
        let LoadedLane {
            key,
            stored,
            record,
        } = lane;
        let empty = record.charges.is_empty() && record.live.is_empty();
        let placed = (!empty).then(|| record.placed());
        if stored != placed {
            self.unplace_lane(&key, stored)?;
            if let Some(Placed { expires, stranger }) = placed {
                self.expire_at(expires, Kind::Lane, &key)?;
                if let Some(at) = stranger {
                    self.strangers.insert((at.as_millis(), &key), ())?;
                }
            }
        }
        if empty {
            self.lanes.remove(&key)?;
        } else {
            let bytes = encode("lane", &record)?;
            self.lanes.insert(&key, bytes.as_slice())?;
        }
        Ok(())
    }

    /// Lets the strangers unused the longest go, so that made-up addresses do not fill the disk.
    pub(super) fn bound_strangers(&mut self) -> StoreResult<()> {
        while self.strangers.len()? > self.most_strangers {
            let oldest = self.strangers.pop_first()?;
            let Some(key) = oldest.map(|(place, _)| *place.value().1) else {
                break;
            };
            self.forget_lane(key)?;
        }
        Ok(())
    }

    /// Forgets a lane with its counters and challenges.
    pub(super) fn forget_lane(&mut self, key: LaneKey) -> StoreResult<()> {
        let lane = self.lane(key)?;
        self.remove_lane(lane)?;
        Ok(())
    }

    /// Gives a lane's counters another key; its challenges do not come along.
    pub(super) fn move_lane(&mut self, lane: LoadedLane, key: LaneKey) -> StoreResult<()> {
        let mut record = self.remove_lane(lane)?;
        record.live.clear();
        self.save_lane(LoadedLane {
            key,
            stored: None,
            record,
        })
    }

    /// Takes a lane out of the file, its challenges with it; returns what it was.
    fn remove_lane(&mut self, lane: LoadedLane) -> StoreResult<LaneRecord> {
        for living in &lane.record.live {
            self.remove_challenge(*living)?;
        }
        self.unplace_lane(&lane.key, lane.stored)?;
        self.lanes.remove(&lane.key)?;
        Ok(lane.record)
    }

    fn unplace_lane(&mut self, key: &LaneKey, stored: Option<Placed>) -> StoreResult<()> {
        let Some(Placed { expires, stranger }) = stored else {
            return Ok(());
        };
        if let Some(at) = stranger {
            self.strangers.remove((at.as_millis(), key))?;
        }
        self.unexpire(expires, Kind::Lane, key)
    }
}

fn longest(budget: &[Window]) -> Option<Duration> {
    budget.iter().map(|window| window.per).max()
}

/// When a comparison is free again, if a window is full: the latest of the full windows' moments.
pub(super) fn spent(charges: &[Timestamp], now: Timestamp, budget: &[Window]) -> Option<Timestamp> {
    budget
        .iter()
        .filter_map(|window| {
            let first = charges.partition_point(|charge| charge.plus(window.per) <= now);
            let counted = charges.get(first..).unwrap_or_default();
            let limit = usize::try_from(window.limit).unwrap_or(usize::MAX);
            let surplus = counted.len().checked_sub(limit)?;
            // A limit of nought never frees; asking again after a whole window is soon enough.
            let frees = counted.get(surplus).copied().unwrap_or(now);
            Some(frees.plus(window.per))
        })
        .max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Counted the slow way: whether some window holds as many as it may.
    fn is_full(charges: &[Timestamp], now: Timestamp, budget: &[Window]) -> bool {
        budget.iter().any(|window| {
            let counted = charges.iter().filter(|c| now.since(**c) < window.per);
            counted.count() >= window.limit as usize
        })
    }

    proptest! {
        #[test]
        fn a_budget_is_spent_until_exactly_then(
            gaps in prop::collection::vec(0_u64..40, 1..60),
            windows in prop::collection::vec((1_u32..6, 1_u64..100), 1..4),
        ) {
            let budget: Vec<Window> = windows
                .into_iter()
                .map(|(limit, per)| Window { limit, per: Duration::from_millis(per) })
                .collect();
            let mut lane = LaneRecord::default();
            let (mut all, mut now) = (Vec::new(), 1000);
            for gap in gaps {
                now += gap;
                lane.prune(moment(now), &budget);
                let full = is_full(&all, moment(now), &budget);
                match spent(&lane.charges, moment(now), &budget) {
                    None => {
                        prop_assert!(!full);
                        lane.charge(moment(now), &budget);
                        all.push(moment(now));
                    }
                    Some(until) => {
                        prop_assert!(full);
                        prop_assert!(until > moment(now));
                        prop_assert!(!is_full(&all, until, &budget));
                        let just_before = until.minus(Duration::from_millis(1));
                        prop_assert!(is_full(&all, just_before, &budget));
                    }
                }
            }
        }
    }

    #[test]
    fn a_budget_of_nought_is_always_spent() {
        let budget = [Window {
            limit: 0,
            per: Duration::from_secs(60),
        }];
        let until = spent(&[], moment(1000), &budget);
        assert_eq!(until, Some(moment(61_000)));
    }

    #[test]
    fn charges_that_arrive_out_of_order_are_counted_in_order() {
        let budget = [Window {
            limit: 3,
            per: Duration::from_millis(10),
        }];
        let mut lane = LaneRecord::default();
        for at in [5, 3, 4] {
            lane.charge(moment(at), &budget);
        }
        assert_eq!(spent(&lane.charges, moment(5), &budget), Some(moment(13)));
    }
}
