//! A policy folder: which file is what, and the set that they make together.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

use crate::config::UpstreamNames;
use crate::config::fault::{Fault, Source};

use super::cedar::{Files, Rules};
use super::reader::Reader;
use super::resource::{Given, Resources, is_fact_file};
use super::routes::Route;
use super::{PolicySet, lint, resolve, resource, tests_file, written};

/// The files of a policy folder, as read.
pub(super) struct Folder {
    routes: Option<Source>,
    schema: Option<Source>,
    rules: Vec<Source>,
    invariants: Option<Source>,
    tests: Vec<Source>,
    /// Files of facts, by their path in the folder.
    facts: Vec<(String, Source)>,
    digest: [u8; 32],
    /// The same of those that a proof reads.
    proof_key: [u8; 32],
}

impl Folder {
    /// Reads every file; what cannot be read is faulted.
    pub(super) fn read(dir: &Path, faults: &mut Vec<Fault>) -> Self {
        let mut folder = Self {
            routes: None,
            schema: None,
            rules: Vec::new(),
            invariants: None,
            tests: Vec::new(),
            facts: Vec::new(),
            digest: [0; 32],
            proof_key: [0; 32],
        };
        let names = match list(dir, faults) {
            Ok(names) => names,
            Err(fault) => {
                faults.push(fault);
                return folder;
            }
        };
        let mut sum = Context::new(&SHA256);
        let mut proved = Context::new(&SHA256);
        for name in &names {
            let whole = dir.join(name);
            let text = name.to_string_lossy();
            let known = matches!(&*text, "routes.toml" | "schema.cedarschema")
                || whole.extension().is_some_and(|e| e == "cedar")
                || (text.starts_with("tests/") && text.ends_with(".toml"))
                || is_fact_file(&text);
            if !known {
                if !text.ends_with(".md") && !text.starts_with('.') {
                    let message =
                        format!("`{}` is no policy file and is not read", whole.display());
                    faults.push(Fault::new(message).warning());
                }
                continue;
            }
            if name.to_str().is_none() {
                let message = format!("the name of `{}` is no UTF-8 text", whole.display());
                faults.push(Fault::new(message));
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
                if !text.ends_with(".toml") {
                    proved.update(&(part.len() as u64).to_be_bytes());
                    proved.update(part);
                }
            }
            match &*text {
                "routes.toml" => folder.routes = Some(source),
                "schema.cedarschema" => folder.schema = Some(source),
                "invariants.cedar" => folder.invariants = Some(source),
                _ if text.starts_with("tests/") => folder.tests.push(source),
                _ if text.starts_with("facts/") => folder.facts.push((text.into(), source)),
                _ => folder.rules.push(source),
            }
        }
        folder.digest.copy_from_slice(sum.finish().as_ref());
        folder.proof_key.copy_from_slice(proved.finish().as_ref());
        for (name, there) in [
            ("routes.toml", folder.routes.is_some()),
            ("schema.cedarschema", folder.schema.is_some()),
        ] {
            if !there && !names.iter().any(|found| found.as_os_str() == name) {
                let message = format!("the policy folder `{}` has no `{name}`", dir.display());
                faults.push(Fault::new(message));
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

    /// Puts the set together; `None` if a part is missing or too broken to go on.
    pub(super) fn resolve(
        self,
        upstreams: &[UpstreamNames<'_>],
    ) -> (Option<PolicySet>, Vec<Fault>) {
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
            let given = Given {
                upstreams,
                files: &self.facts,
            };
            resources = resource::resolve(&read.resources, given, &mut reader, &mut faults);
            lint::resources(&read.resources, &mut reader);
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
            if let Some(rules) = &rules {
                lint::rules(rules, &mut faults);
            }
        }
        if let Some((source, written)) = &written {
            let mut reader = Reader::new(source);
            let namespaces = resolve::namespaces(&written.namespaces);
            routes = Some(resolve::routes(
                &written.routes,
                &namespaces,
                &resources,
                rules.as_ref(),
                upstreams,
                &mut reader,
            ));
            faults.append(&mut reader.into_faults());
        }
        let mut tests = Vec::new();
        // A faulty resource would be told once more in every test that names it.
        let sound = written.is_some() && resources.values().all(Option::is_some);
        for source in self.tests.iter().filter(|_| sound) {
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
            encoded_slashes: resources.values().flatten().any(|r| r.encoded_slash),
            digest: HEXLOWER.encode(&self.digest).into(),
            fingerprint: self.digest,
            proof_key: self.proof_key,
            table_key: table_key(
                self.routes
                    .iter()
                    .chain(self.facts.iter().map(|(_, it)| it)),
            ),
            resources: resources.into_values().collect(),
        };
        (Some(set), faults)
    }
}

/// The first 64 bits of the texts' SHA-256.
fn table_key<'s>(sources: impl Iterator<Item = &'s Source>) -> u64 {
    let mut sum = Context::new(&SHA256);
    for source in sources {
        sum.update(&(source.text().len() as u64).to_be_bytes());
        sum.update(source.text().as_bytes());
    }
    let sum = sum.finish();
    let first = sum.as_ref().first_chunk::<8>();
    first.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The names of a folder's files and of those in `tests/` and `facts/`, sorted. What looks like a policy file
/// and cannot be read as one is faulted: a set that misses a `forbid` is another set.
fn list(dir: &Path, faults: &mut Vec<Fault>) -> Result<Vec<PathBuf>, Fault> {
    let mut names = Vec::new();
    for entry in entries(dir)? {
        let whole = entry.path();
        let name = PathBuf::from(entry.file_name());
        if whole.is_dir() && ["tests", "facts"].iter().any(|it| name.as_os_str() == *it) {
            for entry in entries(&whole)? {
                let under = name.join(entry.file_name());
                if is_file(&entry.path(), faults)? {
                    names.push(under);
                }
            }
        } else if is_file(&whole, faults)? {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether this is a file. A folder that holds policy files, and something else that is called
/// like one, is faulted.
fn is_file(path: &Path, faults: &mut Vec<Fault>) -> Result<bool, Fault> {
    if path.is_file() {
        return Ok(true);
    }
    let path_shown = path.display();
    if is_called_like_policy(path) {
        let message = format!("`{path_shown}` is called like a policy file, but is none");
        faults.push(Fault::new(message));
    } else if path.is_dir() && !is_hidden(path) {
        // A secret that is mounted stands in hidden folders, with links to its files beside them.
        let inside = entries(path)?;
        if let Some(lost) = inside.iter().find(|e| is_called_like_policy(&e.path())) {
            let message = format!(
                "`{}` would not be read: policy files stand in the policy folder itself",
                lost.path().display()
            );
            faults.push(Fault::new(message));
        }
        let below = inside.iter().map(DirEntry::path);
        // Links may lead in a circle.
        for folder in below.filter(|path| path.is_dir() && !path.is_symlink()) {
            is_file(&folder, faults)?;
        }
    }
    Ok(false)
}

fn entries(dir: &Path) -> Result<Vec<DirEntry>, Fault> {
    let all = std::fs::read_dir(dir).and_then(Iterator::collect);
    all.map_err(|error| {
        let message = format!("cannot read the policy folder `{}`: {error}", dir.display());
        Fault::new(message)
    })
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

fn is_called_like_policy(path: &Path) -> bool {
    let known = ["cedar", "cedarschema", "toml"];
    path.extension()
        .is_some_and(|extension| known.iter().any(|known| extension == *known))
}
