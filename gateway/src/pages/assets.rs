//! The files that pages refer to, embedded.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use data_encoding::{BASE64, HEXLOWER};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::answer;
use crate::body::Body;

pub(super) const STYLE: &str = include_str!("assets/style.css");
const ICON: &str = include_str!("assets/icon.svg");

static STYLE_VERSION: LazyLock<String> = LazyLock::new(|| version(STYLE));
/// What names the style sheet in a policy, where a page holds it (CSP 3, section 2.3.1).
pub(super) static STYLE_SOURCE: LazyLock<String> = LazyLock::new(|| {
    let digest = digest::digest(&digest::SHA256, STYLE.as_bytes());
    format!("'sha256-{}'", BASE64.encode(digest.as_ref()))
});
static ICON_VERSION: LazyLock<String> = LazyLock::new(|| version(ICON));

/// A file by its name below `assets/`; `None` if there is none. Answers `If-None-Match`
/// (RFC 9110, section 13.1.2). These files are everyone's, and may be kept by any cache.
#[must_use]
pub fn asset(name: &str, request: &HeaderMap) -> Option<Response<Body>> {
    let (text, version, kind) = match name {
        "style.css" => (STYLE, STYLE_VERSION.as_str(), "text/css; charset=utf-8"),
        "icon.svg" => (ICON, ICON_VERSION.as_str(), "image/svg+xml"),
        _ => return None,
    };
    let tag = format!("\"{version}\"");
    let known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = if known {
        answer(StatusCode::NOT_MODIFIED, None, Body::Empty)
    } else {
        answer(StatusCode::OK, Some(kind), Body::full(text))
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=86400"),
    );
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    Some(response)
}

pub(super) fn style_version() -> &'static str {
    &STYLE_VERSION
}

/// The start of the content's SHA-256: enough to tell one build's file from another's.
fn version(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    HEXLOWER.encode(digest.as_ref().get(..8).unwrap_or_default())
}
