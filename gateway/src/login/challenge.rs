//! The steps themselves, which know neither forms nor JSON: renew a challenge, check a
//! code, complete the login.

use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::Desk;
use super::cookies;
use super::refused::Refused;
use super::sending::Clearance;
use super::visit::Visit;
use crate::audit::{Audit, Record};
use crate::clock::Timestamp;
use crate::directory::Person;
use crate::limit;
use crate::pages;
use crate::principal::{EmailAddress, Principal};
use crate::secret::{self, BearerHash, BearerId, Code, Secret};
use crate::session::Sessions;
use crate::store::{
    AccountKey, Attempt, Challenge, CodeHash, Completion, DeviceRecord, Gate, Lane, SharedStore,
    Whose,
};

/// Devices remembered per account.
const DEVICES_PER_ACCOUNT: u32 = 10;

/// A login that succeeded.
pub(super) struct Success {
    pub(super) principal: Arc<Principal>,
    /// For the session cookie.
    pub(super) session: BearerId,
    /// For the device cookie.
    pub(super) device: BearerId,
    /// The browser's devices of other accounts, which stay in the device cookie.
    pub(super) other_devices: Vec<BearerId>,
    /// Path on this site to land on.
    pub(super) next: String,
}

impl Desk {
    /// The live challenge of the browser that visits, if a comparison is left.
    pub(super) async fn challenge(
        &self,
        now: Timestamp,
        visit: &Visit,
    ) -> Result<(BearerId, Challenge), Refused> {
        let id = visit.jar.bearer(cookies::CHALLENGE).ok_or(Refused::Over)?;
        let challenge = self.store.challenge(now, id.hash()).await?;
        let challenge = challenge
            .filter(|challenge| challenge.attempts < self.limits.attempts_per_challenge)
            .ok_or(Refused::Over)?;
        Ok((id, challenge))
    }

    /// Replaces the code of the browser's challenge by a new one, and sends that.
    pub(super) async fn renew(&self, visit: &Visit) -> Result<BearerId, Refused> {
        let now = self.clock.now();
        let (id, challenge) = self.challenge(now, visit).await?;
        if matches!(challenge.gate, Gate::Link(_)) {
            return Err(Refused::Over);
        }
        let person = self.addressee(&challenge).await?;
        let lane = challenge.lane;
        let cleared = self
            .clear_message(now, visit, challenge.account, lane, person.as_deref())
            .await?;
        let (code, hash) = self.draw(id.hash(), person.is_some());
        let lifetime = self.limits.code_lifetime;
        let renewed = self
            .store
            .renew_challenge(now, id.hash(), hash, lifetime)
            .await?;
        let result = match (&renewed, &person, cleared) {
            (None, ..) => "challenge_over",
            (Some(_), Some(_), Clearance::Held(_)) => "held",
            (Some(_), Some(_), Clearance::Cleared) => "sent",
            (Some(_), None, _) => "unknown",
        };
        let mut record = self.record(visit, "login.resend", result);
        record.user = challenge.user.map(|user| user.to_string());
        self.audit.note(&record)?;
        if renewed.is_none() {
            return Err(Refused::Over);
        }
        if let (Some(person), Clearance::Cleared) = (person, cleared) {
            self.send_code(now, visit, id.hash(), &person, &code);
        }
        Ok(id)
    }

    /// Who a challenge's code goes to: the one whom it opens, if they still have the address and
    /// are not suspended.
    pub(super) async fn addressee(
        &self,
        challenge: &Challenge,
    ) -> Result<Option<Arc<Person>>, Refused> {
        let person = match EmailAddress::parse(&challenge.email) {
            Ok(email) => self.directory.by_email(&email).await?,
            Err(_) => None,
        };
        Ok(person.filter(|person| {
            challenge.user.as_ref() == Some(&person.principal.id) && !person.principal.suspended
        }))
    }

    /// Compares what was typed with the browser's challenge, having charged for it first, and
    /// completes the login if it is the code.
    pub(super) async fn check(
        &self,
        visit: &Visit,
        typed: Option<&str>,
    ) -> Result<Success, Refused> {
        let now = self.clock.now();
        let mut user = None;
        let found = self.challenge(now, visit).await;
        let known = matches!(&found, Ok((_, challenge)) if challenge.lane != Lane::Unknown);
        let admitted = if known {
            Ok(())
        } else {
            let submission = self.sending.submission(visit.client.address);
            self.charge(now, &[submission], &[]).await.map(|_| ())
        };
        let checked = match (admitted, found) {
            (Ok(()), Ok((id, challenge))) => {
                user.clone_from(&challenge.user);
                self.compare(visit, now, &id, &challenge, typed).await
            }
            (Err(refused), _) | (Ok(()), Err(refused)) => Err(refused),
        };
        if let Err(refused) = &checked {
            let mut record = self.record(visit, "login.code", refused.kind());
            record.user = user.map(|user| user.to_string());
            self.audit.note(&record)?;
        }
        checked
    }

    async fn compare(
        &self,
        visit: &Visit,
        now: Timestamp,
        id: &BearerId,
        challenge: &Challenge,
        typed: Option<&str>,
    ) -> Result<Success, Refused> {
        // What is no code is refused before anything is charged.
        let code = typed.and_then(Code::parse).ok_or(Refused::Code)?;
        let most = self.limits.attempts_per_challenge;
        let budget = limit::budget(&self.limits, challenge.lane);
        let charged = self
            .store
            .charge_attempt(now, id.hash(), most, budget, self.limits.fleet)
            .await?;
        let challenge = match charged {
            Attempt::Charged(challenge) => challenge,
            Attempt::Over => return Err(Refused::Over),
            Attempt::Shielded => {
                self.watch_shield(now).await?;
                return Err(Refused::Over);
            }
            Attempt::Spent { until } => {
                let wait = until.since(now);
                return Err(Refused::Spent { wait });
            }
        };
        if !challenge.drawn.is_zero() {
            self.watch_shield(now).await?;
        }
        let expected = self.hash(id.hash(), true, &code);
        let right = secret::same(&expected.0, &challenge.code.0);
        let wrong = Refused::Wrong {
            left: most.saturating_sub(challenge.attempts),
        };
        let (true, Some(user)) = (right, &challenge.user) else {
            return Err(wrong);
        };
        let person = self.directory.by_id(user).await?;
        let Some(person) = person.filter(|person| !person.principal.suspended) else {
            // Whoever is gone or suspended since is answered as one who was never there, and
            // their code is good for nothing any more.
            let (_, decoy) = self.draw(id.hash(), false);
            let rest = challenge.expires.since(now);
            self.store
                .renew_challenge(now, id.hash(), decoy, rest)
                .await?;
            return Err(wrong);
        };
        self.complete(visit, now, id, challenge, &person).await
    }

    async fn complete(
        &self,
        visit: &Visit,
        charged_at: Timestamp,
        id: &BearerId,
        challenge: Challenge,
        person: &Person,
    ) -> Result<Success, Refused> {
        let principal = &person.principal;
        let now = self.clock.now();
        let (session, record) = self.sessions.prepare(principal, &visit.agent);
        let replaces = visit.jar.bearer(cookies::SESSION).map(|old| old.hash());
        let other_devices = self
            .devices_of_others(now, visit, challenge.account)
            .await?;
        let device = BearerId::generate();
        let device_record = self.device_record(now, visit, &challenge).await?;
        let completion = Completion {
            challenge: id.hash(),
            charged_at,
            session: session.hash(),
            record,
            replaces,
            device: Some((device.hash(), device_record)),
            devices: DEVICES_PER_ACCOUNT,
        };
        let mut record = self.record(visit, "login.code", "ok");
        record.user = Some(principal.id.to_string());
        record.company = Some(principal.company.id.to_string());
        let settled = tokio::spawn(settle(
            Arc::clone(&self.store),
            Arc::clone(&self.sessions),
            self.audit.clone(),
            now,
            completion,
            record,
        ));
        settled
            .await
            .map_err(|error| Refused::Unavailable(error.to_string()))??;
        self.verification.verified(id.hash());
        self.tell_failures(visit, now, challenge.account, challenge.lane, person)
            .await;
        Ok(Success {
            principal: Arc::clone(principal),
            session,
            device,
            other_devices,
            next: challenge.next,
        })
    }

    /// Whose budget a browser draws on at an account: its own if it has logged in there before.
    pub(super) async fn lane(
        &self,
        now: Timestamp,
        visit: &Visit,
        account: AccountKey,
    ) -> Result<Lane, Refused> {
        let mut lane = Lane::Unknown;
        // Every device is looked at, so that the time does not tell which one it was.
        for device in visit.jar.devices() {
            let id = device.hash();
            let record = self.store.device(now, id).await?;
            if record.is_some_and(|record| record.account == account) {
                lane = Lane::Known(id);
            }
        }
        Ok(lane)
    }

    async fn devices_of_others(
        &self,
        now: Timestamp,
        visit: &Visit,
        account: AccountKey,
    ) -> Result<Vec<BearerId>, Refused> {
        let mut others = Vec::new();
        for device in visit.jar.devices() {
            let record = self.store.device(now, device.hash()).await?;
            if record.is_some_and(|record| record.account != account) {
                others.push(device);
            }
        }
        Ok(others)
    }

    /// The record of the device that just logged in; a known one keeps its handle.
    async fn device_record(
        &self,
        now: Timestamp,
        visit: &Visit,
        challenge: &Challenge,
    ) -> Result<DeviceRecord, Refused> {
        let old = match challenge.lane {
            Lane::Known(id) => self.store.device(now, id).await?,
            Lane::Unknown => None,
        };
        let (handle, created) = match old {
            Some(old) => (old.handle, old.created),
            None => (HEXLOWER.encode(&secret::random::<16>()), now),
        };
        Ok(DeviceRecord {
            handle,
            account: challenge.account,
            created,
            last_seen: now,
            expires: now.plus(self.limits.device_lifetime),
            client: visit.agent.clone(),
        })
    }

    /// A new code with its hash. Where there is nobody to send it to, the hash is one that no
    /// code has, made by the same work.
    pub(super) fn draw(&self, challenge: BearerHash, real: bool) -> (Code, CodeHash) {
        let code = Code::generate();
        let hash = self.hash(challenge, real, &code);
        (code, hash)
    }

    fn hash(&self, challenge: BearerHash, real: bool, code: &Code) -> CodeHash {
        let label: &[u8] = if real { b"code" } else { b"none" };
        let parts = [label, &challenge.0, code.expose().as_bytes()];
        CodeHash(self.pepper.mac(&parts))
    }

    /// Sends a code, bound to our origin by its last line, so that telephones fill it in nowhere
    /// else (origin-bound one-time codes, section 3).
    pub(super) fn send(&self, visit: &Visit, person: &Person, code: &Code) {
        let digits = code.expose();
        let line = pages::message(visit.language, &self.host, digits);
        let text = format!("{line}\n@{} #{digits}", self.host);
        self.delivery.post(person.phone.clone(), Secret::new(text));
    }
}

/// Uses up the challenge, ends the session that the browser held, and records the login: in a
/// task of its own, so that a browser that goes away halfway leaves nothing half done.
async fn settle(
    store: SharedStore,
    sessions: Arc<Sessions>,
    audit: Audit,
    now: Timestamp,
    completion: Completion,
    record: Record,
) -> Result<(), Refused> {
    let (session, replaces) = (completion.session, completion.replaces);
    if !store.complete_challenge(now, completion).await? {
        return Err(Refused::Over);
    }
    if let Some(old) = replaces {
        sessions.forget_replaced(old);
    }
    if let Err(error) = audit.keep(record).await {
        // Nobody holds the session yet, and nobody shall: what is not recorded did not happen.
        sessions.revoke(&Whose::Bearer(session)).await?;
        return Err(error.into());
    }
    Ok(())
}
