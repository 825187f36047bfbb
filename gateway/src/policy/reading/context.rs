//! Values of a request that the rules may read.

use super::{Place, Unreadable, Value, malformed};

/// A value's type, as the schema has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum ContextType {
    Text,
    Whole,
    Flag,
    Texts,
    Wholes,
}

/// A value that a route reads.
#[derive(Debug)]
pub(in crate::policy) struct ContextPlace {
    pub(in crate::policy) name: Box<str>,
    pub(in crate::policy) place: Place,
    pub(in crate::policy) kind: ContextType,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Given {
    Text(String),
    Whole(i64),
    Flag(bool),
    Texts(Vec<String>),
    Wholes(Vec<i64>),
}

impl ContextPlace {
    /// The one value, or all of a set; `None` where nothing stands and nothing must.
    pub(super) fn read(&self, values: Vec<Value>) -> Result<Option<(Box<str>, Given)>, Unreadable> {
        let given = match self.kind {
            ContextType::Text => self.one(values, text)?.map(Given::Text),
            ContextType::Whole => self.one(values, whole)?.map(Given::Whole),
            ContextType::Flag => self.one(values, flag)?.map(Given::Flag),
            ContextType::Texts => self.every(values, text)?.map(Given::Texts),
            ContextType::Wholes => self.every(values, whole)?.map(Given::Wholes),
        };
        Ok(given.map(|given| (self.name.clone(), given)))
    }

    /// Several that differ are refused: nobody knows which one the application takes.
    fn one<T: PartialEq + Ord>(
        &self,
        values: Vec<Value>,
        read: fn(Value) -> Option<T>,
    ) -> Result<Option<T>, Unreadable> {
        let mut all = self.every(values, read)?.unwrap_or_default();
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => malformed(format!("several values stand at `{}`", self.place)),
        }
    }

    fn every<T: PartialEq + Ord>(
        &self,
        values: Vec<Value>,
        read: fn(Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Unreadable> {
        let read: Option<Vec<T>> = values.into_iter().map(read).collect();
        let Some(mut all) = read else {
            return malformed(format!(
                "what stands at `{}` is of another type",
                self.place
            ));
        };
        all.sort();
        all.dedup();
        Ok(Some(all).filter(|all| !all.is_empty()))
    }
}

/// A number is a text as well, as identifiers are.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        Value::Whole(number) => Some(number.to_string()),
        Value::Flag(_) => None,
    }
}

/// A number in its one spelling.
fn whole(value: Value) -> Option<i64> {
    match value {
        Value::Text(text) => text.parse().ok().filter(|n: &i64| n.to_string() == text),
        Value::Whole(number) => number.try_into().ok(),
        Value::Flag(_) => None,
    }
}

fn flag(value: Value) -> Option<bool> {
    match value {
        Value::Text(text) => match text.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        Value::Flag(flag) => Some(flag),
        Value::Whole(_) => None,
    }
}
