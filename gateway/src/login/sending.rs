//! What stands before a message: budgets, charged before it is sent; and what is watched after.

use std::sync::atomic::Ordering;

use super::Desk;
use super::refused::Refused;
use super::visit::Visit;
use crate::audit::Record;
use crate::clock::Timestamp;
use crate::directory::Person;
use crate::limit::Drafts;
use crate::secret::{BearerHash, Code};
use crate::store::{AccountKey, Charge, Charging, Lane, Shield, StoreError};

/// Whether a message may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clearance {
    /// It may.
    Cleared,
    /// This budget, of which the caller does not learn, holds it back.
    Held(&'static str),
}

impl Desk {
    /// Charges a code's message, to nobody as to someone.
    pub(super) async fn clear_message(
        &self,
        now: Timestamp,
        visit: &Visit,
        account: AccountKey,
        lane: Lane,
        person: Option<&Person>,
    ) -> Result<Clearance, Refused> {
        let client = visit.client.address;
        let drafts = self.sending.message(account, lane, client, person);
        let Drafts { asked, ours, .. } = &drafts;
        let charging = self.charge(now, asked, ours).await?;
        let Some(budget) = drafts.held(charging) else {
            return Ok(Clearance::Cleared);
        };
        let request_id = visit.client.request_id;
        tracing::warn!(%request_id, budget, "a message was held back");
        self.metrics
            .messages_held
            .with_label_values(&[budget])
            .inc();
        Ok(Clearance::Held(budget))
    }

    /// Charges what the caller may learn of, and perhaps what they may not.
    pub(super) async fn charge(
        &self,
        now: Timestamp,
        asked: &[Charge],
        ours: &[Charge],
    ) -> Result<Charging, Refused> {
        match self.store.charge_budgets(now, asked, ours).await? {
            Charging::Spent { until } => {
                let wait = until.since(now);
                Err(Refused::Spent { wait })
            }
            charging => Ok(charging),
        }
    }

    /// Sends a challenge's code, and waits for it to be typed in.
    pub(super) fn send_code(
        &self,
        now: Timestamp,
        visit: &Visit,
        challenge: BearerHash,
        person: &Person,
        code: &Code,
    ) {
        self.send(visit, person, code);
        self.verification.sent(now, challenge);
    }

    /// Looks at the shield, and tells of it when it has been raised or lowered.
    pub(super) async fn watch_shield(&self, now: Timestamp) -> Result<Shield, StoreError> {
        let shield = self.store.shield(now, self.limits.fleet).await?;
        let raised = shield.raised.is_some();
        self.metrics.shield_raised.set(i64::from(raised));
        self.metrics.fleet_left.set(i64::from(shield.left));
        if self.shield_seen.swap(raised, Ordering::SeqCst) == raised {
            return Ok(shield);
        }
        let hand = if shield.by_hand { ", by hand" } else { "" };
        let left = shield.left;
        if raised {
            tracing::error!(
                left,
                "THE SHIELD IS RAISED{hand}: unknown devices need a link sent by e-mail before a code"
            );
            let detail = format!("{left} units left{hand}");
            self.tell(now, "shield.raised", "ok", detail);
        } else {
            tracing::warn!(left, "the shield is lowered");
            let detail = format!("{left} units left");
            self.tell(now, "shield.lowered", "ok", detail);
        }
        Ok(shield)
    }

    /// Looks at how many of the codes sent were typed in, and tells of it when it falls below half
    /// or comes back.
    pub(super) fn watch_verification(&self, now: Timestamp) {
        let judgement = self.verification.judge(now);
        if let Some(rate) = judgement.rate {
            self.metrics.verification_rate.set(rate);
        }
        let percent = judgement.rate.unwrap_or(1.0) * 100.0;
        let detail = format!("{percent:.0} % of the last 200 codes were typed in");
        match judgement.crossed {
            Some(true) => {
                tracing::error!("FEW CODES ARE TYPED IN: {detail}");
                self.tell(now, "login.verification_rate", "low", detail);
            }
            Some(false) => {
                tracing::warn!("codes are typed in again: {detail}");
                self.tell(now, "login.verification_rate", "ok", detail);
            }
            None => {}
        }
    }

    /// Records what nobody's request is at fault for, and nobody's request waits for.
    fn tell(&self, now: Timestamp, event: &'static str, result: &str, detail: String) {
        let record = Record {
            detail: Some(detail),
            ..Record::new(now, event, result)
        };
        if let Err(error) = self.audit.note(&record) {
            tracing::error!(%error, event, "an event was not recorded");
        }
    }
}
