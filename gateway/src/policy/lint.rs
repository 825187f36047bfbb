//! What is suspicious in a route table and needs a written reason.

use super::reader::Reader;
use super::routes::{READING, Route, Subject};
use super::written::WrittenRoute;

/// Faults every suspicious route that gives no `reason`.
pub(super) fn check(routes: &[(&WrittenRoute, Route)], reader: &mut Reader<'_>) {
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

fn overlap(a: &Route, b: &Route) -> bool {
    let hosts = a.hosts.is_empty() || b.hosts.is_empty() || {
        a.hosts.iter().any(|host| b.hosts.contains(host))
    };
    hosts && a.pattern.overlaps(&b.pattern)
}
