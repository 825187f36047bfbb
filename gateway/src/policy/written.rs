//! `routes.toml` as written: every field with its place, nothing yet looked up.

use std::ops::Range;
use std::time::Duration;

use crate::config::fault::{Fault, Source};

use super::reader::{Fields, Reader, Text, Value};

/// Everything that `routes.toml` says.
#[derive(Default)]
pub(super) struct Written {
    pub(super) resources: Vec<WrittenResource>,
    pub(super) routes: Vec<WrittenRoute>,
}

impl Written {
    /// Whether nothing could be read.
    pub(super) const fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.routes.is_empty()
    }
}

/// A `[resource.NAME]`.
pub(super) struct WrittenResource {
    pub(super) name: Text,
    pub(super) id: Option<Text>,
    pub(super) cache: Option<Duration>,
    pub(super) negative_cache: Option<Duration>,
    pub(super) facts: Option<Vec<WrittenSource>>,
    pub(super) parent: Option<WrittenParent>,
}

/// One of a resource's `facts`.
pub(super) enum WrittenSource {
    Upstream {
        ask: WrittenAsk,
        company: Text,
        owner: Option<Text>,
    },
    Learned,
    /// Something that was faulted already.
    Faulty,
}

/// Where the upstream is asked.
pub(super) struct WrittenAsk {
    pub(super) get: Text,
    pub(super) upstream: Option<Text>,
    pub(super) as_caller: bool,
}

/// A resource's `parent`.
pub(super) struct WrittenParent {
    pub(super) resource: Text,
    pub(super) ask: WrittenAsk,
    pub(super) id: Text,
}

/// A `[[route]]`.
pub(super) struct WrittenRoute {
    pub(super) span: Range<usize>,
    pub(super) matches: Text,
    pub(super) action: Option<Text>,
    pub(super) subject: WrittenSubject,
    pub(super) public: bool,
    pub(super) reason: Option<Text>,
    pub(super) upstream: Option<Text>,
    pub(super) hosts: Vec<Text>,
    pub(super) body_limit: Option<u64>,
    pub(super) websocket: bool,
    pub(super) copy: Option<WrittenCopy>,
    pub(super) learn: Option<WrittenLearn>,
    pub(super) visible_by: Option<Text>,
}

/// A route's `resource`.
pub(super) enum WrittenSubject {
    /// Left out: what the path names.
    Path,
    /// `"company"`.
    Company(Range<usize>),
    /// Something that was faulted already.
    Faulty,
}

/// A route's `copy`.
pub(super) struct WrittenCopy {
    pub(super) of: Text,
    pub(super) land: Text,
}

/// A route's `learn`.
pub(super) struct WrittenLearn {
    pub(super) resource: Text,
    pub(super) place: Text,
}

/// Reads `routes.toml`; what cannot be read is left out and faulted.
pub(super) fn read(source: &Source) -> (Written, Vec<Fault>) {
    let (mut reader, document) = Reader::open(source);
    let mut written = Written::default();
    if let Some(document) = &document {
        let mut top = reader.fields(document.get_ref(), 0..0, "`routes.toml`");
        if let Some(resources) = top.value("resource") {
            written.resources = read_resources(top.reader(), resources);
        }
        for route in top.list("route") {
            written.routes.extend(read_route(top.reader(), route));
        }
        top.finish();
    }
    (written, reader.into_faults())
}

fn read_resources(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<WrittenResource> {
    let Some(mut table) = reader.table(value, "resource") else {
        return Vec::new();
    };
    let entries = table.entries();
    entries
        .into_iter()
        .filter_map(|(name, value)| read_resource(table.reader(), name, value))
        .collect()
}

fn read_resource(
    reader: &mut Reader<'_>,
    name: Text,
    value: &Value<'_>,
) -> Option<WrittenResource> {
    let what = format!("[resource.{}]", name.get_ref());
    let mut fields = reader.table(value, &what)?;
    let id = fields.text("id");
    let cache = fields.duration("cache");
    let negative_cache = fields.duration("negative_cache");
    let facts = fields.value("facts").is_some().then(|| {
        fields
            .list("facts")
            .iter()
            .map(|source| read_source(fields.reader(), source).unwrap_or(WrittenSource::Faulty))
            .collect()
    });
    let parent = match fields.value("parent") {
        Some(parent) => read_parent(fields.reader(), parent),
        None => None,
    };
    fields.later(&["slug", "encoded_slash"]);
    fields.finish();
    Some(WrittenResource {
        name,
        id,
        cache,
        negative_cache,
        facts,
        parent,
    })
}

fn read_source(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<WrittenSource> {
    let mut fields = reader.table(value, "facts")?;
    let from = fields.required("from")?;
    match from.get_ref().as_str() {
        "learned" => {
            fields.finish();
            Some(WrittenSource::Learned)
        }
        "upstream" => {
            let ask = read_ask(&mut fields);
            let company = fields.required("company");
            let owner = fields.text("owner");
            if let Some(owner_as) = fields.text("owner_as") {
                let message = match owner_as.get_ref().as_str() {
                    "id" => None,
                    "email" | "login" => Some("is not built yet in this version"),
                    _ => Some("is not a way to name an owner: `id`"),
                };
                if let Some(message) = message {
                    let message = format!("`owner_as = \"{}\"` {message}", owner_as.get_ref());
                    fields.reader().fault(owner_as.span(), message);
                }
            }
            fields.finish();
            Some(WrittenSource::Upstream {
                ask: ask?,
                company: company?,
                owner,
            })
        }
        other => {
            let message = if other == "postgres" {
                "facts from `postgres` are not built yet in this version".to_owned()
            } else {
                format!("`{other}` is no source of facts: `upstream` or `learned`")
            };
            reader.fault(from.span(), message);
            None
        }
    }
}

fn read_parent(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<WrittenParent> {
    let mut table = reader.table(value, "parent")?;
    let mut entries = table.entries().into_iter();
    let Some((resource, source)) = entries.next() else {
        let message = "`parent` names a resource: `parent = { project = { … } }`";
        reader.fault(value.span(), message);
        return None;
    };
    if let Some((second, _)) = entries.next() {
        let message = "several parents are not built yet in this version";
        reader.fault(second.span(), message);
        return None;
    }
    let mut fields = reader.table(source, "the parent")?;
    let from = fields.required("from")?;
    if from.get_ref() != "upstream" {
        let message = match from.get_ref().as_str() {
            "postgres" => "parents from `postgres` are not built yet in this version".to_owned(),
            other => format!("`{other}` is no source of parents: `upstream`"),
        };
        reader.fault(from.span(), message);
        return None;
    }
    let ask = read_ask(&mut fields);
    let id = fields.required("id");
    fields.finish();
    Some(WrittenParent {
        resource,
        ask: ask?,
        id: id?,
    })
}

fn read_ask(fields: &mut Fields<'_, '_, '_>) -> Option<WrittenAsk> {
    let get = fields.required("get");
    let upstream = fields.text("upstream");
    let who = fields.text("as");
    let as_caller = match who.as_ref().map(|who| who.get_ref().as_str()) {
        None | Some("gateway") => false,
        Some("caller") => true,
        Some(other) => {
            let message = format!("`{other}` cannot ask: `gateway` or `caller`");
            let span = who.map(|who| who.span()).unwrap_or_default();
            fields.reader().fault(span, message);
            false
        }
    };
    Some(WrittenAsk {
        get: get?,
        upstream,
        as_caller,
    })
}

fn read_route(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<WrittenRoute> {
    let mut fields = reader.table(value, "this [[route]]")?;
    let matches = fields.required("match");
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
    let learn = match fields.value("learn") {
        Some(value) => read_learn(fields.reader(), value),
        None => None,
    };
    let route = matches.map(|matches| WrittenRoute {
        span: fields.span(),
        matches,
        action: fields.text("action"),
        subject,
        public: fields.flag("public"),
        reason: fields.text("reason"),
        upstream: fields.text("upstream"),
        hosts: fields.texts("hosts"),
        body_limit: fields.size("body_limit"),
        websocket,
        copy,
        learn,
        visible_by: fields.text("visible_by"),
    });
    if route.is_some() {
        fields.later(&["creates", "query", "context", "identity"]);
        fields.finish();
    }
    route
}

fn read_subject(reader: &mut Reader<'_>, value: &Value<'_>) -> WrittenSubject {
    if value.get_ref().is_table() {
        let message = "identifiers outside the path are not built yet in this version";
        reader.fault(value.span(), message);
        return WrittenSubject::Faulty;
    }
    match reader.string(value, "resource") {
        Some(text) if text.get_ref() == "company" => WrittenSubject::Company(text.span()),
        Some(text) => {
            reader.fault_with_help(
                text.span(),
                format!("`{}` cannot stand here", text.get_ref()),
                "a resource is named by `{name}` in the path; `resource` is \"company\" or left out",
            );
            WrittenSubject::Faulty
        }
        None => WrittenSubject::Faulty,
    }
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

fn read_learn(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<WrittenLearn> {
    let mut table = reader.table(value, "learn")?;
    let mut entries = table.entries().into_iter();
    let Some((resource, place)) = entries.next() else {
        let message = "`learn` names a resource: `learn = { project = \"json:/id\" }`";
        reader.fault(value.span(), message);
        return None;
    };
    if let Some((second, _)) = entries.next() {
        let message = "learning several resources is not built yet in this version";
        reader.fault(second.span(), message);
    }
    if place.get_ref().is_array() {
        let message = "a list of places is not built yet in this version";
        reader.fault(place.span(), message);
        return None;
    }
    let place = reader.string(place, "learn")?;
    Some(WrittenLearn { resource, place })
}
