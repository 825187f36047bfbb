//! A policy folder: which file is what, and the set that they make together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};
use data_encoding::HEXLOWER;

use crate::config::fault::{Fault, Source};

use super::cedar::{Files, Rules};
use super::reader::Reader;
use super::resource::Resources;
use super::routes::Route;
use super::{PolicySet, resolve, resource, tests_file, written};

/// The files of a policy folder, as read.
pub(super) struct Folder {
    routes: Option<Source>,
    schema: Option<Source>,
    rules: Vec<Source>,
    invariants: Option<Source>,
    tests: Vec<Source>,
    digest: [u8; 32],
}

impl Folder {
    /// Reads every file; what cannot be read is faulted.
    pub(super) fn read(dir: &Path, faults: &mut Vec<Fault>) -> Self {
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

    /// Puts the set together; `None` if a part is missing or too broken to go on.
    pub(super) fn resolve(self, upstreams: &[&str]) -> (Option<PolicySet>, Vec<Fault>) {
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
            routes = Some(resolve::routes(
                &written.routes,
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
