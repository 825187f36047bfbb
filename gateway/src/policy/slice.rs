//! The part of a policy set that can have a say about one action: cut when the set is loaded, so
//! that a decision neither reads the other rules nor carries the other actions, and neither puts
//! a rule's condition together nor looks for what Cedar knows already.
//!
//! Evaluation is Cedar's own evaluator, rule by rule, on one request. Its authoriser would do the
//! same and then sort what it found into maps for partial answers, which nobody asks for here.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PolicyId, PolicySet};
use cedar_policy_core::ast::{self, EntityUIDEntry, Expr, Request, SlotEnv, StaticPolicy};
use cedar_policy_core::entities::{self, NoEntitiesSchema, TCComputation};
use cedar_policy_core::evaluator::{EvaluationError, Evaluator};
use cedar_policy_core::extensions::Extensions;

/// What an evaluation of one action needs.
#[derive(Debug)]
pub(super) struct Slice {
    /// The rules whose scope takes the action, in order.
    rules: Vec<Rule>,
    /// The actions whose groups those rules may ask for.
    groups: entities::Entities,
}

/// A rule, taken apart.
#[derive(Debug)]
struct Rule {
    /// Its name for people.
    label: Arc<str>,
    effect: ast::Effect,
    /// Its scope, but for the action, and its conditions as one.
    condition: Expr,
}

/// Who asks for what.
pub(super) struct Question<'q> {
    pub(super) principal: &'q ast::EntityUID,
    pub(super) action: &'q ast::EntityUID,
    pub(super) resource: &'q ast::EntityUID,
    pub(super) context: ast::Context,
}

/// What the rules of a slice say.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) allow: bool,
    /// The rules that decided, in order.
    pub(super) rules: Vec<Arc<str>>,
}

impl Slice {
    /// What the rules say, given the entities of the principal and the resource: allowed if a
    /// `permit` is satisfied and no `forbid` is.
    ///
    /// A rule that cannot be evaluated denies: Cedar's authoriser would pass over it, and a
    /// `forbid` passed over is an open door. `None` if two different entities have one name.
    pub(super) fn judge(
        &self,
        question: Question<'_>,
        known: impl IntoIterator<Item = Arc<ast::Entity>>,
    ) -> Option<Said> {
        let extensions = Extensions::all_available();
        // Neither a principal nor a resource has ancestors, and those of actions are complete.
        let entities = self.groups.clone().add_entities(
            known,
            None::<&NoEntitiesSchema>,
            TCComputation::AssumeAlreadyComputed,
            extensions,
        );
        let entities = entities.ok()?;
        let entry = |uid: &ast::EntityUID| EntityUIDEntry::known(uid.clone(), None);
        let request = Request::new_unchecked(
            entry(question.principal),
            entry(question.action),
            entry(question.resource),
            Some(question.context),
        );
        let evaluator = Evaluator::new(request, &entities, extensions);
        let mut found = Found::default();
        // What is read from a file has no slots.
        let slots = SlotEnv::new();
        for rule in &self.rules {
            let value = evaluator.interpret(&rule.condition, &slots);
            let found = match (truth(value, &rule.label), rule.effect) {
                (Some(false), _) => continue,
                (Some(true), ast::Effect::Permit) => &mut found.permits,
                (Some(true), ast::Effect::Forbid) => &mut found.forbids,
                (None, _) => &mut found.broken,
            };
            found.push(Arc::clone(&rule.label));
        }
        Some(found.said())
    }
}

/// Whether a rule is satisfied; `None` if it cannot be evaluated.
fn truth(value: Result<ast::Value, EvaluationError>, rule: &str) -> Option<bool> {
    let error = match value {
        Ok(value) => match value.value_kind() {
            ast::ValueKind::Lit(ast::Literal::Bool(satisfied)) => return Some(*satisfied),
            _ => format!("`{value}` is neither true nor false"),
        },
        Err(error) => error.to_string(),
    };
    tracing::warn!(
        rule,
        error,
        "a rule could not be evaluated; the request is denied"
    );
    None
}

/// What became of the rules that matter.
#[derive(Default)]
struct Found {
    permits: Vec<Arc<str>>,
    forbids: Vec<Arc<str>>,
    broken: Vec<Arc<str>>,
}

impl Found {
    fn said(self) -> Said {
        let (allow, rules) = match () {
            () if !self.broken.is_empty() => (false, self.broken),
            () if !self.forbids.is_empty() => (false, self.forbids),
            () => (!self.permits.is_empty(), self.permits),
        };
        Said { allow, rules }
    }
}

/// The slice of each action, in order; rules have the place among all and the name that `labels`
/// gives them.
pub(super) fn cut<'a>(
    policies: &PolicySet,
    base: &Entities,
    actions: impl Iterator<Item = &'a EntityUid>,
    labels: &HashMap<PolicyId, (usize, Arc<str>)>,
) -> Vec<Slice> {
    actions
        .map(|action| {
            let takes = |policy: &&Policy| match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(only) => only == *action,
                ActionConstraint::In(list) => list.iter().any(|group| is_in(base, action, group)),
            };
            let mut ruling: Vec<&Policy> = policies.policies().filter(takes).collect();
            ruling.sort_by_key(|policy| labels.get(policy.id()));
            // A condition may ask for the groups of an action that is not the request's.
            let asks = ruling.iter().any(|policy| names_an_action(policy));
            let groups = base
                .as_ref()
                .iter()
                .filter(|entity| asks || entity.uid() == action.as_ref())
                .filter(|entity| entity.ancestors().next().is_some())
                .cloned();
            Slice {
                rules: ruling
                    .into_iter()
                    .map(|policy| Rule::take_apart(policy, labels))
                    .collect(),
                groups: closed(groups),
            }
        })
        .collect()
}

/// Entities whose ancestors are complete.
fn closed(entities: impl Iterator<Item = ast::Entity>) -> entities::Entities {
    entities::Entities::from_entities(
        entities,
        None::<&NoEntitiesSchema>,
        TCComputation::AssumeAlreadyComputed,
        Extensions::all_available(),
    )
    // None is there twice, since none was in the whole.
    .unwrap_or_default()
}

impl Rule {
    /// A rule that takes the action: in its slice it need not say so again.
    fn take_apart(policy: &Policy, labels: &HashMap<PolicyId, (usize, Arc<str>)>) -> Self {
        let label = match labels.get(policy.id()) {
            Some((_, label)) => Arc::clone(label),
            None => policy.id().to_string().into(),
        };
        let policy: &ast::Policy = policy.as_ref();
        let anyhow = StaticPolicy::new(
            policy.id().clone(),
            policy.loc().cloned(),
            policy.annotations_arc().as_ref().clone(),
            policy.effect(),
            policy.principal_constraint(),
            ast::ActionConstraint::any(),
            policy.resource_constraint(),
            policy.non_scope_constraints().cloned(),
        );
        Self {
            label,
            effect: policy.effect(),
            // It has no slots, or it were no rule of a file.
            condition: anyhow.map_or_else(|_| policy.condition(), |rule| rule.condition()),
        }
    }
}

fn is_in(base: &Entities, action: &EntityUid, group: &EntityUid) -> bool {
    action == group || base.is_ancestor_of(group, action)
}

/// Whether a condition of a rule may name an action. One that cannot be read may.
fn names_an_action(policy: &Policy) -> bool {
    let Ok(json) = policy.to_json() else {
        return true;
    };
    json.get("conditions")
        .is_none_or(|conditions| conditions.to_string().contains("Action"))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use cedar_policy::{Authorizer, Context, Decision, Schema};

    use super::*;

    const SCHEMA: &str = r#"
        entity User = { level: Long }; entity Thing;
        action all;
        action changes in all;
        action read in all appliesTo { principal: User, resource: Thing };
        action write, remove in changes appliesTo { principal: User, resource: Thing };
    "#;

    /// What Cedar's authoriser says of the whole, and a slice, with the names of its rules.
    struct Both {
        whole: cedar_policy::Response,
        allow: bool,
        rules: Vec<String>,
        kept: usize,
    }

    fn ask(rules: &str, action: &str) -> Both {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
        let base = schema.action_entities().unwrap();
        let whole = PolicySet::from_str(rules).unwrap();
        let uid = |text: &str| EntityUid::from_str(text).unwrap();
        let action = uid(&format!("Action::\"{action}\""));
        let ids = whole.policies().map(|policy| policy.id().clone());
        let labels = ids.map(|id| (id.clone(), (0, id.to_string().into())));
        let slices = cut(&whole, &base, std::iter::once(&action), &labels.collect());
        let slice = slices.first().unwrap();
        let (user, thing) = (uid("User::\"u\""), uid("Thing::\"t\""));
        let question = Question {
            principal: user.as_ref(),
            action: action.as_ref(),
            resource: thing.as_ref(),
            context: ast::Context::empty(),
        };
        let said = slice.judge(question, std::iter::empty()).unwrap();
        let request =
            cedar_policy::Request::new(user, action, thing, Context::empty(), None).unwrap();
        Both {
            whole: Authorizer::new().is_authorized(&request, &whole, &base),
            allow: said.allow,
            rules: said.rules.iter().map(ToString::to_string).collect(),
            kept: slice.rules.len(),
        }
    }

    #[test]
    fn a_slice_says_what_the_whole_says_and_by_the_same_rules() {
        let conditions = [
            "",
            "when { action in Action::\"changes\" }",
            "unless { action in Action::\"all\" }",
            "when { Action::\"remove\" in Action::\"changes\" }",
            "when { [action, Action::\"write\"].containsAny([Action::\"remove\"]) }",
        ];
        let scopes = [
            "action",
            "action == Action::\"write\"",
            "action in Action::\"changes\"",
            "action in [Action::\"read\", Action::\"remove\"]",
            "action in Action::\"all\"",
        ];
        for permit in scopes {
            for forbid in scopes {
                for condition in conditions {
                    let rules = format!(
                        "permit (principal, {permit}, resource);\n\
                         permit (principal, {forbid}, resource) {condition};\n\
                         forbid (principal, {forbid}, resource) {condition};"
                    );
                    for action in ["read", "write", "remove"] {
                        let both = ask(&rules, action);
                        let allow = both.whole.decision() == Decision::Allow;
                        assert_eq!(both.allow, allow, "{action}: {rules}");
                        let reason = both.whole.diagnostics().reason();
                        let mut by: Vec<_> = reason.map(ToString::to_string).collect();
                        by.sort();
                        assert_eq!(both.rules, by, "{action}: {rules}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_rule_that_cannot_be_evaluated_denies_where_cedar_would_pass_over_it() {
        // Nothing is known of the user.
        let broken = "(principal, action, resource) when { principal.level > 3 };";
        for effect in ["permit", "forbid"] {
            let rules = format!("permit (principal, action, resource);\n{effect} {broken}");
            let both = ask(&rules, "read");
            assert_eq!(both.whole.decision(), Decision::Allow);
            assert!(!both.allow, "{rules}");
            assert_eq!(both.rules, ["policy1"]);
        }
    }

    #[test]
    fn rules_on_other_actions_are_left_out() {
        let rules = "permit (principal, action == Action::\"read\", resource);\n\
                     forbid (principal, action in Action::\"changes\", resource);";
        let both = ask(rules, "read");
        assert!(both.allow);
        assert_eq!(both.kept, 1);
    }
}
