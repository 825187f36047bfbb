//! Names with values: of a query, a form, or a form in parts.

use percent_encoding::percent_decode;

use super::{Found, Unreadable, Value, malformed};

/// Every field, in order.
#[derive(Debug, Default)]
pub(in crate::policy) struct Fields(Vec<(String, String)>);

/// A field's name, and the spellings that some application takes for the same one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) struct Name {
    exact: Box<str>,
    folded: Box<str>,
}

impl Name {
    pub(in crate::policy) fn new(exact: &str) -> Self {
        Self {
            exact: exact.into(),
            folded: fold(exact).into(),
        }
    }

    /// As written.
    pub(in crate::policy) fn as_str(&self) -> &str {
        &self.exact
    }

    /// Whether some application takes a field of this name for the one that is meant: in other
    /// capitals, with `.` for brackets, as `id[]` or `id[0]`, or as PHP folds names.
    pub(in crate::policy) fn is_like(&self, field: &str) -> bool {
        let mut stems = field.match_indices('[').map(|(at, _)| field.get(..at));
        fold(field) == *self.folded
            || stems.any(|stem| stem.is_some_and(|stem| fold(stem) == *self.folded))
    }

    /// Whether every application takes it so.
    pub(in crate::policy) fn is(&self, field: &str) -> bool {
        let rest = field.strip_prefix(&*self.exact);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
    }
}

impl Fields {
    pub(super) fn new(fields: Vec<(String, String)>) -> Result<Self, Unreadable> {
        if fields.iter().any(|(name, _)| name.contains('\0')) {
            return malformed("a field's name has a NUL in it");
        }
        Ok(Self(fields))
    }

    /// Reads `name=value&…` (WHATWG URL, section 5.1), strictly. Where a `;` stands, it is read as
    /// a separator as well: some applications do, some do not.
    pub(in crate::policy) fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        let mut fields = Vec::new();
        for pair in text.split(|&b| b == b'&') {
            push(pair, &mut fields)?;
            if pair.contains(&b';') {
                for pair in pair.split(|&b| b == b';') {
                    push(pair, &mut fields)?;
                }
            }
        }
        Self::new(fields)
    }

    /// Every value of a name in all its spellings; `own` if this is where it is looked for.
    pub(super) fn find(&self, name: &Name, own: bool, found: &mut Found) {
        for (field, value) in self.0.iter().filter(|(field, _)| name.is_like(field)) {
            found.present |= own && name.is(field);
            found.values.push(Value::Text(value.clone()));
        }
    }

    /// Every name.
    pub(in crate::policy) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The values of every spelling of a name.
    pub(in crate::policy) fn values(&self, name: &Name) -> impl Iterator<Item = &str> {
        let like = self.0.iter().filter(|(field, _)| name.is_like(field));
        like.map(|(_, value)| value.as_str())
    }
}

fn push(pair: &[u8], fields: &mut Vec<(String, String)>) -> Result<(), Unreadable> {
    if pair.is_empty() {
        return Ok(());
    }
    let (name, value) = match pair.iter().position(|&b| b == b'=') {
        Some(at) => (
            pair.get(..at).unwrap_or_default(),
            pair.get(at + 1..).unwrap_or_default(),
        ),
        None => (pair, &[][..]),
    };
    fields.push((decode(name)?, decode(value)?));
    Ok(())
}

/// Percent-encoding and `+` decoded, once.
fn decode(text: &[u8]) -> Result<String, Unreadable> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        rest = rest.get(at + 1..).unwrap_or_default();
        let digits = rest.get(..2).unwrap_or_default();
        if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return malformed("a field has a malformed percent-encoding");
        }
    }
    let blanks: Vec<u8> = text
        .iter()
        .map(|&b| if b == b'+' { b' ' } else { b })
        .collect();
    match percent_decode(&blanks).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => malformed("a field is not UTF-8"),
    }
}

/// One word for all spellings: `Issue[project_id]`, `issue.project_id`, ` issue project_id`.
fn fold(name: &str) -> String {
    let mut folded = String::new();
    let mut gap = false;
    let name = name.trim_start();
    // PHP takes `.method` for `_method`; `[issue]` is `issue` to others.
    let begun = name.starts_with(['_', '.']);
    for c in name.chars() {
        if matches!(c, '[' | ']' | '.' | '_') || c.is_whitespace() {
            gap = true;
            continue;
        }
        if gap && (begun || !folded.is_empty()) {
            folded.push('_');
        }
        gap = false;
        folded.extend(fold_letter(c));
    }
    folded
}

/// As readers that do not tell capitals apart fold: the long `s` and the Kelvin sign are letters.
pub(super) fn fold_letter(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}
