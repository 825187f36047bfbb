//! The types of resources that routes name, and where facts about them come from.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use regex::Regex;

use crate::principal::{CompanyId, UserId};

mod resolve;

pub(super) use resolve::{Resources, resolve, upstream};

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
    pub(super) name: Box<str>,
    /// As rules name it: `Project`.
    pub(super) entity: Box<str>,
    identifier: Regex,
    /// Whether an identifier in a path may hold a slash, written `%2F`.
    pub(super) encoded_slash: bool,
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
        let step = |step: &str| step.is_empty() || step == "." || step == "..";
        let walks = text.split('/').any(step);
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

    /// Whether "there is no such resource" is known, and not merely unseen.
    pub(super) fn knows_missing(&self) -> bool {
        let all_know = match &self.origin {
            Origin::Parent { .. } => true,
            Origin::Facts(sources) => sources.iter().any(|s| !matches!(s, FactSource::Learned)),
        };
        all_know && !self.is_per_caller()
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
