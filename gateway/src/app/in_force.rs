//! The policy set in force: which generation, since when, whether it is proved, and how the last
//! attempt to replace it failed. Told by `/readyz` and the metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admin::status::{Failure, Policy};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::fault::Fault;
use crate::metrics::Metrics;
use crate::policy::{PolicySet, Proof, ProofSettings};

/// A set that may take effect: without fault, passed by its own tests, without a known hole.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) set: Arc<PolicySet>,
    proof: Arc<Proof>,
}

/// Reads the policy folder. What was proved of the same rules before is not proved again.
pub(super) fn read(config: &Config, standing: Option<&Standing>) -> Result<Ready, Vec<Fault>> {
    let loaded = PolicySet::load(&config.policy.dir, &config.upstream_names())?;
    let set = loaded.set;
    let tests = set.run_tests();
    let mut errors = tests.failures;
    let mut warnings = loaded.warnings;
    let known = standing.and_then(|standing| standing.proof_of(&set));
    let proof = match known {
        Some(proof) => proof,
        // A set that fails its tests is refused already.
        None if !errors.is_empty() => return Err(errors),
        None => Arc::new(set.prove(&ProofSettings {
            survey: false,
            ..ProofSettings::of(&config.policy)
        })),
    };
    let (holes, doubts) = proof.judge(config.policy.require_proof);
    errors.extend(holes);
    warnings.extend(doubts);
    if !errors.is_empty() {
        return Err(errors);
    }
    for warning in &warnings {
        tracing::warn!("{}", warning.one_line());
    }
    Ok(Ready { set, proof })
}

/// What is told of the set in force.
#[derive(Debug)]
pub(super) struct Standing {
    metrics: Metrics,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    generation: u64,
    ready: Ready,
    since: Timestamp,
    failures: u64,
    failed: Option<(Timestamp, String)>,
}

impl Standing {
    /// The first generation.
    pub(super) fn begin(metrics: &Metrics, ready: Ready, at: Timestamp) -> Self {
        let standing = Self {
            metrics: metrics.clone(),
            now: Mutex::new(Now {
                generation: 1,
                ready,
                since: at,
                failures: 0,
                failed: None,
            }),
        };
        standing.publish(&standing.lock());
        standing
    }

    /// A set has taken effect; the same one again changes nothing.
    pub(super) fn took_effect(&self, ready: Ready, at: Timestamp) {
        let mut now = self.lock();
        if now.ready.set.digest() != ready.set.digest() {
            now.generation += 1;
            now.since = at;
        }
        now.ready = ready;
        self.publish(&now);
    }

    /// A set was refused; the one before it stays in force.
    pub(super) fn failed(&self, why: String, at: Timestamp) {
        let mut now = self.lock();
        now.failures += 1;
        now.failed = Some((at, why));
        self.metrics.policy_failed_at.set(seconds(at));
    }

    /// For `/readyz` and `portvakt status`.
    pub(super) fn told(&self, at: Timestamp) -> Policy {
        let now = self.lock();
        Policy {
            generation: now.generation,
            digest: now.ready.set.digest().to_owned(),
            since: now.since.rfc3339(),
            age_seconds: at.since(now.since).as_secs(),
            proof: now.ready.proof.outcome,
            failures: now.failures,
            last_failure: now.failed.as_ref().map(|(at, why)| Failure {
                at: at.rfc3339(),
                message: why.clone(),
            }),
        }
    }

    /// The set in force, what came of its proof, and since when it is.
    pub(super) fn proved(&self) -> (Arc<PolicySet>, Arc<Proof>, Timestamp) {
        let now = self.lock();
        let (set, proof) = (Arc::clone(&now.ready.set), Arc::clone(&now.ready.proof));
        (set, proof, now.since)
    }

    /// The proof of a set whose schema, rules and invariants are those of the set in force.
    fn proof_of(&self, set: &PolicySet) -> Option<Arc<Proof>> {
        let now = self.lock();
        let same = now.ready.set.proof_key() == set.proof_key() && now.ready.proof.is_proved();
        same.then(|| Arc::clone(&now.ready.proof))
    }

    fn publish(&self, now: &Now) {
        let metrics = &self.metrics;
        metrics
            .policy_generation
            .set(i64::try_from(now.generation).unwrap_or(i64::MAX));
        metrics.policy_since.set(seconds(now.since));
        metrics
            .policy_proved
            .set(now.ready.proof.is_proved().into());
        metrics.policy_info.reset();
        metrics
            .policy_info
            .with_label_values(&[now.ready.set.digest()])
            .set(1);
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}
