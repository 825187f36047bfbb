//! What is checked in beside the code stays true: the schema and the sample configurations.

use std::path::Path;

use super::tests::with_env;
use super::*;

#[test]
fn the_checked_in_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/portvakt.schema.json");
    let checked_in: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(
        checked_in == json_schema(),
        "regenerate it: `cargo run -- check --print-schema > config/portvakt.schema.json`"
    );
}

#[test]
fn every_key_in_the_schema_is_described() {
    fn walk(schema: &serde_json::Value, path: &str) {
        let properties = schema.get("properties").and_then(|it| it.as_object());
        for (name, property) in properties.into_iter().flatten() {
            let described = property.get("description").and_then(|it| it.as_str());
            assert!(described.is_some_and(|it| !it.is_empty()), "{path}.{name}");
        }
        let closed = schema.get("additionalProperties");
        assert_eq!(closed, Some(&serde_json::Value::Bool(false)), "{path}");
    }
    let schema = json_schema();
    walk(&schema, "");
    for (name, part) in schema["$defs"].as_object().unwrap() {
        walk(part, name);
    }
    assert!(!schema.to_string().contains("null"));
}

#[test]
fn the_sample_configurations_resolve() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    // What a platform would set.
    let env = |name: &str| match name {
        "PORT" => None,
        "DATABASE_URL" => Some("postgres://portvakt@localhost/projects".to_owned()),
        _ => Some(format!("the value of {name}")),
    };
    for name in ["portvakt.toml", "platform.toml", "postgres.toml"] {
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        let (_, warnings) = with_env(&text, &env).unwrap_or_else(|faults| {
            panic!("{}", faults.iter().map(Fault::report).collect::<String>())
        });
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
}
