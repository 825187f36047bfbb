//! What ops do to the running gateway: each command in the audit trail first, then done.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::Gateway;
use crate::admin::operations::{
    Asked, Device, Ended, OperationError, Operations, Resumed, Rotated, Session, Sessions, Shield,
    Suspended, SuspendedBy, Unlocked, User, Which,
};
use crate::admin::status::Status;
use crate::audit::Record;
use crate::directory::{Directory as _, Person};
use crate::limit;
use crate::pages::safety::{Safety, Statement};
use crate::policy::Explanation;
use crate::principal::{CompanyId, EmailAddress, UserId};
use crate::store::{self, AccountKey, SessionRecord, Whose};

pub(super) type Outcome<T> = Result<T, OperationError>;

/// A command that has begun: who gave it, and whom it is about.
pub(super) struct Command<'a> {
    event: &'static str,
    by: &'a str,
    user: Option<UserId>,
    pub(super) about: Option<String>,
}

#[async_trait]
impl Operations for Gateway {
    async fn status(&self) -> Status {
        self.status_now().await
    }

    async fn statement(&self) -> Statement {
        Safety::statement(self).await
    }

    async fn sessions(&self, by: &str, which: Which) -> Outcome<Sessions> {
        let (command, whose) = self.about_sessions("admin.session.list", by, which).await?;
        self.begun(&command).await?;
        let records = self.shared.sessions.all(&whose).await;
        let sessions = self.told(records.map_err(unavailable)?).await?;
        Ok(Sessions { sessions })
    }

    async fn revoke(&self, by: &str, which: Which) -> Outcome<Ended> {
        let (command, whose) = self
            .about_sessions("admin.session.revoke", by, which)
            .await?;
        self.begun(&command).await?;
        let ended = self.shared.sessions.revoke(&whose).await;
        let ended = self.done(&command, ended.map_err(unavailable), |ended| {
            format!("{ended} ended")
        });
        let ended = ended.await?;
        Ok(Ended { ended })
    }

    async fn user(&self, by: &str, email: &str) -> Outcome<User> {
        let (command, person) = self.about_user("admin.user.show", by, email).await?;
        self.begun(&command).await?;
        let principal = &person.principal;
        let now = self.shared.clock.now();
        let account = self.account_of(&principal.email);
        let standing = self.store.standing(now, account).await;
        let standing = standing.map_err(unavailable)?;
        let devices = self
            .store
            .devices(now, account)
            .await
            .map_err(unavailable)?;
        let records = self.shared.sessions.list(&principal.id).await;
        let sessions = self.told(records.map_err(unavailable)?).await?;
        let phone = person.phone.as_e164();
        Ok(User {
            id: principal.id.to_string(),
            email: principal.email.to_string(),
            name: principal.name.to_string(),
            company: principal.company.id.to_string(),
            roles: principal.roles.iter().map(ToString::to_string).collect(),
            phone_ends: phone.get(phone.len() - 2..).unwrap_or_default().to_owned(),
            suspended: match (self.suspensions.covers(&principal.id), principal.suspended) {
                (true, _) => Some(SuspendedBy::Ops),
                (false, true) => Some(SuspendedBy::Directory),
                (false, false) => None,
            },
            sessions,
            lanes: standing
                .lanes
                .iter()
                .map(|lane| self.lane(now, lane, &devices))
                .collect(),
            sends: self.sends(now, account).await?,
            devices: devices
                .into_iter()
                .map(|(_, device)| Device {
                    handle: device.handle,
                    created: device.created.rfc3339(),
                    last_seen: device.last_seen.rfc3339(),
                    client: device.client,
                })
                .collect(),
            failed_since_login: standing.failed_since_login,
        })
    }

    async fn unlock(&self, by: &str, email: &str) -> Outcome<Unlocked> {
        let (command, person) = self.about_user("admin.user.unlock", by, email).await?;
        self.begun(&command).await?;
        let account = self.account_of(&person.principal.email);
        let unlocked = async {
            let before = self
                .store
                .standing(self.shared.clock.now(), account)
                .await?;
            self.store.unlock(account).await?;
            Ok(before.lanes.iter().map(|lane| lane.charges.len()).sum())
        };
        let unlocked: Result<usize, store::StoreError> = unlocked.await;
        let forgiven = self.done(&command, unlocked.map_err(unavailable), |forgiven| {
            format!("{forgiven} failed comparisons forgiven")
        });
        let forgiven = forgiven.await?;
        Ok(Unlocked { forgiven })
    }

    async fn suspend(&self, by: &str, email: &str) -> Outcome<Suspended> {
        let (command, person) = self.about_user("admin.user.suspend", by, email).await?;
        self.begun(&command).await?;
        let user = &person.principal.id;
        let suspended = async {
            let changed = self.suspensions.suspend(user).await.map_err(unavailable)?;
            let ended = self.end_sessions(user).await?;
            Ok(Suspended { changed, ended })
        };
        self.done(&command, suspended.await, |suspended: &Suspended| {
            format!("{} sessions ended", suspended.ended)
        })
        .await
    }

    async fn resume(&self, by: &str, email: &str) -> Outcome<Resumed> {
        let (command, person) = self.about_user("admin.user.resume", by, email).await?;
        self.begun(&command).await?;
        let user = &person.principal.id;
        let resumed = async {
            // A login that was under way when the suspension came must not wake up now.
            self.end_sessions(user).await?;
            let changed = self.suspensions.resume(user).await.map_err(unavailable)?;
            let found = self.suspensions.by_id(user).await.map_err(unavailable)?;
            Ok(Resumed {
                changed,
                still_suspended: found.is_some_and(|person| person.principal.suspended),
            })
        };
        self.done(&command, resumed.await, |resumed: &Resumed| {
            let suspended = if resumed.still_suspended {
                "suspended by the directory"
            } else {
                "free"
            };
            suspended.to_owned()
        })
        .await
    }

    async fn shield(&self, by: &str) -> Outcome<Shield> {
        let command = Command::about_the_login("admin.shield.status", by);
        self.begun(&command).await?;
        self.shield_now().await
    }

    async fn raise_shield(&self, by: &str) -> Outcome<Shield> {
        let command = Command::about_the_login("admin.shield.raise", by);
        self.begun(&command).await?;
        let (now, fleet) = (self.shared.clock.now(), self.shared.config.login.fleet);
        let raised = self.store.raise_shield(now, fleet).await;
        self.done(&command, raised.map_err(unavailable), |()| {
            "raised".to_owned()
        })
        .await?;
        self.shield_now().await
    }

    async fn lower_shield(&self, by: &str) -> Outcome<Shield> {
        let command = Command::about_the_login("admin.shield.lower", by);
        self.begun(&command).await?;
        let (now, fleet) = (self.shared.clock.now(), self.shared.config.login.fleet);
        let lowered = self.store.lower_shield(now, fleet).await;
        self.done(&command, lowered.map_err(unavailable), |()| {
            "lowered".to_owned()
        })
        .await?;
        self.shield_now().await
    }

    async fn explain(&self, by: &str, asked: Asked) -> Outcome<Explanation> {
        self.explained(by, asked).await
    }

    async fn rotate_keys(&self, by: &str) -> Outcome<Rotated> {
        let command = Command {
            event: "admin.keys.rotate",
            by,
            user: None,
            about: None,
        };
        self.begun(&command).await?;
        let rotated = self.shared.keyring.rotate().await.map_err(unavailable);
        self.done(&command, rotated, |()| "rotated".to_owned())
            .await?;
        let keys = self.shared.keyring.jwks();
        let mut names = keys
            .get("keys")
            .and_then(|keys| keys.as_array())
            .into_iter()
            .flatten()
            .rev()
            .filter_map(|key| key.get("kid")?.as_str().map(str::to_owned));
        let next = names.next().unwrap_or_default();
        let current = names.next().unwrap_or_default();
        Ok(Rotated { current, next })
    }
}

impl<'a> Command<'a> {
    /// One that is about everyone's login, and nobody's in particular.
    const fn about_the_login(event: &'static str, by: &'a str) -> Self {
        Self {
            event,
            by,
            user: None,
            about: None,
        }
    }
}

impl Gateway {
    /// The shield as it stands, in metrics and alerts too.
    async fn shield_now(&self) -> Outcome<Shield> {
        if let Err(error) = self.login.watch().await {
            tracing::warn!(%error, "the login's shield could not be looked at");
        }
        let fleet = self.shared.config.login.fleet;
        let shield = self.store.shield(self.shared.clock.now(), fleet).await;
        let shield = shield.map_err(unavailable)?;
        Ok(Shield::told(&shield, fleet))
    }

    /// Keeps the record of a command, before anything of it takes effect.
    pub(super) async fn begun(&self, command: &Command<'_>) -> Outcome<()> {
        let record = self.command_record(command, "begun", command.about.clone());
        self.shared.audit.keep(record).await.map_err(unavailable)
    }

    /// Notes how a command that changes something ended.
    async fn done<T: Send>(
        &self,
        command: &Command<'_>,
        outcome: Outcome<T>,
        told: impl Fn(&T) -> String + Send,
    ) -> Outcome<T> {
        let (result, detail) = match &outcome {
            Ok(value) => ("ok", told(value)),
            Err(error) => ("failed", error.to_string()),
        };
        let record = self.command_record(command, result, Some(detail));
        // That it was given is on disk already; it is answered once this is as well.
        if let Err(error) = self.shared.audit.keep(record).await {
            tracing::error!(%error, command = command.event, "how a command ended was not recorded");
        }
        outcome
    }

    fn command_record(
        &self,
        command: &Command<'_>,
        result: &str,
        detail: Option<String>,
    ) -> Record {
        Record {
            client: Some(command.by.to_owned()),
            user: command.user.as_ref().map(ToString::to_string),
            detail,
            ..Record::new(self.shared.clock.now(), command.event, result)
        }
    }

    /// A command about the user with an address; the attempt is on record if there is none.
    pub(super) async fn about_user<'a>(
        &self,
        event: &'static str,
        by: &'a str,
        email: &str,
    ) -> Outcome<(Command<'a>, Arc<Person>)> {
        let found = match EmailAddress::parse(email) {
            Ok(email) => self
                .suspensions
                .by_email(&email)
                .await
                .map_err(unavailable)?,
            Err(_) => None,
        };
        let command = Command {
            event,
            by,
            user: found.as_ref().map(|person| person.principal.id.clone()),
            about: Some(email.to_owned()),
        };
        let Some(person) = found else {
            let record = self.command_record(&command, "unknown", command.about.clone());
            self.shared.audit.keep(record).await.map_err(unavailable)?;
            let reason = format!("no user has the address `{email}`");
            return Err(OperationError::Unknown(reason));
        };
        Ok((command, person))
    }

    async fn about_sessions<'a>(
        &self,
        event: &'static str,
        by: &'a str,
        which: Which,
    ) -> Outcome<(Command<'a>, Whose)> {
        let mut command = Command {
            event,
            by,
            user: None,
            about: None,
        };
        let whose = match which {
            Which::All => {
                command.about = Some("all".to_owned());
                Whose::All
            }
            Which::Company(company) => {
                command.about = Some(format!("company `{company}`"));
                Whose::Company(CompanyId::from(company.as_str()))
            }
            Which::User(email) => {
                let (command, person) = self.about_user(event, by, &email).await?;
                return Ok((command, Whose::User(person.principal.id.clone(), None)));
            }
            Which::Handle(handle) => {
                command.about = Some(format!("handle `{handle}`"));
                let all = self.shared.sessions.all(&Whose::All).await;
                let named = all.map_err(unavailable)?;
                let named = named.into_iter().find(|one| one.handle == handle);
                command.user = named.map(|one| one.user);
                // Of nobody, it covers nothing.
                let user = command.user.clone().unwrap_or_else(|| UserId::from(""));
                Whose::Handle(user, handle)
            }
        };
        Ok((command, whose))
    }

    /// Ends a user's sessions in the store and in memory, with their open streams.
    async fn end_sessions(&self, user: &UserId) -> Outcome<usize> {
        let sessions = &self.shared.sessions;
        let which = Whose::User(user.clone(), None);
        let ended = sessions.revoke(&which).await.map_err(unavailable)?;
        sessions.recheck().await.map_err(unavailable)?;
        Ok(ended)
    }

    fn account_of(&self, email: &EmailAddress) -> AccountKey {
        limit::account_key(&self.account_key, email)
    }

    /// Sessions with their users' addresses.
    async fn told(&self, records: Vec<SessionRecord>) -> Outcome<Vec<Session>> {
        let mut emails: HashMap<UserId, Option<String>> = HashMap::new();
        let mut sessions = Vec::with_capacity(records.len());
        for record in records {
            let email = match emails.get(&record.user) {
                Some(email) => email.clone(),
                None => {
                    let found = self.suspensions.by_id(&record.user).await;
                    let found = found.map_err(unavailable)?;
                    let email = found.map(|person| person.principal.email.to_string());
                    emails.insert(record.user.clone(), email.clone());
                    email
                }
            };
            sessions.push(Session {
                handle: record.handle,
                user: record.user.to_string(),
                email,
                company: record.company.to_string(),
                created: record.created.rfc3339(),
                last_seen: record.last_seen.rfc3339(),
                expires: record.expires.rfc3339(),
                client: record.client,
            });
        }
        Ok(sessions)
    }
}

pub(super) fn unavailable(error: impl std::fmt::Display) -> OperationError {
    OperationError::Unavailable(error.to_string())
}
