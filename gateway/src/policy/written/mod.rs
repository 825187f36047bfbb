//! `routes.toml` as written: every field with its place, nothing yet looked up.

use crate::config::fault::{Fault, Source};

use super::reader::{Reader, Text, Value};

mod resource;
mod route;

pub(super) use resource::{
    WrittenAsk, WrittenParent, WrittenPlace, WrittenResource, WrittenSource,
};
pub(super) use route::{
    WrittenCopy, WrittenLearn, WrittenPlaces, WrittenQuery, WrittenRoute, WrittenSubject,
};

/// Everything that `routes.toml` says.
#[derive(Default)]
pub(super) struct Written {
    pub(super) resources: Vec<WrittenResource>,
    pub(super) routes: Vec<WrittenRoute>,
    /// Prefixes with their XML namespaces.
    pub(super) namespaces: Vec<(Text, Text)>,
}

impl Written {
    /// Whether nothing could be read.
    pub(super) const fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.routes.is_empty()
    }
}

/// Reads `routes.toml`; what cannot be read is left out and faulted.
pub(super) fn read(source: &Source) -> (Written, Vec<Fault>) {
    let (mut reader, document) = Reader::open(source);
    let mut written = Written::default();
    if let Some(document) = &document {
        let mut top = reader.fields(document.get_ref(), 0..0, "`routes.toml`");
        if let Some(resources) = top.value("resource") {
            written.resources = resource::read_all(top.reader(), resources);
        }
        if let Some(namespaces) = top.value("namespaces") {
            written.namespaces = read_namespaces(top.reader(), namespaces);
        }
        for route in top.list("route") {
            written.routes.extend(route::read(top.reader(), route));
        }
        top.finish();
    }
    (written, reader.into_faults())
}

fn read_namespaces(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<(Text, Text)> {
    let Some(mut table) = reader.table(value, "namespaces") else {
        return Vec::new();
    };
    let entries = table.entries();
    let read = |(prefix, space): (Text, &Value<'_>)| {
        let space = table.reader().string(space, prefix.get_ref())?;
        Some((prefix, space))
    };
    entries.into_iter().filter_map(read).collect()
}
