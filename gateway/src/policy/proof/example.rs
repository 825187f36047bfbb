//! A counterexample, for a person: who does what to what, allowed by which rule, and which
//! invariant that breaks.

use std::collections::BTreeMap;
use std::fmt::Write;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityUid, EvalResult, PolicyId, Request, RequestEnv,
};
use cedar_policy_symcc::Env;

use crate::config::fault::Fault;
use crate::policy::cedar::Rules;

/// How every hole's message begins.
const HOLE: &str = "a hole: ";

pub(super) fn is_hole(fault: &Fault) -> bool {
    fault.message().starts_with(HOLE)
}

/// A hole, at the rule that opens it.
pub(super) fn hole(
    rules: &Rules,
    env: &RequestEnv,
    invariant: &PolicyId,
    found: Option<&Env>,
) -> Fault {
    let what = super::named(env);
    let allowing = found.and_then(|found| allowed_by(rules, &found.request, &found.entities));
    let (message, at) = match &allowing {
        Some(rule) => (
            format!("{HOLE}`{rule}` allows {what} where `{invariant}` says it must never be"),
            rule,
        ),
        None => (
            format!("{HOLE}the rules allow {what} where `{invariant}` says it must never be"),
            invariant,
        ),
    };
    let fault = match rules.place(at) {
        Some((source, span)) => source.fault(span.clone(), message),
        None => Fault::new(message),
    };
    match found {
        Some(found) => fault.help(story(rules, &found.request, &found.entities)),
        None => fault.help("no example of it could be read from the solver's answer"),
    }
}

/// The permit that lets the example through; the first in order.
fn allowed_by(rules: &Rules, request: &Request, entities: &Entities) -> Option<PolicyId> {
    let response = Authorizer::new().is_authorized(request, &rules.policies, entities);
    let mut reasons: Vec<PolicyId> = response.diagnostics().reason().cloned().collect();
    reasons.sort_by_key(|id| rules.order(id));
    reasons.into_iter().next()
}

/// Who does what to what, one line each.
fn story(rules: &Rules, request: &Request, entities: &Entities) -> String {
    let mut names = Names::default();
    for policy in rules.policies.policies().chain(rules.holes.policies()) {
        names.keep.push_str(&policy.to_string());
    }
    let mut out = String::from("for example\n");
    if let Some(who) = request.principal() {
        let _ = writeln!(out, "  who  {}", names.described(who, entities));
    }
    if let Some(action) = request.action() {
        let _ = writeln!(out, "  does `{}`", action.id().unescaped());
    }
    if let Some(what) = request.resource() {
        let _ = writeln!(out, "  to   {}", names.described(what, entities));
    }
    if let Some(context) = request.context() {
        out.push_str(&names.context(context));
    }
    out.truncate(out.trim_end().len());
    out
}

/// Names for what a solver calls `""` or `A`.
#[derive(Default)]
struct Names {
    /// The text of all rules: an identifier that it holds is kept.
    keep: String,
    given: BTreeMap<EntityUid, String>,
    count: BTreeMap<String, usize>,
}

impl Names {
    fn name(&mut self, uid: &EntityUid) -> String {
        if self.keep.contains(&uid.to_string()) {
            return uid.to_string();
        }
        if let Some(name) = self.given.get(uid) {
            return name.clone();
        }
        let kind = uid.type_name().to_string();
        let count = self.count.entry(kind.clone()).or_default();
        *count += 1;
        let name = format!("{kind}::\"{}-{count}\"", kind.to_lowercase());
        self.given.insert(uid.clone(), name.clone());
        name
    }

    fn described(&mut self, uid: &EntityUid, entities: &Entities) -> String {
        let name = self.name(uid);
        let facts = entities.get(uid).map(|entity| self.facts(entity));
        name + &facts.unwrap_or_default()
    }

    /// Its attributes, such as ` { company: Company::"company-1" }`.
    fn facts(&mut self, entity: &Entity) -> String {
        let attributes: BTreeMap<_, _> = entity
            .attrs()
            .filter_map(|(name, value)| Some((name.to_owned(), value.ok()?)))
            .collect();
        let shown = self.fields(attributes);
        if shown.is_empty() {
            shown
        } else {
            format!(" {{ {shown} }}")
        }
    }

    fn fields(&mut self, fields: impl IntoIterator<Item = (String, EvalResult)>) -> String {
        let fields = fields.into_iter();
        let shown: Vec<String> = fields
            .map(|(name, value)| format!("{name}: {}", self.value(&value)))
            .collect();
        shown.join(", ")
    }

    fn value(&mut self, value: &EvalResult) -> String {
        match value {
            EvalResult::EntityUid(uid) => self.name(uid),
            EvalResult::Set(set) => {
                let values: Vec<String> = set.iter().map(|value| self.value(value)).collect();
                format!("[{}]", values.join(", "))
            }
            EvalResult::Record(record) => {
                let fields = record
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()));
                let fields: Vec<_> = fields.collect();
                format!("{{ {} }}", self.fields(fields))
            }
            other => other.to_string(),
        }
    }

    fn context(&mut self, context: &Context) -> String {
        let keys = context.clone().into_iter().map(|(key, _)| key);
        let fields: Vec<(String, EvalResult)> = keys
            .filter_map(|key| Some((key.clone(), context.get(&key)?)))
            .collect();
        if fields.is_empty() {
            return String::new();
        }
        format!("  with context {{ {} }}\n", self.fields(fields))
    }
}
