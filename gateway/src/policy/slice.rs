//! The part of a policy set that can have a say about one action: cut when the set is loaded, so
//! that a decision neither reads the other rules nor carries the other actions.

use cedar_policy::{ActionConstraint, Entities, Entity, EntityUid, Policy, PolicySet};

/// What an evaluation of one action needs.
#[derive(Debug)]
pub(super) struct Slice {
    /// The rules whose scope takes the action.
    pub(super) policies: PolicySet,
    /// The actions whose groups those rules may ask for.
    pub(super) groups: Vec<Entity>,
}

/// The slice of each action, in order.
pub(super) fn cut<'a>(
    policies: &PolicySet,
    base: &Entities,
    actions: impl Iterator<Item = &'a EntityUid>,
) -> Vec<Slice> {
    actions
        .map(|action| {
            let takes = |policy: &&Policy| match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(only) => only == *action,
                ActionConstraint::In(list) => list.iter().any(|group| is_in(base, action, group)),
            };
            let ruling: Vec<&Policy> = policies.policies().filter(takes).collect();
            // A condition may ask for the groups of an action that is not the request's.
            let asks = ruling.iter().any(|policy| names_an_action(policy));
            let groups = base
                .iter()
                .filter(|entity| asks || entity.uid() == *action)
                .filter(|entity| has_groups(base, entity))
                .cloned()
                .collect();
            // None is there twice, since none was in the whole.
            let policies = PolicySet::from_policies(ruling.into_iter().cloned());
            Slice {
                policies: policies.unwrap_or_default(),
                groups,
            }
        })
        .collect()
}

fn is_in(base: &Entities, action: &EntityUid, group: &EntityUid) -> bool {
    action == group || base.is_ancestor_of(group, action)
}

fn has_groups(base: &Entities, action: &Entity) -> bool {
    base.ancestors(&action.uid())
        .is_some_and(|mut groups| groups.next().is_some())
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

    use cedar_policy::{Authorizer, Context, Decision, Request, Schema};

    use super::*;

    const SCHEMA: &str = r#"
        entity User; entity Thing;
        action all;
        action changes in all;
        action read in all appliesTo { principal: User, resource: Thing };
        action write, remove in changes appliesTo { principal: User, resource: Thing };
    "#;

    fn decided(rules: &str, action: &str) -> (Decision, Decision, usize) {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
        let base = schema.action_entities().unwrap();
        let whole = PolicySet::from_str(rules).unwrap();
        let uid = |text: &str| EntityUid::from_str(text).unwrap();
        let action = uid(&format!("Action::\"{action}\""));
        let slices = cut(&whole, &base, std::iter::once(&action));
        let slice = slices.first().unwrap();
        let (user, thing) = (uid("User::\"u\""), uid("Thing::\"t\""));
        let request = Request::new(user, action, thing, Context::empty(), None).unwrap();
        let few = Entities::from_entities(slice.groups.clone(), None).unwrap();
        let judge = Authorizer::new();
        let asked = judge.is_authorized(&request, &whole, &base).decision();
        let sliced = judge.is_authorized(&request, &slice.policies, &few);
        let kept = slice.policies.policies().count();
        (asked, sliced.decision(), kept)
    }

    #[test]
    fn a_slice_says_what_the_whole_says() {
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
                         forbid (principal, {forbid}, resource) {condition};"
                    );
                    for action in ["read", "write", "remove"] {
                        let (whole, sliced, _) = decided(&rules, action);
                        assert_eq!(whole, sliced, "{action}: {rules}");
                    }
                }
            }
        }
    }

    #[test]
    fn rules_on_other_actions_are_left_out() {
        let rules = "permit (principal, action == Action::\"read\", resource);\n\
                     forbid (principal, action in Action::\"changes\", resource);";
        assert_eq!(
            decided(rules, "read"),
            (Decision::Allow, Decision::Allow, 1)
        );
    }
}
