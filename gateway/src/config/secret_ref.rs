//! Secrets by reference: `env:NAME` or `file:PATH`. A literal secret in the file is a fault, and
//! no message or excerpt shows it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::secret::Secret;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file, whose last line end is not part of the secret.
    File(PathBuf),
}

/// Why a text is no reference. It does not say which text: that may be the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is given by reference, `env:NAME` or `file:PATH`, never as itself")]
pub struct LiteralSecret;

/// Why a reference leads to no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not in the environment.
    #[error("environment variable `{0}` is not set")]
    NotSet(String),
    /// No such file, or not ours to read.
    #[error("cannot read the secret in `{0}`: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Set, or there, and yet nothing.
    #[error("the secret in `{0}` is empty")]
    Empty(String),
}

impl SecretRef {
    /// Reads a reference.
    ///
    /// # Errors
    ///
    /// [`LiteralSecret`] for anything else.
    pub fn parse(text: &str) -> Result<Self, LiteralSecret> {
        if let Some(name) = text.strip_prefix("env:") {
            let fits = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            return fits
                .then(|| Self::Env(name.to_owned()))
                .ok_or(LiteralSecret);
        }
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            _ => Err(LiteralSecret),
        }
    }

    /// Fetches the secret.
    ///
    /// # Errors
    ///
    /// [`SecretError`] if it is missing or empty.
    pub fn read(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Secret, SecretError> {
        let (text, place) = match self {
            Self::Env(name) => (
                env(name).ok_or_else(|| SecretError::NotSet(name.clone()))?,
                format!("env:{name}"),
            ),
            Self::File(path) => (
                read_line_end_trimmed(path)?,
                format!("file:{}", path.display()),
            ),
        };
        if text.is_empty() {
            return Err(SecretError::Empty(place));
        }
        Ok(Secret::new(text))
    }
}

fn read_line_end_trimmed(path: &Path) -> Result<String, SecretError> {
    let mut text = std::fs::read_to_string(path)
        .map_err(|error| SecretError::Unreadable(path.to_owned(), error))?;
    let trimmed = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(trimmed);
    Ok(text)
}

/// Whether a key or header of this name holds a secret.
pub(super) fn names_a_secret(name: &str) -> bool {
    const PARTS: [&str; 9] = [
        "secret",
        "password",
        "passphrase",
        "apikey",
        "api_key",
        "private_key",
        "access_token",
        "auth_token",
        "private_token",
    ];
    let name = name.to_ascii_lowercase().replace('-', "_");
    matches!(name.as_str(), "key" | "master")
        || name.ends_with("authorization")
        || PARTS.iter().any(|part| name.contains(part))
}

/// The text of a configuration file as it may be shown: what may be a literal secret is starred
/// out, byte for byte, so that places stay where they are. `is_whole` says that the parser
/// understood all of it.
pub(super) fn masked(text: &str, table: &DeTable<'_>, is_whole: bool) -> String {
    let mut spans = Vec::new();
    literals_of_table(table, false, &mut spans);
    if !is_whole {
        spans.extend(literals_by_line(text));
    }
    let mut shown = text.as_bytes().to_vec();
    for span in spans {
        for byte in shown.get_mut(span).unwrap_or_default() {
            if !matches!(byte, b'"' | b'\'' | b'\r' | b'\n') {
                *byte = b'*';
            }
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}

fn literals_of_table(table: &DeTable<'_>, secret: bool, out: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        literals_of_value(value, secret || names_a_secret(key.get_ref()), out);
    }
}

fn literals_of_value(value: &Spanned<DeValue<'_>>, secret: bool, out: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => literals_of_table(table, secret, out),
        DeValue::Array(items) => {
            for item in items.iter() {
                literals_of_value(item, secret, out);
            }
        }
        DeValue::String(text) if is_reference(text) => {}
        DeValue::String(text) if secret || holds_user_info(text) => out.push(value.span()),
        _ if secret => out.push(value.span()),
        _ => {}
    }
}

/// Whether a text only points at a secret, or is a template around such a pointer.
pub(super) fn is_reference(text: &str) -> bool {
    SecretRef::parse(text).is_ok() || text.contains("{env:") || text.contains("{file:")
}

/// A URL with a user name or password in it.
fn holds_user_info(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'))
}

/// For a file that the parser did not understand, whose values have no sure place: all that
/// follows a name for a secret on its line, except a reference.
fn literals_by_line(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((left, right)) = line.split_once('=') {
            let name = left.rsplit(['.', '{', ',']).next().unwrap_or(left);
            let value = right.trim_start_matches([' ', '\t', '"', '\'']);
            let points = value.starts_with("env:") || value.starts_with("file:");
            if names_a_secret(name.trim_matches([' ', '\t', '"', '\''])) && !points {
                spans.push(start + line.len() - right.len()..start + line.len());
            }
        }
        start += line.len();
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> String {
        let (table, errors) = DeTable::parse_recoverable(text);
        masked(text, table.get_ref(), errors.is_empty())
    }

    #[test]
    fn references_are_read_and_literals_are_not() {
        assert_eq!(
            SecretRef::parse("env:API_KEY"),
            Ok(SecretRef::Env("API_KEY".to_owned()))
        );
        assert_eq!(
            SecretRef::parse("file:/run/secrets/key"),
            Ok(SecretRef::File("/run/secrets/key".into()))
        );
        for literal in ["", "hunter2", "env:", "env:a b", "env:1A", "file:", "ENV:X"] {
            assert_eq!(SecretRef::parse(literal), Err(LiteralSecret), "{literal:?}");
        }
    }

    #[test]
    fn a_secret_comes_from_the_environment_or_a_file() {
        let env = |name: &str| match name {
            "SET" => Some("hunter2".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let read = |text: &str| SecretRef::parse(text).unwrap().read(&env);
        assert_eq!(read("env:SET").unwrap().expose(), b"hunter2");
        assert!(matches!(read("env:UNSET"), Err(SecretError::NotSet(_))));
        assert!(matches!(read("env:EMPTY"), Err(SecretError::Empty(_))));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "hunter2\n").unwrap();
        let file = format!("file:{}", path.display());
        assert_eq!(read(&file).unwrap().expose(), b"hunter2");
        assert!(matches!(
            read("file:/nonexistent/secret"),
            Err(SecretError::Unreadable(..))
        ));
    }

    #[test]
    fn what_may_be_a_secret_is_starred_out_in_place() {
        assert_eq!(
            mask("[keys]\nmaster = \"hunter2\"\nother = \"x\"\n"),
            "[keys]\nmaster = \"*******\"\nother = \"x\"\n"
        );
        assert_eq!(
            mask("[sms]\nfallback = [{ api_secret = 'hunter2', n = 1 }]"),
            "[sms]\nfallback = [{ api_secret = '*******', n = 1 }]"
        );
        assert_eq!(
            mask("a = [\"http://kari:pw@host\"]\nkey = \"file:x\""),
            "a = [\"*******************\"]\nkey = \"file:x\""
        );
        assert_eq!(mask("auth_token = 4711"), "auth_token = ****");
    }

    #[test]
    fn a_file_that_does_not_parse_shows_no_secret_either() {
        for text in [
            "[keys]\nmaster = hunter2\n",
            "keys.master = hunter2",
            "master = \"hunter2\n",
            "x = [\n[keys]\nmaster = \"hunter2\"\n",
        ] {
            assert!(!mask(text).contains("hunter2"), "{}", mask(text));
        }
    }
}
