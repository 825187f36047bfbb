//! Reloads: certificates, directory and policies, each whole or not at all. What is faulty leaves
//! the last good state in force, and a log line, a metric and `/readyz` say so.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::runtime::Handle;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::in_force::{self, Standing};
use super::{Gateway, examine_queries, raised, supervisor};
use crate::admin::Check;
use crate::audit::Record;
use crate::clock::Timestamp;
use crate::config::fault::Fault;
use crate::config::{self, Config};
use crate::listener::certificates::Certificate;
use crate::listener::details::Details;
use crate::metrics::Metrics;

/// Files that change together are read together: so long no further change may come.
const SETTLE: Duration = Duration::from_millis(150);
/// And so long at most, however many come: who is suspended in the directory is out in a second.
const SETTLED: Duration = Duration::from_millis(400);

const CERTIFICATES: &str = "certificates";
const DIRECTORY: &str = "directory";
const POLICY: &str = "policy";

/// How the latest reload of each part went.
#[derive(Debug)]
pub(super) struct Reloads {
    metrics: Metrics,
    /// The policy set in force: since when, and how its proof went.
    pub(super) policy: Standing,
    failures: Mutex<BTreeMap<&'static str, Option<String>>>,
    terms: Mutex<Vec<Term>>,
}

/// From when to when a certificate is good.
#[derive(Clone, Debug)]
pub(super) struct Term {
    set: String,
    /// The first name that it is for.
    pub(super) name: String,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// All that it says of itself.
    pub(super) details: Option<Details>,
}

impl Reloads {
    pub(super) fn new(metrics: &Metrics, policy: Standing) -> Self {
        for what in [CERTIFICATES, DIRECTORY, POLICY] {
            metrics.reload_failed.with_label_values(&[what]).set(0);
            for result in ["failed", "ok"] {
                metrics.reloads.with_label_values(&[what, result]);
            }
        }
        Self {
            metrics: metrics.clone(),
            policy,
            failures: Mutex::default(),
            terms: Mutex::default(),
        }
    }

    /// One check per part: a failed reload is told, but the last good state serves on.
    pub(super) fn checks(&self) -> Vec<Check> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let check = |(what, reason): (&&'static str, &Option<String>)| Check {
            name: format!("reload:{what}"),
            ok: reason.is_none(),
            reason: reason.clone(),
            optional: true,
        };
        failures.iter().map(check).collect()
    }

    /// For the supervisor's status: how the latest reloads went.
    fn told(&self) -> String {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |(what, reason): (&&str, &Option<String>)| {
            let reason = reason.as_ref()?;
            Some(format!(
                "the reload of {what} failed, the state before it serves on: {reason}"
            ))
        };
        failures.iter().find_map(failed).unwrap_or_else(|| {
            "serving; certificates, directory and policies were read again".to_owned()
        })
    }

    /// A certificate that is not valid at a moment, if there is one.
    pub(super) fn ended_certificate(&self, now: Timestamp) -> Option<String> {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = terms
            .iter()
            .find(|term| now < term.from || now >= term.until);
        ended.map(|term| term.name.clone())
    }

    /// The certificates of a set.
    pub(super) fn terms_of(&self, set: &str) -> Vec<Term> {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        terms
            .iter()
            .filter(|term| term.set == set)
            .cloned()
            .collect()
    }

    /// Remembers and publishes until when the certificates in force are good.
    fn certificates(&self, pairs: &[(String, Vec<Certificate>)]) {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        terms.clear();
        // One that is no longer in force must not raise alarms.
        let metric = &self.metrics.certificate_not_after;
        metric.reset();
        for (set, certificate) in pairs
            .iter()
            .flat_map(|(set, all)| all.iter().map(move |one| (set, one)))
        {
            let name = certificate.names().first().unwrap_or(set).clone();
            let end = i64::try_from(certificate.not_after().as_secs()).unwrap_or(i64::MAX);
            let told = metric.with_label_values(&[&name]);
            // Of two for one name, the one that ends first.
            if told.get() == 0 || end < told.get() {
                told.set(end);
            }
            terms.push(Term {
                set: set.clone(),
                name,
                from: certificate.not_before(),
                until: certificate.not_after(),
                details: certificate.details(),
            });
        }
    }

    fn outcome(&self, what: &'static str, faults: &[Fault]) {
        let failed = !faults.is_empty();
        let result = if failed { "failed" } else { "ok" };
        self.metrics
            .reloads
            .with_label_values(&[what, result])
            .inc();
        self.metrics
            .reload_failed
            .with_label_values(&[what])
            .set(failed.into());
        let reason = summary(faults);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.insert(what, reason);
    }
}

/// Every configured pair, by the name of its set.
pub(super) fn read_certificates(
    config: &Config,
) -> Result<Vec<(String, Vec<Certificate>)>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut sets = Vec::new();
    for (name, tls) in &config.tls {
        let pairs = tls.certificates.iter().filter_map(|files| {
            Certificate::load(files)
                .map_err(|fault| faults.push(fault))
                .ok()
        });
        sets.push((name.clone(), pairs.collect()));
    }
    if faults.is_empty() {
        Ok(sets)
    } else {
        Err(faults)
    }
}

/// Reloads whenever a file changes or a `hangup` arrives, until `stopped` turns true.
pub(super) async fn watch(
    gateway: Arc<Gateway>,
    mut hangup: Signal,
    mut stopped: watch::Receiver<bool>,
) {
    let (changed, mut changes) = mpsc::channel(1);
    let watcher = watch_files(&gateway.shared.config, changed);
    if let Err(error) = &watcher {
        tracing::warn!(%error, "changed files are not noticed by themselves; send SIGHUP after a change");
    }
    remember_certificates(&gateway);
    loop {
        tokio::select! {
            () = raised(&mut stopped) => return,
            received = hangup.recv() => {
                if received.is_none() {
                    return;
                }
                supervisor::reloading();
                all(&gateway).await;
                supervisor::ready(&gateway.reloads.told());
                continue;
            }
            received = changes.recv() => {
                if received.is_none() && watcher.is_ok() {
                    return;
                }
                settle(&mut changes).await;
            }
        }
        all(&gateway).await;
    }
}

/// Files that change together are read together; a folder that never rests is read all the same.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let rest = async {
        while timeout(SETTLE, changes.recv())
            .await
            .is_ok_and(|more| more.is_some())
        {}
    };
    let _ = timeout(SETTLED, rest).await;
}

/// Reads everything again: the directory first, and whom it no longer lets in is out before the
/// rest, which takes longer, is looked at.
pub(super) async fn all(gateway: &Arc<Gateway>) {
    blocking(gateway, |gateway| {
        let directory = gateway.shared.directory.reload();
        outcome(gateway, DIRECTORY, directory.err().unwrap_or_default());
    })
    .await;
    if let Err(error) = gateway.shared.sessions.recheck().await {
        tracing::warn!(%error, "sessions could not be held against the directory");
    }
    blocking(gateway, |gateway| {
        reload_certificates(gateway);
        let faults = reload_policy(gateway).err().unwrap_or_default();
        outcome(gateway, POLICY, faults);
    })
    .await;
}

/// Has files read where nobody else waits.
async fn blocking(gateway: &Arc<Gateway>, read: impl FnOnce(&Gateway) + Send + 'static) {
    let gateway = Arc::clone(gateway);
    let done = tokio::task::spawn_blocking(move || read(&gateway));
    if let Err(error) = done.await {
        tracing::error!(%error, "a reload ended early; the state before it serves on");
    }
}

/// The whole set is exchanged, or none of it. One that has not changed stays what it is, and so
/// does its generation.
fn reload_policy(gateway: &Gateway) -> Result<(), Vec<Fault>> {
    let now = gateway.shared.clock.now();
    let standing = &gateway.reloads.policy;
    let config = &gateway.shared.config;
    let read = in_force::read(config, Some(standing)).and_then(|ready| {
        // On a thread where waiting blocks nobody.
        let examined = Handle::current().block_on(examine_queries(config, &ready.set));
        let faulty = examined.iter().any(|fault| !fault.is_warning());
        if faulty { Err(examined) } else { Ok(ready) }
    });
    match read {
        Ok(ready) => {
            if ready.set.digest() != gateway.shared.policy.load().digest() {
                gateway.shared.policy.store(Arc::clone(&ready.set));
            }
            standing.took_effect(ready, now);
            Ok(())
        }
        Err(faults) => {
            standing.failed(summary(&faults).unwrap_or_default(), now);
            Err(faults)
        }
    }
}

fn reload_certificates(gateway: &Gateway) {
    let now = gateway.shared.clock.now();
    let faults = match read_certificates(&gateway.shared.config) {
        Err(faults) => faults,
        Ok(sets)
            if sets
                .iter()
                .flat_map(|(_, pairs)| pairs)
                .any(|pair| !pair.is_valid(now)) =>
        {
            vec![
                Fault::new("a certificate is not valid now; the pairs before it stay in force")
                    .help("`portvakt certs show` tells from when to when each is valid"),
            ]
        }
        Ok(sets) => {
            for (name, pairs) in &sets {
                let held = gateway.certificates.iter().find(|(known, _)| known == name);
                if let (Some((_, held)), Some((first, others))) = (held, pairs.split_first()) {
                    held.replace(first, others);
                }
            }
            gateway.reloads.certificates(&sets);
            Vec::new()
        }
    };
    outcome(gateway, CERTIFICATES, faults);
}

fn remember_certificates(gateway: &Gateway) {
    if let Ok(sets) = read_certificates(&gateway.shared.config) {
        gateway.reloads.certificates(&sets);
    }
}

/// The first of several faults, and how many there are.
pub(super) fn summary(faults: &[Fault]) -> Option<String> {
    faults.first().map(|fault| match faults.len() - 1 {
        0 => fault.one_line(),
        more => format!("{} (and {more} more)", fault.one_line()),
    })
}

fn outcome(gateway: &Gateway, what: &'static str, faults: Vec<Fault>) {
    for fault in &faults {
        tracing::error!("reload of {what} failed: {}", fault.one_line());
    }
    gateway.reloads.outcome(what, &faults);
    let result = if faults.is_empty() { "ok" } else { "failed" };
    let event = match what {
        CERTIFICATES => "reload.certificates",
        DIRECTORY => "reload.directory",
        _ => "reload.policy",
    };
    let mut record = Record::new(gateway.shared.clock.now(), event, result);
    record.detail = faults.first().map(Fault::one_line);
    record.policy = (what == POLICY).then(|| gateway.shared.policy.load().digest().to_owned());
    if let Err(error) = gateway.shared.audit.note(&record) {
        tracing::error!(%error, "a reload was not recorded");
    }
}

/// Watches the policy folder, and for single files their folders: editors and mounted secrets
/// replace files rather than write into them.
fn watch_files(
    config: &Config,
    changed: mpsc::Sender<()>,
) -> notify::Result<(impl Watcher + use<>, impl Watcher + use<>)> {
    let people = match &config.directory {
        config::Directory::File { path } => Some(path.as_path()),
        config::Directory::Postgres(_) => None,
    };
    let pairs = config.tls.values().flat_map(|tls| &tls.certificates);
    let files: Vec<&Path> = pairs
        .flat_map(|pair| [&*pair.chain, &*pair.key])
        .chain(people)
        .collect();
    let names: Vec<OsString> = files
        .iter()
        .filter_map(|file| file.file_name())
        .map(OsStr::to_owned)
        .collect();
    let mut folders: Vec<PathBuf> = files.iter().map(|file| folder(file)).collect();
    folders.sort();
    folders.dedup();

    let is_policy = |path: &Path| {
        let kind = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        matches!(kind, "toml" | "json" | "cedar" | "cedarschema")
            || path.file_name() == Some(OsStr::new("..data"))
    };
    let mut policies = watcher(changed.clone(), is_policy)?;
    policies.watch(&config.policy.dir, RecursiveMode::Recursive)?;
    // The store may live in the same folder and writes all the time; `..data` is what a mounted
    // secret is exchanged by.
    let mut singles = watcher(changed, move |path| {
        path.file_name()
            .is_some_and(|name| name == "..data" || names.iter().any(|own| own == name))
    })?;
    for folder in folders {
        singles.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok((policies, singles))
}

fn watcher(
    changed: mpsc::Sender<()>,
    matters: impl Fn(&Path) -> bool + Send + 'static,
) -> notify::Result<notify::RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = |event: notify::Event| {
            !event.kind.is_access() && event.paths.iter().any(|path| matters(path))
        };
        if event.is_ok_and(matters) {
            // One waiting change is enough: everything is read again.
            let _ = changed.try_send(());
        }
    })
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
