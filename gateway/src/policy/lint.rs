//! What is suspicious: in a route table it needs a written reason, elsewhere it is a warning.

use cedar_policy::{Effect, Policy, PrincipalConstraint};
use http::Method;
use serde_json::Value;

use crate::config::fault::Fault;

use super::cedar::Rules;
use super::pattern::Segment;
use super::reader::Reader;
use super::routes::{READING, Route, Subject};
use super::table::Table;
use super::written::{WrittenResource, WrittenRoute, WrittenSource};

/// Warns of resources of which only answers that passed through tell: what was there before the
/// gateway, and what is changed behind its back, is known to nobody.
pub(super) fn resources(written: &[WrittenResource], reader: &mut Reader<'_>) {
    for resource in written {
        let sources = resource.facts.as_deref().unwrap_or_default();
        let learned = |source: &WrittenSource| matches!(source, WrittenSource::Learned);
        if !sources.is_empty() && sources.iter().all(learned) {
            let name = resource.name.get_ref();
            reader.warn(
                resource.name.span(),
                format!("`learned` is the only source of facts of `{name}`"),
                "what existed before the gateway stays closed; put a source that knows before it",
            );
        }
    }
}

/// Warns of rules that permit without a condition, and of a set that permits nothing.
pub(super) fn rules(rules: &Rules, faults: &mut Vec<Fault>) {
    let mut permits = 0;
    for policy in rules
        .policies
        .policies()
        .filter(|policy| policy.effect() == Effect::Permit)
    {
        permits += 1;
        let for_anyone = matches!(
            policy.principal_constraint(),
            PrincipalConstraint::Any | PrincipalConstraint::Is(_)
        );
        if for_anyone && !has_condition(policy) {
            let name = policy.id();
            let message =
                format!("the rule `{name}` permits without a condition: to anyone of any company");
            let fault = rules.fault_at(name.as_ref(), message);
            faults.push(
                fault
                    .help("say when: `when { resource.company == principal.company }`")
                    .warning(),
            );
        }
    }
    if permits == 0 {
        faults.push(Fault::new("no rule permits anything: every request is refused").warning());
    }
}

/// Whether a rule has a `when` or an `unless`.
pub(super) fn has_condition(policy: &Policy) -> bool {
    let json = policy.to_json().unwrap_or_default();
    let conditions = json.get("conditions").and_then(Value::as_array);
    conditions.is_some_and(|conditions| !conditions.is_empty())
}

/// Faults every suspicious route that gives no `reason`.
pub(super) fn check(routes: &[(&WrittenRoute, Route)], table: &Table, reader: &mut Reader<'_>) {
    for (written, route) in routes {
        let reasoned = written
            .reason
            .as_ref()
            .is_some_and(|reason| !reason.get_ref().trim().is_empty());
        if reasoned {
            continue;
        }
        if let Some(message) = suspicion(route, routes, reader) {
            reader.fault_with_help(
                written.matches.span(),
                message,
                "if it is meant so, say why: `reason = \"…\"`",
            );
        }
        if let Some(message) = slash(route, routes, table, reader) {
            let help = format!(
                "write `{}/**`, or if it is meant so, say why: `reason = \"…\"`",
                route.label()
            );
            reader.fault_with_help(written.matches.span(), message, help);
        }
    }
}

fn suspicion(
    route: &Route,
    routes: &[(&WrittenRoute, Route)],
    reader: &Reader<'_>,
) -> Option<String> {
    let label = route.label();
    if route.is_public() {
        let (overlapped, _) = routes.iter().find(|(_, other)| {
            matches!(other.subject, Subject::Named(..)) && overlap(route, other)
        })?;
        let (line, _) = reader.source().position(overlapped.matches.span().start);
        let other = overlapped.matches.get_ref();
        return Some(format!(
            "`{label}` is public and overlaps `{other}` in line {line}, which names a resource"
        ));
    }
    if !READING.contains(&route.action()) {
        return None;
    }
    let action = route.action();
    if route.upgrades() {
        return Some(format!(
            "`{label}` opens a WebSocket, whose frames may write, on the reading action `{action}`"
        ));
    }
    let reads = route
        .pattern
        .method
        .as_ref()
        .is_some_and(crate::target::is_safe);
    (!reads).then(|| format!("`{label}` takes an unsafe method on the reading action `{action}`"))
}

/// A route that ends in `{name}`, while with a slash behind it a wider one takes the request and
/// does not judge that name. Many applications take both paths for one.
fn slash(
    route: &Route,
    routes: &[(&WrittenRoute, Route)],
    table: &Table,
    reader: &Reader<'_>,
) -> Option<String> {
    let Subject::Named(_, captures) = &route.subject else {
        return None;
    };
    let last = captures.last()?;
    if route.pattern.rest || last.segment + 1 != route.pattern.segments.len() {
        return None;
    }
    let path: String = route.pattern.segments.iter().map(sample).collect();
    let hosts = routes.iter().flat_map(|(_, other)| &other.hosts);
    let hosts: Vec<&str> = hosts.map(|host| &**host).chain([""]).collect();
    let methods = routes.iter().filter_map(|(_, r)| r.pattern.method.clone());
    // A method that nobody names stands for all the rest.
    let methods: Vec<Method> = methods.chain(Method::from_bytes(b"X")).collect();
    let asked = methods
        .iter()
        .flat_map(|method| hosts.iter().map(move |host| (method, *host)));
    let find = |method: &Method, path: &str, host: &str| {
        let (written, found) = routes.get(table.find(method, path, host)?)?;
        Some((*written, found))
    };
    let (wider, _) = asked
        .filter(|(method, host)| {
            find(method, &path, host).is_some_and(|(_, found)| std::ptr::eq(found, route))
        })
        .filter_map(|(method, host)| find(method, &format!("{path}/"), host))
        .find(|(_, wider)| match &wider.subject {
            // A public one that overlaps is told already.
            Subject::Public => false,
            Subject::Company(_) => true,
            Subject::Named(_, captures) => !captures.iter().any(|capture| {
                capture.segment == last.segment && capture.resource.kind == last.resource.kind
            }),
        })?;
    let (line, _) = reader.source().position(wider.matches.span().start);
    Some(format!(
        "with a `/` behind it, `{}` is taken by `{}` in line {line}, which does not judge `{{{}}}`",
        route.label(),
        wider.matches.get_ref(),
        last.resource.name
    ))
}

/// A segment that only this one of a pattern takes.
fn sample(segment: &Segment) -> String {
    match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Shaped(shape) => format!("/{}\0{}", shape.before, shape.after),
        // No literal is called so.
        Segment::Name(_) | Segment::Any => "/\0".to_owned(),
    }
}

fn overlap(a: &Route, b: &Route) -> bool {
    let hosts = a.hosts.is_empty() || b.hosts.is_empty() || {
        a.hosts.iter().any(|host| b.hosts.contains(host))
    };
    hosts && a.pattern.overlaps(&b.pattern)
}
