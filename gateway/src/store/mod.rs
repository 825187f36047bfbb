//! The store: what must survive a restart, as domain operations that are each atomic.
//!
//! An operation that returns `Ok` is durable. Every window is counted on the `now` that is passed
//! in. Implementations hold no policy: limits are arguments.

mod budgets;
#[cfg(test)]
mod contract;
pub mod embedded;
mod others;
pub mod redis;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::{Fleet, Window};
use crate::principal::{CompanyId, UserId};
use crate::secret::BearerHash;

pub use self::budgets::{BudgetKey, Charge, Charging, Gate, LinkHash, Shield};
pub use self::others::{BELIEF, Change, Condition, FactsNews, Hears, Others, Stage};

/// A store that everyone shares.
pub type SharedStore = Arc<dyn Store>;

/// Why an operation did not happen. Whoever sees it refuses: nothing fails open.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or written; nothing of the operation took effect, or it may
    /// have, and must not be believed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A record cannot be read: written by a newer version, or damaged.
    #[error("the store holds a record that cannot be read: {0}")]
    Damaged(String),
}

/// Result of a store operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// State that survives.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The latest moment that the store has seen; a clock must not start before it.
    async fn high_water(&self) -> StoreResult<Timestamp>;

    /// Records the present moment, so that a restart does not go back behind it.
    async fn mark_time(&self, now: Timestamp) -> StoreResult<()>;

    // Login.

    /// Opens a challenge on its lane, if the lane's budget has a comparison left. On the unknown
    /// lane at most `live` challenges live at once, on a known device's one: the oldest goes.
    async fn open_challenge(
        &self,
        now: Timestamp,
        challenge: NewChallenge,
        live: u32,
        budget: &[Window],
    ) -> StoreResult<Opening>;

    /// Replaces a live challenge's code; attempts already made stay made. `None` if none lives.
    async fn renew_challenge(
        &self,
        now: Timestamp,
        id: BearerHash,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Option<Challenge>>;

    /// A challenge that is live: not expired, not used, not replaced.
    async fn challenge(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<Challenge>>;

    /// Charges one comparison to the challenge (at most `attempts`), to its lane's budget and, on
    /// the unknown lane, to the fleet's, all or none, *before* anything is compared. The fleet's
    /// budget is charged only where there is a user, but is asked for either way; its last unit
    /// raises the shield.
    async fn charge_attempt(
        &self,
        now: Timestamp,
        id: BearerHash,
        attempts: u32,
        budget: &[Window],
        fleet: Fleet,
    ) -> StoreResult<Attempt>;

    /// Uses up a live challenge: gives the successful comparison (made at `charged_at`) back to
    /// the lane's budget and all of the challenge's to the fleet's, puts the session, ends the session that the browser had, and remembers
    /// the device. `false`, with no effect at all, if the challenge was used, expired or replaced.
    async fn complete_challenge(&self, now: Timestamp, completion: Completion)
    -> StoreResult<bool>;

    /// Forgets an account's spent budgets, of comparisons and of messages, and its live challenges
    /// on all its lanes (`user unlock`).
    async fn unlock(&self, account: AccountKey) -> StoreResult<()>;

    // Budgets.

    /// Charges one message or call to every budget that it draws on, all or none. Where one of
    /// `ours` is spent, which the caller must not learn, the others of `ours` are not charged, but
    /// those `asked` for are: so the next answer does not tell either.
    async fn charge_budgets(
        &self,
        now: Timestamp,
        asked: &[Charge],
        ours: &[Charge],
    ) -> StoreResult<Charging>;

    /// What was drawn on a budget: moments, oldest first, with how many drafts each counts. What is
    /// older than its windows may still be among it.
    async fn drafts(&self, key: BudgetKey) -> StoreResult<Vec<(Timestamp, u32)>>;

    // Shield.

    /// Uses up the link that a live challenge waits for, and gives the challenge its first code.
    /// `None`, with no effect, if no such challenge waits for this link.
    async fn follow_link(
        &self,
        now: Timestamp,
        id: BearerHash,
        link: LinkHash,
        code: CodeHash,
        lifetime: Duration,
    ) -> StoreResult<Option<Challenge>>;

    /// The shield and the fleet's budget. A shield that its budget's end had raised is down again
    /// once half of the budget is there.
    async fn shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<Shield>;

    /// Raises the shield by hand: it stays raised until it is lowered by hand.
    async fn raise_shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<()>;

    /// Lowers the shield, however it was raised, and fills the fleet's budget up to half: what it
    /// would have waited for.
    async fn lower_shield(&self, now: Timestamp, fleet: Fleet) -> StoreResult<()>;

    // Sessions.

    /// A session by its hashed identifier, if it has not passed its absolute limit.
    async fn session(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<SessionRecord>>;

    /// Records that sessions were used; unknown ones are passed over.
    async fn touch_sessions(&self, seen: &[(BearerHash, Timestamp)]) -> StoreResult<()>;

    /// Every session that `which` covers and that has not passed its absolute limit.
    async fn sessions(
        &self,
        now: Timestamp,
        which: &Whose,
    ) -> StoreResult<Vec<(BearerHash, SessionRecord)>>;

    /// How many sessions have not passed their absolute limit, where that is known without reading
    /// them all.
    async fn count_sessions(&self, _now: Timestamp) -> StoreResult<Option<u64>> {
        Ok(None)
    }

    /// Ends every session that `which` covers; returns what was ended.
    async fn revoke(&self, which: &Whose) -> StoreResult<Vec<BearerHash>>;

    // Devices.

    /// A device by its hashed cookie.
    async fn device(&self, now: Timestamp, id: BearerHash) -> StoreResult<Option<DeviceRecord>>;

    /// The devices of an account.
    async fn devices(
        &self,
        now: Timestamp,
        account: AccountKey,
    ) -> StoreResult<Vec<(BearerHash, DeviceRecord)>>;

    /// Forgets a device of an account, by its handle.
    async fn forget_device(&self, account: AccountKey, handle: &str) -> StoreResult<bool>;

    // Keys.

    /// A sealed value by name.
    async fn sealed(&self, name: &str) -> StoreResult<Option<Vec<u8>>>;

    /// Puts a sealed value, if what is there is still `expected`; `false` if it is not.
    async fn put_sealed(
        &self,
        name: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> StoreResult<bool>;

    // Suspension.

    /// Suspends a user, whatever the directory says of them; `false` if they already were.
    async fn suspend(&self, user: &UserId) -> StoreResult<bool>;

    /// Takes a suspension back; `false` if there was none.
    async fn resume(&self, user: &UserId) -> StoreResult<bool>;

    /// Everyone who is suspended here.
    async fn suspended(&self) -> StoreResult<Vec<UserId>>;

    // Standing.

    /// What stands against an account: what its lanes have spent, what lives, what failed.
    async fn standing(&self, now: Timestamp, account: AccountKey) -> StoreResult<Standing>;

    /// How many comparisons had failed when the account's user last logged in, since the login
    /// before that; forgotten by being asked for.
    async fn take_failures(&self, account: AccountKey) -> StoreResult<u32>;

    // Facts.

    /// What was learned of a resource; the key is its type and canonical identifier.
    async fn learned_facts(&self, resource: &str) -> StoreResult<Option<LearnedFacts>>;

    /// Keeps facts of a resource unknown until now; never overwrites. `false` if it was known.
    async fn learn_facts(&self, resource: &str, facts: LearnedFacts) -> StoreResult<bool>;

    /// Forgets what was learned of a resource that was deleted.
    async fn forget_facts(&self, resource: &str) -> StoreResult<()>;

    // Others.

    /// The way on which other gateways' changes are told; `None` for a store of one gateway.
    fn others(&self) -> Option<Arc<Others>> {
        None
    }

    /// Tells the other gateways that what resources are changes.
    async fn tell_facts(&self, _news: &FactsNews) -> StoreResult<()> {
        Ok(())
    }

    /// Whether the store answers and can be written.
    async fn ready(&self) -> StoreResult<()>;
}

/// An account's key: a keyed hash of the address, the same for known and unknown addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountKey(pub [u8; 32]);

/// A code as the store keeps it: hashed under a key that the store does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeHash(pub [u8; 32]);

/// Which budget a login draws on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// The browser holds no device cookie of this account.
    Unknown,
    /// It holds this one.
    Known(BearerHash),
}

/// A challenge about to be opened.
#[derive(Clone, Debug)]
pub struct NewChallenge {
    /// Hash of the challenge cookie.
    pub id: BearerHash,
    /// Whose budget it draws on.
    pub account: AccountKey,
    /// Who will be logged in; `None` for an address without an account, which no code opens.
    pub user: Option<UserId>,
    /// Which of the account's budgets.
    pub lane: Lane,
    /// The code, hashed; for an unknown address a hash that nothing matches.
    pub code: CodeHash,
    /// When the code stops being good.
    pub expires: Timestamp,
    /// Path on this site to land on.
    pub next: String,
    /// The address in its comparable form, for starting again.
    pub email: String,
    /// The link that has to be followed before there is a code.
    pub link: Option<LinkHash>,
}

/// One outstanding code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Whose budget it draws on.
    pub account: AccountKey,
    /// Who will be logged in; `None` for an address without an account.
    pub user: Option<UserId>,
    /// Which of the account's budgets.
    pub lane: Lane,
    /// The code, hashed.
    pub code: CodeHash,
    /// When the code was made.
    pub created: Timestamp,
    /// When the code stops being good.
    pub expires: Timestamp,
    /// Comparisons charged so far, over all its codes.
    pub attempts: u32,
    /// Path on this site to land on.
    pub next: String,
    /// The address in its comparable form.
    pub email: String,
    /// What stands before its comparisons.
    #[serde(default)]
    pub gate: Gate,
    /// What it has drawn on the fleet's budget, as the time in which that comes back.
    #[serde(default)]
    pub drawn: Duration,
}

/// What became of an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The challenge lives.
    Opened,
    /// The lane's budget is spent until then.
    Spent {
        /// When the next comparison is free.
        until: Timestamp,
    },
}

/// What became of a charge.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives for the length of one comparison"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Charged: one comparison may be made, with this challenge as it stands after the charge.
    Charged(Challenge),
    /// No such live challenge, or its comparisons are used up, or a link comes first.
    Over,
    /// The shield is raised, or the fleet's budget is empty, which raises it: an unknown device
    /// has to begin again. Nothing was charged.
    Shielded,
    /// The lane's budget is spent until then; nothing was charged.
    Spent {
        /// When the next comparison is free.
        until: Timestamp,
    },
}

/// A login that succeeded.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The challenge to use up.
    pub challenge: BearerHash,
    /// The moment that the successful comparison was charged at.
    pub charged_at: Timestamp,
    /// The new session's hashed identifier.
    pub session: BearerHash,
    /// The new session.
    pub record: SessionRecord,
    /// The session that the browser held, which ends.
    pub replaces: Option<BearerHash>,
    /// The device's new cookie, hashed, with its record; the lane's old one goes.
    pub device: Option<(BearerHash, DeviceRecord)>,
    /// Devices remembered per account: the one unused the longest goes.
    pub devices: u32,
}

/// A session as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Public handle: names the session to its user, to ops and to the application (`sid`).
    pub handle: String,
    /// Whose.
    pub user: UserId,
    /// The user's company at login; a change ends the session.
    pub company: CompanyId,
    /// Login.
    pub created: Timestamp,
    /// Last request that was recorded.
    pub last_seen: Timestamp,
    /// Absolute limit.
    pub expires: Timestamp,
    /// Browser and system in a few words, for the account page.
    pub client: String,
}

/// A device that has logged in before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Public handle, kept when the cookie is rotated.
    pub handle: String,
    /// Whose.
    pub account: AccountKey,
    /// First login.
    pub created: Timestamp,
    /// Latest login.
    pub last_seen: Timestamp,
    /// Forgotten then.
    pub expires: Timestamp,
    /// Browser and system in a few words.
    pub client: String,
}

/// Which sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The one with this hashed identifier.
    Bearer(BearerHash),
    /// The one with this handle, of this user.
    Handle(UserId, String),
    /// All of a user's but, perhaps, one handle.
    User(UserId, Option<String>),
    /// All of a company's users'.
    Company(CompanyId),
    /// Every session.
    All,
}

/// What stands against an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its lanes that have charges or live challenges.
    pub lanes: Vec<LaneStanding>,
    /// Comparisons that failed since its user's latest login.
    pub failed_since_login: u32,
    /// Comparisons that had failed before that login, where nobody was told yet.
    pub failed_before_login: u32,
}

/// What stands against one of an account's lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStanding {
    /// Which.
    pub lane: Lane,
    /// Comparisons charged and not given back, oldest first; some may be older than any window.
    pub charges: Vec<Timestamp>,
    /// Its live challenges, oldest first.
    pub live: Vec<Challenge>,
}

/// Facts of a resource that passed through in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedFacts {
    /// The company that it belongs to.
    pub company: CompanyId,
    /// The user who owns it.
    pub owner: Option<UserId>,
    /// When it was learned.
    pub at: Timestamp,
}
