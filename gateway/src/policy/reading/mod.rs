//! What a request names beyond its path: in its query, its header fields and its body.
//!
//! Whatever an application may take for the value is read, not what one parser would: a name that
//! comes twice, in another spelling, or in the query beside the form gives several values, and all
//! of them are judged. What two readers could read differently is refused.

mod context;
mod fields;
mod json;
mod media;
mod multipart;
mod place;
mod xml;

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::target::Target;

use super::resource::Resource;
use json::Json;
use xml::Element;

pub(super) use context::{ContextPlace, ContextType, Given};
pub(super) use fields::{Fields, Name};
pub(super) use media::{Format, Media, is_plain};
pub(super) use multipart::parse as parse_parts;
use place::Kind;
pub(super) use place::{Namespaces, Place, values};

/// How many resources one request may name.
pub(super) const MAX_NAMED: usize = 1_000;

/// How deep a document may be.
const MAX_DEPTH: usize = 64;

/// Most bytes of a body that is read, where the route names no limit.
pub const READ_BYTES: u64 = 64 * 1024;

/// Most bytes that a route may let be read: what is read is held in memory.
pub(super) const MOST_READ_BYTES: u64 = 16 * 1024 * 1024;

/// A request, as far as places are looked for in it.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// `https` or `http`, as the client used it.
    pub scheme: &'a str,
    /// Host and perhaps port, as the client named it.
    pub authority: &'a str,
    /// Its whole body; empty where no place stands in one.
    pub body: &'a [u8],
}

/// Why a request cannot be judged: what it names cannot be read in one way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Malformed, ambiguous, or lacking what the route needs.
    #[error("{0}")]
    Malformed(String),
    /// A body in a form that is not read here.
    #[error("{0}")]
    Type(String),
    /// It names more resources than are judged at once.
    #[error("the request names more than {MAX_NAMED} resources")]
    TooMany,
}

impl Unreadable {
    /// The status that says so.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Type(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

fn malformed<T>(message: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable::Malformed(message.into()))
}

/// What a route reads of its requests.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Resources that are named outside the path.
    pub(super) named: Vec<Named>,
    /// Values for the rules.
    pub(super) context: Vec<ContextPlace>,
}

/// Where resources of one type are named.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) resource: Arc<Resource>,
    pub(super) places: Vec<Place>,
}

/// What was read of one request.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The resources with their identifiers; `None` for what no resource of the type can be called.
    pub(super) named: Vec<(Arc<Resource>, Option<Box<str>>)>,
    /// Values for the rules, by name.
    pub(super) context: Vec<(Box<str>, Given)>,
    /// Header fields in the one form that was judged.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// A value as it stands somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Text(String),
    Whole(i128),
    Flag(bool),
}

/// What one place holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) values: Vec<Value>,
    /// Whether something that must stand there does not.
    pub(super) missing: bool,
    /// Whether anything stands there under exactly the name that was asked for.
    pub(super) present: bool,
}

impl Reads {
    /// Whether nothing is read.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.context.is_empty()
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        let named = self.named.iter().flat_map(|named| &named.places);
        named.chain(self.context.iter().map(|given| &given.place))
    }

    /// The forms of bodies in which places stand.
    pub(super) fn formats(&self) -> impl Iterator<Item = Format> {
        self.places().filter_map(Place::format)
    }

    /// Whether a header field is read.
    pub(super) fn reads_header(&self, name: &HeaderName) -> bool {
        self.places().any(|place| place.is_in_header(name))
    }

    /// Whether a body is read.
    pub(super) fn needs_body(&self) -> bool {
        self.formats().next().is_some()
    }

    /// Reads every place.
    pub(super) fn read(&self, target: &Target, sent: Sent<'_>) -> Result<Read, Unreadable> {
        let parts = Parts::new(self, target, sent)?;
        let mut read = Read::default();
        for named in &self.named {
            for place in &named.places {
                let found = parts.find(place, &mut read.headers)?;
                for value in found.values {
                    let id = identifier(place, value)?;
                    let id = named
                        .resource
                        .is_identifier(&id)
                        .then(|| id.into_boxed_str());
                    let entry = (Arc::clone(&named.resource), id);
                    if read.named.len() == MAX_NAMED {
                        return Err(Unreadable::TooMany);
                    }
                    read.named.push(entry);
                }
            }
        }
        for given in &self.context {
            let found = parts.find(&given.place, &mut read.headers)?;
            read.context.extend(given.read(found.values)?);
        }
        read.named
            .sort_by(|(a, x), (b, y)| (a.kind.0, x).cmp(&(b.kind.0, y)));
        read.named
            .dedup_by(|(a, x), (b, y)| a.kind == b.kind && x == y);
        Ok(read)
    }
}

/// An identifier in its one spelling: the number 7 and the text `7` are the same.
fn identifier(place: &Place, value: Value) -> Result<String, Unreadable> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Whole(number) => Ok(number.to_string()),
        Value::Flag(_) => malformed(format!("what stands at `{place}` is no identifier")),
    }
}

/// A request taken apart, once for all places.
struct Parts<'a> {
    sent: Sent<'a>,
    query: Fields,
    body: Body,
}

/// A body in the one form that its type says.
enum Body {
    None,
    Fields(Format, Fields),
    Json(Json),
    Xml(Element),
}

impl<'a> Parts<'a> {
    fn new(reads: &Reads, target: &Target, sent: Sent<'a>) -> Result<Self, Unreadable> {
        let by_name = |place: &Place| matches!(place.kind, Kind::Field(..));
        let query = match target.query() {
            Some(query) if reads.places().any(by_name) => Fields::parse(query.as_bytes())?,
            _ => Fields::default(),
        };
        let body = match reads.needs_body() {
            true => Body::read(reads, sent)?,
            false => Body::None,
        };
        Ok(Self { sent, query, body })
    }

    /// What stands at a place; `headers` takes a field whose one form differs from what was sent.
    fn find(
        &self,
        place: &Place,
        headers: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Found, Unreadable> {
        let mut found = Found::default();
        match (&place.kind, &self.body) {
            (Kind::Field(format, name), body) => {
                self.query.find(name, format.is_none(), &mut found);
                if let Body::Fields(own, fields) = body {
                    fields.find(name, *format == Some(*own), &mut found);
                }
                found.missing = !found.present;
            }
            (Kind::Header(header), _) => header.find(self.sent, &mut found, headers)?,
            (Kind::Json(steps), Body::Json(json)) => json.find(steps, place, &mut found)?,
            (Kind::Xml(steps), Body::Xml(root)) => root.find(steps, place, &mut found)?,
            (Kind::Json(_) | Kind::Xml(_), _) => found.missing = true,
        }
        // A body comes in one of the forms that the route reads: places in the others are elsewhere.
        let elsewhere = match (place.format(), self.body.format()) {
            (Some(place), Some(sent)) => place != sent,
            _ => false,
        };
        if found.missing && !place.optional && !elsewhere {
            return malformed(format!("nothing stands at `{place}`"));
        }
        Ok(found)
    }
}

impl Body {
    fn read(reads: &Reads, sent: Sent<'_>) -> Result<Self, Unreadable> {
        media::refuse_coding(sent.headers)?;
        if sent.body.is_empty() {
            return Ok(Self::None);
        }
        let media = Media::of(sent.headers)?;
        let wanted = |format: &Format| reads.formats().any(|wanted| wanted == *format);
        let Some(format) = media.format().filter(wanted) else {
            let message = format!("a body of the type `{media}` is not read on this route");
            return Err(Unreadable::Type(message));
        };
        Ok(match format {
            Format::Form => Self::Fields(format, Fields::parse(sent.body)?),
            Format::Multipart => Self::Fields(format, multipart::parse(&media, sent.body)?),
            Format::Json => Self::Json(Json::parse(sent.body)?),
            Format::Xml => Self::Xml(xml::parse(sent.body)?),
        })
    }

    const fn format(&self) -> Option<Format> {
        match self {
            Self::None => None,
            Self::Fields(format, _) => Some(*format),
            Self::Json(_) => Some(Format::Json),
            Self::Xml(_) => Some(Format::Xml),
        }
    }
}
