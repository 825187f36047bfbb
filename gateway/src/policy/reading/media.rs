//! What form a body has, as its header fields say.

use std::fmt;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::Unreadable;

/// The forms that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Format {
    Form,
    Multipart,
    Json,
    Xml,
}

/// A media type (RFC 9110, section 8.3.1), in lower case.
#[derive(Debug)]
pub(in crate::policy) struct Media {
    essence: String,
    boundary: Option<String>,
}

impl Media {
    /// The one type that a message gives its body. Anything but UTF-8 is refused.
    pub(in crate::policy) fn of(headers: &HeaderMap) -> Result<Self, Unreadable> {
        let refused = |why: &str| Unreadable::Type(format!("the body's type {why}"));
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let value = values.next().ok_or_else(|| refused("is missing"))?;
        if values.next().is_some() {
            return Err(refused("is given twice"));
        }
        let text = value.to_str().map_err(|_| refused("cannot be read"))?;
        Self::parse(text).ok_or_else(|| refused("cannot be read, or its text is not UTF-8"))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (essence, mut rest) = match text.split_once(';') {
            Some((essence, rest)) => (essence, Some(rest)),
            None => (text, None),
        };
        let essence = essence.trim().to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut boundary = None;
        let mut charset = false;
        while let Some(text) = rest {
            let text = text.trim_start();
            if text.is_empty() {
                break;
            }
            let (name, value, after) = parameter(text)?;
            match name.as_str() {
                "boundary" if boundary.is_some() => return None,
                "boundary" => boundary = Some(value),
                "charset" if charset || !value.eq_ignore_ascii_case("utf-8") => return None,
                "charset" => charset = true,
                _ => {}
            }
            rest = after;
        }
        Some(Self { essence, boundary })
    }

    pub(in crate::policy) fn format(&self) -> Option<Format> {
        match self.essence.as_str() {
            "application/x-www-form-urlencoded" => Some(Format::Form),
            "multipart/form-data" => Some(Format::Multipart),
            "application/json" | "text/json" => Some(Format::Json),
            "application/xml" | "text/xml" => Some(Format::Xml),
            other if other.ends_with("+json") => Some(Format::Json),
            other if other.ends_with("+xml") => Some(Format::Xml),
            _ => None,
        }
    }

    pub(in crate::policy) fn is_multipart(&self) -> bool {
        self.essence.starts_with("multipart/")
    }

    pub(super) fn boundary(&self) -> Option<&str> {
        self.boundary.as_deref()
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.essence)
    }
}

/// Whether a body is not encoded.
pub(in crate::policy) fn is_plain(headers: &HeaderMap) -> bool {
    let plain = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.get_all(CONTENT_ENCODING).iter().all(plain)
}

/// An encoded body is not read: what it unpacks to is bounded by nothing.
pub(super) fn refuse_coding(headers: &HeaderMap) -> Result<(), Unreadable> {
    if is_plain(headers) {
        return Ok(());
    }
    let message = "an encoded body is not read on this route";
    Err(Unreadable::Type(message.to_owned()))
}

/// One `name=value` or `name="value"`, and what stands behind the `;` after it.
pub(super) fn parameter(text: &str) -> Option<(String, String, Option<&str>)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.to_ascii_lowercase();
    if !is_token(&name) {
        return None;
    }
    let (value, after) = match rest.strip_prefix('"') {
        Some(quoted) => {
            let (value, after) = quoted.split_once('"')?;
            // A backslash before the quotation mark is read in two ways.
            if value.ends_with('\\') {
                return None;
            }
            (value, after)
        }
        None => {
            let end = rest.find(';').unwrap_or(rest.len());
            let (value, after) = rest.split_at_checked(end)?;
            let value = value.trim_end();
            if !is_token(value) {
                return None;
            }
            (value, after)
        }
    };
    let after = after.trim_start();
    let after = match after.strip_prefix(';') {
        Some(after) => Some(after),
        None if after.is_empty() => None,
        None => return None,
    };
    Some((name, value.to_owned(), after))
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(fits)
}
