//! `[resource.NAME]` as written.

use std::time::Duration;

use crate::policy::reader::{Fields, Reader, Text, Value};
use crate::policy::source::OwnerAs;

/// A `[resource.NAME]`.
pub(in crate::policy) struct WrittenResource {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) id: Option<Text>,
    pub(in crate::policy) slug: Option<Text>,
    pub(in crate::policy) encoded_slash: bool,
    pub(in crate::policy) cache: Option<Duration>,
    pub(in crate::policy) negative_cache: Option<Duration>,
    pub(in crate::policy) facts: Option<Vec<WrittenSource>>,
    pub(in crate::policy) parents: Option<Vec<WrittenParent>>,
}

/// One of a resource's `facts`.
pub(in crate::policy) enum WrittenSource {
    Upstream {
        ask: WrittenAsk,
        company: Text,
        owner: Option<Text>,
        id: Option<Text>,
        owner_as: OwnerAs,
    },
    Postgres {
        query: Text,
        owner_as: OwnerAs,
    },
    File {
        path: Text,
        owner_as: OwnerAs,
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
    /// Boxed, for it is rare.
    pub(in crate::policy) identity: Option<Box<Text>>,
}

/// One of a resource's parents.
pub(in crate::policy) struct WrittenParent {
    pub(in crate::policy) from: WrittenPlace,
    /// The types that it may lie in, by how the source names them; one without a name where it
    /// names none.
    pub(in crate::policy) types: Vec<(Option<Text>, Text)>,
}

/// Where it is said what a resource lies in.
pub(in crate::policy) enum WrittenPlace {
    Upstream {
        ask: WrittenAsk,
        kind: Option<Text>,
        id: Text,
        own: Option<Text>,
    },
    Postgres(Text),
    File(Text),
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
    let slug = fields.text("slug");
    let cache = fields.duration("cache");
    let negative_cache = fields.duration("negative_cache");
    let facts = fields.value("facts").is_some().then(|| {
        fields
            .list("facts")
            .iter()
            .map(|source| read_source(fields.reader(), source).unwrap_or(WrittenSource::Faulty))
            .collect()
    });
    // One that cannot be read is faulted; without it, the resource would be another.
    let parents = fields
        .value("parent")
        .map(|parent| read_parents(fields.reader(), parent).unwrap_or_default());
    let encoded_slash = fields.flag("encoded_slash");
    fields.finish();
    Some(WrittenResource {
        name,
        id,
        slug,
        encoded_slash,
        cache,
        negative_cache,
        facts,
        parents,
    })
}

fn read_source(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<WrittenSource> {
    let mut fields = reader.table(value, "facts")?;
    let from = fields.required("from")?;
    let source = match from.get_ref().as_str() {
        "learned" => Some(WrittenSource::Learned),
        "upstream" => {
            let ask = read_ask(&mut fields);
            let company = fields.required("company");
            let owner = fields.text("owner");
            let id = fields.text("id");
            let owner_as = read_owner_as(&mut fields);
            ask.zip(company)
                .map(|(ask, company)| WrittenSource::Upstream {
                    ask,
                    company,
                    owner,
                    id,
                    owner_as,
                })
        }
        "postgres" => {
            let query = fields.required("query");
            let owner_as = read_owner_as(&mut fields);
            query.map(|query| WrittenSource::Postgres { query, owner_as })
        }
        "file" => {
            let path = fields.required("path");
            let owner_as = read_owner_as(&mut fields);
            path.map(|path| WrittenSource::File { path, owner_as })
        }
        other => {
            let message = format!(
                "`{other}` is no source of facts: `upstream`, `postgres`, `file` or `learned`"
            );
            reader.fault(from.span(), message);
            return None;
        }
    };
    fields.finish();
    source
}

fn read_owner_as(fields: &mut Fields<'_, '_, '_>) -> OwnerAs {
    let Some(text) = fields.text("owner_as") else {
        return OwnerAs::Id;
    };
    match text.get_ref().as_str() {
        "id" => OwnerAs::Id,
        "email" => OwnerAs::Email,
        "login" => OwnerAs::Login,
        other => {
            let message = format!(
                "`owner_as = \"{other}\"` is not a way to name an owner: `id`, `email` or `login`"
            );
            fields.reader().fault(text.span(), message);
            OwnerAs::Id
        }
    }
}

/// One source that says which of several types (`from` is a text), or one for each type.
fn read_parents(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Vec<WrittenParent>> {
    let mut table = reader.table(value, "parent")?;
    let mut entries = table.entries();
    let says_type = entries
        .iter()
        .any(|(key, value)| key.get_ref() == "from" && value.get_ref().is_str());
    if says_type {
        return read_parent(reader, value, None).map(|parent| vec![parent]);
    }
    // In the order in which they are written.
    entries.sort_by_key(|(key, _)| key.span().start);
    if entries.is_empty() {
        let message = "`parent` names a resource: `parent = { project = { … } }`";
        reader.fault(value.span(), message);
    }
    entries
        .into_iter()
        .map(|(resource, source)| read_parent(reader, source, Some(resource)))
        .collect()
}

fn read_parent(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    resource: Option<Text>,
) -> Option<WrittenParent> {
    let mut fields = reader.table(value, "the parent")?;
    let from = fields.required("from")?;
    let typed = resource.is_none();
    let types = match resource {
        Some(resource) => vec![(None, resource)],
        None => read_types(&mut fields),
    };
    let place = match from.get_ref().as_str() {
        "upstream" => {
            let ask = read_ask(&mut fields);
            let kind = if typed { fields.required("type") } else { None };
            let id = fields.required("id");
            let own = fields.text("own");
            ask.zip(id)
                .filter(|_| !typed || kind.is_some())
                .map(|(ask, id)| WrittenPlace::Upstream { ask, kind, id, own })
        }
        "postgres" => fields.required("query").map(WrittenPlace::Postgres),
        "file" if !typed => fields.required("path").map(WrittenPlace::File),
        "file" => {
            let message = "a file names each parent by its type: `parent = { project = { from = \"file\", … } }`";
            fields.reader().fault(from.span(), message);
            return None;
        }
        other => {
            let message =
                format!("`{other}` is no source of parents: `upstream`, `postgres` or `file`");
            fields.reader().fault(from.span(), message);
            return None;
        }
    };
    fields.finish();
    place.map(|from| WrittenParent { from, types })
}

/// `types = { Project = "project" }`: how the source names each type.
fn read_types(fields: &mut Fields<'_, '_, '_>) -> Vec<(Option<Text>, Text)> {
    let span = fields.span();
    let mut types = Vec::new();
    if let Some(value) = fields.value("types")
        && let Some(mut table) = fields.reader().table(value, "types")
    {
        for (named, resource) in table.entries() {
            let resource = table.reader().string(resource, "types");
            types.extend(resource.map(|resource| (Some(named), resource)));
        }
    }
    if types.is_empty() {
        fields.reader().fault_with_help(
            span,
            "the parent's source does not say which types it names",
            "write `types = { Project = \"project\" }`, or `parent = { project = { … } }`",
        );
    }
    types
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
        identity: fields.text("identity").map(Box::new),
    })
}
