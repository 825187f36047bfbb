//! The first step: a challenge for an address, known or not, with its code or, while the shield is
//! raised, its link.

use std::sync::Arc;

use super::Desk;
use super::link::{self, Token};
use super::refused::Refused;
use super::sending::Clearance;
use super::visit::Visit;
use crate::clock::Timestamp;
use crate::directory::Person;
use crate::limit;
use crate::principal::EmailAddress;
use crate::secret::{BearerHash, BearerId};
use crate::store::{AccountKey, CodeHash, Lane, NewChallenge, Opening};

/// A challenge that was opened.
pub(super) struct Opened {
    /// For the challenge cookie.
    pub(super) id: BearerId,
    /// Whether a link has to be followed before there is a code.
    pub(super) by_link: bool,
}

/// An address that was typed, with what is known of it.
struct Asked {
    now: Timestamp,
    email: EmailAddress,
    account: AccountKey,
    lane: Lane,
    /// Who has it, unless they are suspended.
    person: Option<Arc<Person>>,
    next: String,
}

impl Desk {
    /// Opens a challenge for an address, known or not, and sends its code, or its link while the
    /// shield is raised, if there is someone to send it to.
    pub(super) async fn open(
        &self,
        visit: &Visit,
        email: &EmailAddress,
        next: String,
    ) -> Result<Opened, Refused> {
        let now = self.clock.now();
        let account = limit::account_key(&self.account_key, email);
        let lane = self.lane(now, visit, account).await?;
        let person = self.directory.by_email(email).await?;
        let user = person
            .as_ref()
            .map(|person| person.principal.id.to_string());
        let suspended = person.as_ref().is_some_and(|p| p.principal.suspended);
        let asked = Asked {
            now,
            email: email.clone(),
            account,
            lane,
            person: person.filter(|_| !suspended),
            next,
        };
        let by_link = lane == Lane::Unknown && self.watch_shield(now).await?.raised.is_some();
        let opened = if by_link {
            self.open_by_link(visit, &asked).await
        } else {
            self.open_with_code(visit, &asked).await
        };
        let result = match (&opened, &asked.person, suspended) {
            (Err(refused @ Refused::Unavailable(_)), ..) => {
                tracing::debug!(kind = refused.kind(), "no challenge was opened");
                return opened.map(|(id, _)| Opened { id, by_link });
            }
            (Err(refused), ..) => refused.kind(),
            (Ok((_, Clearance::Held(_))), Some(_), _) => "held",
            (Ok(_), Some(_), _) if by_link => "link_sent",
            (Ok(_), Some(_), _) => "sent",
            (Ok(_), None, true) => "suspended",
            (Ok(_), None, false) => "unknown",
        };
        let mut record = self.record(visit, "login.email", result);
        record.user = user;
        if let Ok((_, Clearance::Held(budget))) = &opened {
            record.detail = Some((*budget).to_owned());
        }
        self.audit.note(&record)?;
        opened.map(|(id, _)| Opened { id, by_link })
    }

    async fn open_with_code(
        &self,
        visit: &Visit,
        asked: &Asked,
    ) -> Result<(BearerId, Clearance), Refused> {
        let (now, person) = (asked.now, asked.person.as_deref());
        let cleared = self
            .clear_message(now, visit, asked.account, asked.lane, person)
            .await?;
        let id = BearerId::generate();
        let (code, hash) = self.draw(id.hash(), person.is_some());
        let expires = now.plus(self.limits.code_lifetime);
        let challenge = asked.challenge(id.hash(), hash, expires);
        self.put(now, challenge).await?;
        if let (Some(person), Clearance::Cleared) = (person, cleared) {
            self.send_code(now, visit, id.hash(), person, &code);
        }
        Ok((id, cleared))
    }

    async fn open_by_link(
        &self,
        visit: &Visit,
        asked: &Asked,
    ) -> Result<(BearerId, Clearance), Refused> {
        let mailer = self.mailer()?;
        let (now, real) = (asked.now, asked.person.is_some());
        self.clear_mail(now, visit, asked.account, asked.lane, real)
            .await?;
        let (id, token) = (BearerId::generate(), Token::generate());
        let (_, no_code) = self.draw(id.hash(), false);
        let mut challenge = asked.challenge(id.hash(), no_code, now.plus(link::LIFETIME));
        challenge.link = Some(self.link_hash(id.hash(), &token, real));
        self.put(now, challenge).await?;
        if let Some(person) = &asked.person {
            self.mail_link(visit, mailer, &person.principal.email, &token)
                .await;
        }
        Ok((id, Clearance::Cleared))
    }

    async fn put(&self, now: Timestamp, challenge: NewChallenge) -> Result<(), Refused> {
        let budget = limit::budget(&self.limits, challenge.lane);
        let live = self.limits.live_challenges;
        let opening = self.store.open_challenge(now, challenge, live, budget);
        match opening.await? {
            Opening::Opened => Ok(()),
            Opening::Spent { until } => {
                let wait = until.since(now);
                Err(Refused::Spent { wait })
            }
        }
    }
}

impl Asked {
    fn challenge(&self, id: BearerHash, code: CodeHash, expires: Timestamp) -> NewChallenge {
        NewChallenge {
            id,
            account: self.account,
            user: self
                .person
                .as_ref()
                .map(|person| person.principal.id.clone()),
            lane: self.lane,
            code,
            expires,
            next: self.next.clone(),
            email: self.email.as_str().to_owned(),
            link: None,
        }
    }
}
