//! Read: what a route wants to know of a request beyond its target, a body among it; bounded, and
//! passed on byte for byte.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};

use super::authenticate::Authenticated;
use super::{Refusal, Routed, Shared};
use crate::body::Body;
use crate::policy::{READ_BYTES, Sent};

/// Reads for someone who is known; what cannot be read in one way is refused.
pub(super) async fn read(
    shared: &Shared,
    mut authenticated: Authenticated,
) -> Result<Authenticated, Refusal> {
    let (Authenticated::Public(routed) | Authenticated::User(routed, _)) = &mut authenticated;
    let Routed {
        normalised,
        matched: Some(matched),
        ..
    } = routed
    else {
        return Ok(authenticated);
    };
    if !matched.route().reads() {
        return Ok(authenticated);
    }
    let mut whole = Bytes::new();
    if matched.route().reads_body() {
        let limit = matched.route().body_limit().unwrap_or(READ_BYTES);
        let body = std::mem::take(normalised.request.body_mut());
        let (read, body) = collect(body, limit, shared.config.limits.body_timeout).await?;
        whole = read;
        *normalised.request.body_mut() = body;
    }
    matched.read(Sent {
        headers: normalised.request.headers(),
        scheme: normalised.scheme,
        authority: normalised.authority.as_str(),
        body: &whole,
    })?;
    for (name, value) in matched.headers() {
        normalised.request.headers_mut().insert(name, value.clone());
    }
    Ok(authenticated)
}

/// A whole body, and the same to be sent.
async fn collect(body: Body, limit: u64, idle: Duration) -> Result<(Bytes, Body), Refusal> {
    if body.size_hint().lower() > limit {
        return Err(Refusal::BodyTooLarge);
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
            return Err(Refusal::BodyTooLarge);
        }
    }
    let read = read.freeze();
    let Some(trailers) = trailers else {
        return Ok((read.clone(), Body::full(read)));
    };
    let frames = [Frame::data(read.clone()), Frame::trailers(trailers)];
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let frames = StreamBody::new(futures_util::stream::iter(frames));
    Ok((read, Body::boxed(frames)))
}
