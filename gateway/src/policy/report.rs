//! What the commands print.

use std::fmt::Write;

use serde_json::{Value, json};

use super::explain::{ExplainedResource, Explanation};
use super::proof::{Outcome, Proof};
use super::tests_file::TestReport;
use crate::config::fault::Fault;

/// A test run for a person: every failure with its place, then what no test touches, then a sum.
#[must_use]
pub fn print_tests(report: &TestReport) -> String {
    let mut out = String::new();
    for fault in &report.failures {
        out.push_str(&fault.report());
        out.push('\n');
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "warning: {}", warning.one_line());
    }
    let failed = report.failures.len();
    let passed = report.count - failed.min(report.count);
    let _ = writeln!(out, "{passed} passed, {failed} failed");
    let _ = writeln!(out, "{}", coverage(report));
    out
}

/// Such as "12 of 13 rules, 30 of 31 routes are touched".
fn coverage(report: &TestReport) -> String {
    let ((rules, of_rules), (routes, of_routes)) = (report.rules, report.routes);
    format!("{rules} of {of_rules} rules, {routes} of {of_routes} routes are touched")
}

/// A test run for a program.
#[must_use]
pub fn tests_json(report: &TestReport) -> Value {
    json!({
        "passed": report.passed(),
        "tests": report.count,
        "failures": faults(&report.failures),
        "untested": faults(&report.warnings),
        "rules": { "touched": report.rules.0, "all": report.rules.1 },
        "routes": { "touched": report.routes.0, "all": report.routes.1 },
    })
}

/// A proof in one line; what is wrong was told before it.
#[must_use]
pub fn print_proof(proof: &Proof) -> String {
    let (shown, all) = (proof.shown, proof.environments);
    let took = proof.took.as_secs_f64();
    let of = format!("for {shown} of {all} combinations of action, principal and resource type");
    let uncovered = proof.uncovered.len();
    let mut out = match proof.outcome {
        Outcome::Proved => {
            let invariants = proof.invariants;
            format!(
                "proved: no request is both allowed and a hole by one of {invariants} invariants, {of}, in {took:.2} s\n"
            )
        }
        Outcome::NotShown => format!("not proved: shown {of}, in {took:.2} s\n"),
        Outcome::Failed => {
            let holes = proof.reasons.len();
            let plural = if holes == 1 { "" } else { "s" };
            format!("not proved: {holes} reason{plural}; shown {of}, in {took:.2} s\n")
        }
    };
    if uncovered > 0 {
        let _ = writeln!(out, "{uncovered} without an invariant that speaks of them");
    }
    out
}

/// A proof for a program.
#[must_use]
pub fn proof_json(proof: &Proof, digest: &str) -> Value {
    json!({
        "outcome": proof.outcome,
        "policy": digest,
        "invariants": proof.invariants,
        "shown": proof.shown,
        "combinations": proof.environments,
        "seconds": proof.took.as_secs_f64(),
        "reasons": faults(&proof.reasons),
        "uncovered": faults(&proof.uncovered),
        "warnings": faults(&proof.warnings),
    })
}

/// An explanation for a person, a line for each step.
#[must_use]
pub fn print_explanation(told: &Explanation) -> String {
    let mut out = String::new();
    let mut line = |what: &str, said: String| {
        let _ = writeln!(out, "{what:<9} {said}");
    };
    line("target", format!("{}  (host {})", told.target, told.host));
    let suspended = if told.suspended { ", suspended" } else { "" };
    let roles = match told.roles.join(", ") {
        roles if roles.is_empty() => roles,
        roles => format!(", roles {roles}"),
    };
    line(
        "user",
        format!("{} of {}{roles}{suspended}", told.user, told.company),
    );
    if let Some(why) = &told.unreadable {
        line("refused", why.clone());
    }
    match &told.route {
        Some(route) => line(
            "route",
            format!(
                "`{}` at {}: action `{}`, judged as {}",
                route.matches, route.place, route.action, route.method
            ),
        ),
        None if told.unreadable.is_some() => {}
        None => line("route", "none matches".to_owned()),
    }
    for one in &told.resources {
        line("resource", resource(one));
        if one.unknown.is_none() {
            let said = if one.allowed { "allowed" } else { "denied" };
            let by = match one.rules.join(", ") {
                rules if rules.is_empty() => "no rule matches".to_owned(),
                rules => rules,
            };
            line("rules", format!("{said}: {by}"));
        }
    }
    let status = told.status.map(|status| format!(" ({status})"));
    let rule = match &told.route {
        _ if told.unreadable.is_some() => "what cannot be read is not judged",
        Some(route) if route.action == "public" => "the route is public",
        _ => told
            .rule
            .as_deref()
            .unwrap_or("default: nothing is allowed that no rule permits"),
    };
    line(
        "verdict",
        format!("{}{}, by {rule}", told.verdict, status.unwrap_or_default()),
    );
    line("policy", told.policy.clone());
    out
}

fn resource(one: &ExplainedResource) -> String {
    let mut said = one.named.clone();
    if let Some(above) = &one.decided_by {
        let _ = write!(said, ", decided by {above}");
    }
    if let Some(why) = &one.unknown {
        let _ = write!(said, ": {why}");
        return said;
    }
    if let Some(company) = &one.company {
        let owner = one.owner.as_deref().unwrap_or("nobody");
        let _ = write!(said, ": company {company}, owner {owner}");
    }
    if let Some(source) = &one.source {
        let _ = write!(said, "; from {source}");
    }
    if let Some(age) = one.age_seconds {
        let _ = write!(said, ", {age} s old");
    }
    said
}

/// What the trail says of one request, for a person.
#[must_use]
pub fn print_records(records: &[Value]) -> String {
    let mut out = String::new();
    for record in records {
        let text = |key: &str| record.get(key).and_then(Value::as_str);
        let _ = writeln!(
            out,
            "{} {}: {}",
            text("at").unwrap_or_default(),
            text("event").unwrap_or_default(),
            text("result").unwrap_or_default()
        );
        let resources: Vec<&str> = record
            .get("resources")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let resources = resources.join(", ");
        let rule = match text("event") {
            Some("decision") => Some(text("rule").unwrap_or("default: no rule matched")),
            _ => text("rule"),
        };
        for (what, said) in [
            ("target", text("target")),
            ("user", text("user")),
            ("company", text("company")),
            ("client", text("client")),
            ("route", text("route")),
            ("resources", Some(&*resources).filter(|all| !all.is_empty())),
            ("rule", rule),
            ("reason", text("detail")),
            ("policy", text("policy")),
        ] {
            if let Some(said) = said {
                let _ = writeln!(out, "  {what:<9} {said}");
            }
        }
    }
    out
}

fn faults(faults: &[Fault]) -> Value {
    let told = |fault: &Fault| json!({ "place": fault.location(), "message": fault.message(), "help": fault.advice() });
    faults.iter().map(told).collect()
}
