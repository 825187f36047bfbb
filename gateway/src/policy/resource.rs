//! The types of resources that routes name, and where facts about them come from.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use regex::Regex;

use crate::principal::{CompanyId, UserId};

use super::pattern::is_name;
use super::reader::{Reader, Text, nearest};
use super::template::{PathTemplate, Pointer};
use super::written::{WrittenAsk, WrittenParent, WrittenResource, WrittenSource};

/// How deep a thing may lie inside a thing.
pub(super) const MAX_DEPTH: usize = 8;

/// Longest identifier in bytes, whatever its expression says.
const MAX_IDENTIFIER: usize = 256;

const DEFAULT_IDENTIFIER: &str = "[A-Za-z0-9_-]{1,64}";
const DEFAULT_CACHE: Duration = Duration::from_secs(30);
const DEFAULT_NEGATIVE_CACHE: Duration = Duration::from_secs(2);

/// A resource type by its number: its place among the types, sorted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind(pub(super) usize);

/// A resource type.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// As routes name it: `project`.
    pub(super) name: Box<str>,
    /// As rules name it: `Project`.
    pub(super) entity: Box<str>,
    identifier: Regex,
    /// How long facts are believed.
    pub(super) cache: Duration,
    /// How long it is believed that there is no such resource, or that it is another company's.
    pub(super) negative_cache: Duration,
    pub(super) origin: Origin,
}

/// Where facts come from.
#[derive(Debug)]
pub(super) enum Origin {
    /// The first source that answers wins.
    Facts(Vec<FactSource>),
    /// The resource that this lies in decides in its place.
    Parent {
        resource: Arc<Resource>,
        ask: Ask,
        id: Pointer,
    },
}

/// One source of facts.
#[derive(Debug)]
pub(super) enum FactSource {
    /// A JSON document of the application's.
    Upstream {
        ask: Ask,
        company: Pointer,
        owner: Option<Pointer>,
    },
    /// Answers that passed through.
    Learned,
}

/// Whom to ask, and as whom.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) get: PathTemplate,
    /// `None` for the default upstream.
    pub(super) upstream: Option<Arc<str>>,
    /// With the caller's identity; else with the gateway's own.
    pub(super) as_caller: bool,
}

/// A resource with its facts: all that a decision reads of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) kind: Kind,
    /// The canonical identifier.
    pub(super) id: Box<str>,
    /// Type and identifier for people, such as `Project::1`.
    pub(super) label: Arc<str>,
    pub(super) company: CompanyId,
    /// `None` if the facts name no owner.
    pub(super) owner: Option<UserId>,
    /// Whether it is known only from an answer that passed through.
    pub(super) learned: bool,
}

impl Resource {
    /// The identifier that a path segment, in its normal form, spells; `None` if no resource of
    /// this type is called so.
    pub(super) fn identifier<'p>(&self, segment: &'p str) -> Option<Cow<'p, str>> {
        let id = percent_decode_str(segment).decode_utf8().ok()?;
        self.is_identifier(&id).then_some(id)
    }

    /// Whether a text is a well-formed identifier of this type.
    pub(super) fn is_identifier(&self, text: &str) -> bool {
        // Whatever the expression says, an identifier must not walk through a look-up's path.
        let walks = text.is_empty() || text == "." || text == "..";
        !walks && text.len() <= MAX_IDENTIFIER && self.identifier.is_match(text)
    }

    /// Type and identifier for people, such as `Project::1`.
    pub(super) fn label(&self, id: &str) -> Arc<str> {
        format!("{}::{id}", self.entity).into()
    }

    /// Whether an answer depends on who asks.
    pub(super) fn is_per_caller(&self) -> bool {
        match &self.origin {
            Origin::Parent { ask, .. } => ask.as_caller,
            Origin::Facts(sources) => sources.iter().any(|source| match source {
                FactSource::Upstream { ask, .. } => ask.as_caller,
                FactSource::Learned => false,
            }),
        }
    }

    /// Whether answers that passed through are a source.
    pub(super) fn learns(&self) -> bool {
        match &self.origin {
            Origin::Parent { .. } => false,
            Origin::Facts(sources) => sources.iter().any(|s| matches!(s, FactSource::Learned)),
        }
    }

    /// How many steps lead to the type that decides.
    fn depth(&self) -> usize {
        match &self.origin {
            Origin::Facts(_) => 0,
            Origin::Parent { resource, .. } => resource.depth() + 1,
        }
    }

    /// The type whose rules decide: this one, or the outermost that it lies in.
    pub(super) fn judged(&self) -> &Self {
        match &self.origin {
            Origin::Facts(_) => self,
            Origin::Parent { resource, .. } => resource.judged(),
        }
    }
}

/// Resource types by name; `None` for one that is declared but faulty.
pub(super) type Resources = BTreeMap<Box<str>, Option<Arc<Resource>>>;

/// Resolves every `[resource.NAME]`, parents first.
pub(super) fn resolve(
    written: &[WrittenResource],
    upstreams: &[&str],
    reader: &mut Reader<'_>,
) -> Resources {
    let mut by_name = BTreeMap::new();
    let mut entities = BTreeSet::new();
    for resource in written {
        let name = resource.name.get_ref().as_str();
        if !is_name(name) {
            let message = format!("`{name}` is no name: lower-case letters, digits and `_`");
            reader.fault(resource.name.span(), message);
        } else if matches!(name, "user" | "company") || !entities.insert(entity_name(name)) {
            let message = format!(
                "`{name}` is taken: rules know it as `{}`",
                entity_name(name)
            );
            reader.fault(resource.name.span(), message);
        }
        by_name.insert(name, resource);
    }
    let mut resolver = Resolver {
        by_name,
        upstreams,
        reader,
        done: Resources::new(),
        open: Vec::new(),
    };
    for name in resolver.by_name.keys().copied().collect::<Vec<_>>() {
        resolver.resource(name);
    }
    resolver.done
}

struct Resolver<'w, 'r, 's> {
    by_name: BTreeMap<&'w str, &'w WrittenResource>,
    upstreams: &'w [&'w str],
    reader: &'r mut Reader<'s>,
    done: Resources,
    /// Names under resolution, to tell a circle.
    open: Vec<&'w str>,
}

impl<'w> Resolver<'w, '_, '_> {
    fn resource(&mut self, name: &'w str) -> Option<Arc<Resource>> {
        if let Some(done) = self.done.get(name) {
            return done.clone();
        }
        let written = *self.by_name.get(name)?;
        self.open.push(name);
        let resolved = self.build(name, written).map(Arc::new);
        self.open.pop();
        self.done.insert(name.into(), resolved.clone());
        resolved
    }

    fn build(&mut self, name: &'w str, written: &'w WrittenResource) -> Option<Resource> {
        let identifier = self.identifier(written.id.as_ref());
        let origin = match (&written.facts, &written.parent) {
            (Some(sources), None) if !sources.is_empty() => self.facts(sources),
            (None, Some(parent)) => self.parent(parent),
            (Some(_), Some(_)) => {
                let message = format!(
                    "facts and a parent for one resource are not built yet in this version: `{name}`"
                );
                self.reader.fault(written.name.span(), message);
                None
            }
            _ => {
                self.reader.fault_with_help(
                    written.name.span(),
                    format!("`{name}` has no source of facts"),
                    "write `facts = [{ from = \"upstream\", … }]`, or `parent`",
                );
                None
            }
        };
        let cache = written.cache.unwrap_or(DEFAULT_CACHE);
        let negative = written.negative_cache.unwrap_or(DEFAULT_NEGATIVE_CACHE);
        Some(Resource {
            kind: Kind(self.by_name.keys().filter(|other| **other < name).count()),
            name: name.into(),
            entity: entity_name(name).into(),
            identifier: identifier?,
            cache,
            // Nothing is believed longer than `cache`; and another company's facts as long as this.
            negative_cache: negative.min(cache),
            origin: origin?,
        })
    }

    fn identifier(&mut self, written: Option<&Text>) -> Option<Regex> {
        let text = written.map_or(DEFAULT_IDENTIFIER, |text| text.get_ref());
        // Alone first: `a)|(?:b` would close the group that holds it to the whole identifier.
        match Regex::new(text).and_then(|_| Regex::new(&format!(r"\A(?:{text})\z"))) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let span = written.map(Text::span).unwrap_or_default();
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                self.reader
                    .fault(span, format!("`{text}` is no regular expression: {reason}"));
                None
            }
        }
    }

    fn facts(&mut self, sources: &[WrittenSource]) -> Option<Origin> {
        let resolved: Vec<_> = sources
            .iter()
            .map(|source| match source {
                WrittenSource::Faulty => None,
                WrittenSource::Learned => Some(FactSource::Learned),
                WrittenSource::Upstream {
                    ask,
                    company,
                    owner,
                } => {
                    let ask = self.ask(ask);
                    let company = self.pointer(company);
                    let owner = owner.as_ref().map(|owner| self.pointer(owner));
                    Some(FactSource::Upstream {
                        ask: ask?,
                        company: company?,
                        owner: match owner {
                            Some(owner) => Some(owner?),
                            None => None,
                        },
                    })
                }
            })
            .collect();
        let resolved: Option<Vec<_>> = resolved.into_iter().collect();
        resolved.map(Origin::Facts)
    }

    fn parent(&mut self, written: &'w WrittenParent) -> Option<Origin> {
        let ask = self.ask(&written.ask);
        let id = self.pointer(&written.id);
        let name = written.resource.get_ref().as_str();
        let span = written.resource.span();
        if !self.by_name.contains_key(name) {
            let message = format!("there is no [resource.{name}]");
            self.reader.fault(span, message);
            return None;
        }
        if self.open.contains(&name) {
            let message = format!("`{name}` lies inside itself");
            self.reader.fault(span, message);
            return None;
        }
        let resource = self.resource(name)?;
        if resource.depth() >= MAX_DEPTH {
            let message = format!("resources lie at most {MAX_DEPTH} deep");
            self.reader.fault(span, message);
            return None;
        }
        Some(Origin::Parent {
            resource,
            ask: ask?,
            id: id?,
        })
    }

    fn ask(&mut self, written: &WrittenAsk) -> Option<Ask> {
        let upstream = upstream(written.upstream.as_ref(), self.upstreams, self.reader);
        match PathTemplate::parse(written.get.get_ref()) {
            Ok(get) => Some(Ask {
                get,
                upstream,
                as_caller: written.as_caller,
            }),
            Err(message) => {
                self.reader.fault(written.get.span(), message);
                None
            }
        }
    }

    fn pointer(&mut self, written: &Text) -> Option<Pointer> {
        Pointer::parse(written.get_ref())
            .map_err(|message| self.reader.fault(written.span(), message))
            .ok()
    }
}

/// An upstream's name, if it is configured.
pub(super) fn upstream(
    written: Option<&Text>,
    known: &[&str],
    reader: &mut Reader<'_>,
) -> Option<Arc<str>> {
    let written = written?;
    let name = written.get_ref().as_str();
    if known.contains(&name) {
        return Some(name.into());
    }
    let message = format!("no upstream is called `{name}`");
    match nearest(name, known.iter().copied()) {
        Some(near) => {
            reader.fault_with_help(written.span(), message, format!("did you mean `{near}`?"));
        }
        None => reader.fault(written.span(), message),
    }
    None
}

/// `sub_project` is `SubProject` in the rules.
fn entity_name(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_ascii_uppercase().to_string() + letters.as_str()
            })
        })
        .collect()
}
