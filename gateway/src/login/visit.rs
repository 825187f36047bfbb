//! What a request brings: who it comes from, what it wants to be answered in, and its fields,
//! read from a form or from JSON by the same rules.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::cookies::{self, Jar};
use super::refused::Refused;
use super::{Desk, agent};
use crate::body::Body;
use crate::client::{self, Client, RequestId};
use crate::pages::{Frame, Language};
use crate::secret::{self, BearerId};

/// Longest body of a form or call, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// A request without its body.
pub(super) struct Visit {
    pub(super) client: Client,
    pub(super) language: Language,
    /// Whether a person reads what is refused: a browser asks, not a program.
    pub(super) html: bool,
    /// Whether the steps are answered in JSON.
    pub(super) json: bool,
    pub(super) jar: Jar,
    pub(super) query: Fields,
    /// Browser and system in a few words.
    pub(super) agent: String,
    pub(super) headers: HeaderMap,
    /// Path below the prefix.
    path: String,
}

/// A request that is meant to change something: it comes from our own page or from a program, its
/// body is read, and a form's token fits its cookie.
pub(super) struct Post {
    pub(super) visit: Visit,
    pub(super) fields: Fields,
}

/// Named values; one that is given twice, or is not text, is not given.
#[derive(Debug)]
pub(super) enum Fields {
    Form(Vec<(String, String)>),
    Json(Map<String, Value>),
}

impl Fields {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self {
            Self::Form(pairs) => {
                let mut values = pairs.iter().filter(|(own, _)| own == name);
                let (_, value) = values.next()?;
                values.next().is_none().then_some(value)
            }
            Self::Json(members) => members.get(name)?.as_str(),
        }
    }

    fn of_form(bytes: &[u8]) -> Self {
        Self::Form(
            form_urlencoded::parse(bytes)
                .map(|(name, value)| (Cow::into_owned(name), Cow::into_owned(value)))
                .collect(),
        )
    }

    /// An object; no body at all is one without members.
    fn of_json(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.is_empty() {
            return Ok(Self::Json(Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => Ok(Self::Json(members)),
            _ => Err(Refused::Malformed),
        }
    }
}

impl Visit {
    fn of(parts: &Parts) -> Self {
        let headers = &parts.headers;
        let accepts_html = client::accepts_html(headers);
        let client = parts.extensions.get::<Client>().cloned();
        Self {
            client: client.unwrap_or_else(|| Client {
                address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                request_id: RequestId::generate(),
            }),
            language: Language::of(headers),
            html: accepts_html
                || headers
                    .get("sec-fetch-mode")
                    .is_some_and(|m| m == "navigate"),
            json: !accepts_html && (accepts_json(headers) || is_type(headers, JSON)),
            jar: Jar::of(headers),
            query: Fields::of_form(parts.uri.query().unwrap_or_default().as_bytes()),
            agent: agent::describe(headers),
            headers: headers.clone(),
            path: parts.uri.path().to_owned(),
        }
    }

    pub(super) fn frame<'a>(&self, desk: &'a Desk) -> Frame<'a> {
        Frame {
            language: self.language,
            prefix: &desk.prefix,
            request_id: self.client.request_id,
        }
    }

    /// The token for a form, and the cookie to set with it where the browser has none.
    pub(super) fn form_token(&self, desk: &Desk) -> (String, Option<BearerId>) {
        let (cookie, fresh) = match self.jar.bearer(cookies::FORM) {
            Some(cookie) => (cookie, None),
            None => {
                let cookie = BearerId::generate();
                (cookie.clone(), Some(cookie))
            }
        };
        (token(desk, &cookie), fresh)
    }

    /// Which step a path is, for metrics and records.
    fn step(&self) -> &'static str {
        match self.path.as_str() {
            "/login" => "email",
            "/code" => "code",
            "/resend" => "resend",
            "/link" => "link",
            "/logout" => "logout",
            _ => "account",
        }
    }
}

impl FromRequestParts<Arc<Desk>> for Visit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Desk>) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts))
    }
}

impl FromRequest<Arc<Desk>> for Post {
    type Rejection = Response<Body>;

    async fn from_request(
        request: Request<axum::body::Body>,
        desk: &Arc<Desk>,
    ) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let visit = Visit::of(&parts);
        match read(desk, &visit, body).await {
            Ok(fields) => Ok(Self { visit, fields }),
            Err(refused) => {
                desk.count(visit.step(), refused.kind());
                let record = desk.record(&visit, "login.refused", refused.kind());
                let refused = desk
                    .audit
                    .note(&record)
                    .map_or_else(Refused::from, |()| refused);
                Err(refused.answer(desk, &visit))
            }
        }
    }
}

async fn read(desk: &Desk, visit: &Visit, body: axum::body::Body) -> Result<Fields, Refused> {
    let headers = &visit.headers;
    if client::is_cross_site(headers, &desk.origin, &desk.allowed_origins) {
        return Err(Refused::CrossSite);
    }
    // A call that wants JSON must say that it sends JSON: another site's page cannot say so
    // without asking first (Fetch, section 4.8). One that sends nothing need not say what.
    let silent = !headers.contains_key(header::CONTENT_TYPE) && body.is_end_stream();
    let json = is_type(headers, JSON) || (visit.json && silent);
    if !json && (visit.json || !is_type(headers, FORM)) {
        return Err(Refused::MediaType);
    }
    let bytes = whole(desk, body).await?;
    if json {
        return Fields::of_json(&bytes);
    }
    let fields = Fields::of_form(&bytes);
    let shown = fields.text("csrf").unwrap_or_default();
    match visit.jar.bearer(cookies::FORM) {
        Some(cookie) if secret::same(shown.as_bytes(), token(desk, &cookie).as_bytes()) => {
            Ok(fields)
        }
        _ => Err(Refused::Form),
    }
}

/// A body that is read to its end.
pub(super) async fn whole(desk: &Desk, body: axum::body::Body) -> Result<Bytes, Refused> {
    let whole = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(desk.body_timeout, whole).await {
        Err(_) => Err(Refused::Slow),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
        Ok(Err(_)) => Err(Refused::Malformed),
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
    }
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Whether the one `Content-Type` is this, whatever its parameters.
fn is_type(headers: &HeaderMap, kind: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    value.to_str().is_ok_and(|text| {
        let essence = text.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(kind)
    })
}

fn accepts_json(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            let text = text.to_ascii_lowercase();
            text.contains("application/json") || text.contains("application/problem+json")
        })
    })
}

fn token(desk: &Desk, cookie: &BearerId) -> String {
    let value = cookie.to_cookie_value();
    BASE64URL_NOPAD.encode(&desk.form_key.mac(&[b"csrf", value.as_bytes()]))
}
