//! JSON with every member kept: of a key that comes twice, readers take the first or the last.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::fields::fold_letter;
use super::{Found, MAX_DEPTH, Place, Unreadable, Value, malformed};

/// A JSON document.
#[derive(Debug)]
pub(super) enum Json {
    Null,
    Value(Value),
    /// A number with a fraction, or beyond what is whole.
    Fraction,
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// One step of a pointer (RFC 6901).
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) enum Step {
    /// A member's name, or a place in a list.
    Name(Box<str>),
    /// `*`: every member.
    Every,
}

impl Json {
    /// Reads a whole body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        let text = match std::str::from_utf8(body) {
            Ok(text) => text,
            Err(_) => return malformed("the body is not UTF-8"),
        };
        let json: Self = match serde_json::from_str(text) {
            Ok(json) => json,
            Err(error) => return malformed(format!("the body is no JSON: {error}")),
        };
        if json.depth() > MAX_DEPTH {
            return malformed(format!("the body is more than {MAX_DEPTH} deep"));
        }
        Ok(json)
    }

    fn depth(&self) -> usize {
        let below = match self {
            Self::List(items) => items.iter().map(Self::depth).max(),
            Self::Object(members) => members.iter().map(|(_, member)| member.depth()).max(),
            _ => return 0,
        };
        below.unwrap_or_default() + 1
    }

    /// Every value at a pointer, by whichever member of a name that a reader may take.
    pub(super) fn find(
        &self,
        steps: &[Step],
        place: &Place,
        found: &mut Found,
    ) -> Result<(), Unreadable> {
        let Some((step, rest)) = steps.split_first() else {
            return match self {
                Self::Null => {
                    found.missing = true;
                    Ok(())
                }
                Self::Value(value) => {
                    found.present = true;
                    found.values.push(value.clone());
                    Ok(())
                }
                _ => malformed(format!("what stands at `{place}` is no single value")),
            };
        };
        match (step, self) {
            (Step::Every, Self::List(items)) => {
                found.missing |= items.is_empty();
                for item in items {
                    item.find(rest, place, found)?;
                }
            }
            (Step::Every, Self::Object(members)) => {
                found.missing |= members.is_empty();
                for (_, member) in members {
                    member.find(rest, place, found)?;
                }
            }
            (Step::Name(name), Self::Object(members)) => {
                found.missing |= !members.iter().any(|(key, _)| **key == **name);
                for (_, member) in members.iter().filter(|(key, _)| is_like(key, name)) {
                    member.find(rest, place, found)?;
                }
            }
            (Step::Name(name), Self::List(items)) => {
                match name.parse::<usize>().ok().and_then(|at| items.get(at)) {
                    Some(item) => item.find(rest, place, found)?,
                    None => found.missing = true,
                }
            }
            _ => found.missing = true,
        }
        Ok(())
    }
}

/// Whether some reader takes one key for the other: many do not tell capitals apart.
fn is_like(key: &str, name: &str) -> bool {
    key == name
        || key
            .chars()
            .flat_map(fold_letter)
            .eq(name.chars().flat_map(fold_letter))
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Keeper)
    }
}

/// Builds a [`Json`].
struct Keeper;

impl<'de> Visitor<'de> for Keeper {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Value(Value::Flag(flag)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Value(Value::Whole(number.into())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Value(Value::Whole(number.into())))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Fraction)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Value(Value::Text(text.to_owned())))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::Value(Value::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Json::Object(object))
    }
}
