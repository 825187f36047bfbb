//! `[resource.NAME]` as written.

use std::time::Duration;

use crate::policy::reader::{Fields, Reader, Text, Value};

/// A `[resource.NAME]`.
pub(in crate::policy) struct WrittenResource {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) id: Option<Text>,
    pub(in crate::policy) encoded_slash: bool,
    pub(in crate::policy) cache: Option<Duration>,
    pub(in crate::policy) negative_cache: Option<Duration>,
    pub(in crate::policy) facts: Option<Vec<WrittenSource>>,
    pub(in crate::policy) parent: Option<WrittenParent>,
}

/// One of a resource's `facts`.
pub(in crate::policy) enum WrittenSource {
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
pub(in crate::policy) struct WrittenAsk {
    pub(in crate::policy) get: Text,
    pub(in crate::policy) upstream: Option<Text>,
    pub(in crate::policy) as_caller: bool,
}

/// A resource's `parent`.
pub(in crate::policy) struct WrittenParent {
    pub(in crate::policy) resource: Text,
    pub(in crate::policy) ask: WrittenAsk,
    pub(in crate::policy) id: Text,
}

pub(super) fn read_all(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<WrittenResource> {
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
    let encoded_slash = fields.flag("encoded_slash");
    fields.later(&["slug"]);
    fields.finish();
    Some(WrittenResource {
        name,
        id,
        encoded_slash,
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
