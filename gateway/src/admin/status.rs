//! What `portvakt status` tells: the whole gateway on one screen. All moments are RFC 3339.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Check;
use super::operations::{Budget, Shield};
use crate::policy::Outcome;

/// How the gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// When it started.
    pub started: String,
    /// How long ago that was.
    pub uptime_seconds: u64,
    /// What people type into their browsers.
    pub public_url: String,
    /// Whether everything that serving needs is as it should be.
    pub ready: bool,
    /// All that was looked at for that.
    pub checks: Vec<Check>,
    /// Where it accepts.
    pub listeners: Vec<Listener>,
    /// What it forwards to.
    pub upstreams: Vec<Upstream>,
    /// The policy set in force.
    pub policy: Policy,
    /// Who exists.
    pub directory: Part,
    /// Where state lives.
    pub store: Part,
    /// The login's shield and the fleet's budget; `None` if the store does not tell.
    pub shield: Option<Shield>,
    /// The caps on all text messages together; `None` if the store does not tell.
    pub messages: Option<Vec<Budget>>,
    /// Sessions live, as they were counted last.
    pub sessions: i64,
    /// Connections open on public listeners.
    pub connections: i64,
}

/// An address where the gateway accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Address and port.
    pub address: String,
    /// Whether it speaks TLS; without, a router before it does.
    pub tls: bool,
    /// Its certificates.
    pub certificates: Vec<Certificate>,
}

/// A certificate in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The first name that it is for.
    pub name: String,
    /// When it begins.
    pub not_before: String,
    /// When it ends.
    pub not_after: String,
    /// Whole days until then; 0 once it has ended.
    pub days_left: u64,
}

/// A service that is forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Its endpoints.
    pub addresses: Vec<String>,
    /// Whether one of them takes a connection now.
    pub up: bool,
    /// Requests under way.
    pub under_way: usize,
    /// How many may be.
    pub limit: usize,
    /// Requests that it failed since the start, by how.
    pub failures: BTreeMap<String, u64>,
}

/// A policy set that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// 1 at the start, one more with each change.
    pub generation: u64,
    /// Of its files.
    pub digest: String,
    /// When it took effect.
    pub since: String,
    /// How long ago that was.
    pub age_seconds: u64,
    /// What came of its proof.
    pub proof: Outcome,
    /// How many sets were refused since the start.
    pub failures: u64,
    /// The last of them.
    pub last_failure: Option<Failure>,
}

/// A policy set that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: String,
    /// Why.
    pub message: String,
}

/// Something that the gateway depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `file`, `embedded`, `redis` …
    pub kind: String,
    /// The file, where it is one.
    pub place: Option<String>,
    /// Whether it answers.
    pub up: bool,
    /// Why not.
    pub reason: Option<String>,
}
