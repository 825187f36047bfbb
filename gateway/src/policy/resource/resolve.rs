//! Resource types resolved: patterns compiled, names looked up, and who may decide over what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::{
    Above, Ask, FactFile, FactSource, From, Kind, MAX_DEPTH, Parent, ParentFrom, Query, Resource,
};
use crate::config::UpstreamNames;
use crate::config::fault::{Fault, Source};
use crate::policy::pattern::is_name;
use crate::policy::reader::{Reader, Text, nearest};
use crate::policy::source::OwnerAs;
use crate::policy::template::{PathTemplate, Pointer};
use crate::policy::written::{
    WrittenAsk, WrittenParent, WrittenPlace, WrittenResource, WrittenSource,
};

const DEFAULT_IDENTIFIER: &str = "[A-Za-z0-9_-]{1,64}";
const DEFAULT_CACHE: Duration = Duration::from_secs(30);
const DEFAULT_NEGATIVE_CACHE: Duration = Duration::from_secs(2);

/// Resource types by name; `None` for one that is declared but faulty.
pub(in crate::policy) type Resources = BTreeMap<Box<str>, Option<Arc<Resource>>>;

/// What resources may name outside `routes.toml`.
#[derive(Clone, Copy)]
pub(in crate::policy) struct Given<'w> {
    pub(in crate::policy) upstreams: &'w [UpstreamNames<'w>],
    /// The files of facts, by their path in the policy folder.
    pub(in crate::policy) files: &'w [(String, Source)],
}

/// Resolves every `[resource.NAME]`; `faults` are those of other files than `routes.toml`.
pub(in crate::policy) fn resolve(
    written: &[WrittenResource],
    given: Given<'_>,
    reader: &mut Reader<'_>,
    faults: &mut Vec<Fault>,
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
        by_name: &by_name,
        given,
        reader,
        faults,
        files: BTreeMap::new(),
    };
    let all = by_name
        .iter()
        .map(|(name, written)| ((*name).into(), resolver.build(name, written).map(Arc::new)))
        .collect();
    for (name, _) in given.files {
        if !resolver.files.contains_key(name.as_str()) {
            let message = format!("no source of facts names `{name}`");
            resolver.faults.push(Fault::new(message).warning());
        }
    }
    all
}

struct Resolver<'w, 'r, 's> {
    by_name: &'w BTreeMap<&'w str, &'w WrittenResource>,
    given: Given<'w>,
    reader: &'r mut Reader<'s>,
    faults: &'r mut Vec<Fault>,
    /// Those that were read.
    files: BTreeMap<&'w str, Arc<FactFile>>,
}

impl<'w> Resolver<'w, '_, '_> {
    fn build(&mut self, name: &'w str, written: &'w WrittenResource) -> Option<Resource> {
        let identifier = self.expression(written.id.as_ref(), DEFAULT_IDENTIFIER);
        let slug = written.slug.as_ref();
        let slug = slug.map(|slug| self.expression(Some(slug), ""));
        let facts = self.facts(written.facts.as_deref().unwrap_or_default());
        let parents = match &written.parents {
            None => Some(Vec::new()),
            Some(parents) if parents.is_empty() => None,
            Some(parents) => parents.iter().map(|parent| self.parent(parent)).collect(),
        };
        let judged = self.judged(name, written);
        if judged.is_empty() && (parents.is_some() || written.parents.is_none()) {
            self.without_facts(written);
        }
        let cache = written.cache.unwrap_or(DEFAULT_CACHE);
        let negative = written.negative_cache.unwrap_or(DEFAULT_NEGATIVE_CACHE);
        let resource = Resource {
            kind: self.kind(name),
            name: name.into(),
            entity: entity_name(name).into(),
            identifier: identifier?,
            slug: match slug {
                Some(slug) => Some(slug?),
                None => None,
            },
            encoded_slash: written.encoded_slash,
            cache,
            // Nothing is believed longer than `cache`; and another company's facts as long as this.
            negative_cache: negative.min(cache),
            facts: facts?,
            parents: parents?,
            judged,
        };
        self.check_spellings(&resource, written);
        (!resource.judged.is_empty()).then_some(resource)
    }

    fn without_facts(&mut self, written: &WrittenResource) {
        let name = written.name.get_ref();
        if written.parents.is_some() {
            let message =
                format!("nothing decides over `{name}`: neither it nor what it lies in has facts");
            self.reader.fault(written.name.span(), message);
        } else {
            self.reader.fault_with_help(
                written.name.span(),
                format!("`{name}` has no source of facts"),
                "write `facts = [{ from = \"upstream\", … }]`, or `parent`",
            );
        }
    }

    /// A type's number: its place among the names.
    fn kind(&self, name: &str) -> Kind {
        Kind(self.by_name.keys().filter(|other| **other < name).count())
    }

    /// The types with facts that one of this type may lie in, itself among them.
    fn judged(&mut self, name: &str, written: &WrittenResource) -> Vec<Kind> {
        let mut seen = BTreeSet::from([name]);
        let mut open = VecDeque::from([(written, 0)]);
        let mut judged = Vec::new();
        while let Some((written, depth)) = open.pop_front() {
            if depth > MAX_DEPTH && judged.is_empty() {
                let message =
                    format!("`{name}` lies too deep: resources lie at most {MAX_DEPTH} deep");
                let named = self.by_name.get(name).map(|it| it.name.span());
                self.reader.fault(named.unwrap_or_default(), message);
                // One that is told is enough.
                return vec![self.kind(name)];
            }
            if written
                .facts
                .as_ref()
                .is_some_and(|facts| !facts.is_empty())
            {
                judged.push(self.kind(written.name.get_ref()));
            }
            let parents = written.parents.iter().flatten();
            for (_, above) in parents.flat_map(|parent| &parent.types) {
                let above = self.by_name.get_key_value(above.get_ref().as_str());
                if let Some((name, written)) = above
                    && seen.insert(name)
                {
                    open.push_back((written, depth + 1));
                }
            }
        }
        judged
    }

    /// Two spellings of one resource must not be two to us.
    fn check_spellings(&mut self, resource: &Resource, written: &WrittenResource) {
        let files = resource
            .facts
            .iter()
            .filter_map(|source| match &source.from {
                From::File(file) => Some(file),
                _ => None,
            });
        let parents = resource
            .parents
            .iter()
            .filter_map(|parent| match &parent.from {
                ParentFrom::File(file) => Some(file),
                _ => None,
            });
        for file in files.chain(parents) {
            file.check(|id| resource.is_identifier(id), self.faults);
        }
        let Some(slug) = &written.slug else { return };
        let silent = resource
            .facts
            .iter()
            .any(|source| matches!(source.from, From::Upstream { id: None, .. }))
            || resource.facts.is_empty()
                && resource
                    .parents
                    .iter()
                    .any(|parent| matches!(parent.from, ParentFrom::Upstream { own: None, .. }));
        if silent {
            self.reader.fault_with_help(
                slug.span(),
                "a slug is a second spelling, and a source does not say of which identifier",
                "write where the answer has the canonical one: `id = \"/id\"`, or for a parent `own = \"/id\"`",
            );
        }
    }

    fn expression(&mut self, written: Option<&Text>, default: &str) -> Option<Regex> {
        let text = written.map_or(default, |text| text.get_ref());
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

    fn facts(&mut self, sources: &'w [WrittenSource]) -> Option<Vec<FactSource>> {
        let resolved: Vec<_> = sources.iter().map(|source| self.source(source)).collect();
        let mut resolved: Vec<_> = resolved.into_iter().collect::<Option<_>>()?;
        // What was learned ranks below every other source, wherever it is written.
        resolved.sort_by_key(|source| matches!(source.from, From::Learned));
        Some(resolved)
    }

    fn source(&mut self, source: &'w WrittenSource) -> Option<FactSource> {
        let (from, owner_as) = match source {
            WrittenSource::Faulty => return None,
            WrittenSource::Learned => (From::Learned, OwnerAs::Id),
            WrittenSource::Postgres { query, owner_as } => {
                (From::Postgres(self.query(query)?), *owner_as)
            }
            WrittenSource::File { path, owner_as } => (From::File(self.file(path)?), *owner_as),
            WrittenSource::Upstream {
                ask,
                company,
                owner,
                id,
                owner_as,
            } => {
                let ask = self.ask(ask);
                let company = self.pointer(company);
                let owner = self.optional(owner.as_ref());
                let id = self.optional(id.as_ref());
                let from = From::Upstream {
                    ask: ask?,
                    company: company?,
                    owner: owner?,
                    id: id?,
                };
                (from, *owner_as)
            }
        };
        Some(FactSource { from, owner_as })
    }

    fn parent(&mut self, written: &'w WrittenParent) -> Option<Parent> {
        let from = match &written.from {
            WrittenPlace::Postgres(query) => self.query(query).map(ParentFrom::Postgres),
            WrittenPlace::File(path) => self.file(path).map(ParentFrom::File),
            WrittenPlace::Upstream { ask, kind, id, own } => {
                let ask = self.ask(ask);
                let kind = self.optional(kind.as_ref());
                let id = self.pointer(id);
                let own = self.optional(own.as_ref());
                Some(ParentFrom::Upstream {
                    ask: ask?,
                    kind: kind?,
                    id: id?,
                    own: own?,
                })
            }
        };
        let mut types = Vec::new();
        let mut sound = true;
        for (named, above) in &written.types {
            let name = above.get_ref().as_str();
            if !self.by_name.contains_key(name) {
                let message = format!("there is no [resource.{name}]");
                self.reader.fault(above.span(), message);
                sound = false;
                continue;
            }
            let above = Above {
                kind: self.kind(name),
                name: name.into(),
            };
            let named = named.as_ref().map(|named| named.get_ref().as_str().into());
            types.push((named, above));
        }
        let from = from?;
        sound.then_some(Parent { from, types })
    }

    fn ask(&mut self, written: &WrittenAsk) -> Option<Ask> {
        let upstream = upstream(written.upstream.as_ref(), self.given.upstreams, self.reader);
        let identity = self.identity(written);
        match PathTemplate::parse(written.get.get_ref()) {
            Ok(get) => Some(Ask {
                get,
                upstream,
                as_caller: written.as_caller,
                identity,
            }),
            Err(message) => {
                self.reader.fault(written.get.span(), message);
                None
            }
        }
    }

    /// One of the identities of the upstream that is asked.
    fn identity(&mut self, written: &WrittenAsk) -> Option<Arc<str>> {
        let at = written.identity.as_ref()?;
        let name = at.get_ref().as_str();
        let upstreams = self.given.upstreams;
        let asked = match &written.upstream {
            Some(asked) => upstreams.iter().find(|one| one.name == asked.get_ref()),
            None => upstreams.first(),
        };
        let known = asked.map_or(&[][..], |one| &one.identities);
        if known.contains(&name) {
            return Some(name.into());
        }
        let message = format!("the upstream that is asked has no identity `{name}`");
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it with [[upstream.identity]] in the configuration".to_owned(),
        };
        self.reader.fault_with_help(at.span(), message, help);
        None
    }

    /// A query that stands in brackets: without a semicolon, and about one thing, `$1`.
    fn query(&mut self, written: &Text) -> Option<Query> {
        const HELP: &str = "such as \"select company_id, owner_id from projects where id = $1\"";
        let text = written.get_ref().trim();
        let text = text.strip_suffix(';').unwrap_or(text).trim_end();
        let first = text.split(|c: char| !c.is_ascii_alphabetic()).next();
        let reads = first.is_some_and(|word| {
            word.eq_ignore_ascii_case("select") || word.eq_ignore_ascii_case("with")
        });
        if !reads {
            let message = "a query of facts begins with `select` or `with`";
            self.reader.fault_with_help(written.span(), message, HELP);
            return None;
        }
        let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect();
        let parameters: BTreeSet<String> = text.split('$').skip(1).map(digits).collect();
        if !parameters.contains("1") || parameters.iter().any(|p| !matches!(&**p, "" | "1")) {
            let message = "a query of facts has one parameter, `$1`: the identifier";
            self.reader.fault_with_help(written.span(), message, HELP);
            return None;
        }
        Some(Query {
            text: text.into(),
            source: self.reader.source().clone(),
            span: written.span(),
        })
    }

    fn file(&mut self, written: &'w Text) -> Option<Arc<FactFile>> {
        let path = written.get_ref().as_str();
        if let Some(file) = self.files.get(path) {
            return Some(Arc::clone(file));
        }
        let Some((_, source)) = self.given.files.iter().find(|(name, _)| name == path) else {
            self.reader.fault_with_help(
                written.span(),
                format!("there is no file of facts `{path}`"),
                "it stands in the policy folder, and its path begins there: \"facts/projects.toml\"",
            );
            return None;
        };
        let file = Arc::new(FactFile::read(source, self.faults));
        self.files.insert(path, Arc::clone(&file));
        Some(file)
    }

    fn pointer(&mut self, written: &Text) -> Option<Pointer> {
        Pointer::parse(written.get_ref())
            .map_err(|message| self.reader.fault(written.span(), message))
            .ok()
    }

    /// A pointer that may be left out; `None` for a faulty one.
    #[expect(clippy::option_option, reason = "left out and faulty are not the same")]
    fn optional(&mut self, written: Option<&Text>) -> Option<Option<Pointer>> {
        match written {
            None => Some(None),
            Some(written) => self.pointer(written).map(Some),
        }
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
