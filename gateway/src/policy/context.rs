//! The context of actions: what the schema has in it, and what a request gives.

use cedar_policy::{Context, RestrictedExpression, SchemaFragment};
use cedar_policy_core::ast;
use serde_json::Value;

use crate::config::fault::Source;

use super::reading::{ContextType, Given};

/// One attribute of an action's context.
#[derive(Clone, Debug)]
pub(super) struct ContextField {
    pub(super) name: Box<str>,
    /// `None` for a type that no request can give.
    pub(super) kind: Option<ContextType>,
    pub(super) required: bool,
}

/// How many names of types lead to a type at most.
const MAX_NAMES: usize = 16;

/// What the schema has in the context of each action, in the order in which they are asked for.
pub(super) fn read<'a>(
    schema: &Source,
    actions: impl Iterator<Item = &'a str>,
) -> Vec<Vec<ContextField>> {
    let json = SchemaFragment::from_cedarschema_str(schema.text())
        .ok()
        .and_then(|(fragment, _)| fragment.to_json_value().ok())
        .unwrap_or_default();
    let top = json.get("").cloned().unwrap_or_default();
    actions
        .map(|action| {
            let context = top
                .get("actions")
                .and_then(|actions| actions.get(action))
                .and_then(|action| action.get("appliesTo")?.get("context"));
            context
                .map(|context| fields(&top, context))
                .unwrap_or_default()
        })
        .collect()
}

fn fields(top: &Value, context: &Value) -> Vec<ContextField> {
    let context = named(top, context);
    let attributes = context.get("attributes").and_then(Value::as_object);
    let field = |(name, attribute): (&String, &Value)| ContextField {
        name: name.as_str().into(),
        kind: kind(top, attribute),
        required: attribute.get("required").and_then(Value::as_bool) != Some(false),
    };
    attributes.into_iter().flatten().map(field).collect()
}

/// What a name of a type stands for.
fn named<'v>(top: &'v Value, mut value: &'v Value) -> &'v Value {
    let types = top.get("commonTypes");
    for _ in 0..MAX_NAMES {
        // A context that is a name has it as its type.
        let name = value
            .get("name")
            .or_else(|| value.get("type"))
            .and_then(Value::as_str);
        match name.and_then(|name| types?.get(name)) {
            Some(behind) => value = behind,
            None => break,
        }
    }
    value
}

fn kind(top: &Value, attribute: &Value) -> Option<ContextType> {
    let attribute = named(top, attribute);
    let word = |value: &Value| -> Option<String> {
        let of = value.get("type")?.as_str()?;
        let name = match of {
            "EntityOrCommon" => value.get("name")?.as_str()?,
            other => other,
        };
        Some(name.trim_start_matches("__cedar::").to_owned())
    };
    let element = || named(top, attribute.get("element").unwrap_or(&Value::Null));
    match word(attribute)?.as_str() {
        "String" => Some(ContextType::Text),
        "Long" => Some(ContextType::Whole),
        "Bool" | "Boolean" => Some(ContextType::Flag),
        "Set" => match word(element())?.as_str() {
            "String" => Some(ContextType::Texts),
            "Long" => Some(ContextType::Wholes),
            _ => None,
        },
        _ => None,
    }
}

/// What a request gives, for the rules; `None` for what cannot be put together.
pub(super) fn given(given: &[(Box<str>, Given)]) -> Option<ast::Context> {
    if given.is_empty() {
        return Some(ast::Context::empty());
    }
    let text = |text: &String| RestrictedExpression::new_string(text.clone());
    let whole = |number: &i64| RestrictedExpression::new_long(*number);
    let pairs = given.iter().map(|(name, given)| {
        let value = match given {
            Given::Text(own) => text(own),
            Given::Whole(own) => whole(own),
            Given::Flag(own) => RestrictedExpression::new_bool(*own),
            Given::Texts(all) => RestrictedExpression::new_set(all.iter().map(text)),
            Given::Wholes(all) => RestrictedExpression::new_set(all.iter().map(whole)),
        };
        (name.to_string(), value)
    });
    let context = Context::from_pairs(pairs.collect::<Vec<_>>()).ok()?;
    Some(context.as_ref().clone())
}
