//! Challenges: opened, charged, used up.

use std::time::Duration;

use redb::ReadableTable;

use super::lanes::{Living, spent};
use super::shield::Passage;
use super::sweep::Kind;
use super::tables::{LaneKey, Tables, by_id, encode, lane_key, lanes_of};
use crate::clock::Timestamp;
use crate::config::{Fleet, Window};
use crate::secret::BearerHash;
use crate::store::{
    AccountKey, Attempt, Challenge, CodeHash, Completion, Gate, Lane, LinkHash, NewChallenge,
    Opening, StoreResult,
};

impl Tables<'_> {
    /// See [`crate::store::Store::open_challenge`].
    pub(super) fn open_challenge(
        &mut self,
        now: Timestamp,
        new: &NewChallenge,
        live: u32,
        budget: &[Window],
    ) -> StoreResult<Opening> {
        self.see(now)?;
        let mut lane = self.lane(lane_key(new.account, new.lane))?;
        lane.record.prune(now, budget);
        if let Some(until) = spent(&lane.record.charges, now, budget) {
            return Ok(Opening::Spent { until });
        }
        // A cookie used for a second challenge leads to that one alone.
        if let Some(former) = by_id::<Challenge>(&self.challenges, &new.id.0, "challenge")? {
            lane.record.live.retain(|living| living.id != new.id);
            self.remove_challenge(Living {
                id: new.id,
                expires: former.expires,
            })?;
        }
        let live = match new.lane {
            Lane::Unknown => usize::try_from(live).unwrap_or(usize::MAX).max(1),
            Lane::Known(_) => 1,
        };
        let surplus = (lane.record.live.len() + 1).saturating_sub(live);
        let gone: Vec<Living> = lane.record.live.drain(..surplus).collect();
        for oldest in gone {
            self.remove_challenge(oldest)?;
        }
        self.put_challenge(
            new.id,
            &Challenge {
                account: new.account,
                user: new.user.clone(),
                lane: new.lane,
                code: new.code,
                created: now,
                expires: new.expires,
                attempts: 0,
                next: new.next.clone(),
                email: new.email.clone(),
                gate: new.link.map_or(Gate::Open, Gate::Link),
                drawn: Duration::ZERO,
            },
        )?;
        lane.record.live.push(Living {
            id: new.id,
            expires: new.expires,
        });
        lane.record.expires = lane.record.expires.max(new.expires);
        lane.record.stranger = new.user.is_none().then_some(now);
        self.save_lane(lane)?;
        self.bound_strangers()?;
        Ok(Opening::Opened)
    }

    /// See [`crate::store::Store::renew_challenge`].
    pub(super) fn renew_challenge(
        &mut self,
        now: Timestamp,
        id: BearerHash,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Option<Challenge>> {
        self.see(now)?;
        let Some(old) = self.live_challenge(now, id)? else {
            return Ok(None);
        };
        if matches!(old.gate, Gate::Link(_)) {
            return Ok(None);
        }
        self.replace_code(now, id, &old, code, lifetime).map(Some)
    }

    /// See [`crate::store::Store::follow_link`].
    pub(super) fn follow_link(
        &mut self,
        now: Timestamp,
        id: BearerHash,
        link: LinkHash,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Option<Challenge>> {
        self.see(now)?;
        let Some(old) = self.live_challenge(now, id)? else {
            return Ok(None);
        };
        if old.gate != Gate::Link(link) {
            return Ok(None);
        }
        let followed = Challenge {
            gate: Gate::Followed,
            ..old
        };
        self.replace_code(now, id, &followed, code, lifetime)
            .map(Some)
    }

    fn replace_code(
        &mut self,
        now: Timestamp,
        id: BearerHash,
        old: &Challenge,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Challenge> {
        let mut lane = self.lane(lane_key(old.account, old.lane))?;
        let renewed = Challenge {
            code,
            created: now,
            expires: now.plus(lifetime),
            ..old.clone()
        };
        self.remove_challenge(Living {
            id,
            expires: old.expires,
        })?;
        self.put_challenge(id, &renewed)?;
        for living in lane.record.live.iter_mut().filter(|l| l.id == id) {
            living.expires = renewed.expires;
        }
        lane.record.expires = lane.record.expires.max(renewed.expires);
        self.save_lane(lane)?;
        Ok(renewed)
    }

    /// See [`crate::store::Store::charge_attempt`].
    pub(super) fn charge_attempt(
        &mut self,
        now: Timestamp,
        id: BearerHash,
        attempts: u32,
        budget: &[Window],
        fleet: Fleet,
    ) -> StoreResult<Attempt> {
        self.see(now)?;
        let Some(mut challenge) = self.live_challenge(now, id)? else {
            return Ok(Attempt::Over);
        };
        if challenge.attempts >= attempts || matches!(challenge.gate, Gate::Link(_)) {
            return Ok(Attempt::Over);
        }
        let mut lane = self.lane(lane_key(challenge.account, challenge.lane))?;
        lane.record.prune(now, budget);
        if let Some(until) = spent(&lane.record.charges, now, budget) {
            return Ok(Attempt::Spent { until });
        }
        if challenge.lane == Lane::Unknown && challenge.gate == Gate::Open {
            match self.pass(now, fleet, challenge.user.is_some())? {
                Passage::Free(drawn) => challenge.drawn += drawn,
                Passage::Shielded => return Ok(Attempt::Shielded),
            }
        }
        challenge.attempts += 1;
        self.put_challenge(id, &challenge)?;
        lane.record.charge(now, budget);
        lane.record.stranger = lane.record.stranger.map(|_| now);
        self.save_lane(lane)?;
        self.count_failure(&challenge)?;
        Ok(Attempt::Charged(challenge))
    }

    /// See [`crate::store::Store::complete_challenge`].
    pub(super) fn complete_challenge(
        &mut self,
        now: Timestamp,
        done: &Completion,
    ) -> StoreResult<bool> {
        let Some(challenge) = self.live_challenge(now, done.challenge)? else {
            return Ok(false);
        };
        // A challenge opens its own user's session and no other; without a user it opens none.
        if challenge.user.as_ref() != Some(&done.record.user) {
            return Ok(false);
        }
        self.see(now)?;
        self.remove_challenge(Living {
            id: done.challenge,
            expires: challenge.expires,
        })?;
        let mut lane = self.lane(lane_key(challenge.account, challenge.lane))?;
        lane.record.give_back(done.charged_at);
        if !challenge.drawn.is_zero() {
            self.give_back(challenge.drawn)?;
        }
        lane.record.live.retain(|l| l.id != done.challenge);
        match (&done.device, challenge.lane) {
            // The cookie is rotated: what was charged to the device stays charged to it.
            (Some((new, _)), Lane::Known(old)) => {
                self.remove_device(old)?;
                self.move_lane(lane, lane_key(challenge.account, Lane::Known(*new)))?;
            }
            _ => self.save_lane(lane)?,
        }
        if let Some((id, record)) = &done.device {
            self.put_device(*id, record)?;
            self.bound_devices(*id, record.account, done.devices)?;
        }
        if let Some(replaced) = done.replaces {
            self.remove_session(replaced)?;
        }
        self.put_session(done.session, &done.record)?;
        self.failures_end(challenge.account)?;
        Ok(true)
    }

    /// See [`crate::store::Store::unlock`].
    pub(super) fn unlock(&mut self, account: AccountKey) -> StoreResult<()> {
        let (first, last) = lanes_of(account);
        let keys = self
            .lanes
            .range::<&LaneKey>(&first..=&last)?
            .map(|entry| Ok(*entry?.0.value()))
            .collect::<StoreResult<Vec<LaneKey>>>()?;
        for key in keys {
            self.forget_lane(key)?;
        }
        self.forget_budgets_of(account)
    }

    fn live_challenge(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<Challenge>> {
        live_challenge(&self.challenges, now, id)
    }

    fn put_challenge(&mut self, id: BearerHash, challenge: &Challenge) -> StoreResult<()> {
        let bytes = encode("challenge", challenge)?;
        self.challenges.insert(&id.0, bytes.as_slice())?;
        self.expire_at(challenge.expires, Kind::Challenge, &id.0)
    }

    pub(super) fn remove_challenge(&mut self, living: Living) -> StoreResult<()> {
        self.challenges.remove(&living.id.0)?;
        self.unexpire(living.expires, Kind::Challenge, &living.id.0)
    }
}

/// A challenge that has not expired.
pub(super) fn live_challenge(
    challenges: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
    now: Timestamp,
    id: BearerHash,
) -> StoreResult<Option<Challenge>> {
    let found: Option<Challenge> = by_id(challenges, &id.0, "challenge")?;
    Ok(found.filter(|challenge| challenge.expires > now))
}
