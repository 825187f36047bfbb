//! `routes.toml` as written: every field with its place, nothing yet looked up.

use crate::config::fault::{Fault, Source};

use super::reader::Reader;

mod resource;
mod route;

pub(super) use resource::{
    WrittenAsk, WrittenParent, WrittenPlace, WrittenResource, WrittenSource,
};
pub(super) use route::{WrittenCopy, WrittenLearn, WrittenRoute, WrittenSubject};

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

/// Reads `routes.toml`; what cannot be read is left out and faulted.
pub(super) fn read(source: &Source) -> (Written, Vec<Fault>) {
    let (mut reader, document) = Reader::open(source);
    let mut written = Written::default();
    if let Some(document) = &document {
        let mut top = reader.fields(document.get_ref(), 0..0, "`routes.toml`");
        if let Some(resources) = top.value("resource") {
            written.resources = resource::read_all(top.reader(), resources);
        }
        for route in top.list("route") {
            written.routes.extend(route::read(top.reader(), route));
        }
        top.finish();
    }
    (written, reader.into_faults())
}
