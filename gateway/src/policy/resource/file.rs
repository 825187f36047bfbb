//! `facts/*.toml` and `facts/*.json`: facts by identifier, for what no application can be asked.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::config::fault::{Fault, Source};
use crate::policy::reader::{Reader, Value};

/// Facts by identifier.
#[derive(Debug)]
pub(in crate::policy) struct FactFile {
    source: Source,
    entries: HashMap<Box<str>, Entry>,
    /// Other spellings, with the identifier that each means.
    also: HashMap<Box<str>, Box<str>>,
    /// Every spelling with its place.
    places: Vec<(Box<str>, Range<usize>)>,
}

/// What is written of one resource.
#[derive(Debug, Default)]
pub(in crate::policy) struct Entry {
    pub(in crate::policy) company: Option<Box<str>>,
    pub(in crate::policy) owner: Option<Box<str>>,
    /// What it lies in, by the type's name.
    pub(in crate::policy) parents: Vec<(Box<str>, Box<str>)>,
    also: Vec<Box<str>>,
}

/// Whether a path, relative to the policy folder, is such a file.
pub(in crate::policy) fn is_fact_file(path: &str) -> bool {
    path.starts_with("facts/") && (path.ends_with(".toml") || path.ends_with(".json"))
}

impl FactFile {
    /// Reads a file; every fault is kept.
    pub(super) fn read(source: &Source, faults: &mut Vec<Fault>) -> Self {
        let mut file = Self {
            source: source.clone(),
            entries: HashMap::new(),
            also: HashMap::new(),
            places: Vec::new(),
        };
        if source.path().extension().is_some_and(|it| it == "json") {
            file.read_json(faults);
        } else {
            file.read_toml(faults);
        }
        file
    }

    /// What is written of a resource, with its canonical identifier.
    pub(in crate::policy) fn find(&self, spelled: &str) -> Option<(&str, &Entry)> {
        let meant = self.also.get(spelled).map_or(spelled, |meant| &**meant);
        let (id, entry) = self.entries.get_key_value(meant)?;
        Some((id, entry))
    }

    /// Faults every spelling that no resource can have.
    pub(super) fn check(&self, is_identifier: impl Fn(&str) -> bool, faults: &mut Vec<Fault>) {
        for (spelled, span) in &self.places {
            if !is_identifier(spelled) {
                let message = format!("`{spelled}` is no identifier of this resource");
                faults.push(self.source.fault(span.clone(), message));
            }
        }
    }

    fn read_toml(&mut self, faults: &mut Vec<Fault>) {
        let source = self.source.clone();
        let (mut reader, document) = Reader::open(&source);
        if let Some(document) = &document {
            let mut top = reader.fields(document.get_ref(), 0..0, "a file of facts");
            for (id, value) in top.entries() {
                let entry = read_entry(top.reader(), id.get_ref(), value);
                let placed = self.put(id.get_ref(), entry.unwrap_or_default(), id.span());
                if let Err(message) = placed {
                    top.reader().fault(id.span(), message);
                }
            }
        }
        faults.extend(reader.into_faults());
    }

    fn read_json(&mut self, faults: &mut Vec<Fault>) {
        let source = self.source.clone();
        match serde_json::from_str::<Unique<Unique<Field>>>(source.text()) {
            Err(error) => {
                faults.push(source.fault(place(source.text(), &error), error.to_string()))
            }
            Ok(all) => {
                for (id, fields) in all.0 {
                    let placed = json_entry(fields).and_then(|entry| self.put(&id, entry, 0..0));
                    if let Err(message) = placed {
                        faults.push(source.fault(0..0, format!("`{id}`: {message}")));
                    }
                }
            }
        }
    }

    fn put(&mut self, id: &str, entry: Entry, span: Range<usize>) -> Result<(), String> {
        self.places.push((id.into(), span.clone()));
        let mut twice = self.also.contains_key(id).then(|| id.to_owned());
        for also in &entry.also {
            self.places.push((also.clone(), span.clone()));
            let known = self.also.insert(also.clone(), id.into()).is_some();
            if known || self.entries.contains_key(also) || **also == *id {
                twice = Some(also.to_string());
            }
        }
        self.entries.insert(id.into(), entry);
        match twice {
            Some(spelled) => Err(format!("`{spelled}` names two resources, or one twice")),
            None => Ok(()),
        }
    }
}

fn read_entry(reader: &mut Reader<'_>, id: &str, value: &Value<'_>) -> Option<Entry> {
    let mut fields = reader.table(value, id)?;
    let mut entry = Entry::default();
    for (key, value) in fields.entries() {
        if key.get_ref() == "also" {
            let also = fields.texts("also");
            entry.also = also
                .iter()
                .map(|text| text.get_ref().as_str().into())
                .collect();
            continue;
        }
        let text = fields.reader().string(value, key.get_ref())?;
        entry.take(key.get_ref(), text.get_ref());
    }
    Some(entry)
}

impl Entry {
    fn take(&mut self, key: &str, text: &str) {
        match key {
            "company" => self.company = Some(text.into()),
            "owner" => self.owner = Some(text.into()),
            parent => self.parents.push((parent.into(), text.into())),
        }
    }
}

fn json_entry(fields: Unique<Field>) -> Result<Entry, String> {
    let mut entry = Entry::default();
    for (key, field) in fields.0 {
        match (&*key, field) {
            ("also", Field::Texts(also)) => {
                entry.also = also.into_iter().map(Into::into).collect();
            }
            (key, Field::Text(text)) if key != "also" => entry.take(key, &text),
            (key, _) => return Err(format!("`{key}` is of the wrong type")),
        }
    }
    Ok(entry)
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Texts(Vec<String>),
}

/// A JSON object whose names are each there once: which of two would count, nobody can say.
struct Unique<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut seen = std::collections::HashSet::new();
                let mut all = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if !seen.insert(name.clone()) {
                        return Err(M::Error::custom(format!("`{name}` is there twice")));
                    }
                    all.push((name, value));
                }
                Ok(Unique(all))
            }
        }
        deserializer.deserialize_map(Members(std::marker::PhantomData))
    }
}

/// Where a JSON error stands, in bytes.
fn place(text: &str, error: &serde_json::Error) -> Range<usize> {
    let before = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1));
    let start: usize = before.map(str::len).sum();
    let at = (start + error.column().saturating_sub(1)).min(text.len());
    at..at
}
