//! JSON pointers into the application's answers.

use serde_json::Value;

/// A JSON pointer (RFC 6901), with `*` for every member and `*[name=Owner]` for those whose
/// `name` is `Owner`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    written: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A name, or a place in a list.
    Member(Box<str>),
    /// Every member.
    Every,
    /// Every member whose field has this text or whole number.
    Where { field: Box<str>, is: Box<str> },
}

/// What stands at a pointer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pointed {
    /// An identifier in its one spelling: the number 7 and the text `7` are the same.
    Identifier(String),
    /// `null`.
    Null,
    /// Nothing.
    Missing,
    /// Something that is no identifier, or several that differ: nobody guesses which is meant.
    Other,
}

impl Pointer {
    /// Reads a pointer.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("`{text}` is no JSON pointer: it begins with `/`"));
        };
        let steps: Result<_, _> = path
            .split('/')
            .map(|step| Step::parse(text, step))
            .collect();
        Ok(Self {
            written: text.into(),
            steps: steps?,
        })
    }

    /// What stands there.
    pub(super) fn read(&self, document: &Value) -> Pointed {
        let mut found = Pointed::Missing;
        let mut first = true;
        walk(&self.steps, document, &mut |value| {
            let this = pointed(value);
            if first {
                found = this;
            } else if this != found {
                found = Pointed::Other;
            }
            first = false;
        });
        found
    }

    /// The pointer as written.
    pub(super) fn as_str(&self) -> &str {
        &self.written
    }
}

impl Step {
    fn parse(whole: &str, step: &str) -> Result<Self, String> {
        if step == "*" {
            return Ok(Self::Every);
        }
        if step.contains('[') {
            let filter = step
                .strip_prefix("*[")
                .and_then(|rest| rest.strip_suffix(']'));
            let (field, is) = filter
                .and_then(|filter| filter.split_once('='))
                .filter(|(field, _)| !field.is_empty())
                .ok_or_else(|| {
                    format!("`{whole}`: a filter is written `*[name=Owner]`, not `{step}`")
                })?;
            return Ok(Self::Where {
                field: unescape(whole, field)?,
                is: unescape(whole, is)?,
            });
        }
        unescape(whole, step).map(Self::Member)
    }
}

fn unescape(whole: &str, text: &str) -> Result<Box<str>, String> {
    let mut escapes = text.split('~').skip(1);
    if escapes.any(|after| !after.starts_with(['0', '1'])) {
        return Err(format!(
            "`{whole}` is no JSON pointer: `~` is written `~0`, and `/` in a name `~1`"
        ));
    }
    Ok(text.replace("~1", "/").replace("~0", "~").into())
}

/// Shows `see` what stands at the end of every way, `None` where one ends early.
fn walk(steps: &[Step], value: &Value, see: &mut impl FnMut(Option<&Value>)) {
    let Some((step, rest)) = steps.split_first() else {
        return see(Some(value));
    };
    let member = match (step, value) {
        (Step::Member(name), Value::Object(map)) => map.get(&**name),
        (Step::Member(place), Value::Array(list)) => index(place).and_then(|at| list.get(at)),
        (Step::Member(_), _) => None,
        (_, Value::Array(list)) => {
            for member in list.iter().filter(|member| step.takes(member)) {
                walk(rest, member, see);
            }
            return;
        }
        (_, Value::Object(map)) => {
            for member in map.values().filter(|member| step.takes(member)) {
                walk(rest, member, see);
            }
            return;
        }
        _ => None,
    };
    match member {
        Some(member) => walk(rest, member, see),
        None => see(None),
    }
}

impl Step {
    fn takes(&self, member: &Value) -> bool {
        match self {
            Self::Where { field, is } => match member.get(&**field) {
                Some(Value::String(text)) => **text == **is,
                Some(Value::Number(number)) => number.to_string() == **is,
                _ => false,
            },
            Self::Every | Self::Member(_) => true,
        }
    }
}

/// A place in a list: no sign, no zero before it (RFC 6901, section 4).
fn index(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let one_spelling = text == "0" || !text.starts_with('0');
    (digits && one_spelling)
        .then(|| text.parse().ok())
        .flatten()
}

fn pointed(value: Option<&Value>) -> Pointed {
    match value {
        None => Pointed::Missing,
        Some(Value::Null) => Pointed::Null,
        Some(Value::String(text)) => Pointed::Identifier(text.clone()),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
            Pointed::Identifier(number.to_string())
        }
        Some(_) => Pointed::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        for text in [
            "",
            "a",
            "/a~",
            "/a~2",
            "/a[name=x]",
            "/*[name]",
            "/*[=x]",
            "/*[name=x",
        ] {
            assert!(Pointer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_filter_finds_the_field_that_is_meant_and_differing_values_are_none() {
        let document = json!({"fields": [
            {"name": "Customer", "value": "tinde"},
            {"name": "Owner", "value": "u-kari"},
            {"name": "a/b", "id": 4, "value": 7},
            {"name": "Twice", "value": "x"},
            {"name": "Twice", "value": "x"},
            {"name": "Torn", "value": "x"},
            {"name": "Torn", "value": "y"},
            {"name": "Half", "value": "x"},
            {"name": "Half"},
            "no object",
        ]});
        let read = |text: &str| Pointer::parse(text).unwrap().read(&document);
        let is = |text: &str| Pointed::Identifier(text.to_owned());
        assert_eq!(read("/fields/*[name=Owner]/value"), is("u-kari"));
        assert_eq!(read("/fields/*[name=a~1b]/value"), is("7"));
        assert_eq!(read("/fields/*[id=4]/value"), is("7"));
        assert_eq!(read("/*/*[name=Twice]/value"), is("x"));
        for (text, found) in [
            ("/fields/*[name=owner]/value", Pointed::Missing),
            ("/fields/*[name=Torn]/value", Pointed::Other),
            ("/fields/*[name=Half]/value", Pointed::Other),
            ("/fields/*/value", Pointed::Other),
            ("/nothing/*/value", Pointed::Missing),
            ("/fields/0/name/*", Pointed::Missing),
            ("/fields/00/value", Pointed::Missing),
        ] {
            assert_eq!(read(text), found, "{text}");
        }
    }
}
