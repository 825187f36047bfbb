//! Routes: which request is which action on which resource.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use http::Method;
use http::header::{HeaderName, HeaderValue};

use crate::config::fault::Source;
use crate::principal::Principal;
use crate::target::{self, Target};

use super::cedar::Action;
use super::pattern::Pattern;
use super::query::QueryRule;
use super::reading::{Given, Read, Reads, Sent, Unreadable};
use super::resource::{Kind, Resource};
use super::template::{PathTemplate, Pointer};

/// How many identifiers one path may hold.
pub(super) const MAX_IDENTIFIERS: usize = 4;

/// Actions that only read: an unsafe method on one of them needs a reason.
pub(super) const READING: [&str; 2] = ["read", "list"];

/// A match from target to action and resource.
#[derive(Debug)]
pub struct Route {
    pub(super) label: Arc<str>,
    /// Where its `match` stands.
    pub(super) source: Source,
    pub(super) span: Range<usize>,
    pub(super) line: usize,
    pub(super) action: Arc<str>,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) identity: Option<Arc<str>>,
    pub(super) body_limit: Option<u64>,
    pub(super) upgrades: bool,
    pub(super) pattern: Pattern,
    pub(super) hosts: Vec<Box<str>>,
    pub(super) subject: Subject,
    /// What is read outside the path.
    pub(super) reads: Reads,
    pub(super) query: Option<QueryRule>,
    /// The action that, if allowed, makes a refusal one that tells.
    pub(super) visible_by: Option<Action>,
    pub(super) copy: Option<Copies>,
    pub(super) learn: Vec<Learn>,
    /// What making the last resource of the path is, where it does not exist yet.
    pub(super) creates: Option<Action>,
}

/// What a route is judged on.
#[derive(Debug)]
pub(super) enum Subject {
    /// Nothing: everyone may.
    Public,
    /// The caller's company.
    Company(Action),
    /// The resources named in the path, and those that the route reads elsewhere; all of them must
    /// pass.
    Named(Action, Vec<Capture>),
}

impl Subject {
    /// What it is judged as; `None` if it is not.
    pub(super) const fn action(&self) -> Option<Action> {
        match self {
            Self::Company(action) | Self::Named(action, _) => Some(*action),
            Self::Public => None,
        }
    }
}

/// An identifier in a path.
#[derive(Debug)]
pub(super) struct Capture {
    /// The number of its segment.
    pub(super) segment: usize,
    /// How many bytes of its segment stand before it and behind it.
    pub(super) margins: (usize, usize),
    pub(super) resource: Arc<Resource>,
}

/// What a copying route copies.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) of: Kind,
    /// Where a copy is posted.
    pub(super) post: PathTemplate,
    /// Where its person lands.
    pub(super) land: PathTemplate,
}

/// What is learned from a route's answers.
#[derive(Debug)]
pub(super) struct Learn {
    pub(super) resource: Arc<Resource>,
    pub(super) place: Place,
}

/// Where an answer names the new resource.
#[derive(Debug)]
pub(super) enum Place {
    /// In its JSON body.
    Json(Pointer),
    /// In its `Location`.
    Location(PathTemplate),
}

impl Route {
    /// Its `match`, as written.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where its `match` stands.
    pub(super) fn place(&self) -> (&Source, Range<usize>) {
        (&self.source, self.span.clone())
    }

    /// Where it stands, as `routes.toml:30`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("routes.toml:{}", self.line)
    }

    /// The action that it is; `public` for a route that is not judged.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// Whether everyone may, logged in or not.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        matches!(self.subject, Subject::Public)
    }

    /// Which upstream; `None` for the default.
    #[must_use]
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// How the upstream takes the identity here; `None` for its default.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Whether a WebSocket may open here.
    #[must_use]
    pub const fn upgrades(&self) -> bool {
        self.upgrades
    }

    /// Most bytes of a request's body; `None` for the configured default.
    #[must_use]
    pub const fn body_limit(&self) -> Option<u64> {
        self.body_limit
    }

    /// Whether more than the target must be read before it can be judged.
    #[must_use]
    pub fn reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Whether a header field is judged here.
    #[must_use]
    pub fn reads_header(&self, name: &HeaderName) -> bool {
        self.reads.reads_header(name)
    }

    /// Whether the request's body must be read for that.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.reads.needs_body()
    }

    /// Whether its answer is a copy to land on.
    #[must_use]
    pub const fn copies(&self) -> bool {
        self.copy.is_some()
    }

    /// Whether its answers teach who owns what.
    #[must_use]
    pub const fn learns(&self) -> bool {
        !self.learn.is_empty() || self.creates.is_some()
    }

    /// Whether the answer's body is read for that.
    #[must_use]
    pub fn learn_needs_body(&self) -> bool {
        let mut places = self.learn.iter().map(|learn| &learn.place);
        places.any(|place| matches!(place, Place::Json(_)))
    }

    /// Whether a request on this route may change what it names.
    pub(super) fn changes(&self, method: &Method) -> bool {
        !target::is_safe(method) || !(self.is_public() || READING.contains(&&*self.action))
    }
}

/// A route with the identifiers that a target holds.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    route: Arc<Route>,
    target: Target,
    /// Where each of the route's captures stands in the path, in bytes.
    places: [(usize, usize); MAX_IDENTIFIERS],
    /// What was read outside the path.
    read: Option<Arc<Read>>,
}

impl RouteMatch {
    pub(super) fn new(route: &Arc<Route>, target: &Target) -> Self {
        let mut matched = Self {
            route: Arc::clone(route),
            target: target.clone(),
            places: [(0, 0); MAX_IDENTIFIERS],
            read: None,
        };
        let Subject::Named(_, captures) = &route.subject else {
            return matched;
        };
        let mut captures = captures.iter().zip(&mut matched.places).peekable();
        let mut start = 1;
        let segments = target.path().split('/').skip(1);
        for (number, segment) in segments.enumerate() {
            let end = start + segment.len();
            match captures.peek_mut() {
                None => break,
                Some((capture, place)) if capture.segment == number => {
                    let (before, after) = capture.margins;
                    **place = (start + before, end - after);
                    captures.next();
                }
                Some(_) => {}
            }
            start = end + 1;
        }
        matched
    }

    /// The route.
    #[must_use]
    pub const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Whether every encoded slash in the path stands in an identifier that may hold one.
    #[must_use]
    pub fn holds_slashes(&self) -> bool {
        let all = self.target.path().matches("%2F").count();
        let captures = match &self.route.subject {
            Subject::Named(_, captures) => captures.as_slice(),
            Subject::Public | Subject::Company(_) => &[],
        };
        let held = captures.iter().zip(self.places).map(|(capture, place)| {
            let segment = self.target.path().get(place.0..place.1).unwrap_or_default();
            match capture.resource.encoded_slash {
                true => segment.matches("%2F").count(),
                false => 0,
            }
        });
        all == 0 || all == held.sum::<usize>()
    }

    /// The target with the query that the route lets pass; `None` if it is the one that came.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] for a field that may not pass.
    pub fn filter_query(
        &self,
        target: &Target,
        principal: Option<&Principal>,
    ) -> Result<Option<Target>, Unreadable> {
        match &self.route.query {
            Some(rule) => rule.apply(target, principal),
            None => Ok(None),
        }
    }

    /// Takes another query, which is the one that is judged and forwarded.
    pub fn take_query(&mut self, target: &Target) {
        self.target = target.with_method(self.target.method().clone());
    }

    /// Values of the request that the rules may read.
    pub(super) fn context(&self) -> &[(Box<str>, Given)] {
        self.read.as_ref().map_or(&[], |read| &read.context)
    }

    /// Reads what the route wants to know beyond the target. A request on a route that reads is
    /// denied until then.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] for what is missing, malformed, or could be read in two ways.
    pub fn read(&mut self, sent: Sent<'_>) -> Result<(), Unreadable> {
        if self.route.reads() {
            let read = self.route.reads.read(&self.target, sent)?;
            if self.captured() == 0 && read.named.is_empty() && self.is_named() {
                let message = "the request names no resource".to_owned();
                return Err(Unreadable::Malformed(message));
            }
            self.read = Some(Arc::new(read));
        }
        Ok(())
    }

    /// Header fields to send in the one form that was judged.
    pub fn headers(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.read.iter().flat_map(|read| &read.headers)
    }

    /// Whether everything was read that the decision needs.
    pub(super) fn is_read(&self) -> bool {
        self.read.is_some() || !self.route.reads()
    }

    /// How much fixed text stands behind each identifier in the path.
    fn margins(&self) -> impl Iterator<Item = usize> {
        let captures = match &self.route.subject {
            Subject::Named(_, captures) => captures.as_slice(),
            Subject::Public | Subject::Company(_) => &[],
        };
        captures.iter().map(|capture| capture.margins.1)
    }

    fn is_named(&self) -> bool {
        matches!(self.route.subject, Subject::Named(..))
    }

    fn captured(&self) -> usize {
        match &self.route.subject {
            Subject::Named(_, captures) => captures.len(),
            Subject::Public | Subject::Company(_) => 0,
        }
    }

    /// What making a resource is, if it is the one that the path ends with and may be made here.
    pub(super) fn creates(&self, number: usize) -> Option<Action> {
        let last = number + 1 == self.captured();
        self.route.creates.filter(|_| last)
    }

    /// How many resources are named.
    pub(super) fn count(&self) -> usize {
        self.captured() + self.read.as_ref().map_or(0, |read| read.named.len())
    }

    /// Where a copy lands, such as `/projects/7`; `None` if the route copies nothing.
    #[must_use]
    pub fn landing(&self, id: &str) -> Option<String> {
        let copy = self.route.copy.as_ref()?;
        Some(copy.land.fill(id))
    }

    /// The method that it is judged by.
    #[must_use]
    pub const fn method(&self) -> &Method {
        self.target.method()
    }

    /// The resources that the request names, those in the path first, each with its identifier;
    /// `None` for one that no resource of its type can be called.
    pub(super) fn named(&self) -> impl Iterator<Item = (&Arc<Resource>, Option<Cow<'_, str>>)> {
        let captures = match &self.route.subject {
            Subject::Named(_, captures) => captures.as_slice(),
            Subject::Public | Subject::Company(_) => &[],
        };
        let in_path = captures.iter().zip(self.places).map(|(capture, place)| {
            let segment = self.target.path().get(place.0..place.1).unwrap_or_default();
            (&capture.resource, capture.resource.identifier(segment))
        });
        let elsewhere = self.read.iter().flat_map(|read| &read.named);
        in_path.chain(elsewhere.map(|(resource, id)| (resource, id.as_deref().map(Cow::Borrowed))))
    }

    /// The last resource that the path names.
    pub(super) fn last_captured(&self) -> Option<(&Arc<Resource>, Cow<'_, str>)> {
        let (resource, id) = self.named().take(self.captured()).last()?;
        Some((resource, id?))
    }

    /// The resource that the path ends with: what a `DELETE` removes.
    pub(super) fn last_named(&self) -> Option<(&Arc<Resource>, Cow<'_, str>)> {
        let length = self.target.path().trim_end_matches('/').len();
        let ((_, named), _) = self
            .places
            .iter()
            .zip(self.named())
            .take(self.captured())
            .zip(self.margins())
            .find(|(((_, end), _), after)| *end + after == length)?;
        Some((named.0, named.1?))
    }
}
