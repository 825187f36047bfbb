//! Authenticate: whose session it is, or that the route is public.

use std::sync::Arc;

use http_body::Body as _;

use super::observe::Seen;
use super::{Refusal, Routed, Shared};
use crate::cookie;
use crate::secret::BearerId;
use crate::session::Session;
use crate::target::is_safe;

/// A routed request of someone who is logged in, or on a public route of anyone.
#[derive(Debug)]
pub(super) enum Authenticated {
    /// A public route: nobody is asked who they are.
    Public(Routed),
    /// Someone who is logged in.
    User(Routed, Arc<Session>),
}

/// Without a session nobody learns which routes there are.
pub(super) async fn authenticate(
    shared: &Shared,
    routed: Routed,
    seen: &mut Seen,
) -> Result<Authenticated, Refusal> {
    if routed.is_public() {
        return Ok(Authenticated::Public(routed));
    }
    let headers = routed.normalised.request.headers();
    let cookie = cookie::single(headers, cookie::OURS)
        .and_then(BearerId::parse)
        .ok_or(Refusal::NotLoggedIn)?;
    let session = match may_change(&routed) {
        true => shared.sessions.find(&cookie).await,
        false => shared.sessions.find_to_read(&cookie).await,
    };
    let session = session
        .map_err(|error| Refusal::Unavailable(error.to_string()))?
        .ok_or(Refusal::NotLoggedIn)?;
    seen.principal(session.principal());
    Ok(Authenticated::User(routed, session))
}

/// Whether the request is more than a read: as sent, as overridden, by what its body may yet say, or
/// by what comes over its socket.
fn may_change(routed: &Routed) -> bool {
    let normalised = &routed.normalised;
    !normalised.target().is_safe()
        || normalised.upgrade
        || !normalised.request.body().is_end_stream()
        || routed.also.iter().any(|also| !is_safe(also.method()))
}
