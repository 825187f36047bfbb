//! Policies: which request is which action on which resource, what is known of the resource, and
//! what the rules say.
//!
//! A [`PolicySet`] is a folder, loaded whole or not at all. A request takes three steps:
//!
//! 1. [`PolicySet::route`] finds the [`Route`] and the identifiers in the path;
//! 2. [`Authoriser::decide`] gathers the facts of what they name (`facts.rs`), from its cache or
//!    through [`Lookups`];
//! 3. the rules (`cedar.rs`) are asked, or the cache that remembers what they said of exactly
//!    this, and `verdict.rs` makes one [`Decision`] of it.
//!
//! What a policy file may hold is told in `policies/README.md`.

mod afar;
mod authorise;
mod cedar;
mod cedar_files;
mod climb;
mod columns;
mod context;
mod entities;
mod explain;
mod facts;
mod facts_key;
mod folder;
mod lint;
mod nesting;
mod overrides;
mod pattern;
mod pointer;
mod prepared;
mod proof;
mod query;
mod reader;
mod reading;
pub mod report;
mod resolve;
mod resource;
mod routes;
mod slice;
mod slots;
mod source;
mod spelling;
mod table;
mod template;
mod tests_file;
mod unsettled;
mod verdict;
mod words;
mod written;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::UpstreamNames;
use crate::config::fault::Fault;
use crate::principal::Principal;
use crate::target::Target;

pub use authorise::{Answer, Authoriser};
pub use explain::{Described, ExplainedResource, ExplainedRoute, Explanation};
pub use facts::FactsError;
pub use overrides::Overrides;
pub use proof::{Outcome, Proof, ProofSettings};
pub use reading::{READ_BYTES, Sent, Unreadable};
pub use routes::{Route, RouteMatch};
pub use source::{LookupAnswer, LookupError, LookupRows, Lookups, OwnerAs};
pub use tests_file::TestReport;
pub use unsettled::Unsettled;
pub use verdict::{CopyOffer, Decision, Denied, Verdict};
pub use words::RuleInWords;

use cedar::{Action, Finding, Rules};
use folder::Folder;
use reading::Given;
use resource::{Asks, Kind, Query, Record, Resource};
use routes::{Copies, Subject};
use table::Table;
use tests_file::Test;
use verdict::Judged;

/// A query of a set's facts.
#[derive(Clone, Copy, Debug)]
pub struct SetQuery<'s> {
    query: &'s Query,
    asks: Asks,
}

impl SetQuery<'_> {
    /// The query, with one parameter.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.query.text
    }

    /// A fault at its place.
    #[must_use]
    pub fn fault(&self, message: &str) -> Fault {
        self.query.source.fault(self.query.span.clone(), message)
    }

    /// Whether it yields what it should.
    ///
    /// # Errors
    ///
    /// What it should yield.
    pub fn check(&self, columns: &[String]) -> Result<(), Fault> {
        let read = columns::Columns::of(columns, self.asks);
        read.map(drop).map_err(|message| self.fault(&message))
    }
}

/// A loaded policy set with what is worth a look in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The set.
    pub set: Arc<PolicySet>,
    /// What refuses nothing, but may be meant otherwise.
    pub warnings: Vec<Fault>,
}

/// A policy set: routes, rules and tests that fit each other.
#[derive(Debug)]
pub struct PolicySet {
    routes: Vec<Arc<Route>>,
    table: Table,
    rules: Rules,
    tests: Vec<Test>,
    encoded_slashes: bool,
    digest: Arc<str>,
    fingerprint: [u8; 32],
    proof_key: [u8; 32],
    table_key: u64,
    /// The types of resources, by number.
    resources: Vec<Option<Arc<Resource>>>,
    /// Which route copies a resource of which type.
    copies: BTreeMap<usize, Arc<Route>>,
}

impl PolicySet {
    /// Loads a folder, on a thread of its own: files are read by recursion, and the caller's
    /// stack may be small. `upstreams` are the names that are configured.
    ///
    /// # Errors
    ///
    /// Every fault of every file, warnings among them: nothing of a faulty set takes effect.
    pub fn load(dir: &Path, upstreams: &[UpstreamNames<'_>]) -> Result<Loaded, Vec<Fault>> {
        nesting::on_deep_stack(|| Self::load_here(dir, upstreams))
            .unwrap_or_else(|fault| Err(vec![fault]))
    }

    fn load_here(dir: &Path, upstreams: &[UpstreamNames<'_>]) -> Result<Loaded, Vec<Fault>> {
        let mut faults = Vec::new();
        let files = Folder::read(dir, &mut faults);
        let (set, mut found) = files.resolve(upstreams);
        faults.append(&mut found);
        match set {
            Some(set) if faults.iter().all(Fault::is_warning) => Ok(Loaded {
                set: Arc::new(set),
                warnings: faults,
            }),
            _ => Err(faults),
        }
    }

    /// The digest over all files: SHA-256 in lower-case hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Every route, in the order in which they are written.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The most specific route for a target; `None` if the request is refused for want of one.
    /// `host` is in lower case, without port.
    #[must_use]
    pub fn route(&self, target: &Target, host: &str) -> Option<RouteMatch> {
        let route = self.table.find(target.method(), target.path(), host)?;
        let route = self.routes.get(route)?;
        Some(RouteMatch::new(route, target))
    }

    /// Whether some resource's identifiers may hold an encoded slash: then targets may, and
    /// [`RouteMatch::holds_slashes`] tells whether this one's stand where they may.
    #[must_use]
    pub const fn encoded_slashes(&self) -> bool {
        self.encoded_slashes
    }

    /// Runs the set's own tests, on a thread of its own like [`PolicySet::load`].
    #[must_use]
    pub fn run_tests(&self) -> TestReport {
        let run = || tests_file::run(self, &self.tests);
        nesting::on_deep_stack(run).unwrap_or_else(|fault| TestReport {
            count: self.tests.len(),
            failures: vec![fault],
            ..TestReport::default()
        })
    }

    /// Proves that no request whatever is both allowed and a hole, on a thread of its own, with a
    /// solver in a process of its own; blocks meanwhile.
    #[must_use]
    pub fn prove(&self, settings: &ProofSettings) -> Proof {
        let prove = || proof::prove(&self.rules, settings);
        nesting::on_deep_stack(prove).unwrap_or_else(Proof::ended_early)
    }

    /// Names what a proof is about: schema, rules and invariants.
    #[must_use]
    pub const fn proof_key(&self) -> &[u8; 32] {
        &self.proof_key
    }

    fn shared_digest(&self) -> Arc<str> {
        Arc::clone(&self.digest)
    }

    /// The digest as bytes.
    const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Names the route table, and with it how facts are found: a change of rules alone leaves
    /// known facts known.
    const fn table_key(&self) -> u64 {
        self.table_key
    }

    /// Every query that the set's facts ask of the database.
    pub fn queries(&self) -> impl Iterator<Item = SetQuery<'_>> {
        let resources = self.resources.iter().flatten();
        resources
            .flat_map(|resource| resource.queries())
            .map(|(query, asks)| SetQuery { query, asks })
    }

    /// A type of resources.
    fn resource(&self, kind: Kind) -> Option<&Arc<Resource>> {
        self.resources.get(kind.0)?.as_ref()
    }

    fn rule_names(&self) -> Vec<Arc<str>> {
        self.rules.rule_names()
    }

    /// A fault at a rule's place.
    fn rule_fault(&self, rule: &str, message: String) -> Fault {
        self.rules.fault_at(rule, message)
    }

    fn copies_of(&self, kind: Kind) -> Option<(Action, &Copies)> {
        let route = self.copies.get(&kind.0)?;
        match (&route.subject, &route.copy) {
            (Subject::Named(action, _), Some(copies)) => Some((*action, copies)),
            _ => None,
        }
    }

    /// What the rules say, uncached.
    fn judge(
        &self,
        principal: &Arc<Principal>,
        action: Action,
        record: Option<&Arc<Record>>,
        given: &[(Box<str>, Given)],
    ) -> Judged {
        Judged::new(
            principal,
            record,
            self.find(principal, action, record, given),
        )
    }

    fn find(
        &self,
        principal: &Arc<Principal>,
        action: Action,
        record: Option<&Arc<Record>>,
        given: &[(Box<str>, Given)],
    ) -> Finding {
        self.rules.judge(principal, action, record, given)
    }
}
