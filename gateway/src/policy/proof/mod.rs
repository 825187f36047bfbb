//! Proof: that no request whatever is both allowed by the rules and a hole by the invariants.
//!
//! Rules and invariants are compiled to formulas, one pair for every action, principal type and
//! resource type that the schema lets meet, and a solver (cvc5) is asked for a request that makes
//! both true. `unsat` shows that there is none; a model is a counterexample; everything else
//! (`unknown`, no time left, no solver) shows nothing, and counts for nothing.
//!
//! What is proved holds for Cedar's reading of the rules, with every entity known. The gateway
//! allows no more than that: where a rule cannot be evaluated, it denies.

mod example;
mod solver;
mod survey;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet as CedarSet, RequestEnv};
use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::{
    CedarSymCompiler, CompiledPolicy, CompiledPolicySet, CompiledSchema, Env,
};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::config::fault::Fault;

use super::cedar::Rules;
use solver::Process;

/// How a set is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofSettings {
    /// The solver: a path, or a name that `PATH` knows.
    pub solver: PathBuf,
    /// How long all questions together may take.
    pub timeout: Duration,
    /// Whether it is looked for rules and invariants, too, that can never apply.
    pub survey: bool,
}

impl ProofSettings {
    /// As the configuration says, with everything looked for.
    #[must_use]
    pub fn of(policy: &config::Policy) -> Self {
        Self {
            solver: policy.solver.clone(),
            timeout: policy.prove_timeout,
            survey: true,
        }
    }
}

/// What came of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every invariant holds for every request.
    Proved,
    /// Nothing was found, and nothing shown: no solver, no time, or no answer.
    NotShown,
    /// A request is allowed and a hole.
    Failed,
}

/// A proof, or why there is none.
#[derive(Clone, Debug)]
pub struct Proof {
    /// What came of it.
    pub outcome: Outcome,
    /// The holes, each at the rule that allows it; or why nothing was shown.
    pub reasons: Vec<Fault>,
    /// Actions on types of resources of which no invariant says anything.
    pub uncovered: Vec<Fault>,
    /// Rules and invariants that can never apply.
    pub warnings: Vec<Fault>,
    /// How many invariants there are.
    pub invariants: usize,
    /// How many combinations of action, principal and resource type were shown.
    pub shown: usize,
    /// How many there are.
    pub environments: usize,
    /// How long it took.
    pub took: Duration,
}

impl Proof {
    /// Whether every invariant holds.
    #[must_use]
    pub const fn is_proved(&self) -> bool {
        matches!(self.outcome, Outcome::Proved)
    }

    /// What refuses the set, and what is only told: a hole always refuses it; with `required`, so
    /// does all that is not shown or not covered.
    #[must_use]
    pub fn judge(&self, required: bool) -> (Vec<Fault>, Vec<Fault>) {
        let told = |faults: &[Fault]| {
            faults
                .iter()
                .cloned()
                .map(Fault::warning)
                .collect::<Vec<_>>()
        };
        let (mut errors, mut warnings) = (Vec::new(), self.warnings.clone());
        if required || self.outcome == Outcome::Failed {
            errors.extend(self.reasons.iter().cloned());
        } else {
            warnings.extend(told(&self.reasons));
        }
        if required {
            errors.extend(self.uncovered.iter().cloned());
        } else {
            warnings.extend(told(&self.uncovered));
        }
        (errors, warnings)
    }

    /// Nothing is known.
    pub(super) fn ended_early(reason: Fault) -> Self {
        Self {
            outcome: Outcome::NotShown,
            reasons: vec![reason],
            uncovered: Vec::new(),
            warnings: Vec::new(),
            invariants: 0,
            shown: 0,
            environments: 0,
            took: Duration::ZERO,
        }
    }

    fn begin(rules: &Rules) -> Self {
        Self {
            outcome: Outcome::NotShown,
            reasons: Vec::new(),
            uncovered: survey::uncovered(rules),
            warnings: Vec::new(),
            invariants: rules.holes.policies().count(),
            shown: 0,
            environments: rules.schema.request_envs().count(),
            took: Duration::ZERO,
        }
    }
}

/// Proves, on the caller's thread, whose stack must be a deep one. Blocks for as long as
/// `settings.timeout` at most.
pub(super) fn prove(rules: &Rules, settings: &ProofSettings) -> Proof {
    let begun = Instant::now();
    let mut proof = Proof::begin(rules);
    if let Err(reason) = attempt(rules, settings, &mut proof) {
        proof.reasons.push(reason);
    }
    let holes = proof.reasons.iter().any(example::is_hole);
    proof.outcome = match (holes, proof.reasons.is_empty()) {
        (true, _) => Outcome::Failed,
        (false, true) => Outcome::Proved,
        (false, false) => Outcome::NotShown,
    };
    proof.took = begun.elapsed();
    proof
}

fn attempt(rules: &Rules, settings: &ProofSettings, proof: &mut Proof) -> Result<(), Fault> {
    if proof.invariants == 0 {
        let fault = Fault::new("nothing is proved: there is no invariant");
        return Err(fault.help("say in `invariants.cedar` what must never be allowed"));
    }
    let Some(solver) = solver::locate(&settings.solver) else {
        return Err(missing(settings));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(format!("nothing is proved: {error}")))?;
    let schema = CompiledSchema::new(&rules.schema).map_err(|error| broken(&error))?;
    let schema = Compiler(schema);
    runtime.block_on(async {
        let process = Process::start(&solver, settings.timeout)
            .map_err(|error| Fault::new(format!("`{}` cannot run: {error}", solver.display())))?;
        let compiler = CedarSymCompiler::new(process).map_err(|error| broken(&error))?;
        let mut prover = Prover {
            rules,
            schema: &schema,
            compiler,
            deadline: tokio::time::Instant::now() + settings.timeout,
            timeout: settings.timeout,
        };
        let asked = prover.every(proof).await;
        if asked.is_ok() && settings.survey {
            // What time is left: a survey refuses nothing.
            proof.warnings = prover.survey().await;
        }
        prover.compiler.solver_mut().end().await;
        asked
    })
}

fn missing(settings: &ProofSettings) -> Fault {
    let solver = settings.solver.display();
    Fault::new(format!("nothing is proved: there is no solver `{solver}`")).help(
        "install cvc5 (on Debian: `apt install cvc5`), or say where it is: `[policy] solver = \"/path/to/cvc5\"`",
    )
}

fn broken(error: &dyn std::fmt::Display) -> Fault {
    Fault::new(format!("nothing is proved: {error}"))
}

/// The questions, and whom they are put to.
struct Prover<'r> {
    rules: &'r Rules,
    schema: &'r Compiler,
    compiler: CedarSymCompiler<Process>,
    deadline: tokio::time::Instant,
    timeout: Duration,
}

/// Compiles policies to formulas; the schema's part is done once.
struct Compiler(CompiledSchema);

impl Compiler {
    fn policy(&self, policy: &Policy, env: &RequestEnv) -> Result<CompiledPolicy, NoAnswer> {
        let symbols = self.0.sym_env(env).map_err(unknown)?;
        let schema = self.0.schema();
        CompiledPolicy::compile_with_custom_symenv(policy, env, schema, symbols).map_err(unknown)
    }

    fn set(&self, policies: &[&Policy], env: &RequestEnv) -> Result<CompiledPolicySet, NoAnswer> {
        let set = CedarSet::from_policies(policies.iter().copied().cloned()).map_err(unknown)?;
        let symbols = self.0.sym_env(env).map_err(unknown)?;
        let schema = self.0.schema();
        CompiledPolicySet::compile_with_custom_symenv(&set, env, schema, symbols).map_err(unknown)
    }
}

/// Why a question has no answer.
enum NoAnswer {
    /// The solver is gone, or there is no time left: nothing more can be asked.
    Over(Fault),
    /// This one cannot be answered.
    Unknown(String),
}

impl Prover<'_> {
    /// Every combination of action, principal and resource type.
    async fn every(&mut self, proof: &mut Proof) -> Result<(), Fault> {
        let rules = self.rules;
        let mut envs: Vec<RequestEnv> = rules.schema.request_envs().collect();
        envs.sort();
        let mut holes: Vec<&Policy> = rules.holes.policies().collect();
        holes.sort_by_key(|hole| rules.place(hole.id()).map(|(_, span)| span.start));
        for env in &envs {
            match self.one(env, &holes, &mut proof.reasons).await {
                Ok(true) => proof.shown += 1,
                Ok(false) => {}
                Err(NoAnswer::Over(fault)) => return Err(fault),
                Err(NoAnswer::Unknown(why)) => {
                    let message = format!("nothing is proved of {}: {why}", named(env));
                    proof.reasons.push(Fault::new(message));
                }
            }
        }
        Ok(())
    }

    /// One combination: whether it is shown. Holes are kept as reasons.
    async fn one(
        &mut self,
        env: &RequestEnv,
        holes: &[&Policy],
        reasons: &mut Vec<Fault>,
    ) -> Result<bool, NoAnswer> {
        let rules = self.rules;
        let schema = self.schema;
        let compile = |policies: &[&Policy]| schema.set(policies, env);
        let fits = |policy: &&Policy| survey::takes(rules, policy, env);
        let allowed: Vec<&Policy> = rules.policies.policies().filter(fits).collect();
        let allowed = compile(&allowed)?;
        let holes: Vec<&Policy> = holes.iter().copied().filter(fits).collect();
        for hole in &holes {
            // Cedar passes over a rule that fails, and an invariant passed over shows nothing.
            let compiled = schema.policy(hole, env)?;
            let sound = self.ask(async |c| c.check_never_errors_opt(&compiled).await);
            if !sound.await? {
                let message = format!("the invariant `{}` may fail to be evaluated", hole.id());
                return Err(NoAnswer::Unknown(message));
            }
        }
        let all = compile(&holes)?;
        let shown = self.ask(async |c| c.check_disjoint_opt(&allowed, &all).await);
        if shown.await? {
            return Ok(true);
        }
        for hole in holes {
            let alone = compile(&[hole])?;
            let shown = self.ask(async |c| c.check_disjoint_opt(&allowed, &alone).await);
            if shown.await? {
                continue;
            }
            let ask = async |c: &mut CedarSymCompiler<Process>| {
                c.check_disjoint_with_counterexample_opt(&allowed, &alone)
                    .await
            };
            // That there is one is known; that it cannot be shown makes it no smaller.
            let found: Option<Env> = self.ask(ask).await.unwrap_or_default();
            reasons.push(example::hole(rules, env, hole.id(), found.as_ref()));
        }
        Ok(false)
    }

    async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut CedarSymCompiler<Process>) -> Result<T, Error>,
    ) -> Result<T, NoAnswer> {
        let asked = tokio::time::timeout_at(self.deadline, question(&mut self.compiler));
        match asked.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Error::SolverError(error))) => {
                let fault = Fault::new(format!("nothing is proved: the solver failed: {error}"));
                Err(NoAnswer::Over(fault))
            }
            Ok(Err(error)) => Err(unknown(error)),
            Err(_) => Err(NoAnswer::Over(self.late())),
        }
    }

    fn late(&self) -> Fault {
        let message = format!("nothing is proved: no answer within {:?}", self.timeout);
        Fault::new(message).help("give it more time: `[policy] prove_timeout`")
    }
}

fn unknown(error: impl std::fmt::Display) -> NoAnswer {
    NoAnswer::Unknown(error.to_string())
}

/// Such as "`write` by a `User` on a `Project`".
fn named(env: &RequestEnv) -> String {
    let (principal, resource) = (env.principal(), env.resource());
    format!(
        "`{}` by a `{principal}` on a `{resource}`",
        env.action().id().unescaped()
    )
}

fn is_permit(policy: &Policy) -> bool {
    policy.effect() == Effect::Permit
}

/// A rule's identifier is its name.
fn label(id: &PolicyId) -> String {
    id.to_string()
}
