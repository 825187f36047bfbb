//! Header templates: text with placeholders such as `{user.id}` and secrets such as
//! `{env:API_KEY}`.

use super::TemplatePart;
use super::secret_ref::{SecretError, SecretRef};
use super::values::nearest;

const PLACEHOLDERS: [&str; 8] = [
    "user.id",
    "user.email",
    "user.name",
    "user.login",
    "user.roles",
    "company.id",
    "company.name",
    "assertion",
];

/// Why a text is no template. Texts of templates are not quoted: they may hold a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("a `{{` opens a placeholder that no `}}` closes; a brace itself is written `{{{{`")]
    Open,
    #[error("a `}}` closes nothing; a brace itself is written `}}}}`")]
    Close,
    #[error("unknown placeholder `{{{name}}}`")]
    Unknown {
        name: String,
        meant: Option<&'static str>,
    },
    #[error("a header's text is visible ASCII and blanks; this one holds something else")]
    Character,
    #[error("a header's value may not be empty")]
    Empty,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the secret has a byte that may not stand in a header")]
    SecretCharacter,
}

/// Reads a template, secrets fetched.
pub(super) fn parse(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<TemplatePart>, TemplateError> {
    if let Ok(whole) = SecretRef::parse(text) {
        return Ok(vec![secret(&whole, env)?]);
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        literal.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if let Some(after) = from.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or(TemplateError::Open)?;
            push_literal(&mut parts, &mut literal)?;
            parts.push(placeholder(name, env)?);
            rest = after;
        } else {
            return Err(TemplateError::Close);
        }
    }
    literal.push_str(rest);
    push_literal(&mut parts, &mut literal)?;
    if parts.is_empty() {
        return Err(TemplateError::Empty);
    }
    Ok(parts)
}

fn push_literal(parts: &mut Vec<TemplatePart>, literal: &mut String) -> Result<(), TemplateError> {
    if !literal.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err(TemplateError::Character);
    }
    if !literal.is_empty() {
        parts.push(TemplatePart::Literal(std::mem::take(literal)));
    }
    Ok(())
}

fn placeholder(
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<TemplatePart, TemplateError> {
    Ok(match name {
        "user.id" => TemplatePart::UserId,
        "user.email" => TemplatePart::UserEmail,
        "user.name" => TemplatePart::UserName,
        "user.login" => TemplatePart::UserLogin,
        "user.roles" => TemplatePart::UserRoles,
        "company.id" => TemplatePart::CompanyId,
        "company.name" => TemplatePart::CompanyName,
        "assertion" => TemplatePart::Assertion,
        name => match SecretRef::parse(name) {
            Ok(reference) => secret(&reference, env)?,
            Err(_) => {
                return Err(TemplateError::Unknown {
                    name: name.to_owned(),
                    meant: nearest(name, PLACEHOLDERS),
                });
            }
        },
    })
}

fn secret(
    reference: &SecretRef,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<TemplatePart, TemplateError> {
    let secret = reference.read(env)?;
    // A line end in an injected value would be a header of somebody else's choice.
    if !secret
        .expose()
        .iter()
        .all(|b| *b == b' ' || b.is_ascii_graphic())
    {
        return Err(TemplateError::SecretCharacter);
    }
    Ok(TemplatePart::Secret(secret))
}

/// What a person may write between braces, for help texts.
pub(super) fn placeholders() -> String {
    PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<String, String> {
        let env = |name: &str| (name == "API_KEY").then(|| "hunter2".to_owned());
        match parse(text, &env) {
            Ok(parts) => Ok(format!("{parts:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_template_is_text_placeholders_and_secrets() {
        assert_eq!(parts("{user.id}").unwrap(), "[UserId]");
        assert_eq!(
            parts("Bearer {env:API_KEY}").unwrap(),
            r#"[Literal("Bearer "), Secret(Secret(..))]"#
        );
        assert_eq!(parts("env:API_KEY").unwrap(), "[Secret(Secret(..))]");
        assert_eq!(
            parts("{{{user.login}}}@{company.id}").unwrap(),
            r#"[Literal("{"), UserLogin, Literal("}@"), CompanyId]"#
        );
    }

    #[test]
    fn what_is_no_template_says_why() {
        for (text, expected) in [
            ("{user.idd}", "unknown placeholder `{user.idd}`"),
            (
                "{user.id",
                "a `{` opens a placeholder that no `}` closes; a brace itself is written `{{`",
            ),
            (
                "user.id}",
                "a `}` closes nothing; a brace itself is written `}}`",
            ),
            ("", "a header's value may not be empty"),
            (
                "Blåbær",
                "a header's text is visible ASCII and blanks; this one holds something else",
            ),
            (
                "a\nb",
                "a header's text is visible ASCII and blanks; this one holds something else",
            ),
            ("env:UNSET", "environment variable `UNSET` is not set"),
        ] {
            assert_eq!(parts(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_secret_with_a_line_end_inside_is_no_header() {
        let env = |_: &str| Some("a\r\nx-user-id: u-kari".to_owned());
        assert!(matches!(
            parse("env:X", &env),
            Err(TemplateError::SecretCharacter)
        ));
    }
}
