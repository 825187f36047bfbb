//! Budgets of messages and calls: sliding windows, a record for each.

use std::time::Duration;

use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

use super::sweep::Kind;
use super::tables::{BudgetId, Tables, decode, encode};
use crate::clock::Timestamp;
use crate::config::Window;
use crate::store::{AccountKey, BudgetKey, Charge, Charging, StoreResult};

/// What is kept of a budget.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct BudgetRecord {
    /// Moments, oldest first, with how many drafts each counts.
    drafts: Vec<(Timestamp, u32)>,
    /// When nothing of it counts any more.
    expires: Timestamp,
    /// Latest use, where anyone can invent such a budget: its place in their queue.
    invented: Option<Timestamp>,
}

impl BudgetRecord {
    fn prune(&mut self, now: Timestamp, longest: Duration) {
        self.drafts.retain(|(at, _)| at.plus(longest) > now);
    }

    /// When there is room again, if a window is full: the latest of the full windows' moments.
    fn spent(&self, now: Timestamp, windows: &[Window]) -> Option<Timestamp> {
        windows
            .iter()
            .filter_map(|window| {
                let counted = self
                    .drafts
                    .iter()
                    .filter(|(at, _)| at.plus(window.per) > now);
                let total: u64 = counted.clone().map(|(_, count)| u64::from(*count)).sum();
                let surplus = total.checked_sub(u64::from(window.limit))?;
                let mut gone = 0;
                let frees = counted.clone().find(|(_, count)| {
                    gone += u64::from(*count);
                    gone > surplus
                });
                // A limit of nought never frees; asking again after a window is soon enough.
                Some(frees.map_or(now, |(at, _)| *at).plus(window.per))
            })
            .max()
    }

    fn draw(&mut self, now: Timestamp, charge: &Charge) {
        let at = rounded(now, charge.step());
        let place = self.drafts.partition_point(|(own, _)| *own < at);
        match self.drafts.get_mut(place) {
            Some((own, count)) if *own == at => *count = count.saturating_add(1),
            _ => self.drafts.insert(place, (at, 1)),
        }
        self.expires = self.expires.max(at.plus(longest(&charge.windows)));
        self.invented = charge.invented.then_some(now);
    }
}

impl Tables<'_> {
    /// See [`crate::store::Store::charge_budgets`].
    pub(super) fn charge_budgets(
        &mut self,
        now: Timestamp,
        asked: &[Charge],
        ours: &[Charge],
    ) -> StoreResult<Charging> {
        self.see(now)?;
        let mut spent_until = None;
        for charge in asked {
            spent_until = spent_until.max(self.spent(now, charge)?);
        }
        if let Some(until) = spent_until {
            return Ok(Charging::Spent { until });
        }
        let mut held = None;
        for (place, charge) in ours.iter().enumerate() {
            if held.is_none() && self.spent(now, charge)?.is_some() {
                held = Some(place);
            }
        }
        for charge in asked {
            self.draw(now, charge)?;
        }
        if let Some(place) = held {
            return Ok(Charging::Held(place));
        }
        for charge in ours {
            self.draw(now, charge)?;
        }
        Ok(Charging::Charged)
    }

    fn spent(&self, now: Timestamp, charge: &Charge) -> StoreResult<Option<Timestamp>> {
        let record = self.budget(&budget_id(charge.key))?.unwrap_or_default();
        Ok(record.spent(now, &charge.windows))
    }

    fn draw(&mut self, now: Timestamp, charge: &Charge) -> StoreResult<()> {
        let id = budget_id(charge.key);
        let mut record = self.budget(&id)?.unwrap_or_default();
        self.unplace_budget(&id, &record)?;
        record.prune(now, longest(&charge.windows));
        record.draw(now, charge);
        self.expire_at(record.expires, Kind::Budget, &id)?;
        if let Some(used) = record.invented {
            self.invented.insert((used.as_millis(), &id), ())?;
        }
        let bytes = encode("budget", &record)?;
        self.budgets.insert(&id, bytes.as_slice())?;
        self.bound_invented()
    }

    fn budget(&self, id: &BudgetId) -> StoreResult<Option<BudgetRecord>> {
        let kept = self.budgets.get(id)?;
        kept.map(|kept| decode("budget", kept.value())).transpose()
    }

    /// Lets the invented ones unused the longest go, so that they do not fill the disk.
    fn bound_invented(&mut self) -> StoreResult<()> {
        while self.invented.len()? > self.most_strangers {
            let oldest = self.invented.pop_first()?;
            let Some(id) = oldest.map(|(place, _)| *place.value().1) else {
                break;
            };
            self.forget_budget(&id)?;
        }
        Ok(())
    }

    /// Forgets the budgets of an account.
    pub(super) fn forget_budgets_of(&mut self, account: AccountKey) -> StoreResult<()> {
        let id = |what| {
            budget_id(BudgetKey {
                whose: account.0,
                what,
            })
        };
        let (first, last) = (id(0), id(u8::MAX));
        let found = self
            .budgets
            .range::<&BudgetId>(&first..=&last)?
            .map(|entry| Ok(*entry?.0.value()))
            .collect::<StoreResult<Vec<BudgetId>>>()?;
        for id in found {
            self.forget_budget(&id)?;
        }
        Ok(())
    }

    /// Forgets a budget with what was drawn on it.
    pub(super) fn forget_budget(&mut self, id: &BudgetId) -> StoreResult<()> {
        if let Some(record) = self.budget(id)? {
            self.unplace_budget(id, &record)?;
        }
        self.budgets.remove(id)?;
        Ok(())
    }

    fn unplace_budget(&mut self, id: &BudgetId, record: &BudgetRecord) -> StoreResult<()> {
        if let Some(used) = record.invented {
            self.invented.remove((used.as_millis(), id))?;
        }
        self.unexpire(record.expires, Kind::Budget, id)
    }
}

/// See [`crate::store::Store::drafts`].
pub(super) fn drafts(
    table: &impl ReadableTable<&'static BudgetId, &'static [u8]>,
    key: BudgetKey,
) -> StoreResult<Vec<(Timestamp, u32)>> {
    let kept = table.get(&budget_id(key))?;
    let record: Option<BudgetRecord> = kept
        .map(|kept| decode("budget", kept.value()))
        .transpose()?;
    Ok(record.unwrap_or_default().drafts)
}

fn budget_id(key: BudgetKey) -> BudgetId {
    let mut id = [0; 33];
    let parts = key.whose.into_iter().chain([key.what]);
    for (slot, byte) in id.iter_mut().zip(parts) {
        *slot = byte;
    }
    id
}

fn longest(windows: &[Window]) -> Duration {
    let longest = windows.iter().map(|window| window.per).max();
    longest.unwrap_or_default()
}

/// The end of the step that a moment is in: a draft counts from then, never for less than it must.
fn rounded(now: Timestamp, step: Duration) -> Timestamp {
    let step = u64::try_from(step.as_millis()).unwrap_or(u64::MAX).max(1);
    let steps = now.as_millis().div_ceil(step);
    Timestamp::from_millis(steps.saturating_mul(step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_stretch_ever_holds_more_than_its_window_and_room_comes_when_it_was_said(
            gaps in prop::collection::vec(0_u64..40, 1..400),
            windows in prop::collection::vec((1_u32..300, 60_u64..3000), 1..3),
        ) {
            let windows: Vec<Window> = windows
                .into_iter()
                .map(|(limit, per)| Window { limit, per: Duration::from_millis(per) })
                .collect();
            let exact = windows.iter().all(|window| window.limit <= Charge::EXACT);
            let key = BudgetKey { whose: [1; 32], what: 0 };
            let charge = Charge { key, windows: windows.clone(), invented: false };
            let mut record = BudgetRecord::default();
            let (mut all, mut now) = (Vec::new(), Timestamp::from_millis(10_000));
            for gap in gaps {
                now = now.plus(Duration::from_millis(gap));
                record.prune(now, longest(&windows));
                let full = windows.iter().any(|window| {
                    let counted = all.iter().filter(|at| now.since(**at) < window.per);
                    counted.count() >= window.limit as usize
                });
                match record.spent(now, &windows) {
                    None => {
                        prop_assert!(!full);
                        record.draw(now, &charge);
                        all.push(now);
                    }
                    Some(until) => {
                        prop_assert!(full || !exact);
                        prop_assert!(until > now);
                        prop_assert_eq!(record.spent(until, &windows), None);
                        let before = until.minus(Duration::from_millis(1));
                        prop_assert!(record.spent(before, &windows).is_some());
                    }
                }
                let most = if exact { 256 } else { 60 * 51 + 2 };
                prop_assert!(record.drafts.len() <= most);
            }
        }
    }
}
