//! The shape of a file against the JSON Schema: unknown keys, wrong types and missing keys, all of
//! them, and a table that holds only what fits, so that the values in it can be judged too.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Source};
use super::values::nearest;

/// What is wrong with a file's shape.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<Fault>,
    /// Keys that were taken out, by the name that was meant, with the dots of TOML: that they are
    /// missing is no news.
    pub(super) taken: HashSet<String>,
}

/// Compares a table with a schema and takes out whatever does not fit.
pub(super) fn check(root: &mut Spanned<DeTable<'_>>, schema: &Value, source: &Source) -> Findings {
    let mut check = Check {
        schema,
        source,
        findings: Findings::default(),
    };
    let span = root.span();
    check.table("", span, root.get_mut(), schema);
    check.findings
}

struct Check<'a> {
    schema: &'a Value,
    source: &'a Source,
    findings: Findings,
}

impl<'a> Check<'a> {
    /// `path` is the table's name with the dots of TOML, empty for the root.
    fn table(
        &mut self,
        path: &str,
        span: Range<usize>,
        table: &mut DeTable<'_>,
        schema: &'a Value,
    ) {
        let known = schema.get("properties").and_then(Value::as_object);
        let any = schema.get("additionalProperties").filter(|s| s.is_object());
        let mut unfit = Vec::new();
        for (key, value) in table.iter_mut() {
            let name = key.get_ref().as_ref();
            let Some(schema) = known.and_then(|known| known.get(name)).or(any) else {
                let names = known.into_iter().flat_map(|known| known.keys());
                let names: Vec<&str> = names.map(String::as_str).collect();
                self.unknown(path, key.span(), name, &names);
                unfit.push(name.to_owned());
                continue;
            };
            let path = dotted(path, name);
            if !self.value(&path, value, schema) {
                unfit.push(name.to_owned());
                self.findings.taken.insert(path);
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            let taken = self.findings.taken.contains(&dotted(path, name));
            if !table.contains_key(name) && !taken {
                self.missing(path, span.clone(), name);
            }
        }
        for name in unfit {
            table.remove(name.as_str());
        }
    }

    /// Whether the value has the type that it should have; what is inside it is seen to.
    fn value(&mut self, path: &str, value: &mut Spanned<DeValue<'_>>, schema: &'a Value) -> bool {
        let schema = self.resolved(schema);
        let expected = schema.get("type").and_then(Value::as_str).unwrap_or("");
        let span = value.span();
        let complaint = match (value.get_mut(), expected) {
            (DeValue::String(_), "string") | (DeValue::Boolean(_), "boolean") => return true,
            (DeValue::Integer(number), "integer") => {
                let digits = number.as_str();
                match i64::from_str_radix(digits, number.radix()) {
                    Ok(0..) => return true,
                    _ => "it must be from 0 to 9223372036854775807",
                }
            }
            (DeValue::Table(table), "object") => {
                self.table(path, span, table, schema);
                return true;
            }
            (DeValue::Array(items), "array") => {
                let Some(schema) = schema.get("items") else {
                    return true;
                };
                let mut fits = true;
                for item in items.iter_mut() {
                    fits &= self.value(path, item, schema);
                }
                return fits;
            }
            _ => expectation(expected),
        };
        let found = kind(value.get_ref());
        self.findings.faults.push(self.source.fault(
            span.clone(),
            format!("`{path}` is {found} `{}`: {complaint}", self.excerpt(span)),
        ));
        false
    }

    fn unknown(&mut self, path: &str, span: Range<usize>, name: &str, known: &[&str]) {
        let place = match path {
            "" => "at the top".to_owned(),
            path => format!("in `{path}`"),
        };
        let help = match nearest(name, known.iter().copied()) {
            Some(meant) => {
                self.findings.taken.insert(dotted(path, meant));
                format!("did you mean `{meant}`?")
            }
            None => format!("known here: {}", known.join(", ")),
        };
        let fault = self
            .source
            .fault(span, format!("unknown key `{name}` {place}"));
        self.findings.faults.push(fault.help(help));
    }

    fn missing(&mut self, path: &str, span: Range<usize>, name: &str) {
        let message = match path {
            "" => format!("`{name}` is missing"),
            path => format!("`{name}` is missing in `{path}`"),
        };
        // The root's span is the whole file: its start is place enough.
        let span = if path.is_empty() { 0..0 } else { span };
        self.findings.faults.push(self.source.fault(span, message));
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix('#'))
            .and_then(|pointer| self.schema.pointer(pointer))
            .unwrap_or(schema)
    }

    /// The value as written (secrets starred out), cut after the first line or 60 characters.
    fn excerpt(&self, span: Range<usize>) -> String {
        let text = self.source.text().get(span).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let short: String = line.chars().take(60).collect();
        if short.len() < text.len() {
            return format!("{short}…");
        }
        short
    }
}

fn dotted(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "the text",
        DeValue::Integer(_) => "the whole number",
        DeValue::Float(_) => "the fraction",
        DeValue::Boolean(_) => "the truth value",
        DeValue::Datetime(_) => "the date",
        DeValue::Array(_) => "the list",
        DeValue::Table(_) => "the table",
    }
}

fn expectation(expected: &str) -> &'static str {
    match expected {
        "string" => "a text in quotes is expected",
        "integer" => "a whole number is expected",
        "boolean" => "`true` or `false` is expected",
        "array" => "a list is expected",
        _ => "a table is expected",
    }
}
