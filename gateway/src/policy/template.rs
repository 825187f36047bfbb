//! Paths with an identifier in them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub(super) use super::pointer::{Pointed, Pointer};

/// What stands as itself in a path segment (RFC 3986, section 2.3, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A path with one `{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathTemplate {
    before: Box<str>,
    after: Box<str>,
}

impl PathTemplate {
    /// Reads a path such as `/projects/{id}`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (before, after) = text
            .split_once("{id}")
            .ok_or_else(|| format!("`{text}` has no `{{id}}`"))?;
        if !before.starts_with('/') || before.starts_with("//") {
            return Err(format!("`{text}` is no path: it begins with one `/`"));
        }
        if after.contains("{id}") || [before, after].concat().contains(['{', '}']) {
            return Err(format!("`{text}` has more than one name: only `{{id}}`"));
        }
        let fits = |b: u8| b.is_ascii_graphic() && b != b'#' && b != b'\\';
        if !text.bytes().all(fits) {
            return Err(format!(
                "`{text}` has a character that may not stand in a path"
            ));
        }
        Ok(Self {
            before: before.into(),
            after: after.into(),
        })
    }

    /// The path for an identifier, which is percent-encoded.
    pub(super) fn fill(&self, id: &str) -> String {
        let id = utf8_percent_encode(id, SEGMENT);
        format!("{}{id}{}", self.before, self.after)
    }

    /// The identifier in a path of this form, decoded; `None` for another form.
    pub(super) fn find(&self, path: &str) -> Option<String> {
        let id = path
            .strip_prefix(&*self.before)?
            .strip_suffix(&*self.after)?;
        if id.is_empty() || id.contains('/') {
            return None;
        }
        let id = percent_decode_str(id).decode_utf8().ok()?;
        Some(id.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_encoded_into_a_path_and_found_in_it() {
        let template = PathTemplate::parse("/projects/{id}/facts").unwrap();
        assert_eq!(template.fill("7"), "/projects/7/facts");
        assert_eq!(template.fill("a b/å"), "/projects/a%20b%2F%C3%A5/facts");
        assert_eq!(template.find("/projects/7/facts").as_deref(), Some("7"));
        assert_eq!(
            template.find("/projects/%C3%A5/facts").as_deref(),
            Some("å")
        );
        for path in [
            "/projects//facts",
            "/projects/7",
            "/projects/7/8/facts",
            "/x/7/facts",
            "/projects/%ff/facts",
        ] {
            assert_eq!(template.find(path), None, "{path}");
        }
        for text in [
            "/projects",
            "projects/{id}",
            "/{id}/{id}",
            "//x/{id}",
            "/{id}/{x}",
            "/{id} x",
        ] {
            assert!(PathTemplate::parse(text).is_err(), "{text}");
        }
    }
}
