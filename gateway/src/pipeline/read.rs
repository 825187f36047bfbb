//! Read: what a route wants to know of a request beyond its target, a body among it; bounded, and
//! passed on byte for byte.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, BodyStream, StreamBody};

use super::authenticate::{Authenticated, authenticate};
use super::observe::Seen;
use super::{Refusal, Routed, Shared};
use crate::body::{Body, BodyError};
use crate::policy::{READ_BYTES, RouteMatch, Sent};
use crate::session::Session;
use crate::target::Target;

/// Most bytes of a form that is read for nothing but an override of its method.
const OVERRIDE_BYTES: u64 = 1024 * 1024;

/// Reads for someone who is known, or on a public route; what cannot be read in one way is refused.
pub(super) async fn read(
    shared: &Shared,
    mut authenticated: Authenticated,
    seen: &mut Seen,
) -> Result<Authenticated, Refusal> {
    let (Authenticated::Public(routed) | Authenticated::User(routed, _)) = &mut authenticated;
    let whole = read_body(shared, routed).await?;
    // Who was asked for nothing on a public route may be asked after all.
    let authenticated = match authenticated {
        Authenticated::Public(routed) if !routed.is_public() => {
            authenticate(shared, routed, seen).await?
        }
        other => other,
    };
    read_places(authenticated, &whole)
}

/// The body, where it must be read, and what it says of the method.
async fn read_body(shared: &Shared, routed: &mut Routed) -> Result<Bytes, Refusal> {
    let Some(matched) = &routed.matched else {
        return Ok(Bytes::new());
    };
    let declared = routed.declared(shared);
    let headers = routed.normalised.request.headers();
    let overrides = !routed.normalised.request.body().is_end_stream()
        && routed.set.may_override_in_body(headers, declared);
    let needed = |matched: &RouteMatch| matched.route().reads_body();
    let most = |matched: &RouteMatch| matched.route().body_limit().unwrap_or(READ_BYTES);
    let limit = routed
        .all()
        .filter(|matched| needed(matched))
        .map(most)
        .min();
    let limit = match limit {
        Some(limit) => limit,
        None if overrides => most(matched).min(OVERRIDE_BYTES),
        None => return Ok(Bytes::new()),
    };
    let body = std::mem::take(routed.normalised.request.body_mut());
    let (read, body) = collect(body, limit, shared.config.limits.body_timeout).await?;
    *routed.normalised.request.body_mut() = body;
    if read.is_none() && routed.all().any(needed) {
        return Err(Refusal::BodyTooLarge);
    }
    if overrides {
        let headers = routed.normalised.request.headers();
        let named = routed
            .set
            .overrides_in_body(headers, read.as_deref(), declared)?;
        routed.take_for(shared, &named)?;
        // A route that it is taken for may want what is too large to be read, or more than is.
        let too_long = |matched: &RouteMatch| match &read {
            Some(read) => read.len() as u64 > most(matched),
            None => true,
        };
        if routed.all().filter(|matched| needed(matched)).any(too_long) {
            return Err(Refusal::BodyTooLarge);
        }
    }
    Ok(read.unwrap_or_default())
}

/// Everything that the routes want to know.
fn read_places(mut authenticated: Authenticated, body: &[u8]) -> Result<Authenticated, Refusal> {
    let (routed, session) = match &mut authenticated {
        Authenticated::Public(routed) => (routed, None),
        Authenticated::User(routed, session) => (routed, Some(Arc::clone(session))),
    };
    let Routed {
        normalised,
        matched,
        also,
        ..
    } = routed;
    if let Some(target) = filtered(&normalised.target, matched, also, session.as_ref())? {
        for matched in matched.iter_mut().chain(also.iter_mut()) {
            matched.take_query(&target);
        }
        normalised.target = target;
    }
    for matched in matched.iter_mut().chain(also) {
        if !matched.route().reads() {
            continue;
        }
        matched.read(Sent {
            headers: normalised.request.headers(),
            scheme: normalised.scheme,
            authority: normalised.authority.as_str(),
            body,
        })?;
        for (name, value) in matched.headers() {
            normalised.request.headers_mut().insert(name, value.clone());
        }
    }
    Ok(authenticated)
}

/// The target with the query that every route lets pass, if it is another than the one that came.
fn filtered(
    target: &Target,
    matched: &Option<RouteMatch>,
    also: &[RouteMatch],
    session: Option<&Arc<Session>>,
) -> Result<Option<Target>, Refusal> {
    let principal = session.map(|session| &**session.principal());
    let mut filtered = None;
    for matched in matched.iter().chain(also) {
        let current = filtered.as_ref().unwrap_or(target);
        if let Some(other) = matched.filter_query(current, principal)? {
            filtered = Some(other);
        }
    }
    Ok(filtered)
}

/// A whole body, or `None` if it is longer than the limit; and the same to be sent.
async fn collect(body: Body, limit: u64, idle: Duration) -> Result<(Option<Bytes>, Body), Refusal> {
    if body.size_hint().lower() > limit {
        return Ok((None, body));
    }
    let mut body = body;
    let mut read = BytesMut::new();
    let mut trailers: Option<HeaderMap> = None;
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Refusal::BodyStalled)? else {
            break;
        };
        let frame = frame.map_err(|_| Refusal::BodyBroken)?;
        match frame.into_data() {
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if read.len() as u64 > limit {
            let front = Ok::<_, BodyError>(Frame::data(read.freeze()));
            let whole = stream::iter([front]).chain(BodyStream::new(body));
            return Ok((None, Body::boxed(StreamBody::new(whole))));
        }
    }
    let read = read.freeze();
    let Some(trailers) = trailers else {
        return Ok((Some(read.clone()), Body::full(read)));
    };
    let frames = [Frame::data(read.clone()), Frame::trailers(trailers)];
    let frames = stream::iter(frames.map(Ok::<_, Infallible>));
    Ok((Some(read), Body::boxed(StreamBody::new(frames))))
}
