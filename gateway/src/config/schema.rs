//! The JSON Schema of the file, made from the types it is read into.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::written::Written;

/// The schema of `portvakt.toml` (JSON Schema 2020-12).
#[must_use]
pub fn json_schema() -> Value {
    shared().clone()
}

pub(super) fn shared() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = schemars::schema_for!(Written).to_value();
        without_null(&mut schema);
        schema
    });
    &SCHEMA
}

/// TOML has no null: what may be left out is left out, and `null` is no value of it.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(without_null);
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|one| one != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.remove("anyOf") {
                map.extend(without_null_choice(choices));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// `anyOf: [X, null]` is X.
fn without_null_choice(mut choices: Vec<Value>) -> Map<String, Value> {
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    match choices.as_mut_slice() {
        [Value::Object(only)] => std::mem::take(only),
        _ => Map::from_iter([("anyOf".to_owned(), Value::Array(choices))]),
    }
}
