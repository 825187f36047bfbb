//! What a proof cannot miss and a person may: actions that no invariant speaks of, and rules and
//! invariants that can never apply.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, EntityTypeName, Policy, RequestEnv, ResourceConstraint};
use serde_json::Value;

use crate::config::fault::Fault;
use crate::policy::cedar::Rules;
use crate::policy::lint::has_condition;

use super::{NoAnswer, Prover, is_permit, label};

/// Every action on a type of resource of which no invariant says anything.
///
/// An invariant speaks of what its scope names, and where that names no action, of what its
/// condition reads. "No one who is suspended" reads neither: it covers nothing, for it would let
/// any action on any resource go to everyone else.
pub(super) fn uncovered(rules: &Rules) -> Vec<Fault> {
    let holes: Vec<&Policy> = rules.holes.policies().collect();
    let mut told = BTreeSet::new();
    let mut faults = Vec::new();
    let mut envs: Vec<RequestEnv> = rules.schema.request_envs().collect();
    envs.sort();
    for env in &envs {
        let action = env.action().id().unescaped().to_owned();
        let resource = env.resource().to_string();
        let covered = holes.iter().any(|hole| speaks_of(rules, hole, env));
        if covered || !told.insert((action.clone(), resource.clone())) {
            continue;
        }
        let message =
            format!("no invariant says when `{action}` on a `{resource}` would be a hole");
        let help = format!(
            "for example: permit (principal, action == Action::\"{action}\", resource is {resource}) when {{ … }};"
        );
        let source = rules.invariants.as_ref();
        let fault = source.map_or_else(|| Fault::new(&message), |s| s.fault(0..0, &message));
        faults.push(fault.help(help));
    }
    faults
}

fn speaks_of(rules: &Rules, hole: &Policy, env: &RequestEnv) -> bool {
    let names_action = !matches!(hole.action_constraint(), ActionConstraint::Any);
    // An invariant without a condition speaks of everything in its scope.
    let says = names_action || reads_resource(hole) || !has_condition(hole);
    says && takes(rules, hole, env)
}

/// Whether a policy's scope has room for an action on a type of resource. Where it has none, the
/// policy can never match, and need not be compiled.
pub(super) fn takes(rules: &Rules, policy: &Policy, env: &RequestEnv) -> bool {
    let action = match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(action) => action == *env.action(),
        ActionConstraint::In(actions) => {
            let within = |group| group == *env.action() || rules.is_in(env.action(), &group);
            actions.into_iter().any(within)
        }
    };
    let is_this = |kind: &EntityTypeName| kind == env.resource();
    let resource = match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::In(_) => true,
        ResourceConstraint::Eq(uid) => is_this(uid.type_name()),
        ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => is_this(&kind),
    };
    action && resource
}

fn reads_resource(policy: &Policy) -> bool {
    fn reads(value: &Value) -> bool {
        match value {
            Value::Object(fields) => {
                fields.get("Var").and_then(Value::as_str) == Some("resource")
                    || fields.values().any(reads)
            }
            Value::Array(values) => values.iter().any(reads),
            _ => false,
        }
    }
    policy
        .to_json()
        .is_ok_and(|json| json.get("conditions").is_some_and(reads))
}

impl Prover<'_> {
    /// Rules and invariants that can never apply, each at its place. What time does not suffice
    /// for is not told.
    pub(super) async fn survey(&mut self) -> Vec<Fault> {
        let rules = self.rules;
        let envs: Vec<RequestEnv> = rules.schema.request_envs().collect();
        let mut all: Vec<(&Policy, bool)> = rules.policies.policies().map(|p| (p, false)).collect();
        all.sort_by_key(|(policy, _)| rules.order(policy.id()));
        all.extend(rules.holes.policies().map(|hole| (hole, true)));
        let mut warnings = Vec::new();
        for (policy, is_hole) in all {
            let name = label(policy.id());
            let message = match self.fate(policy, is_hole, &envs).await {
                Ok(Fate::Applies) | Err(NoAnswer::Unknown(_)) => continue,
                Err(NoAnswer::Over(_)) => return warnings,
                Ok(Fate::Never) if is_hole => {
                    format!("the invariant `{name}` can never match, so it shows nothing")
                }
                Ok(Fate::Never) => format!("the rule `{name}` can never apply"),
                Ok(Fate::Forbidden) => {
                    format!("the rule `{name}` permits nothing: what it permits is all forbidden")
                }
            };
            let fault = match rules.place(policy.id()) {
                Some((source, span)) => source.fault(span.clone(), message),
                None => Fault::new(message),
            };
            warnings.push(fault.warning());
        }
        warnings
    }

    async fn fate(
        &mut self,
        policy: &Policy,
        alone: bool,
        envs: &[RequestEnv],
    ) -> Result<Fate, NoAnswer> {
        let rules = self.rules;
        let mut fate = Fate::Never;
        for env in envs.iter().filter(|env| takes(rules, policy, env)) {
            let compiled = self.schema.policy(policy, env)?;
            if self
                .ask(async |c| c.check_never_matches_opt(&compiled).await)
                .await?
            {
                continue;
            }
            if alone || !is_permit(policy) {
                return Ok(Fate::Applies);
            }
            fate = Fate::Forbidden;
            let forbids = rules.policies.policies().filter(|other| !is_permit(other));
            let forbids = forbids.filter(|forbid| takes(rules, forbid, env));
            let set: Vec<&Policy> = std::iter::once(policy).chain(forbids).collect();
            let set = self.schema.set(&set, env)?;
            if !self
                .ask(async |c| c.check_always_denies_opt(&set).await)
                .await?
            {
                return Ok(Fate::Applies);
            }
        }
        Ok(fate)
    }
}

/// What can become of a rule.
enum Fate {
    Applies,
    Never,
    Forbidden,
}
