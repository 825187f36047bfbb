//! What ops can do to a running gateway, and how it is told over the socket: `app` does it, the
//! commands show it.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::clock::Timestamp;
use crate::config::Fleet;
use crate::pages::safety::Statement;
use crate::policy::Explanation;
use crate::store;

/// Which sessions a command is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The one with this handle.
    Handle(String),
    /// All of the user with this e-mail address.
    User(String),
    /// All of the users of the company with this identifier.
    Company(String),
    /// Every session.
    All,
}

/// Why a command did nothing, in words for the one who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// What it is about does not exist.
    #[error("{0}")]
    Unknown(String),
    /// Store, directory or audit trail did not do their part; nothing, or not all, took effect.
    #[error("{0}")]
    Unavailable(String),
}

/// The commands. Each is in the audit trail before it takes effect; `by` says there who gave it.
#[async_trait]
pub trait Operations: Send + Sync + fmt::Debug {
    /// How the gateway is. The one command that is not on record: it changes nothing and tells of
    /// nobody, as `/readyz` does, and must answer when the trail cannot be written.
    async fn status(&self) -> Status;

    /// What protects the application, with the evidence. Not on record either: it tells of nobody.
    async fn statement(&self) -> Statement;

    /// The live sessions, the one used last first.
    async fn sessions(&self, by: &str, which: Which) -> Result<Sessions, OperationError>;

    /// Ends sessions.
    async fn revoke(&self, by: &str, which: Which) -> Result<Ended, OperationError>;

    /// All that is known of a user but secrets.
    async fn user(&self, by: &str, email: &str) -> Result<User, OperationError>;

    /// Gives an account its budgets back.
    async fn unlock(&self, by: &str, email: &str) -> Result<Unlocked, OperationError>;

    /// Suspends a user and ends their sessions.
    async fn suspend(&self, by: &str, email: &str) -> Result<Suspended, OperationError>;

    /// Takes a suspension back.
    async fn resume(&self, by: &str, email: &str) -> Result<Resumed, OperationError>;

    /// Looks at the login's shield.
    async fn shield(&self, by: &str) -> Result<Shield, OperationError>;

    /// Raises it, until it is lowered by hand.
    async fn raise_shield(&self, by: &str) -> Result<Shield, OperationError>;

    /// Lowers it, however it was raised.
    async fn lower_shield(&self, by: &str) -> Result<Shield, OperationError>;

    /// Tells how a request would be decided; nothing is forwarded.
    async fn explain(&self, by: &str, asked: Asked) -> Result<Explanation, OperationError>;

    /// Lets the next of the assertion's keys sign.
    async fn rotate_keys(&self, by: &str) -> Result<Rotated, OperationError>;
}

/// A request that is to be explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who would make it, by their e-mail address.
    pub email: String,
    /// Method and target, such as `PATCH /projects/7`.
    pub request: String,
    /// The host that it would name; the public URL's without one.
    pub host: Option<String>,
    /// Its header fields, as `Name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Its body.
    #[serde(default)]
    pub body: String,
}

/// Sessions, listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The one used last first.
    pub sessions: Vec<Session>,
}

/// One session. All moments are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Public handle, which the application sees as `sid`.
    pub handle: String,
    /// Identifier of its user.
    pub user: String,
    /// E-mail address of its user, if the directory knows them.
    pub email: Option<String>,
    /// Identifier of the company.
    pub company: String,
    /// Login.
    pub created: String,
    /// Last request that was recorded.
    pub last_seen: String,
    /// Absolute limit.
    pub expires: String,
    /// Browser and system in a few words.
    pub client: String,
}

/// What a revocation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How many sessions ended.
    pub ended: usize,
}

/// A user as ops see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Stable identifier.
    pub id: String,
    /// Address in its comparable form.
    pub email: String,
    /// Name for people.
    pub name: String,
    /// Identifier of the company.
    pub company: String,
    /// Roles.
    pub roles: Vec<String>,
    /// The last two digits of the number that codes go to.
    pub phone_ends: String,
    /// Who has suspended them, if anyone.
    pub suspended: Option<SuspendedBy>,
    /// Their live sessions.
    pub sessions: Vec<Session>,
    /// Their devices.
    pub devices: Vec<Device>,
    /// What their lanes have spent, and what lives on them.
    pub lanes: Vec<Lane>,
    /// What may still be sent to them.
    pub sends: Vec<Sends>,
    /// Codes typed wrong since their latest login.
    pub failed_since_login: u32,
}

/// Who says that a user is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspendedBy {
    /// The directory's own entry.
    Directory,
    /// `portvakt user suspend`.
    Ops,
}

/// A device that has logged in before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Public handle.
    pub handle: String,
    /// First login.
    pub created: String,
    /// Latest login.
    pub last_seen: String,
    /// Browser and system in a few words.
    pub client: String,
}

/// One of an account's lanes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The known device's handle; `None` for the lane of unknown devices.
    pub device: Option<String>,
    /// Its budgets of failed comparisons.
    pub budgets: Vec<Budget>,
    /// Until when no code is taken, if a budget is spent.
    pub spent_until: Option<String>,
    /// Outstanding codes.
    pub challenges: Vec<Challenge>,
}

/// What may be sent to a user, of one kind and for one kind of device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sends {
    /// `sms` or `mail`.
    pub kind: String,
    /// Whether for devices that have logged in before.
    pub known_devices: bool,
    /// Its budgets.
    pub budgets: Vec<Budget>,
    /// Until when nothing is sent, if a budget is spent.
    pub spent_until: Option<String>,
}

/// A budget and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Failed comparisons, or messages, that it allows.
    pub limit: u32,
    /// Within so many seconds.
    pub per_seconds: u64,
    /// How many are spent.
    pub used: usize,
    /// How many are left.
    pub left: usize,
    /// When the next of them is free again.
    pub frees: Option<String>,
}

/// An outstanding code; never the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// When the code was made.
    pub created: String,
    /// When it stops being good.
    pub expires: String,
    /// Comparisons made.
    pub attempts: u32,
}

/// What an unlock did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlocked {
    /// Failed comparisons that no longer count.
    pub forgiven: usize,
}

/// What a suspension did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Whether ops had not suspended them before.
    pub changed: bool,
    /// How many sessions ended.
    pub ended: usize,
}

/// What taking a suspension back did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// Whether ops had suspended them.
    pub changed: bool,
    /// Whether the directory's own entry suspends them all the same.
    pub still_suspended: bool,
}

/// The login's shield, and the budget that it guards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shield {
    /// Since when it is raised; `None` if it is down.
    pub raised: Option<String>,
    /// Whether it was raised by hand: then it is lowered by hand alone.
    pub by_hand: bool,
    /// Failed comparisons that the fleet's budget has left.
    pub left: u32,
    /// What it has when it is full.
    pub burst: u32,
    /// What comes back of it in a day.
    pub refill_per_day: u32,
}

impl Shield {
    /// As the store has it.
    #[must_use]
    pub fn told(shield: &store::Shield, fleet: Fleet) -> Self {
        Self {
            raised: shield.raised.map(Timestamp::rfc3339),
            by_hand: shield.by_hand,
            left: shield.left,
            burst: fleet.burst,
            refill_per_day: fleet.refill_per_day,
        }
    }
}

/// The assertion's keys after a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// Identifier (`kid`) of the key that signs now.
    pub current: String,
    /// Of the one that will.
    pub next: String,
}
