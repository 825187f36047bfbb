//! The fleet's budget and the shield.
//!
//! The budget is kept as one moment: when it will be full again. A unit drawn moves it later by
//! the time that a unit takes to come back, a unit given back moves it earlier.

use std::time::Duration;

use redb::ReadableTable;

use super::tables::Tables;
use crate::clock::Timestamp;
use crate::config::Fleet;
use crate::store::{Shield, StoreResult};

const FULL_AT: &str = "fleet_full_at";
const RAISED_AT: &str = "shield_raised_at";
const BY_HAND: &str = "shield_by_hand";

const DAY: Duration = Duration::from_secs(86_400);

/// Whether a comparison may be made.
pub(super) enum Passage {
    /// It may; if it drew a unit, this is what has to be given back.
    Free(Duration),
    /// The shield is raised.
    Shielded,
}

impl Tables<'_> {
    /// Draws a unit for a comparison, if it is one with a code that opens something; raises the
    /// shield with the last.
    pub(super) fn pass(
        &mut self,
        now: Timestamp,
        fleet: Fleet,
        real: bool,
    ) -> StoreResult<Passage> {
        let shield = shield(&self.meta, now, fleet)?;
        if shield.raised.is_some() {
            return Ok(Passage::Shielded);
        }
        // It may have been raised and have lowered itself: the next time starts afresh.
        self.meta.remove(RAISED_AT)?;
        if shield.left == 0 {
            self.meta.insert(RAISED_AT, now.as_millis())?;
            return Ok(Passage::Shielded);
        }
        if !real {
            return Ok(Passage::Free(Duration::ZERO));
        }
        let unit = unit(fleet);
        let full_at = full_at(&self.meta)?.max(now).plus(unit);
        self.meta.insert(FULL_AT, full_at.as_millis())?;
        if shield.left == 1 {
            self.meta.insert(RAISED_AT, now.as_millis())?;
        }
        Ok(Passage::Free(unit))
    }

    /// Gives back what was drawn.
    pub(super) fn give_back(&mut self, drawn: Duration) -> StoreResult<()> {
        let full_at = full_at(&self.meta)?.minus(drawn);
        self.meta.insert(FULL_AT, full_at.as_millis())?;
        Ok(())
    }

    /// See [`crate::store::Store::raise_shield`].
    pub(super) fn raise_shield(&mut self, now: Timestamp, fleet: Fleet) -> StoreResult<()> {
        self.see(now)?;
        let since = shield(&self.meta, now, fleet)?.raised.unwrap_or(now);
        self.meta.insert(RAISED_AT, since.as_millis())?;
        self.meta.insert(BY_HAND, 1)?;
        Ok(())
    }

    /// See [`crate::store::Store::lower_shield`].
    pub(super) fn lower_shield(&mut self, now: Timestamp, fleet: Fleet) -> StoreResult<()> {
        self.see(now)?;
        self.meta.remove(RAISED_AT)?;
        self.meta.remove(BY_HAND)?;
        let half = now.plus(unit(fleet).saturating_mul(fleet.burst / 2));
        let full_at = full_at(&self.meta)?.min(half);
        self.meta.insert(FULL_AT, full_at.as_millis())?;
        Ok(())
    }
}

/// See [`crate::store::Store::shield`].
pub(super) fn shield(
    meta: &impl ReadableTable<&'static str, u64>,
    now: Timestamp,
    fleet: Fleet,
) -> StoreResult<Shield> {
    let missing = full_at(meta)?.since(now).as_millis();
    let drawn = missing.div_ceil(unit(fleet).as_millis().max(1));
    let left = fleet
        .burst
        .saturating_sub(u32::try_from(drawn).unwrap_or(u32::MAX));
    let raised = moment(meta, RAISED_AT)?;
    let by_hand = raised.is_some() && meta.get(BY_HAND)?.is_some();
    let refilled = u64::from(left) * 2 >= u64::from(fleet.burst);
    Ok(Shield {
        raised: raised.filter(|_| by_hand || !refilled),
        by_hand,
        left,
    })
}

fn full_at(meta: &impl ReadableTable<&'static str, u64>) -> StoreResult<Timestamp> {
    Ok(moment(meta, FULL_AT)?.unwrap_or_default())
}

fn moment(
    meta: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> StoreResult<Option<Timestamp>> {
    let kept = meta.get(name)?;
    Ok(kept.map(|millis| Timestamp::from_millis(millis.value())))
}

/// How long a unit takes to come back; rounded up, so that no day brings more than it may.
fn unit(fleet: Fleet) -> Duration {
    let day = u64::try_from(DAY.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(day.div_ceil(u64::from(fleet.refill_per_day.max(1))))
}
