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

mod authorise;
mod cedar;
mod facts;
mod lint;
mod pattern;
mod reader;
pub mod report;
mod resource;
mod routes;
mod source;
mod table;
mod template;
mod tests_file;
mod verdict;
mod written;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};
use data_encoding::HEXLOWER;

use crate::config::fault::{Fault, Source};
use crate::principal::Principal;
use crate::target::Target;

pub use authorise::{Authoriser, Unsettled};
pub use facts::FactsError;
pub use routes::{Route, RouteMatch};
pub use source::{LookupAnswer, LookupError, Lookups};
pub use tests_file::TestReport;
pub use verdict::{CopyOffer, Decision, Denied, Verdict};

use cedar::{Action, Files, Finding, Rules};
use reader::Reader;
use resource::{Kind, Record, Resources};
use routes::{Copies, Subject};
use table::Table;
use tests_file::Test;
use verdict::Judged;

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
    digest: Arc<str>,
    fingerprint: [u8; 32],
    table_key: u64,
    /// Which route copies a resource of which type.
    copies: BTreeMap<usize, Arc<Route>>,
}

impl PolicySet {
    /// Loads a folder. `upstreams` are the names that are configured.
    ///
    /// # Errors
    ///
    /// Every fault of every file, warnings among them: nothing of a faulty set takes effect.
    pub fn load(dir: &Path, upstreams: &[&str]) -> Result<Loaded, Vec<Fault>> {
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

    /// Runs the set's own tests.
    #[must_use]
    pub fn run_tests(&self) -> TestReport {
        tests_file::run(self, &self.tests)
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

    fn rule_names(&self) -> Vec<Arc<str>> {
        self.rules.rule_names()
    }

    fn copies_of(&self, kind: Kind) -> Option<(Action, &Copies)> {
        let route = self.copies.get(&kind.0)?;
        match (&route.subject, &route.copy) {
            (Subject::Named(action, _), Some(copies)) => Some((*action, copies)),
            _ => None,
        }
    }

    /// What the rules say, uncached.
    fn judge(&self, principal: &Principal, action: Action, record: Option<&Arc<Record>>) -> Judged {
        let finding = self.find(principal, action, record);
        self.judged(principal, record, finding)
    }

    fn find(&self, principal: &Principal, action: Action, record: Option<&Arc<Record>>) -> Finding {
        self.rules.judge(principal, action, record.map(|r| &**r))
    }

    #[expect(clippy::unused_self, reason = "read as part of judging by this set")]
    fn judged(
        &self,
        principal: &Principal,
        record: Option<&Arc<Record>>,
        finding: Finding,
    ) -> Judged {
        let label = match record {
            Some(record) => Arc::clone(&record.label),
            None => format!("Company::{}", principal.company.id).into(),
        };
        Judged {
            allow: finding.allow,
            rule: finding.rule,
            resources: Arc::new([label]),
            counter: None,
        }
    }
}

/// The files of a policy folder, as read.
struct Folder {
    routes: Option<Source>,
    schema: Option<Source>,
    rules: Vec<Source>,
    invariants: Option<Source>,
    tests: Vec<Source>,
    digest: [u8; 32],
}

impl Folder {
    fn read(dir: &Path, faults: &mut Vec<Fault>) -> Self {
        let names = list(dir, faults);
        let mut folder = Self {
            routes: None,
            schema: None,
            rules: Vec::new(),
            invariants: None,
            tests: Vec::new(),
            digest: [0; 32],
        };
        let mut sum = Context::new(&SHA256);
        for name in &names {
            let whole = dir.join(name);
            let text = name.to_string_lossy();
            let known = matches!(&*text, "routes.toml" | "schema.cedarschema")
                || whole.extension().is_some_and(|e| e == "cedar")
                || (text.starts_with("tests/") && text.ends_with(".toml"));
            if !known {
                if !text.ends_with(".md") && !text.starts_with('.') {
                    let message =
                        format!("`{}` is no policy file and is not read", whole.display());
                    faults.push(Fault::new(message).warning());
                }
                continue;
            }
            let source = match Source::read(&whole) {
                Ok(source) => source,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            for part in [text.as_bytes(), source.text().as_bytes()] {
                sum.update(&(part.len() as u64).to_be_bytes());
                sum.update(part);
            }
            match &*text {
                "routes.toml" => folder.routes = Some(source),
                "schema.cedarschema" => folder.schema = Some(source),
                "invariants.cedar" => folder.invariants = Some(source),
                _ if text.starts_with("tests/") => folder.tests.push(source),
                _ => folder.rules.push(source),
            }
        }
        folder.digest.copy_from_slice(sum.finish().as_ref());
        for (name, there) in [
            ("routes.toml", folder.routes.is_some()),
            ("schema.cedarschema", folder.schema.is_some()),
        ] {
            if !there && !names.iter().any(|found| found.as_os_str() == name) {
                faults.push(Fault::new(format!(
                    "there is no `{}`",
                    dir.join(name).display()
                )));
            }
        }
        if folder.invariants.is_none() {
            let message = format!(
                "there is no `{}`: nothing says what must never be allowed",
                dir.join("invariants.cedar").display()
            );
            faults.push(Fault::new(message).warning());
        }
        folder
    }

    fn resolve(self, upstreams: &[&str]) -> (Option<PolicySet>, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut resources = Resources::new();
        let mut routes = None;
        let mut rules = None;
        let mut written = None;
        if let Some(source) = &self.routes {
            let (read, mut found) = written::read(source);
            let broken_syntax = read.is_empty() && !found.is_empty();
            faults.append(&mut found);
            let mut reader = Reader::new(source);
            resources = resource::resolve(&read.resources, upstreams, &mut reader);
            faults.append(&mut reader.into_faults());
            written = (!broken_syntax).then_some((source, read));
        }
        if let Some(schema) = &self.schema {
            let files = Files {
                schema,
                rules: &self.rules,
                invariants: self.invariants.as_ref(),
            };
            rules = Rules::load(&files, &resources, &mut faults);
        }
        if let Some((source, written)) = &written {
            let mut reader = Reader::new(source);
            routes = Some(routes::resolve(
                &written.routes,
                &resources,
                rules.as_ref(),
                upstreams,
                &mut reader,
            ));
            faults.append(&mut reader.into_faults());
        }
        let mut tests = Vec::new();
        for source in &self.tests {
            let (mut read, mut found) = tests_file::read(source, &resources);
            tests.append(&mut read);
            faults.append(&mut found);
        }
        let (Some((routes, table)), Some(rules)) = (routes, rules) else {
            return (None, faults);
        };
        let copying = |route: &Arc<Route>| Some((route.copy.as_ref()?.of.0, Arc::clone(route)));
        let set = PolicySet {
            copies: routes.iter().filter_map(copying).collect(),
            routes,
            table,
            rules,
            tests,
            digest: HEXLOWER.encode(&self.digest).into(),
            fingerprint: self.digest,
            table_key: self.routes.as_ref().map_or(0, table_key),
        };
        (Some(set), faults)
    }
}

/// The first 64 bits of the text's SHA-256.
fn table_key(source: &Source) -> u64 {
    let sum = digest(&SHA256, source.text().as_bytes());
    let first = sum.as_ref().first_chunk::<8>();
    first.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The names of a folder's files and of those in `tests/`, sorted.
fn list(dir: &Path, faults: &mut Vec<Fault>) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let mut read = |under: &Path| match std::fs::read_dir(dir.join(under)) {
        Ok(entries) => {
            for entry in entries.flatten() {
                if entry.path().is_file() {
                    names.push(under.join(entry.file_name()));
                }
            }
        }
        Err(error) => {
            let message = format!("cannot read `{}`: {error}", dir.join(under).display());
            faults.push(Fault::new(message));
        }
    };
    read(Path::new(""));
    if dir.join("tests").is_dir() {
        read(Path::new("tests"));
    }
    names.sort();
    names
}
