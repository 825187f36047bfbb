//! Forward: to the upstream and back, streaming both ways.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;

use super::observe::Seen;
use super::rewrite::Outgoing;
use super::watched::Watched;
use super::{Refusal, Shared, headers};
use crate::body::Body;
use crate::cookie;
use crate::policy::{Answer, Lookups};
use crate::upstream::{self, UpstreamError};

/// Longest answer that is read to learn an identifier from; a longer one teaches nothing.
const LEARN_BYTES: u64 = 64 * 1024;

pub(super) async fn forward(
    shared: &Shared,
    lookups: &Arc<dyn Lookups>,
    outgoing: Outgoing,
    seen: &mut Seen,
) -> Result<Response<Body>, Refusal> {
    let Outgoing {
        request,
        upstream,
        set,
        matched,
        also,
        session,
        ending,
        upgrade,
        wants_page,
        hold,
    } = outgoing;
    let method = request.method().clone();
    seen.upstream = Some(upstream.name().clone());
    // Held until the answer: if the client goes away early, nothing read meanwhile is kept.
    let unsettled = shared
        .authoriser
        .before_forward(&set, &matched, &method)
        .await;
    let mut unsettled_too = Vec::new();
    for matched in &also {
        let before = shared
            .authoriser
            .before_forward(&set, matched, matched.method());
        unsettled_too.push(before.await);
    }
    let sent = Instant::now();
    let answered = upstream.send(request).await;
    seen.upstream_time = sent.elapsed();
    let mut response = match answered {
        Ok(response) => response,
        Err(_) if ending.as_ref().is_some_and(super::guard::Ending::too_large) => {
            return Err(Refusal::BodyTooLarge);
        }
        Err(_) if ending.as_ref().is_some_and(super::guard::Ending::broken) => {
            return Err(Refusal::BodyBroken);
        }
        Err(_)
            if ending
                .as_ref()
                .is_some_and(super::guard::Ending::session_over) =>
        {
            return Err(Refusal::NotLoggedIn);
        }
        Err(UpstreamError::RequestStalled) => return Err(Refusal::BodyStalled),
        Err(error @ UpstreamError::Timeout { .. }) => {
            return Err(Refusal::GatewayTimeout(error.to_string()));
        }
        Err(error @ UpstreamError::Full { .. }) => {
            return Err(Refusal::Unavailable(error.to_string()));
        }
        Err(error) => return Err(Refusal::BadGateway(error.to_string())),
    };

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client =
            upgrade.ok_or_else(|| Refusal::BadGateway("an upgrade nobody asked for".to_owned()))?;
        let other = upstream::upstream_side(&mut response);
        tokio::spawn(async move {
            // The connection counts as open until the bridge is gone.
            let _hold = hold;
            let touch = session.clone();
            let used = move || {
                if let Some(session) = &touch {
                    session.touch();
                }
            };
            let ended = async {
                match &session {
                    Some(session) => session.ended().await,
                    None => std::future::pending().await,
                }
            };
            upstream::bridge(client, other, used, ended).await;
        });
        return Ok(switched(response));
    }

    let learns = matched.route().learns() && session.is_some();
    let (mut head, body) = response.into_parts();
    let (body, seen_body) =
        if learns && matched.route().learn_needs_body() && head.status.is_success() {
            read_short(body)
                .await
                .map_err(|error| Refusal::BadGateway(error.to_string()))?
        } else {
            (body, None)
        };
    if let Some(session) = &session {
        for (matched, unsettled) in also.iter().zip(unsettled_too) {
            let answer = Answer {
                status: head.status,
                headers: &head.headers,
                body: seen_body.as_deref(),
            };
            let principal = session.principal();
            let after = shared
                .authoriser
                .after_answer(&set, matched, principal, lookups, unsettled, answer);
            if let Err(error) = after.await {
                tracing::warn!(%error, "nothing was learned from an answer");
            }
        }
        let learned = shared
            .authoriser
            .after_answer(
                &set,
                &matched,
                session.principal(),
                lookups,
                unsettled,
                Answer {
                    status: head.status,
                    headers: &head.headers,
                    body: seen_body.as_deref(),
                },
            )
            .await
            .unwrap_or_else(|error| {
                // The write has happened: its answer is passed on, and the facts are asked for again.
                tracing::warn!(%error, "nothing was learned from an answer");
                None
            });
        let landing = learned
            .filter(|_| wants_page && matched.route().copies() && head.status.is_success())
            .and_then(|id| matched.landing(&id));
        if let Some(landing) = landing {
            // The application answers programs; a person who pressed "copy" lands on the copy.
            head.status = StatusCode::SEE_OTHER;
            head.headers.clear();
            let value = HeaderValue::try_from(landing)
                .map_err(|error| Refusal::BadGateway(error.to_string()))?;
            head.headers.insert(header::LOCATION, value);
            clean(&mut head.headers, true);
            return Ok(Response::from_parts(head, Body::Empty));
        }
    }
    clean(&mut head.headers, session.is_some());
    head.version = http::Version::HTTP_11;
    Ok(Response::from_parts(head, Watched::wrap(body, session)))
}

/// What of an answer is the upstream connection's, or ours, does not pass; and what a logged-in
/// person sees is nobody else's to keep.
fn clean(fields: &mut HeaderMap, personal: bool) {
    if fields.contains_key(header::TRANSFER_ENCODING) {
        // Only one of the two is the body's end (RFC 9112, section 6.3), and it was not this.
        fields.remove(header::CONTENT_LENGTH);
    }
    headers::remove_hop_by_hop(fields);
    fields.remove(header::TE);
    drop_own_cookies(fields);
    if personal {
        keep_private(fields);
    }
}

/// An application may not set the gateway's cookies.
fn drop_own_cookies(fields: &mut HeaderMap) {
    let ours = |value: &HeaderValue| {
        let pair = value
            .as_bytes()
            .split(|&b| b == b';')
            .next()
            .unwrap_or_default();
        let mut parts = pair.splitn(2, |&b| b == b'=');
        let (name, rest) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        // A cookie without a name is sent back as its value alone.
        cookie::is_ours(name) || (name.trim_ascii().is_empty() && cookie::is_ours(rest))
    };
    if !fields.get_all(header::SET_COOKIE).iter().any(ours) {
        return;
    }
    if let header::Entry::Occupied(entry) = fields.entry(header::SET_COOKIE) {
        let (name, values) = entry.remove_entry_mult();
        let kept: Vec<_> = values.filter(|value| !ours(value)).collect();
        for value in kept {
            fields.append(&name, value);
        }
    }
}

/// No shared cache keeps it (RFC 9111, section 5.2.2): `public` and `s-maxage` become `private`.
fn keep_private(fields: &mut HeaderMap) {
    let for_caches = |name: &HeaderName| {
        name.as_str().ends_with("cdn-cache-control")
            || matches!(
                name.as_str(),
                "surrogate-control" | "x-accel-expires" | "edge-control"
            )
    };
    let doomed: Vec<HeaderName> = fields
        .keys()
        .filter(|name| for_caches(name))
        .cloned()
        .collect();
    for name in doomed {
        fields.remove(name);
    }
    let mut kept = Vec::new();
    let mut closed = false;
    for value in fields.get_all(header::CACHE_CONTROL) {
        for directive in value
            .to_str()
            .unwrap_or("no-store")
            .split(',')
            .map(str::trim)
        {
            let name = directive
                .split('=')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            match name.as_str() {
                "" | "public" | "s-maxage" => continue,
                // `private="field"` leaves the rest public (section 5.2.2.7).
                "private" if directive.contains('=') => continue,
                "private" | "no-store" => closed = true,
                _ => {}
            }
            kept.push(directive.to_owned());
        }
    }
    if !closed {
        kept.push("private".to_owned());
    }
    if let Ok(value) = HeaderValue::try_from(kept.join(", ")) {
        fields.insert(header::CACHE_CONTROL, value);
    }
}

/// The `101` that begins an upgrade, with the fields that it needs.
fn switched(response: Response<Body>) -> Response<Body> {
    let (mut head, _) = response.into_parts();
    clean(&mut head.headers, true);
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers
        .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    Response::from_parts(head, Body::Empty)
}

/// A short body whole, to be read and passed on; a long one passes unread.
async fn read_short(body: Body) -> Result<(Body, Option<Bytes>), crate::body::BodyError> {
    let length = http_body::Body::size_hint(&body);
    if length.lower() > LEARN_BYTES {
        return Ok((body, None));
    }
    let mut body = body;
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            read.extend_from_slice(&data);
        }
        if read.len() as u64 > LEARN_BYTES {
            let front = futures_util::stream::iter([Ok(http_body::Frame::data(Bytes::from(read)))]);
            let whole =
                futures_util::StreamExt::chain(front, http_body_util::BodyStream::new(body));
            return Ok((Body::boxed(http_body_util::StreamBody::new(whole)), None));
        }
    }
    let read = Bytes::from(read);
    Ok((Body::full(read.clone()), Some(read)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_control(sent: &[&'static str]) -> String {
        let mut fields = HeaderMap::new();
        for value in sent {
            fields.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
        }
        keep_private(&mut fields);
        fields[header::CACHE_CONTROL].to_str().unwrap().to_owned()
    }

    #[test]
    fn what_a_person_sees_is_never_publicly_cacheable() {
        for (sent, left) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "max-age=60, private"),
            (&["max-age=60", "s-maxage=600"], "max-age=60, private"),
            (&["Public"], "private"),
            (&["no-store"], "no-store"),
            (&["private, max-age=5"], "private, max-age=5"),
            (&["private=\"set-cookie\", max-age=5"], "max-age=5, private"),
        ] {
            assert_eq!(cache_control(sent), left, "{sent:?}");
        }
    }

    #[test]
    fn an_application_cannot_set_our_cookies() {
        let mut fields = HeaderMap::new();
        for value in [
            "a=1",
            "__Host-portvakt=x; Path=/",
            "b=2",
            "__host-portvakt-device=y",
            "=__Host-portvakt=z",
        ] {
            fields.append(header::SET_COOKIE, HeaderValue::from_static(value));
        }
        drop_own_cookies(&mut fields);
        assert_eq!(
            fields
                .get_all(header::SET_COOKIE)
                .iter()
                .collect::<Vec<_>>(),
            ["a=1", "b=2"]
        );
    }

    #[tokio::test]
    async fn a_long_body_passes_whole_and_unread() {
        let chunk = Bytes::from(vec![7; 40_000]);
        let frames = (0..4)
            .map(move |_| Ok::<_, std::convert::Infallible>(http_body::Frame::data(chunk.clone())));
        let body = Body::boxed(http_body_util::StreamBody::new(futures_util::stream::iter(
            frames,
        )));
        let (body, read) = read_short(body).await.unwrap();
        assert!(read.is_none());
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 160_000);
    }
}
