//! Paths with an identifier in them, JSON pointers, and the places they are read from.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

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

/// A JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Box<str>);

/// What stands at a pointer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pointed {
    /// An identifier in its one spelling: the number 7 and the text `7` are the same.
    Identifier(String),
    /// `null`.
    Null,
    /// Nothing.
    Missing,
    /// Something that is no identifier.
    Other,
}

impl Pointer {
    /// Reads a pointer.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("`{text}` is no JSON pointer: it begins with `/`"));
        }
        let escapes = text.split('~').skip(1);
        if escapes
            .into_iter()
            .any(|after| !after.starts_with(['0', '1']))
        {
            return Err(format!(
                "`{text}` is no JSON pointer: `~` is written `~0`, and `/` in a name `~1`"
            ));
        }
        if text
            .split('/')
            .any(|step| step == "*" || step.contains('['))
        {
            return Err(format!(
                "`{text}`: `*` and filters in a pointer are not built yet in this version"
            ));
        }
        Ok(Self(text.into()))
    }

    /// What stands there.
    pub(super) fn read(&self, document: &Value) -> Pointed {
        match document.pointer(&self.0) {
            None => Pointed::Missing,
            Some(Value::Null) => Pointed::Null,
            Some(Value::String(text)) => Pointed::Identifier(text.clone()),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                Pointed::Identifier(number.to_string())
            }
            Some(_) => Pointed::Other,
        }
    }

    /// The pointer as written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    #[test]
    fn numbers_and_texts_are_one_identifier() {
        let document = json!({"a/b": {"m~n": [7, "7", null, 7.5, {}]}});
        let read = |place: usize| {
            Pointer::parse(&format!("/a~1b/m~0n/{place}"))
                .unwrap()
                .read(&document)
        };
        let seven = || Pointed::Identifier("7".to_owned());
        assert_eq!(read(0), seven());
        assert_eq!(read(1), seven());
        assert_eq!(read(2), Pointed::Null);
        assert_eq!(read(3), Pointed::Other);
        assert_eq!(read(4), Pointed::Other);
        assert_eq!(read(5), Pointed::Missing);
        for text in ["", "a", "/a~", "/a~2", "/a/*/id", "/a[name=x]"] {
            assert!(Pointer::parse(text).is_err(), "{text}");
        }
    }
}
