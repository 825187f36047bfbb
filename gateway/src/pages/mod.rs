//! The gateway's own answers: pages for people, problems for programs, and the fields that guard
//! both. Login and refusals share them.
//!
//! No page holds or needs a script, and nothing comes from another site.

mod account;
mod assets;
mod forms;
mod language;
mod link;
mod problem;
mod refusal;
pub mod safety;
mod texts;
mod waiting;

use std::sync::LazyLock;

use askama::Template;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::body::Body;
use crate::client::RequestId;

pub use account::{AccountPage, DeviceRow, SessionRow};
pub use assets::asset;
pub use forms::{
    CodeForm, CodeNote, EmailForm, EmailNote, LoggedIn, failures_mail, failures_message, message,
};
pub use language::Language;
pub use link::{LinkForm, LinkSent, mail, new_device_refused, other_browser};
pub use problem::{Problem, json, problem};
pub use refusal::{
    CopyFirst, Notice, copy_first, form_out_of_date, notice, refusal, set_retry_after,
};
pub use waiting::{AwaitedStep, Waiting, waiting};

/// What every page needs to know of its request.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The language to speak.
    pub language: Language,
    /// Path prefix of the gateway's own paths, such as `/.portvakt`.
    pub prefix: &'a str,
    /// Shown in small print, for support.
    pub request_id: RequestId,
}

impl Frame<'_> {
    fn texts(&self) -> &'static texts::Texts {
        self.language.texts()
    }

    /// Where the style sheet is; changes with its content.
    fn style(&self) -> String {
        format!(
            "{}/assets/style.css?v={}",
            self.prefix,
            assets::style_version()
        )
    }
}

/// Sets the fields that every answer of our own carries, whatever it says.
pub fn secure(headers: &mut HeaderMap) {
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.remove(header::SERVER);
}

/// What a page of ours may load: nothing but our own style sheet and pictures, and no script.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = assets::STYLE_SOURCE.as_str();
    let policy = format!(
        "default-src 'none'; style-src 'self' {style}; img-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

const SECURITY: [(HeaderName, &str); 6] = [
    (
        header::STRICT_TRANSPORT_SECURITY,
        "max-age=31536000; includeSubDomains",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// An answer without a body, such as a redirect.
#[must_use]
pub fn bare(status: StatusCode) -> Response<Body> {
    answer(status, None, Body::Empty)
}

/// A `303` to a path on this site.
#[must_use]
pub fn see_other(path: &str) -> Response<Body> {
    let mut response = bare(StatusCode::SEE_OTHER);
    // A path that cannot be a field's value was not judged: home is always safe.
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// A rendered page.
fn page(frame: &Frame<'_>, status: StatusCode, template: &impl Template) -> Response<Body> {
    match template.render() {
        Ok(html) => {
            let mut response = answer(status, Some("text/html; charset=utf-8"), Body::full(html));
            response.headers_mut().insert(
                header::CONTENT_LANGUAGE,
                HeaderValue::from_static(frame.language.tag()),
            );
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn answer(status: StatusCode, kind: Option<&'static str>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    secure(response.headers_mut());
    response
}

#[cfg(test)]
mod tests;
