//! What a person is told after a login that followed failures.

use super::Desk;
use super::delivery::Mailer;
use super::sending::Clearance;
use super::visit::Visit;
use crate::clock::Timestamp;
use crate::directory::Person;
use crate::pages;
use crate::secret::Secret;
use crate::store::{AccountKey, Lane};

impl Desk {
    /// Tells a person who has just logged in of the attempts that failed before: here by SMS, or by
    /// mail where the budgets have no room for an SMS, since the next page is most often the
    /// application's; the account page says it too.
    pub(super) async fn tell_failures(
        &self,
        visit: &Visit,
        now: Timestamp,
        account: AccountKey,
        lane: Lane,
        person: &Person,
    ) {
        let count = match self.store.standing(now, account).await {
            Ok(standing) => standing.failed_before_login,
            Err(error) => {
                tracing::warn!(%error, "whether attempts had failed before a login is not known");
                return;
            }
        };
        if count == 0 {
            return;
        }
        // Charged like any message: a login, and be it by a lucky guess, buys no message more.
        let how = if self.sms_has_room(now, visit, account, lane, person).await {
            let text = pages::failures_message(visit.language, &self.host, count);
            self.delivery.post(person.phone.clone(), Secret::new(text));
            "sms"
        } else if self.mailed(now, visit, account, lane, person, count).await {
            "mail"
        } else {
            "page"
        };
        let mut record = self.record(visit, "login.failures_told", how);
        record.user = Some(person.principal.id.to_string());
        record.company = Some(person.principal.company.id.to_string());
        record.detail = Some(format!("{count} failed before this login"));
        if let Err(error) = self.audit.note(&record) {
            tracing::error!(%error, "that a person was told of failures was not recorded");
        }
    }

    async fn sms_has_room(
        &self,
        now: Timestamp,
        visit: &Visit,
        account: AccountKey,
        lane: Lane,
        person: &Person,
    ) -> bool {
        let cleared = self.clear_message(now, visit, account, lane, Some(person));
        matches!(cleared.await, Ok(Clearance::Cleared))
    }

    /// Whether a mail is on its way.
    async fn mailed(
        &self,
        now: Timestamp,
        visit: &Visit,
        account: AccountKey,
        lane: Lane,
        person: &Person,
        count: u32,
    ) -> bool {
        let Some(mailer) = &self.mailer else {
            return false;
        };
        let cleared = self.clear_mail(now, visit, account, lane, true);
        if cleared.await.is_err() {
            return false;
        }
        let (subject, text) = pages::failures_mail(visit.language, &self.host, count);
        let sent = mailer.send(&person.principal.email, &subject, &text).await;
        if let Err(error) = &sent {
            tracing::error!(%error, "a mail that tells of failures was not sent");
        }
        sent.is_ok()
    }
}
