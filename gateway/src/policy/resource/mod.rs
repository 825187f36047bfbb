//! The types of resources that routes name, and where facts about them come from.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use regex::Regex;

use crate::config::fault::Source;
use crate::principal::{CompanyId, UserId};

mod file;
mod resolve;

pub(super) use file::{FactFile, is_fact_file};
pub(super) use resolve::{Given, Resources, resolve, upstream};

use super::source::OwnerAs;
use super::template::{PathTemplate, Pointer};

/// How deep a thing may lie inside a thing.
pub(super) const MAX_DEPTH: usize = 8;

/// Longest identifier in bytes, whatever its expression says.
const MAX_IDENTIFIER: usize = 256;

/// A resource type by its number: its place among the types, sorted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind(pub(super) usize);

/// A resource type.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// As routes name it: `project`.
    pub(super) name: Arc<str>,
    /// As rules name it: `Project`.
    pub(super) entity: Box<str>,
    identifier: Regex,
    /// A second way to spell one.
    slug: Option<Regex>,
    /// Whether an identifier in a path may hold a slash, written `%2F`.
    pub(super) encoded_slash: bool,
    /// How long facts are believed.
    pub(super) cache: Duration,
    /// How long it is believed that there is no such resource, or that it is another company's.
    pub(super) negative_cache: Duration,
    /// Where its own facts come from: the first source that answers wins. Empty where what it
    /// lies in decides in its place.
    pub(super) facts: Vec<FactSource>,
    /// Where it is said what it lies in: the first source that answers wins.
    pub(super) parents: Vec<Parent>,
    /// The types whose facts may decide over one.
    judged: Vec<Kind>,
}

/// One source of facts.
#[derive(Debug)]
pub(super) struct FactSource {
    pub(super) from: From,
    /// How it names owners.
    pub(super) owner_as: OwnerAs,
}

/// Where facts come from.
#[derive(Debug)]
pub(super) enum From {
    /// A JSON document of the application's.
    Upstream {
        ask: Ask,
        company: Pointer,
        owner: Option<Pointer>,
        id: Option<Pointer>,
    },
    /// A query over the application's tables.
    Postgres(Query),
    /// A file of the policy folder.
    File(Arc<FactFile>),
    /// Answers that passed through.
    Learned,
}

/// A source that says what a resource lies in.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) from: ParentFrom,
    /// The types that it may say, by how it names them; one without a name where it says none.
    pub(super) types: Vec<(Option<Box<str>>, Above)>,
}

/// A type that something lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Above {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
}

/// Where it is said what a resource lies in.
#[derive(Debug)]
pub(super) enum ParentFrom {
    /// A JSON document of the application's.
    Upstream {
        ask: Ask,
        kind: Option<Pointer>,
        id: Pointer,
        own: Option<Pointer>,
    },
    /// A query over the application's tables.
    Postgres(Query),
    /// A file of the policy folder.
    File(Arc<FactFile>),
}

/// Whom to ask, and as whom.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) get: PathTemplate,
    /// `None` for the default upstream.
    pub(super) upstream: Option<Arc<str>>,
    /// With the caller's identity; else with the gateway's own.
    pub(super) as_caller: bool,
    /// Which of the upstream's identities; `None` for the caller's usual one, and for nothing.
    pub(super) identity: Option<Arc<str>>,
}

/// A query with its place.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) text: Arc<str>,
    pub(super) source: Source,
    pub(super) span: std::ops::Range<usize>,
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

    /// Whether a text is a well-formed identifier of this type, be it a slug.
    pub(super) fn is_identifier(&self, text: &str) -> bool {
        // Whatever the expression says, an identifier must not walk through a look-up's path.
        let step = |step: &str| step.is_empty() || step == "." || step == "..";
        let walks = text.split('/').any(step);
        let slug = || self.slug.as_ref().is_some_and(|slug| slug.is_match(text));
        !walks && text.len() <= MAX_IDENTIFIER && (self.identifier.is_match(text) || slug())
    }

    /// Type and identifier for people, such as `Project::1`.
    pub(super) fn label(&self, id: &str) -> Arc<str> {
        format!("{}::{id}", self.entity).into()
    }

    /// Whether an answer depends on who asks.
    pub(super) fn is_per_caller(&self) -> bool {
        let facts = self.facts.iter().map(|source| match &source.from {
            From::Upstream { ask, .. } => ask.as_caller,
            From::Postgres(_) | From::File(_) | From::Learned => false,
        });
        let mut parents = self.parents.iter().map(|parent| match &parent.from {
            ParentFrom::Upstream { ask, .. } => ask.as_caller,
            ParentFrom::Postgres(_) | ParentFrom::File(_) => false,
        });
        facts.into_iter().any(|it| it) || parents.any(|it| it)
    }

    /// Whether "there is no such resource" is known, and not merely unseen.
    pub(super) fn knows_missing(&self) -> bool {
        let mut facts = self.facts.iter();
        let all_know =
            !self.parents.is_empty() || facts.any(|source| !matches!(source.from, From::Learned));
        all_know && !self.is_per_caller()
    }

    /// Whether answers that passed through are a source.
    pub(super) fn learns(&self) -> bool {
        let mut facts = self.facts.iter();
        facts.any(|source| matches!(source.from, From::Learned))
    }

    /// Whether one resource may be spelled in several ways, which its sources tell.
    pub(super) fn has_spellings(&self) -> bool {
        let facts = self.facts.iter().any(|source| match &source.from {
            From::Upstream { id, .. } => id.is_some(),
            From::Postgres(_) | From::File(_) => true,
            From::Learned => false,
        });
        let parents = self.parents.iter().any(|parent| match &parent.from {
            ParentFrom::Upstream { own, .. } => own.is_some(),
            ParentFrom::Postgres(_) | ParentFrom::File(_) => true,
        });
        facts || parents
    }

    /// Whether it has two forms of identifiers, so that its sources must say which is meant.
    pub(super) fn has_slugs(&self) -> bool {
        self.slug.is_some()
    }

    /// The types whose facts may decide over one: its own, and those that it may lie in.
    pub(super) fn judged(&self) -> &[Kind] {
        &self.judged
    }

    /// The type of this number or name that it may lie in.
    pub(super) fn lies_in(&self, name: &str) -> Option<&Above> {
        let types = self.parents.iter().flat_map(|parent| &parent.types);
        let mut above = types.map(|(_, above)| above);
        above.find(|above| *above.name == *name)
    }

    /// Every query that its sources ask, and whether each is about a parent and its type.
    pub(super) fn queries(&self) -> impl Iterator<Item = (&Query, Asks)> {
        let facts = self.facts.iter().filter_map(|source| match &source.from {
            From::Postgres(query) => Some((query, Asks::Facts)),
            _ => None,
        });
        let parents = self.parents.iter().filter_map(|parent| match &parent.from {
            ParentFrom::Postgres(query) => Some((query, parent.asks())),
            _ => None,
        });
        facts.chain(parents)
    }
}

impl Parent {
    /// What a row of a query for it holds.
    pub(super) fn asks(&self) -> Asks {
        if self.types.iter().any(|(name, _)| name.is_some()) {
            Asks::TypeAndParent
        } else {
            Asks::Parent
        }
    }
}

/// What a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Company, owner, and perhaps the canonical identifier.
    Facts,
    /// The parent's identifier.
    Parent,
    /// The parent's type and identifier.
    TypeAndParent,
}
