//! `[[route]]` as written.

use std::ops::Range;

use crate::policy::reader::{Fields, Reader, Text, Value};

/// A `[[route]]`.
#[derive(Clone)]
pub(in crate::policy) struct WrittenRoute {
    pub(in crate::policy) span: Range<usize>,
    pub(in crate::policy) matches: Text,
    pub(in crate::policy) action: Option<Text>,
    pub(in crate::policy) subject: WrittenSubject,
    pub(in crate::policy) public: bool,
    pub(in crate::policy) reason: Option<Text>,
    pub(in crate::policy) upstream: Option<Text>,
    pub(in crate::policy) identity: Option<Text>,
    pub(in crate::policy) hosts: Vec<Text>,
    pub(in crate::policy) body_limit: Option<u64>,
    pub(in crate::policy) websocket: bool,
    pub(in crate::policy) copy: Option<WrittenCopy>,
    pub(in crate::policy) learn: Vec<WrittenLearn>,
    pub(in crate::policy) creates: Option<Range<usize>>,
    pub(in crate::policy) visible_by: Option<Text>,
    pub(in crate::policy) query: Option<WrittenQuery>,
    /// Names of values with their places.
    pub(in crate::policy) context: Vec<(Text, Text)>,
}

/// A route's `resource`.
#[derive(Clone)]
pub(in crate::policy) enum WrittenSubject {
    /// Left out: what the path names.
    Path,
    /// `"company"`.
    Company(Range<usize>),
    /// `{ project = "json:/id" }`: also what stands at these places.
    Places(Vec<WrittenPlaces>),
    /// Something that was faulted already.
    Faulty,
}

/// Where resources of one type are named outside the path.
#[derive(Clone)]
pub(in crate::policy) struct WrittenPlaces {
    pub(in crate::policy) resource: Text,
    pub(in crate::policy) places: Vec<Text>,
}

/// A route's `query`.
#[derive(Clone)]
pub(in crate::policy) struct WrittenQuery {
    pub(in crate::policy) span: Range<usize>,
    pub(in crate::policy) allow: Option<Vec<Text>>,
    /// Names of fields with their values.
    pub(in crate::policy) set: Vec<(Text, Text)>,
}

/// A route's `copy`.
#[derive(Clone)]
pub(in crate::policy) struct WrittenCopy {
    pub(in crate::policy) of: Text,
    pub(in crate::policy) land: Text,
}

/// A route's `learn`.
#[derive(Clone)]
pub(in crate::policy) struct WrittenLearn {
    pub(in crate::policy) resource: Text,
    pub(in crate::policy) place: Text,
}

/// Reads a route: one for each of its matches.
pub(super) fn read(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<WrittenRoute> {
    let Some(mut fields) = reader.table(value, "this [[route]]") else {
        return Vec::new();
    };
    let several = fields
        .value("match")
        .filter(|value| value.get_ref().is_array());
    let matches = match several {
        Some(_) => fields.texts("match"),
        None => fields.required("match").into_iter().collect(),
    };
    if let Some(value) = several.filter(|_| matches.is_empty()) {
        let message = "`match` is an empty list";
        fields.reader().fault(value.span(), message);
    }
    let Some(first) = read_rest(&mut fields, matches.first()) else {
        return Vec::new();
    };
    fields.finish();
    let others = matches.iter().skip(1).map(|matches| WrittenRoute {
        matches: matches.clone(),
        // One of them is what the page posts to.
        copy: None,
        ..first.clone()
    });
    std::iter::once(first.clone()).chain(others).collect()
}

/// Everything but the matches, of which this is the first.
fn read_rest(fields: &mut Fields<'_, '_, '_>, matches: Option<&Text>) -> Option<WrittenRoute> {
    let subject = match fields.value("resource") {
        Some(value) => read_subject(fields.reader(), value),
        None => WrittenSubject::Path,
    };
    let upgrade = fields.text("upgrade");
    let websocket = upgrade.is_some_and(|upgrade| {
        let known = upgrade.get_ref() == "websocket";
        if !known {
            let message = format!("`{}` is no upgrade: `websocket`", upgrade.get_ref());
            fields.reader().fault(upgrade.span(), message);
        }
        known
    });
    let copy = match fields.value("copy") {
        Some(value) => read_copy(fields.reader(), value),
        None => None,
    };
    let query = match fields.value("query") {
        Some(value) => read_query(fields.reader(), value),
        None => None,
    };
    let context = match fields.value("context") {
        Some(value) => read_texts(fields.reader(), value, "context"),
        None => Vec::new(),
    };
    let learn = match fields.value("learn") {
        Some(value) => read_learn(fields.reader(), value),
        None => Vec::new(),
    };
    let creates = fields.flag("creates");
    let creates = fields.value("creates").filter(|_| creates).map(Value::span);
    matches.map(|matches| WrittenRoute {
        span: fields.span(),
        matches: matches.clone(),
        action: fields.text("action"),
        subject,
        public: fields.flag("public"),
        reason: fields.text("reason"),
        upstream: fields.text("upstream"),
        identity: fields.text("identity"),
        hosts: fields.texts("hosts"),
        body_limit: fields.size("body_limit"),
        websocket,
        copy,
        learn,
        creates,
        visible_by: fields.text("visible_by"),
        query,
        context,
    })
}

fn read_subject(reader: &mut Reader<'_>, value: &Value<'_>) -> WrittenSubject {
    if value.get_ref().is_table() {
        return match read_places(reader, value) {
            Some(places) => WrittenSubject::Places(places),
            None => WrittenSubject::Faulty,
        };
    }
    match reader.string(value, "resource") {
        Some(text) if text.get_ref() == "company" => WrittenSubject::Company(text.span()),
        Some(text) => {
            reader.fault_with_help(
                text.span(),
                format!("`{}` cannot stand here", text.get_ref()),
                "`\"company\"`, or where resources are named: `{ project = \"json:/project_id\" }`",
            );
            WrittenSubject::Faulty
        }
        None => WrittenSubject::Faulty,
    }
}

fn read_query(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<WrittenQuery> {
    let mut fields = reader.table(value, "query")?;
    let allow = fields
        .value("allow")
        .is_some()
        .then(|| fields.texts("allow"));
    let set = match fields.value("set") {
        Some(value) => read_texts(fields.reader(), value, "set"),
        None => Vec::new(),
    };
    let query = WrittenQuery {
        span: value.span(),
        allow,
        set,
    };
    fields.finish();
    if query.allow.is_none() && query.set.is_empty() {
        let message = "`query` says neither `allow` nor `set`";
        reader.fault(query.span, message);
        return None;
    }
    Some(query)
}

/// Names with texts.
fn read_texts(reader: &mut Reader<'_>, value: &Value<'_>, what: &str) -> Vec<(Text, Text)> {
    let Some(mut table) = reader.table(value, what) else {
        return Vec::new();
    };
    let entries = table.entries();
    let read = |(name, value): (Text, &Value<'_>)| {
        let text = table.reader().string(value, name.get_ref())?;
        Some((name, text))
    };
    entries.into_iter().filter_map(read).collect()
}

/// `{ project = "query:id", task = ["json:/from", "json:/to"] }`.
fn read_places(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Vec<WrittenPlaces>> {
    let mut table = reader.table(value, "resource")?;
    let mut all = Vec::new();
    for (resource, value) in table.entries() {
        let one = std::slice::from_ref(value);
        let list = value.get_ref().as_array().map_or(one, AsRef::as_ref);
        let places = list
            .iter()
            .map(|place| table.reader().string(place, resource.get_ref()))
            .collect::<Option<Vec<_>>>()?;
        if places.is_empty() {
            let message = format!("`{}` names no place", resource.get_ref());
            table.reader().fault(value.span(), message);
            return None;
        }
        all.push(WrittenPlaces { resource, places });
    }
    if all.is_empty() {
        let message = "`resource` names nothing: `{ project = \"json:/project_id\" }`";
        reader.fault(value.span(), message);
        return None;
    }
    Some(all)
}

fn read_copy(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<WrittenCopy> {
    let mut fields = reader.table(value, "copy")?;
    let (of, land) = (fields.required("of"), fields.required("land"));
    fields.finish();
    Some(WrittenCopy {
        of: of?,
        land: land?,
    })
}

/// `{ project = "json:/id", task = ["json:/task/id", "location:/tasks/{id}"] }`.
fn read_learn(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<WrittenLearn> {
    let Some(mut table) = reader.table(value, "learn") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let entries = table.entries();
    for (resource, value) in &entries {
        let one = std::slice::from_ref(*value);
        let list = value.get_ref().as_array().map_or(one, AsRef::as_ref);
        let places = list
            .iter()
            .filter_map(|place| table.reader().string(place, "learn"));
        all.extend(places.map(|place| WrittenLearn {
            resource: resource.clone(),
            place,
        }));
        if list.is_empty() {
            let message = format!("`{}` names no place", resource.get_ref());
            table.reader().fault(value.span(), message);
        }
    }
    if entries.is_empty() {
        let message = "`learn` names a resource: `learn = { project = \"json:/id\" }`";
        reader.fault(value.span(), message);
    }
    all
}
