//! Resource types resolved: patterns compiled, names looked up, parents before their children.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use crate::config::UpstreamNames;

use super::{Ask, FactSource, Kind, MAX_DEPTH, Origin, Resource};
use crate::policy::pattern::is_name;
use crate::policy::reader::{Reader, Text, nearest};
use crate::policy::template::{PathTemplate, Pointer};
use crate::policy::written::{WrittenAsk, WrittenParent, WrittenResource, WrittenSource};

const DEFAULT_IDENTIFIER: &str = "[A-Za-z0-9_-]{1,64}";
const DEFAULT_CACHE: Duration = Duration::from_secs(30);
const DEFAULT_NEGATIVE_CACHE: Duration = Duration::from_secs(2);

/// Resource types by name; `None` for one that is declared but faulty.
pub(in crate::policy) type Resources = BTreeMap<Box<str>, Option<Arc<Resource>>>;

/// Resolves every `[resource.NAME]`, parents first.
pub(in crate::policy) fn resolve(
    written: &[WrittenResource],
    upstreams: &[UpstreamNames<'_>],
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
    upstreams: &'w [UpstreamNames<'w>],
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
            encoded_slash: written.encoded_slash,
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
pub(in crate::policy) fn upstream(
    written: Option<&Text>,
    known: &[UpstreamNames<'_>],
    reader: &mut Reader<'_>,
) -> Option<Arc<str>> {
    let written = written?;
    let name = written.get_ref().as_str();
    if known.iter().any(|one| one.name == name) {
        return Some(name.into());
    }
    let message = format!("no upstream is called `{name}`");
    match nearest(name, known.iter().map(|one| one.name)) {
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
