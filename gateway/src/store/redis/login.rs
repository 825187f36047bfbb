//! The login's operations: what each script is given, and what its answer means.

use std::time::Duration;

use redis::{FromRedisValue, Value, cmd};

use super::Redis;
use super::words::{self, Fields, damaged, hex, lane_name, millis, windows};
use crate::clock::Timestamp;
use crate::config::{Fleet, Window};
use crate::secret::BearerHash;
use crate::store::{
    AccountKey, Attempt, BudgetKey, Challenge, Charge, Charging, CodeHash, Completion,
    DeviceRecord, Lane, LaneStanding, LinkHash, NewChallenge, Opening, Shield, Standing,
    StoreResult,
};

const DAY: Duration = Duration::from_secs(86_400);

impl Redis {
    pub(super) async fn mark(&self, now: Timestamp) -> StoreResult<()> {
        let now = self.moment(now);
        let mut script = self.scripts.shield.key(&self.login);
        // Reading with a write of the moment: raising and lowering see it too.
        let _: Value = self.run(script.arg(now).arg(1).arg(1).arg("mark")).await?;
        Ok(())
    }

    pub(super) async fn open_one(
        &self,
        now: Timestamp,
        new: &NewChallenge,
        live: u32,
        budget: &[Window],
    ) -> StoreResult<Opening> {
        let live = match new.lane {
            Lane::Unknown => live,
            Lane::Known(_) => 1,
        };
        let mut script = self.scripts.open_challenge.key(&self.login);
        script
            .arg(self.moment(now))
            .arg(hex(&new.id.0))
            .arg(hex(&new.account.0))
            .arg(new.user.as_ref().map_or("", |user| user.as_str()))
            .arg(lane_name(new.lane))
            .arg(hex(&new.code.0))
            .arg(new.expires.as_millis())
            .arg(&new.next)
            .arg(&new.email)
            .arg(new.link.map(|link| hex(&link.0)).unwrap_or_default())
            .arg(live)
            .arg(windows(budget))
            .arg(self.most_strangers);
        let answer: Vec<String> = self.run(&script).await?;
        match answer.as_slice() {
            [opened] if opened == "opened" => Ok(Opening::Opened),
            [_, until] => Ok(Opening::Spent {
                until: moment(until)?,
            }),
            _ => Err(damaged("answer")),
        }
    }

    /// A renewal, or with a link the first code of the challenge that waits for it.
    pub(super) async fn replace_code(
        &self,
        now: Timestamp,
        id: BearerHash,
        code: CodeHash,
        lifetime: Duration,
        link: Option<LinkHash>,
    ) -> StoreResult<Option<Challenge>> {
        let mut script = self.scripts.renew_challenge.key(&self.login);
        script
            .arg(self.moment(now))
            .arg(hex(&id.0))
            .arg(hex(&code.0))
            .arg(millis(lifetime))
            .arg(link.map(|link| hex(&link.0)).unwrap_or_default());
        challenge_if_any(&words::fields(self.run(&script).await?))
    }

    pub(super) async fn live_challenge(
        &self,
        now: Timestamp,
        id: BearerHash,
    ) -> StoreResult<Option<Challenge>> {
        let key = self.login_key(&format!("challenge:{}", hex(&id.0)));
        let fields: Fields = self.link.ask(cmd("HGETALL").arg(key)).await?;
        let now = Timestamp::from_millis(self.moment(now));
        let found = challenge_if_any(&fields)?;
        Ok(found.filter(|challenge| challenge.expires > now))
    }

    pub(super) async fn charge(
        &self,
        now: Timestamp,
        id: BearerHash,
        attempts: u32,
        budget: &[Window],
        fleet: Fleet,
    ) -> StoreResult<Attempt> {
        let mut script = self.scripts.charge_attempt.key(&self.login);
        script
            .arg(self.moment(now))
            .arg(hex(&id.0))
            .arg(attempts)
            .arg(windows(budget))
            .arg(unit(fleet))
            .arg(fleet.burst);
        let answer: Vec<Value> = self.run(&script).await?;
        let (word, rest) = answer.split_first().ok_or_else(|| damaged("answer"))?;
        match (text(word)?.as_str(), rest) {
            ("over", _) => Ok(Attempt::Over),
            ("shielded", _) => Ok(Attempt::Shielded),
            ("spent", [until]) => Ok(Attempt::Spent {
                until: moment(&text(until)?)?,
            }),
            ("charged", [flat]) => {
                let fields = words::fields(texts(flat)?);
                Ok(Attempt::Charged(words::challenge(&fields)?))
            }
            _ => Err(damaged("answer")),
        }
    }

    /// Uses up a challenge; the session is put by the caller.
    pub(super) async fn use_up(&self, now: Timestamp, done: &Completion) -> StoreResult<bool> {
        let mut script = self.scripts.complete_challenge.key(&self.login);
        script
            .arg(self.moment(now))
            .arg(hex(&done.challenge.0))
            .arg(done.record.user.as_str())
            .arg(done.charged_at.as_millis())
            .arg(done.devices);
        match &done.device {
            None => script.arg(""),
            Some((id, device)) => script
                .arg(hex(&id.0))
                .arg(&device.handle)
                .arg(hex(&device.account.0))
                .arg(device.created.as_millis())
                .arg(device.last_seen.as_millis())
                .arg(device.expires.as_millis())
                .arg(&device.client),
        };
        self.run(&script).await
    }

    pub(super) async fn draw(
        &self,
        now: Timestamp,
        asked: &[Charge],
        ours: &[Charge],
    ) -> StoreResult<Charging> {
        let mut script = self.scripts.charge_budgets.key(&self.login);
        script
            .arg(self.moment(now))
            .arg(self.most_strangers)
            .arg(asked.len());
        for charge in asked.iter().chain(ours) {
            script
                .arg(format!("{}:{}", hex(&charge.key.whose), charge.key.what))
                .arg(windows(&charge.windows))
                .arg(millis(charge.step()).max(1))
                .arg(u8::from(charge.invented));
        }
        let answer: Vec<String> = self.run(&script).await?;
        match answer.as_slice() {
            [word] if word == "charged" => Ok(Charging::Charged),
            [word, place] if word == "held" => Ok(Charging::Held(
                place.parse().map_err(|_| damaged("answer"))?,
            )),
            [word, until] if word == "spent" => Ok(Charging::Spent {
                until: moment(until)?,
            }),
            _ => Err(damaged("answer")),
        }
    }

    pub(super) async fn drafts_of(&self, key: BudgetKey) -> StoreResult<Vec<(Timestamp, u32)>> {
        let name = format!("budget:{}:{}", hex(&key.whose), key.what);
        let kept: Option<String> = self
            .link
            .ask(cmd("HGET").arg(self.login_key(&name)).arg("drafts"))
            .await?;
        let kept = kept.unwrap_or_default();
        let drafts = kept.split(',').filter(|draft| !draft.is_empty());
        drafts
            .map(|draft| {
                let (at, count) = draft.split_once(':').ok_or_else(|| damaged("budget"))?;
                let count = count.parse().map_err(|_| damaged("budget"))?;
                Ok((moment(at)?, count))
            })
            .collect()
    }

    pub(super) async fn shield_script(
        &self,
        now: Timestamp,
        fleet: Fleet,
        what: &str,
    ) -> StoreResult<Shield> {
        let mut script = self.scripts.shield.key(&self.login);
        script
            .arg(self.moment(now))
            .arg(unit(fleet))
            .arg(fleet.burst)
            .arg(what);
        let (raised, by_hand, left): (String, String, u32) = self.run(&script).await?;
        Ok(Shield {
            raised: match raised.as_str() {
                "" => None,
                at => Some(moment(at)?),
            },
            by_hand: !by_hand.is_empty(),
            left,
        })
    }

    pub(super) async fn live_device(
        &self,
        now: Timestamp,
        id: &str,
    ) -> StoreResult<Option<DeviceRecord>> {
        let key = self.login_key(&format!("device:{id}"));
        let fields: Fields = self.link.ask(cmd("HGETALL").arg(key)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let now = Timestamp::from_millis(self.moment(now));
        let found = words::device(&fields)?;
        Ok(Some(found).filter(|device| device.expires > now))
    }

    pub(super) async fn devices_of(
        &self,
        now: Timestamp,
        account: AccountKey,
    ) -> StoreResult<Vec<(BearerHash, DeviceRecord)>> {
        let key = self.login_key(&format!("devices:{}", hex(&account.0)));
        let mut ids: Vec<String> = self.link.ask(cmd("SMEMBERS").arg(key)).await?;
        ids.sort();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(device) = self.live_device(now, &id).await? {
                found.push((BearerHash(words::unhex(&id)?), device));
            }
        }
        Ok(found)
    }

    pub(super) async fn standing_of(
        &self,
        now: Timestamp,
        account: AccountKey,
    ) -> StoreResult<Standing> {
        let mut script = self.scripts.standing.key(&self.login);
        script.arg(self.moment(now)).arg(hex(&account.0));
        let answer: Vec<Value> = self.run(&script).await?;
        let [since, before, lanes @ ..] = answer.as_slice() else {
            return Err(damaged("answer"));
        };
        Ok(Standing {
            lanes: lanes
                .iter()
                .map(lane_standing)
                .collect::<StoreResult<_>>()?,
            failed_since_login: count(since)?,
            failed_before_login: count(before)?,
        })
    }
}

fn lane_standing(value: &Value) -> StoreResult<LaneStanding> {
    let (name, charges, live): (String, Vec<u64>, Vec<Vec<String>>) =
        FromRedisValue::from_redis_value_ref(value).map_err(|_| damaged("answer"))?;
    let live = live
        .into_iter()
        .map(|flat| words::challenge(&words::fields(flat)));
    Ok(LaneStanding {
        lane: words::lane(&name)?,
        charges: charges.into_iter().map(Timestamp::from_millis).collect(),
        live: live.collect::<StoreResult<_>>()?,
    })
}

fn challenge_if_any(fields: &Fields) -> StoreResult<Option<Challenge>> {
    if fields.is_empty() {
        return Ok(None);
    }
    words::challenge(fields).map(Some)
}

fn text(value: &Value) -> StoreResult<String> {
    FromRedisValue::from_redis_value_ref(value).map_err(|_| damaged("answer"))
}

fn texts(value: &Value) -> StoreResult<Vec<String>> {
    FromRedisValue::from_redis_value_ref(value).map_err(|_| damaged("answer"))
}

fn count(value: &Value) -> StoreResult<u32> {
    text(value)?.parse().map_err(|_| damaged("answer"))
}

fn moment(text: &str) -> StoreResult<Timestamp> {
    let millis = text.parse().map_err(|_| damaged("answer"))?;
    Ok(Timestamp::from_millis(millis))
}

/// How many milliseconds a unit takes to come back; rounded up, so that no day brings more than
/// it may.
fn unit(fleet: Fleet) -> u64 {
    millis(DAY).div_ceil(u64::from(fleet.refill_per_day.max(1)))
}
