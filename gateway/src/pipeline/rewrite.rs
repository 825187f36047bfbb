//! Rewrite: the request as the upstream sees it, with the identity that only we can set.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Version};
use zeroize::Zeroizing;

use super::address::Absolute;
use super::authorise::Parts;
use super::guard::{Ending, Guarded};
use super::normalise::{Authority, Normalised};
use super::{Hold, Permit, Refusal, Shared};
use crate::body::Body;
use crate::client::Client;
use crate::config::{self, Cookies, HeaderTemplate, TemplatePart};
use crate::cookie::{self, Holder};
use crate::policy::{PolicySet, Route, RouteMatch};
use crate::principal::Principal;
use crate::secret;
use crate::session::Session;
use crate::upstream::{self, OnUpgrade, Upstream, Upstreams};

const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// A request ready to leave, with what the answer needs to know of it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: Request<Body>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) set: Arc<PolicySet>,
    pub(super) matched: RouteMatch,
    /// What it is besides, if the application takes it for another method.
    pub(super) also: Vec<RouteMatch>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) ending: Option<Ending>,
    pub(super) upgrade: Option<OnUpgrade>,
    /// As the client named us.
    pub(super) authority: Authority,
    /// Names of cookies of someone who is logged in, held back from a public page.
    pub(super) held_back: Vec<Vec<u8>>,
    /// A browser's form went out: where it lands is a page.
    pub(super) wants_page: bool,
    /// Keeps the client's connection counted while an upgrade lives on.
    pub(super) hold: Hold,
}

pub(super) fn rewrite(
    shared: &Shared,
    upstreams: &Upstreams,
    permit: Permit,
) -> Result<Outgoing, Refusal> {
    let name = permit.matched().route().upstream();
    let upstream = upstreams
        .find(name)
        .ok_or_else(|| Refusal::Unavailable("the route names no configured upstream".to_owned()))?;
    let upstream = Arc::clone(upstream);
    let Parts {
        normalised,
        set,
        matched,
        also,
        session,
    } = permit.into_parts();
    let Normalised {
        mut request,
        target,
        client,
        authority,
        scheme,
        upgrade,
        traceparent,
        hold,
    } = normalised;
    let wants_page = crate::client::accepts_html(request.headers());

    let limit = matched
        .route()
        .body_limit()
        .unwrap_or(shared.config.limits.body_bytes);
    let ending = guard_body(shared, &mut request, limit, session.as_ref())?;
    let upgrade =
        (upgrade && matched.route().upgrades()).then(|| upstream::client_side(&mut request));

    *request.uri_mut() = target.path_and_query().clone().into();
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    shared.headers.clean_request(headers);
    let held_back = cookies(shared, upstream.settings(), session.as_deref(), headers);
    let host = upstream.settings().host.as_deref();
    insert(headers, header::HOST, host.unwrap_or(authority.as_str()))?;
    if headers.contains_key(&DESTINATION) {
        destination(headers, matched.route(), host)?;
    }
    if upgrade.is_some() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    describe_origin(headers, &client, scheme, authority.as_str(), traceparent)?;
    if let Some(session) = &session {
        for template in chosen(upstream.settings(), matched.route().identity())? {
            headers.insert(
                template.name.clone(),
                identity(shared, session, upstream.name(), template)?,
            );
        }
    }
    frame(&mut request);
    Ok(Outgoing {
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
    })
}

/// Leaves of the cookies what the application may see; returns the names of those of someone who
/// is logged in that a public page shall neither see nor replace.
fn cookies(
    shared: &Shared,
    settings: &config::Upstream,
    session: Option<&Session>,
    headers: &mut HeaderMap,
) -> Vec<Vec<u8>> {
    let readable = &settings.cookies_readable;
    match settings.cookies {
        Cookies::Pass => cookie::remove_ours(headers),
        Cookies::Drop => cookie::keep_readable(headers, readable),
        Cookies::Bind => {
            let logged_in = cookie::single(headers, cookie::OURS).is_some();
            let held_back = cookie::admit(headers, &shared.binder, holder(session), readable);
            if session.is_none() && logged_in {
                return held_back;
            }
        }
    }
    Vec::new()
}

/// Whom the cookies of a session's answers are for.
pub(super) fn holder(session: Option<&Session>) -> Holder<'_> {
    session.map_or(Holder::Nobody, |session| {
        Holder::User(session.principal().id.as_str())
    })
}

/// WebDAV's second target passes only where it was judged, and at the host that the upstream is told
/// (RFC 4918, section 10.3).
fn destination(headers: &mut HeaderMap, route: &Route, host: Option<&str>) -> Result<(), Refusal> {
    if !route.reads_header(&DESTINATION) {
        headers.remove(&DESTINATION);
        return Ok(());
    }
    let Some(host) = host else { return Ok(()) };
    let told = headers.get(&DESTINATION);
    let told = told.and_then(|value| value.to_str().ok());
    let moved = told
        .and_then(Absolute::read)
        .map(|url| format!("http://{host}{}", url.rest));
    moved.map_or(Ok(()), |moved| insert(headers, DESTINATION, &moved))
}

/// Limits a body that streams; one that says it is too large is refused at once.
fn guard_body(
    shared: &Shared,
    request: &mut Request<Body>,
    limit: u64,
    session: Option<&Arc<Session>>,
) -> Result<Option<Ending>, Refusal> {
    let body = std::mem::take(request.body_mut());
    let (empty, length) = (
        http_body::Body::is_end_stream(&body),
        http_body::Body::size_hint(&body),
    );
    if empty {
        return Ok(None);
    }
    if length.lower() > limit {
        return Err(Refusal::BodyTooLarge);
    }
    let plan = Arc::clone(&shared.headers);
    let (guarded, ending) = Guarded::new(body, limit, plan, session.cloned());
    *request.body_mut() = Body::boxed(guarded);
    Ok(Some(ending))
}

/// A body of unknown length is chunked, whatever the method (RFC 9112, section 6.1); hyper would
/// drop that of a `GET`.
fn frame(request: &mut Request<Body>) {
    let body = request.body();
    let unknown =
        !http_body::Body::is_end_stream(body) && http_body::Body::size_hint(body).exact().is_none();
    if unknown {
        let headers = request.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where the request came from, as we saw it (RFC 7239; W3C Trace Context). The values lie in one
/// piece of memory, which they share.
fn describe_origin(
    headers: &mut HeaderMap,
    client: &Client,
    scheme: &'static str,
    authority: &str,
    traceparent: Option<HeaderValue>,
) -> Result<(), Refusal> {
    let mut text = String::with_capacity(224 + 2 * authority.len());
    let address = written(&mut text, format_args!("{}", client.address));
    let forwarded = if client.address.is_ipv6() {
        let node = client.address;
        written(
            &mut text,
            format_args!("for=\"[{node}]\";host=\"{authority}\";proto={scheme}"),
        )
    } else {
        let node = client.address;
        written(
            &mut text,
            format_args!("for={node};host=\"{authority}\";proto={scheme}"),
        )
    };
    let host = written(&mut text, format_args!("{authority}"));
    let id = written(&mut text, format_args!("{}", client.request_id));
    let span = traceparent.is_none().then(|| {
        let mut span = [0; 16];
        HEXLOWER.encode_mut(&secret::identifier::<8>(), &mut span);
        let span = str::from_utf8(&span).unwrap_or_default();
        written(
            &mut text,
            format_args!("00-{}-{span}-01", client.request_id),
        )
    });
    let text = Bytes::from(text);
    let value = |range| HeaderValue::from_maybe_shared(text.slice(range)).map_err(unsendable);
    headers.insert(X_FORWARDED_FOR, value(address)?);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.insert(X_FORWARDED_HOST, value(host)?);
    headers.insert(header::FORWARDED, value(forwarded)?);
    headers.insert(X_REQUEST_ID, value(id)?);
    let trace = match (traceparent, span) {
        (Some(told), _) => Some(told),
        (None, Some(span)) => Some(value(span)?),
        (None, None) => None,
    };
    trace.map(|trace| headers.insert(TRACEPARENT, trace));
    Ok(())
}

/// Adds to a text; returns where.
fn written(text: &mut String, more: std::fmt::Arguments<'_>) -> Range<usize> {
    let begin = text.len();
    // Writing to a string does not fail.
    let _ = text.write_fmt(more);
    begin..text.len()
}

/// The headers of the identity that a route names.
fn chosen<'a>(
    settings: &'a config::Upstream,
    name: Option<&str>,
) -> Result<&'a [HeaderTemplate], Refusal> {
    settings
        .identity(name)
        .ok_or_else(|| Refusal::Unavailable("the route names no configured identity".to_owned()))
}

/// Says who asks, on a look-up: the caller, or the gateway, which sends what names no user. No
/// assertion goes along: it is made for a session, and this is the gateway's own request.
pub(super) fn name_asker(
    headers: &mut HeaderMap,
    settings: &config::Upstream,
    caller: Option<&Principal>,
    identity: Option<&str>,
) -> Result<(), Refusal> {
    if caller.is_none() && identity.is_none() {
        return Ok(());
    }
    for template in chosen(settings, identity)? {
        match caller {
            Some(_) if template.is_signed() => {}
            None if template.names_someone() => {}
            who => drop(headers.insert(template.name.clone(), fill(template, who, "")?)),
        }
    }
    Ok(())
}

/// The value of a header that names who is calling.
fn identity(
    shared: &Shared,
    session: &Session,
    audience: &str,
    template: &HeaderTemplate,
) -> Result<HeaderValue, Refusal> {
    if !template.is_signed() {
        return shared
            .names
            .value(session.principal(), template, |principal| {
                fill(template, Some(principal), "")
            });
    }
    let assertion = shared
        .keyring
        .assertion(session, audience)
        .map_err(|error| Refusal::Unavailable(error.to_string()))?;
    if let [TemplatePart::Assertion] = template.parts.as_slice() {
        return Ok(assertion);
    }
    let text = assertion.to_str().unwrap_or_default();
    fill(template, Some(session.principal()), text)
}

fn fill(
    template: &HeaderTemplate,
    principal: Option<&Principal>,
    assertion: &str,
) -> Result<HeaderValue, Refusal> {
    let mut text = Zeroizing::new(String::new());
    let mut sensitive = false;
    for part in &template.parts {
        match part {
            TemplatePart::Basic { user, password } => {
                sensitive = true;
                push(&mut text, &basic(user, password, principal, assertion)?);
            }
            part => {
                sensitive |= matches!(part, TemplatePart::Secret(_));
                push(&mut text, &told(part, principal, assertion));
            }
        }
    }
    let mut value = HeaderValue::try_from(text.as_str()).map_err(unsendable)?;
    value.set_sensitive(sensitive);
    Ok(value)
}

/// What a placeholder stands for.
fn told<'a>(
    part: &'a TemplatePart,
    principal: Option<&'a Principal>,
    assertion: &'a str,
) -> Cow<'a, str> {
    let principal = match (part, principal) {
        (TemplatePart::Literal(literal), _) => return Cow::Borrowed(literal),
        (TemplatePart::Secret(secret), _) => {
            return Cow::Borrowed(secret.expose_text().unwrap_or_default());
        }
        (_, Some(principal)) => principal,
        // Nobody is named without a name.
        (_, None) => return Cow::Borrowed(""),
    };
    Cow::Borrowed(match part {
        TemplatePart::UserId => principal.id.as_str(),
        TemplatePart::UserEmail => principal.email.as_str(),
        TemplatePart::UserName => &principal.name,
        TemplatePart::UserLogin => &principal.login,
        TemplatePart::UserRoles => return Cow::Owned(principal.roles.join(",")),
        TemplatePart::CompanyId => principal.company.id.as_str(),
        TemplatePart::CompanyName => &principal.company.name,
        TemplatePart::Assertion => assertion,
        // It holds no other of its kind; literals and secrets were told above.
        TemplatePart::Basic { .. } | TemplatePart::Literal(_) | TemplatePart::Secret(_) => "",
    })
}

/// Name and password as basic authentication has them: UTF-8, divided by the first colon
/// (RFC 7617, section 2).
fn basic(
    user: &[TemplatePart],
    password: &[TemplatePart],
    principal: Option<&Principal>,
    assertion: &str,
) -> Result<String, Refusal> {
    let mut pair = Zeroizing::new(String::new());
    for part in user {
        pair.push_str(&told(part, principal, assertion));
    }
    if pair.contains(':') {
        let reason = "the user's name has a colon, which basic authentication cannot carry";
        return Err(Refusal::Unavailable(reason.to_owned()));
    }
    pair.push(':');
    for part in password {
        pair.push_str(&told(part, principal, assertion));
    }
    Ok(BASE64.encode(pair.as_bytes()))
}

/// Visible ASCII and blanks stand as they are; anything else is percent-encoded UTF-8.
fn push(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte == b' ' || byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), Refusal> {
    headers.insert(name, HeaderValue::try_from(value).map_err(unsendable)?);
    Ok(())
}

fn unsendable(error: http::header::InvalidHeaderValue) -> Refusal {
    Refusal::Unavailable(format!(
        "a header for the upstream cannot be written: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_travels_as_percent_encoded_utf_8() {
        let mut out = String::new();
        push(&mut out, "K\u{e5}re\r\nX: y");
        assert_eq!(out, "K%C3%A5re%0D%0AX: y");
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked_even_on_get() {
        let stream = http_body_util::StreamBody::new(futures_util::stream::empty::<
            Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>,
        >());
        let mut request = Request::new(Body::boxed(stream));
        request
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from_static("3"));
        frame(&mut request);
        assert_eq!(request.headers()[header::TRANSFER_ENCODING], "chunked");
        assert!(!request.headers().contains_key(header::CONTENT_LENGTH));
    }
}
