//! Forward: to the upstream and back, streaming both ways.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt;

use super::answer::Manner;
use super::observe::Seen;
use super::rewrite::{Outgoing, holder};
use super::watched::Watched;
use super::{Refusal, Shared};
use crate::body::Body;
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
        authority,
        held_back,
        wants_page,
        hold,
    } = outgoing;
    let method = request.method().clone();
    seen.upstream = Some(upstream.name().clone());
    // Held until the answer: if the client goes away early, nothing read meanwhile is kept.
    let unsettled = shared
        .authoriser
        .before_forward(&set, &matched, &method)
        .await
        .map_err(|error| Refusal::Unavailable(error.to_string()))?;
    let mut unsettled_too = Vec::new();
    for matched in &also {
        let before = shared
            .authoriser
            .before_forward(&set, matched, matched.method());
        let before = before.await;
        unsettled_too.push(before.map_err(|error| Refusal::Unavailable(error.to_string()))?);
    }
    let sent = Instant::now();
    seen.upstream_asked = Some(sent);
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

    let owner = session.clone();
    let manner = Manner {
        settings: upstream.settings(),
        public: &shared.config.public_url,
        binder: &shared.binder,
        authority: &authority,
        holder: holder(owner.as_deref()),
        held_back: &held_back,
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client =
            upgrade.ok_or_else(|| Refusal::BadGateway("an upgrade nobody asked for".to_owned()))?;
        let other = upstream::upstream_side(&mut response);
        tokio::spawn(async move {
            // The connection counts as open until the bridge is gone.
            let draining = hold.draining();
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
            upstream::bridge(client, other, used, ended, draining).await;
            drop(hold);
        });
        return Ok(manner.switched(response));
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
            manner.clean(&mut head.headers);
            return Ok(Response::from_parts(head, Body::Empty));
        }
    }
    manner.clean(&mut head.headers);
    head.version = http::Version::HTTP_11;
    Ok(Response::from_parts(
        head,
        Watched::wrap(body, session, &shared.headers),
    ))
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
