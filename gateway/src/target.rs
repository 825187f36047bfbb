//! The target: method, normalised path and query. One type, one string: what the policy judges
//! is, byte for byte, what the upstream receives.
//!
//! Normalisation follows RFC 3986, section 6.2.2, and refuses what two parsers could read in two
//! ways instead of guessing: dot segments, empty segments, encoded separators, path parameters.

pub mod query;

use std::fmt;

use http::Method;
use http::uri::PathAndQuery;

/// Longest path and query in bytes (RFC 9110, section 4.1, asks for at least 8,000).
pub const MAX_TARGET_BYTES: usize = 8192;

/// A method with a path and query in the one form that is judged and forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    method: Method,
    path_and_query: PathAndQuery,
}

/// What an upstream's own rules permit beyond the strict reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency {
    /// Runs of `/` are merged into one instead of refused.
    pub merge_slashes: bool,
    /// `%2F` may stand inside an identifier.
    pub encoded_slash: bool,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not origin-form (RFC 9112, section 3.2.1).
    #[error("the target is not a path")]
    Form,
    /// Longer than [`MAX_TARGET_BYTES`].
    #[error("the target is longer than 8192 bytes")]
    Length,
    /// `//`.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..` as a segment, or `.` in encoded form.
    #[error("the path has a dot segment or an encoded dot")]
    Dot,
    /// `%2F`, `%5C` or `\`.
    #[error("the path has an encoded slash or a backslash")]
    Separator,
    /// `;`.
    #[error("the path has a parameter (`;`)")]
    Parameter,
    /// `%` without two hexadecimal digits, or an encoded `%` before two.
    #[error("the path has a malformed or doubled percent-encoding")]
    Percent,
    /// A control character, encoded or not.
    #[error("the path has a control character")]
    Control,
    /// Bytes that are not UTF-8.
    #[error("the path is not UTF-8")]
    Utf8,
    /// A character that RFC 3986 does not let stand in a path or query, such as `#` or a blank.
    #[error("the target has a character that may not stand there")]
    Character,
}

impl Target {
    /// Normalises a path and query as received.
    ///
    /// # Errors
    ///
    /// [`TargetError`] for everything that two readers could read differently.
    pub fn parse(
        method: Method,
        received: &PathAndQuery,
        leniency: Leniency,
    ) -> Result<Self, TargetError> {
        let text = received.as_str();
        if text.len() > MAX_TARGET_BYTES {
            return Err(TargetError::Length);
        }
        if !text.starts_with('/') {
            return Err(TargetError::Form);
        }
        let path = received.path();
        let query = received.query();
        query.map_or(Ok(()), check_query)?;
        let path_and_query = match normalise_path(path, leniency)? {
            None => received.clone(),
            Some(mut rewritten) => {
                if let Some(query) = query {
                    rewritten.push('?');
                    rewritten.push_str(query);
                }
                PathAndQuery::try_from(rewritten).map_err(|_| TargetError::Character)?
            }
        };
        Ok(Self {
            method,
            path_and_query,
        })
    }

    /// A target from text, as in a policy test: `PATCH /projects/1?x=y`.
    ///
    /// # Errors
    ///
    /// [`TargetError`], as [`Target::parse`]; [`TargetError::Form`] for a text of another shape.
    pub fn from_line(line: &str) -> Result<Self, TargetError> {
        Self::from_line_with(line, Leniency::default())
    }

    /// [`Target::from_line`] with what an upstream permits beyond.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_line_with(line: &str, leniency: Leniency) -> Result<Self, TargetError> {
        let (method, path) = line.trim().split_once(' ').ok_or(TargetError::Form)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| TargetError::Form)?;
        let path = path.trim();
        if path.contains('#') {
            return Err(TargetError::Character);
        }
        let received = PathAndQuery::try_from(path).map_err(|_| TargetError::Character)?;
        Self::parse(method, &received, leniency)
    }

    /// The same under another method.
    #[must_use]
    pub fn with_method(&self, method: Method) -> Self {
        Self {
            method,
            path_and_query: self.path_and_query.clone(),
        }
    }

    /// The same with another query; none if it is empty.
    ///
    /// # Errors
    ///
    /// [`TargetError`] for what is no query, or too long.
    pub fn with_query(&self, query: &str) -> Result<Self, TargetError> {
        let whole = match query {
            "" => self.path().to_owned(),
            query => format!("{}?{query}", self.path()),
        };
        if whole.len() > MAX_TARGET_BYTES {
            return Err(TargetError::Length);
        }
        check_query(query)?;
        let path_and_query = PathAndQuery::try_from(whole).map_err(|_| TargetError::Character)?;
        Ok(Self {
            method: self.method.clone(),
            path_and_query,
        })
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The normalised path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// The query as received, without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.query()
    }

    /// The target without the query fields of these names, as [`query::folded`] gives them; `None`
    /// if it has none of them.
    #[must_use]
    pub fn without_fields(&self, names: &[String]) -> Option<Self> {
        let left = query::without(self.query()?, names)?;
        let mut text = self.path().to_owned();
        if !left.is_empty() {
            text.push('?');
            text.push_str(&left);
        }
        // What is left of a target is one.
        let path_and_query = PathAndQuery::try_from(text).ok()?;
        Some(Self {
            method: self.method.clone(),
            path_and_query,
        })
    }

    /// The one string that is judged and forwarded.
    #[must_use]
    pub const fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    /// Whether the method only reads (RFC 9110, section 9.2.1).
    #[must_use]
    pub fn is_safe(&self) -> bool {
        is_safe(&self.method)
    }
}

/// Whether a method only reads (RFC 9110, section 9.2.1, with WebDAV's `PROPFIND` and `REPORT`).
#[must_use]
pub fn is_safe(method: &Method) -> bool {
    method.is_safe() || matches!(method.as_str(), "PROPFIND" | "REPORT" | "SEARCH")
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path_and_query)
    }
}

/// `None` if the path already stands in its one form.
fn normalise_path(path: &str, leniency: Leniency) -> Result<Option<String>, TargetError> {
    let bytes = path.as_bytes();
    let mut out: Option<String> = None;
    let mut encoded_text = false;
    let mut at = 0;
    let mut after_slash = false;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'/' {
            if after_slash {
                if !leniency.merge_slashes {
                    return Err(TargetError::EmptySegment);
                }
                out.get_or_insert_with(|| path.get(..at).unwrap_or_default().to_owned());
                at += 1;
                continue;
            }
            after_slash = true;
        } else {
            if after_slash {
                check_segment(bytes.get(at..).unwrap_or_default())?;
            }
            after_slash = false;
        }
        match byte {
            b'%' => {
                let triplet = Triplet::read(bytes.get(at + 1..).unwrap_or_default())?;
                triplet.check(bytes.get(at + 3..).unwrap_or_default(), leniency)?;
                encoded_text |= !triplet.value.is_ascii();
                if triplet.is_normal() {
                    if let (Some(out), Some(raw)) = (&mut out, path.get(at..at + 3)) {
                        out.push_str(raw);
                    }
                } else {
                    let out =
                        out.get_or_insert_with(|| path.get(..at).unwrap_or_default().to_owned());
                    triplet.push_normal(out);
                }
                at += 3;
            }
            _ => {
                check_raw(byte)?;
                if let Some(out) = &mut out {
                    out.push(char::from(byte));
                }
                at += 1;
            }
        }
    }
    if encoded_text
        && percent_encoding::percent_decode_str(path)
            .decode_utf8()
            .is_err()
    {
        return Err(TargetError::Utf8);
    }
    if let Some(rewritten) = &out {
        // Decoding may have put together what was not there before: `/%25%32e` became `/%252e`.
        normalise_path(rewritten, leniency)?;
    }
    Ok(out)
}

/// `rest` begins with a segment: it must be no dot segment.
fn check_segment(rest: &[u8]) -> Result<(), TargetError> {
    let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    match rest.get(..end) {
        Some(b"." | b"..") => Err(TargetError::Dot),
        _ => Ok(()),
    }
}

/// A character that stands in the path as itself.
const fn check_raw(byte: u8) -> Result<(), TargetError> {
    match byte {
        b'a'..=b'z'
        | b'A'..=b'Z'
        | b'0'..=b'9'
        | b'-'
        | b'.'
        | b'_'
        | b'~'
        | b'/'
        | b'!'
        | b'$'
        | b'&'
        | b'\''
        | b'('
        | b')'
        | b'*'
        | b'+'
        | b','
        | b'='
        | b':'
        | b'@' => Ok(()),
        b';' => Err(TargetError::Parameter),
        b'\\' => Err(TargetError::Separator),
        0..=0x1f | 0x7f => Err(TargetError::Control),
        0x80.. => Err(TargetError::Utf8),
        _ => Err(TargetError::Character),
    }
}

/// A query takes no part in matching and passes as it came, if it is one (RFC 3986, section 3.4).
fn check_query(query: &str) -> Result<(), TargetError> {
    if query.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        Ok(())
    } else {
        Err(TargetError::Character)
    }
}

/// One `%XX`.
struct Triplet {
    value: u8,
    upper: bool,
}

impl Triplet {
    fn read(digits: &[u8]) -> Result<Self, TargetError> {
        let [high, low, ..] = *digits else {
            return Err(TargetError::Percent);
        };
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let (Some(h), Some(l)) = (digit(high), digit(low)) else {
            return Err(TargetError::Percent);
        };
        let upper = !high.is_ascii_lowercase() && !low.is_ascii_lowercase();
        Ok(Self {
            value: h << 4 | l,
            upper,
        })
    }

    fn check(&self, rest: &[u8], leniency: Leniency) -> Result<(), TargetError> {
        match self.value {
            b'/' if leniency.encoded_slash => Ok(()),
            b'/' | b'\\' => Err(TargetError::Separator),
            b'.' => Err(TargetError::Dot),
            b';' => Err(TargetError::Parameter),
            0..=0x1f | 0x7f => Err(TargetError::Control),
            b'%' if Self::read(rest).is_ok() => Err(TargetError::Percent),
            _ => Ok(()),
        }
    }

    const fn is_unreserved(&self) -> bool {
        self.value.is_ascii_alphanumeric() || matches!(self.value, b'-' | b'_' | b'~')
    }

    const fn is_normal(&self) -> bool {
        self.upper && !self.is_unreserved()
    }

    fn push_normal(&self, out: &mut String) {
        if self.is_unreserved() {
            out.push(char::from(self.value));
        } else {
            out.push('%');
            for nibble in [self.value >> 4, self.value & 15] {
                let digit = char::from_digit(nibble.into(), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, TargetError> {
        Target::parse(
            Method::GET,
            &PathAndQuery::try_from(text).unwrap(),
            Leniency::default(),
        )
        .map(|target| target.path_and_query().to_string())
    }

    #[test]
    fn what_stands_in_its_one_form_is_left_alone() {
        for text in [
            "/",
            "/projects/1",
            "/a/?x=%2e%2e//;",
            "/a%20b/%C3%A5",
            "/a:b@c,d=e",
        ] {
            assert_eq!(parse(text).unwrap(), text);
        }
    }

    #[test]
    fn unreserved_characters_are_decoded_once_and_hex_is_upper_case() {
        assert_eq!(parse("/%70rojects/%31").unwrap(), "/projects/1");
        assert_eq!(parse("/a%2db%5fc%7e/%c3%a5x").unwrap(), "/a-b_c~/%C3%A5x");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        use TargetError as E;
        for (text, expected) in [
            ("//", E::EmptySegment),
            ("/a//b", E::EmptySegment),
            ("/a//", E::EmptySegment),
            ("/.", E::Dot),
            ("/./a", E::Dot),
            ("/a/..", E::Dot),
            ("/a/../b", E::Dot),
            ("/%2e", E::Dot),
            ("/a%2Eb", E::Dot),
            ("/%2e%2e/a", E::Dot),
            ("/.%2e/a", E::Dot),
            ("/a%2fb", E::Separator),
            ("/a%2Fb", E::Separator),
            ("/a%5cb", E::Separator),
            ("/a;b", E::Parameter),
            ("/a%3bb", E::Parameter),
            ("/a%00", E::Control),
            ("/a%0a", E::Control),
            ("/a%7f", E::Control),
            ("/a%", E::Percent),
            ("/a%4", E::Percent),
            ("/a%zz", E::Percent),
            ("/a%252e", E::Percent),
            ("/a%252f", E::Percent),
            ("/a%25%32e", E::Percent),
            ("/%ff", E::Utf8),
            ("/%c0%ae", E::Utf8),
            ("/%ed%a0%80", E::Utf8),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_long_target_is_refused() {
        assert_eq!(
            parse(&format!("/{}", "a".repeat(MAX_TARGET_BYTES))),
            Err(TargetError::Length)
        );
    }

    #[test]
    fn an_upstream_may_ask_for_merged_slashes() {
        let leniency = Leniency {
            merge_slashes: true,
            ..Leniency::default()
        };
        let received = PathAndQuery::from_static("//a///b%7e/");
        let target = Target::parse(Method::GET, &received, leniency).unwrap();
        assert_eq!(target.path(), "/a/b~/");
    }

    #[test]
    fn a_normalised_target_is_its_own_normal_form() {
        for text in ["/%70/%c3%a5", "/a%20b", "/x%25y"] {
            let once = parse(text).unwrap();
            assert_eq!(parse(&once).unwrap(), once);
        }
    }
}
