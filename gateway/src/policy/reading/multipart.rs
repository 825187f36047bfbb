//! `multipart/form-data` (RFC 7578), read strictly: what parsers are known to disagree on is
//! refused, such as a name with a backslash, `name*`, or text before the first part.

use super::fields::Fields;
use super::media::{Media, parameter};
use super::{Unreadable, malformed};

/// How many parts are read.
const MAX_PARTS: usize = 1_000;

/// Every part that is text, by its name; a file's content is none, and counts as empty text.
pub(in crate::policy) fn parse(media: &Media, body: &[u8]) -> Result<Fields, Unreadable> {
    let boundary = media.boundary().filter(|boundary| is_boundary(boundary));
    let Some(boundary) = boundary else {
        return malformed("the parts of the body have no proper boundary");
    };
    let delimiter = format!("\r\n--{boundary}");
    let first = delimiter.get(2..).unwrap_or_default().as_bytes();
    let Some(mut rest) = body.strip_prefix(first) else {
        return malformed("the body does not begin with its boundary");
    };
    let mut fields = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            if !matches!(end, b"" | b"\r\n") {
                return malformed("something stands behind the last part of the body");
            }
            return Fields::new(fields);
        }
        let Some(part) = rest.strip_prefix(b"\r\n") else {
            return malformed("a boundary of the body is followed by something else");
        };
        let Some(end) = find(part, delimiter.as_bytes()) else {
            return malformed("a part of the body does not end");
        };
        fields.push(field(part.get(..end).unwrap_or_default())?);
        if fields.len() > MAX_PARTS {
            return malformed(format!("the body has more than {MAX_PARTS} parts"));
        }
        rest = part.get(end + delimiter.len()..).unwrap_or_default();
    }
}

/// RFC 2046, section 5.1.1, without blanks.
fn is_boundary(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    (1..=70).contains(&text.len()) && text.bytes().all(fits)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

/// One part: its name and its text.
fn field(part: &[u8]) -> Result<(String, String), Unreadable> {
    let Some(head_end) = find(part, b"\r\n\r\n") else {
        return malformed("a part of the body has no head");
    };
    let (head, value) = part.split_at(head_end);
    let value = value.get(4..).unwrap_or_default();
    let Ok(head) = std::str::from_utf8(head) else {
        return malformed("the head of a part is not UTF-8");
    };
    let mut disposition = None;
    let mut plain = true;
    for line in head.split("\r\n") {
        let Some((name, text)) = line.split_once(':') else {
            return malformed("the head of a part has a line without a colon");
        };
        if line.contains(['\r', '\n', '\0']) {
            return malformed("the head of a part has a control character");
        }
        let text = text.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if disposition.is_some() => {
                return malformed("a part of the body has two names");
            }
            "content-disposition" => disposition = Some(read_disposition(text)?),
            "content-type" => plain &= is_plain(text)?,
            "content-transfer-encoding" => {
                if !matches!(
                    text.to_ascii_lowercase().as_str(),
                    "7bit" | "8bit" | "binary"
                ) {
                    return malformed("a part of the body is encoded");
                }
            }
            other
                if other
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-') => {}
            _ => return malformed("the head of a part has an odd name"),
        }
    }
    let Some(name) = disposition else {
        return malformed("a part of the body has no name");
    };
    if name == "_charset_" && !value.eq_ignore_ascii_case(b"utf-8") {
        return malformed("the body's text is not UTF-8");
    }
    match std::str::from_utf8(value) {
        Ok(text) => Ok((name, text.to_owned())),
        // A file; under a name that is looked for, nothing is called so.
        Err(_) if !plain => Ok((name, String::new())),
        Err(_) => malformed("a part of the body is not UTF-8"),
    }
}

/// Whether a part's type says that it is text.
fn is_plain(text: &str) -> Result<bool, Unreadable> {
    match Media::parse(text) {
        Some(media) if !media.to_string().starts_with("multipart/") => {
            Ok(media.to_string() == "text/plain")
        }
        _ => malformed("a part of the body is of a type that is not read"),
    }
}

/// The name in `form-data; name="…"; filename="…"`.
fn read_disposition(text: &str) -> Result<String, Unreadable> {
    let unclear = || Unreadable::Malformed("the name of a part can be read in two ways".to_owned());
    let (kind, mut rest) = text.split_once(';').ok_or_else(unclear)?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(unclear());
    }
    let mut name = None;
    let mut file = false;
    loop {
        let (key, value, after) = parameter(rest.trim_start()).ok_or_else(unclear)?;
        match key.as_str() {
            // Browsers write a quotation mark in a name as `%22`; others mean it as it stands.
            "name" if name.is_some() || value.contains(['\\', '%']) => return Err(unclear()),
            "name" => name = Some(value),
            "filename" if file => return Err(unclear()),
            "filename" => file = true,
            _ => return Err(unclear()),
        }
        match after {
            Some(after) => rest = after,
            None => return name.ok_or_else(unclear),
        }
    }
}
