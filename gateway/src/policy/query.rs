//! A route's rule for its query: which fields may pass, and which the gateway sets.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::principal::Principal;
use crate::target::Target;

use super::reading::{Fields, Name, Unreadable};

/// What stands as itself in a name or value (RFC 3986, section 2.3, unreserved).
const FIELD: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A route's `query`.
#[derive(Debug, Default)]
pub(super) struct QueryRule {
    /// The fields that may pass; `None` for all.
    pub(super) allow: Option<Vec<Name>>,
    /// The fields that the gateway sets.
    pub(super) set: Vec<SetField>,
}

/// A field that the gateway sets.
#[derive(Debug)]
pub(super) struct SetField {
    pub(super) name: Name,
    pub(super) value: Vec<Part>,
}

/// A piece of a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(Box<str>),
    UserId,
    UserEmail,
    UserLogin,
    CompanyId,
    CompanyName,
}

/// Reads a value such as `{company.id}`.
pub(super) fn parse_value(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`{text}` has a `{{` that does not end"))?;
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        parts.push(match name {
            "user.id" => Part::UserId,
            "user.email" => Part::UserEmail,
            "user.login" => Part::UserLogin,
            "company.id" => Part::CompanyId,
            "company.name" => Part::CompanyName,
            _ => {
                return Err(format!(
                    "`{{{name}}}` is unknown: `{{company.id}}`, `{{company.name}}`, `{{user.id}}`, \
                     `{{user.email}}`, `{{user.login}}`"
                ));
            }
        });
        rest = after;
    }
    if rest.contains('}') {
        return Err(format!("`{text}` has a `}}` that begins nowhere"));
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.into()));
    }
    Ok(parts)
}

impl QueryRule {
    /// The target with the query that passes; `None` if it is the one that came. Nobody is known
    /// on a public route, which sets nothing.
    pub(super) fn apply(
        &self,
        target: &Target,
        principal: Option<&Principal>,
    ) -> Result<Option<Target>, Unreadable> {
        let query = target.query().unwrap_or_default();
        if let Some(allowed) = &self.allow {
            let fields = Fields::parse(query.as_bytes())?;
            let passes = |field: &&str| {
                allowed.iter().any(|name| name.is(field))
                    || self.set.iter().any(|set| set.name.is_like(field))
            };
            if let Some(field) = fields.names().find(|field| !passes(field)) {
                let message = format!("the query field `{}` may not pass", field.escape_debug());
                return Err(Unreadable::Malformed(message));
            }
        }
        let Some(principal) = principal.filter(|_| !self.set.is_empty()) else {
            return Ok(None);
        };
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if !self.is_set(pair)? {
                kept.push(pair.to_owned());
            }
        }
        for field in &self.set {
            let name = utf8_percent_encode(field.name.as_str(), FIELD);
            let value = field.value(principal);
            kept.push(format!("{name}={}", utf8_percent_encode(&value, FIELD)));
        }
        match target.with_query(&kept.join("&")) {
            Ok(target) => Ok(Some(target)),
            Err(error) => Err(Unreadable::Malformed(error.to_string())),
        }
    }

    /// Whether a pair is one of those that the gateway sets, in any spelling.
    fn is_set(&self, pair: &str) -> Result<bool, Unreadable> {
        let fields = Fields::parse(pair.as_bytes())?;
        let like = |field: &str| self.set.iter().any(|set| set.name.is_like(field));
        Ok(fields.names().any(like))
    }
}

impl SetField {
    fn value(&self, principal: &Principal) -> String {
        let part = |part: &Part| -> String {
            match part {
                Part::Literal(text) => text.to_string(),
                Part::UserId => principal.id.to_string(),
                Part::UserEmail => principal.email.as_str().to_owned(),
                Part::UserLogin => principal.login.to_string(),
                Part::CompanyId => principal.company.id.to_string(),
                Part::CompanyName => principal.company.name.to_string(),
            }
        };
        self.value.iter().map(part).collect()
    }
}
