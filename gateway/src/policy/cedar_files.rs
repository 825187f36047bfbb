//! Cedar's files: parsed, validated, and Cedar's diagnostics turned into faults of ours.

use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use crate::config::fault::{Fault, Source};

use super::nesting::{self, Language};

/// The rules of one file, each named by file and line, in the order in which they stand.
pub(super) fn parse_rules(source: &Source, faults: &mut Vec<Fault>) -> Vec<(Policy, Arc<str>)> {
    if let Err(fault) = nesting::check(source, Language::Rules) {
        faults.push(fault);
        return Vec::new();
    }
    let set = match PolicySet::from_str(source.text()) {
        Ok(set) => set,
        Err(errors) => {
            for error in errors.iter() {
                faults.push(diagnosed(source, error, None));
            }
            return Vec::new();
        }
    };
    for template in set.templates() {
        let place = template.as_ref().loc();
        let span = place.map_or(0..0, |loc| loc.start()..loc.end());
        faults.push(source.fault(
            span,
            "a rule with `?principal` or `?resource` decides nothing",
        ));
    }
    let file = source.path().file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let mut placed: Vec<(usize, &Policy)> = set
        .policies()
        .map(|policy| (start(policy), policy))
        .collect();
    placed.sort_by_key(|(start, _)| *start);
    let mut last_line = 0;
    let name = |(start, policy): (usize, &Policy)| {
        let (line, column) = source.position(start);
        let label: Arc<str> = if line == last_line {
            format!("{file}:{line}:{column}").into()
        } else {
            format!("{file}:{line}").into()
        };
        last_line = line;
        (policy.new_id(PolicyId::new(&label)), label)
    };
    placed.into_iter().map(name).collect()
}

fn start(policy: &Policy) -> usize {
    span(policy).start
}

/// Where a rule stands in its file.
pub(super) fn span(policy: &Policy) -> Range<usize> {
    let place = policy.as_ref().loc();
    place.map_or(0..0, |loc| loc.start()..loc.end())
}

/// The schema; `None`, with every fault kept, if it is broken.
pub(super) fn parse_schema(source: &Source, faults: &mut Vec<Fault>) -> Option<Schema> {
    if let Err(fault) = nesting::check(source, Language::Schema) {
        faults.push(fault);
        return None;
    }
    match Schema::from_cedarschema_str(source.text()) {
        Ok((schema, warnings)) => {
            faults.extend(warnings.map(|w| diagnosed(source, &w, None).warning()));
            Some(schema)
        }
        Err(error) => {
            faults.push(diagnosed(source, &error, None));
            let related = error.related().into_iter().flatten();
            faults.extend(related.map(|error| diagnosed(source, error, None)));
            None
        }
    }
}

/// Checks rules against the schema; every fault and warning is kept at its rule's place.
pub(super) fn validate<'s, S: Iterator<Item = &'s Source>>(
    validator: &Validator,
    set: &PolicySet,
    sources: impl Fn() -> S,
    faults: &mut Vec<Fault>,
) {
    let result = validator.validate(set, ValidationMode::Strict);
    let mut keep = |id: &PolicyId, diagnostic: &dyn Diagnostic, warning: bool| {
        // The identifier is the rule's name: `file:line`.
        let name = id.to_string();
        let place = |c: char| c == ':' || c.is_ascii_digit();
        let file = name.trim_end_matches(place);
        let source = sources().find(|source| {
            let own = source.path().file_name().unwrap_or_default();
            own.to_string_lossy() == file
        });
        // Whatever a file is called, what is wrong in it is told.
        let fault = match source {
            Some(source) => diagnosed(source, diagnostic, set.policy(id)),
            None => Fault::new(format!("`{name}`: {diagnostic}")),
        };
        faults.push(if warning { fault.warning() } else { fault });
    };
    for error in result.validation_errors() {
        keep(error.policy_id(), error, false);
    }
    for warning in result.validation_warnings() {
        keep(warning.policy_id(), warning, true);
    }
}

/// One of Cedar's diagnostics as a fault of ours; without a place of its own it stands at the
/// rule's.
fn diagnosed(source: &Source, diagnostic: &dyn Diagnostic, rule: Option<&Policy>) -> Fault {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let span = match &label {
        Some(label) => label.offset()..label.offset() + label.len(),
        None => rule
            .and_then(|rule| rule.as_ref().loc())
            .map_or(0..0, |loc| loc.start()..loc.end()),
    };
    let message = diagnostic.to_string();
    let message = match label.as_ref().and_then(|label| label.label()) {
        Some(label) => format!("{message}: {label}"),
        None => message,
    };
    let fault = source.fault(span, message);
    match diagnostic.help() {
        Some(help) => fault.help(help.to_string()),
        None => fault,
    }
}
