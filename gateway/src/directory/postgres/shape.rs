//! What the configured query yields: which columns, of which types; and the statements that
//! follow from it.

use tokio_postgres::Column;
use tokio_postgres::types::{Kind, Type};

use crate::config::fault::Fault;
use crate::postgres::{IdKind, is_text};

const REQUIRED: [&str; 6] = ["id", "email", "phone", "name", "company", "company_name"];
const OPTIONAL: [&str; 3] = ["login", "roles", "suspended"];

/// Rows that one address may have at most: that is a choice already.
const ROWS: usize = 10;

/// The statements that ask for single people, each with one parameter, an array of texts.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) by_email: String,
    pub(super) by_id: String,
    pub(super) by_login: String,
    pub(super) id: IdKind,
}

impl Shape {
    /// Reads the columns; a query that yields others than it should is no directory.
    pub(super) fn new(query: &str, columns: &[Column]) -> Result<Self, Vec<Fault>> {
        let columns: Vec<(&str, &Type)> = columns
            .iter()
            .map(|column| (column.name(), column.type_()))
            .collect();
        Self::of(query, &columns)
    }

    pub(super) fn of(query: &str, columns: &[(&str, &Type)]) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let find = |name: &str| columns.iter().find(|(known, _)| *known == name);
        for name in REQUIRED.into_iter().filter(|name| find(name).is_none()) {
            faults.push(fault(format!("has no column `{name}`")));
        }
        for (at, (name, kind)) in columns.iter().enumerate() {
            if columns.iter().take(at).any(|(known, _)| known == name) {
                faults.push(fault(format!("has two columns `{name}`")));
            }
            let expected = match *name {
                "id" | "company" => (is_text(kind) || IdKind::of(kind) != IdKind::Text)
                    .then_some(())
                    .ok_or("a text, a whole number or a uuid"),
                "roles" => (is_text(kind) || is_texts(kind))
                    .then_some(())
                    .ok_or("an array of texts, or a text with commas"),
                "suspended" => (**kind == Type::BOOL).then_some(()).ok_or("a boolean"),
                known if REQUIRED.contains(&known) || OPTIONAL.contains(&known) => {
                    is_text(kind).then_some(()).ok_or("a text")
                }
                // A `suspendd` that is passed over would suspend nobody.
                unknown => {
                    faults.push(fault(format!(
                        "has a column `{unknown}`, which means nothing"
                    )));
                    Ok(())
                }
            };
            if let Err(expected) = expected {
                let message = format!("yields `{name}` as `{kind}`, not as {expected}");
                faults.push(fault(message));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let login = match find("login") {
            Some(_) => "u.login::text",
            None => "null::text",
        };
        let roles = match find("roles") {
            Some((_, kind)) if is_texts(kind) => "u.roles::text[]",
            Some(_) => "string_to_array(u.roles::text, ',')",
            None => "null::text[]",
        };
        let suspended = match find("suspended") {
            Some(_) => "u.suspended",
            None => "false",
        };
        // The query ends with its line: it may end with a comment.
        let select = format!(
            "select u.id::text, u.email::text, u.phone::text, u.name::text, u.company::text, \
             u.company_name::text, {login}, {roles}, {suspended} from (\n{query}\n) u where "
        );
        let id = find("id").map_or(IdKind::Text, |(_, kind)| IdKind::of(kind));
        // The parameter is made what the column is, not the other way round: so an index serves.
        let is_one = match id {
            IdKind::Text => "u.id::text = any($1::text[])",
            IdKind::Number => "u.id = any(($1::text[])::int8[])",
            IdKind::Uuid => "u.id = any(($1::text[])::uuid[])",
        };
        let is_login = match find("login") {
            Some(_) => {
                "u.login::text = any($1::text[]) \
                 or u.login is null and lower(u.email::text) = any($1::text[])"
            }
            None => "lower(u.email::text) = any($1::text[])",
        };
        Ok(Self {
            by_email: format!("{select}lower(u.email::text) = any($1::text[]) limit {ROWS}"),
            by_id: format!("{select}{is_one}"),
            by_login: format!("{select}{is_login} limit {ROWS}"),
            id,
        })
    }
}

fn fault(message: String) -> Fault {
    let known = [&REQUIRED[..], &OPTIONAL[..]].concat().join("`, `");
    Fault::new(format!("`directory.query` {message}")).help(format!(
        "its columns are `{known}`; the last three may be left out"
    ))
}

fn is_texts(kind: &Type) -> bool {
    matches!(kind.kind(), Kind::Array(one) if is_text(one))
}
