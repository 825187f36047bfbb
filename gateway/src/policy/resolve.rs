//! Routes as written, resolved: patterns parsed, names looked up, precedence checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;

use crate::config::UpstreamNames;

use super::cedar::{Action, Rules};
use super::lint;
use super::pattern::{Pattern, Segment};
use super::reader::{Reader, Text, nearest};
use super::reading::{Namespaces, Reads};
use super::resource::{Resource, Resources, upstream};
use super::routes::{Capture, Copies, Learn, MAX_IDENTIFIERS, Place, Route, Subject};
use super::table::{Misplaced, Table};
use super::template::{PathTemplate, Pointer};
use super::written::{WrittenCopy, WrittenLearn, WrittenRoute, WrittenSubject};

mod places;

/// Resolves every `[[route]]`; what has a fault is left out.
pub(super) fn routes(
    written: &[WrittenRoute],
    namespaces: &Namespaces,
    resources: &Resources,
    rules: Option<&Rules>,
    upstreams: &[UpstreamNames<'_>],
    reader: &mut Reader<'_>,
) -> (Vec<Arc<Route>>, Table) {
    let mut resolver = Resolver {
        resources,
        namespaces,
        rules,
        upstreams,
        reader,
        copies: BTreeMap::new(),
    };
    let resolved: Vec<_> = written
        .iter()
        .filter_map(|route| Some((route, resolver.route(route)?)))
        .collect();
    let places = resolved.iter().map(|(_, r)| (&r.pattern, &r.hosts[..]));
    let (table, misplaced) = Table::build(places);
    let text = |route: usize| resolved.get(route).map(|(written, _)| &written.matches);
    for entry in misplaced {
        let (route, other, how) = match entry {
            Misplaced::Twin { of, route } => (route, of, "is exactly as specific as"),
            Misplaced::Shadowed { by, route } => (route, by, "never matches: before it comes"),
        };
        if let (Some(route), Some(other)) = (text(route), text(other)) {
            let (line, _) = reader.source().position(other.span().start);
            let (route_text, other_text) = (route.get_ref(), other.get_ref());
            let message = format!("`{route_text}` {how} `{other_text}` in line {line}");
            reader.fault(route.span(), message);
        }
    }
    lint::check(&resolved, &table, reader);
    let routes = resolved.into_iter().map(|(_, r)| Arc::new(r)).collect();
    (routes, table)
}

/// Namespaces by prefix.
pub(super) fn namespaces(written: &[(Text, Text)]) -> Namespaces {
    written
        .iter()
        .map(|(prefix, space)| {
            (
                prefix.get_ref().as_str().into(),
                space.get_ref().as_str().into(),
            )
        })
        .collect()
}

struct Resolver<'w, 'r, 's> {
    resources: &'w Resources,
    namespaces: &'w Namespaces,
    rules: Option<&'w Rules>,
    upstreams: &'w [UpstreamNames<'w>],
    reader: &'r mut Reader<'s>,
    /// Which type is copied in which line.
    copies: BTreeMap<usize, usize>,
}

impl Resolver<'_, '_, '_> {
    fn route(&mut self, written: &WrittenRoute) -> Option<Route> {
        let matches = &written.matches;
        let pattern = match Pattern::parse(matches.get_ref()) {
            Ok(pattern) => pattern,
            Err(error) => {
                // The text begins after its quotation mark.
                let start = matches.span().start + 1;
                let span = start + error.span.start..start + error.span.end;
                self.reader.fault(span, error.message);
                return None;
            }
        };
        let upstream = upstream(written.upstream.as_ref(), self.upstreams, self.reader);
        let identity = self.identity(written);
        let hosts = self.hosts(&written.hosts);
        let reads = self.reads(written);
        let query = match &written.query {
            Some(query) => self.query(query, written.public).map(Some),
            None => Some(None),
        };
        let subject = self.subject(written, &pattern, reads.as_ref());
        let visible_by = self.visible_by(written);
        let copy = written.copy.as_ref().map(|copy| self.copy(copy, &pattern));
        let learn: Vec<_> = written
            .learn
            .iter()
            .map(|learn| self.learn(learn))
            .collect();
        let creates = self.creates(written, subject.as_ref());
        if written.websocket && pattern.method != Some(Method::GET) {
            let message = "a WebSocket opens with `GET` (RFC 6455, section 4.1)";
            self.reader.fault(matches.span(), message);
        }
        let action = match &written.action {
            Some(action) if !written.public => action.get_ref().as_str(),
            _ => "public",
        };
        Some(Route {
            label: matches.get_ref().as_str().into(),
            source: self.reader.source().clone(),
            span: matches.span(),
            line: self.reader.source().position(matches.span().start).0,
            action: action.into(),
            upstream,
            identity,
            body_limit: written.body_limit,
            upgrades: written.websocket,
            pattern,
            hosts,
            subject: subject?,
            reads: reads?,
            query: query?,
            visible_by,
            copy: copy.flatten(),
            learn: learn.into_iter().flatten().collect(),
            creates,
        })
    }

    /// The identity that the route's upstream is sent, if the route names one.
    fn identity(&mut self, written: &WrittenRoute) -> Option<Arc<str>> {
        let at = written.identity.as_ref()?;
        let name = at.get_ref().as_str();
        let named = written
            .upstream
            .as_ref()
            .map(|text| text.get_ref().as_str());
        let upstream = match named {
            None => self.upstreams.first(),
            // One that there is not was told where it stands.
            Some(named) => Some(self.upstreams.iter().find(|one| one.name == named)?),
        };
        let (known, of) = upstream.map_or((&[][..], ""), |one| (&one.identities[..], one.name));
        if written.public {
            let message = "a public route names nobody: leave `identity` out";
            self.reader.fault(at.span(), message);
        }
        if known.contains(&name) {
            return Some(name.into());
        }
        let message = format!("the upstream `{of}` has no identity `{name}`");
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it with [[upstream.identity]] in the configuration".to_owned(),
        };
        self.reader.fault_with_help(at.span(), message, help);
        None
    }

    fn subject(
        &mut self,
        written: &WrittenRoute,
        pattern: &Pattern,
        reads: Option<&Reads>,
    ) -> Option<Subject> {
        if written.public {
            if let Some(action) = &written.action {
                let message = "a public route is not judged: leave `action` out";
                self.reader.fault(action.span(), message);
            }
            let named = match &written.subject {
                WrittenSubject::Company(span) => Some(span.clone()),
                WrittenSubject::Places(places) => places.first().map(|p| p.resource.span()),
                WrittenSubject::Path | WrittenSubject::Faulty => None,
            };
            if let Some(span) = named {
                let message = "a public route is not judged: leave `resource` out";
                self.reader.fault(span, message);
            }
            return Some(Subject::Public);
        }
        let action = match &written.action {
            Some(action) => self.action(action),
            None => {
                let message = "this [[route]] has neither `action` nor `public = true`";
                self.reader.fault(written.span.clone(), message);
                None
            }
        };
        let captures = self.captures(written, pattern);
        match &written.subject {
            WrittenSubject::Faulty => None,
            WrittenSubject::Company(span) if pattern.names().count() > 0 => {
                self.reader.fault_with_help(
                    span.clone(),
                    "the path names a resource, which would not be judged",
                    "leave `resource` out, or write `*` for a segment that names nothing",
                );
                None
            }
            WrittenSubject::Company(_) => {
                self.applies(written, action?, None);
                Some(Subject::Company(action?))
            }
            WrittenSubject::Path if pattern.names().count() == 0 => {
                self.reader.fault_with_help(
                    written.matches.span(),
                    "the path names no resource",
                    "write `{name}` in the path, or `resource = \"company\"`",
                );
                None
            }
            WrittenSubject::Path | WrittenSubject::Places(_) => {
                let captures = captures?;
                let elsewhere = reads?.named.iter().map(|named| &named.resource);
                let in_path = captures.iter().map(|capture| &capture.resource);
                for resource in in_path.chain(elsewhere) {
                    self.applies(written, action?, Some(resource));
                }
                Some(Subject::Named(action?, captures))
            }
        }
    }

    fn captures(&mut self, written: &WrittenRoute, pattern: &Pattern) -> Option<Vec<Capture>> {
        let span = written.matches.span();
        let mut captures = Vec::new();
        let mut sound = true;
        for (segment, name) in pattern.names() {
            match self.resources.get(name) {
                Some(Some(resource)) => captures.push(Capture {
                    segment,
                    margins: pattern
                        .segments
                        .get(segment)
                        .map(Segment::margins)
                        .unwrap_or_default(),
                    resource: Arc::clone(resource),
                }),
                // A declared one that is faulty was told where it stands.
                Some(None) => sound = false,
                None => {
                    sound = false;
                    self.reader.fault_with_help(
                        span.clone(),
                        format!("there is no [resource.{name}]"),
                        "declare it, or write `*` for a segment that is no identifier",
                    );
                }
            }
        }
        if captures.len() > MAX_IDENTIFIERS {
            let message = format!("a path holds at most {MAX_IDENTIFIERS} identifiers");
            self.reader.fault(span, message);
            sound = false;
        }
        sound.then_some(captures)
    }

    fn action(&mut self, written: &Text) -> Option<Action> {
        let name = written.get_ref();
        let rules = self.rules?;
        let found = rules.action(name);
        if found.is_none() {
            let message = format!("the schema has no action `{name}`");
            match nearest(name, rules.action_names()) {
                Some(near) => {
                    let help = format!("did you mean `{near}`?");
                    self.reader.fault_with_help(written.span(), message, help);
                }
                None => self.reader.fault(written.span(), message),
            }
        }
        found
    }

    /// Faults an action that the schema does not let apply to what is judged.
    fn applies(&mut self, written: &WrittenRoute, action: Action, resource: Option<&Resource>) {
        let Some(rules) = self.rules else { return };
        let span = written.action.as_ref().map(Text::span).unwrap_or_default();
        let name = rules.action_name(action);
        let judged: Vec<_> = match resource {
            Some(resource) => resource.judged().iter().map(|kind| Some(*kind)).collect(),
            None => vec![None],
        };
        for kind in judged {
            if rules.applies(action, kind) {
                continue;
            }
            let mut resources = self.resources.values().flatten();
            let entity = resources.find(|resource| Some(resource.kind) == kind);
            let entity = entity.map_or("Company", |resource| &resource.entity);
            let message = format!("the schema does not let a `User` do `{name}` to a `{entity}`");
            self.reader.fault(span.clone(), message);
        }
    }

    fn visible_by(&mut self, written: &WrittenRoute) -> Option<Action> {
        match &written.visible_by {
            Some(action) => self.action(action),
            None => self.rules?.action("read"),
        }
    }

    fn hosts(&mut self, written: &[Text]) -> Vec<Box<str>> {
        let mut hosts = Vec::new();
        for host in written {
            let name = host.get_ref();
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
            if name.is_empty() || name.ends_with('.') || !name.bytes().all(fits) {
                let message = format!("`{name}` is no host name: lower case, without port");
                self.reader.fault(host.span(), message);
            }
            hosts.push(name.as_str().into());
        }
        hosts
    }

    fn copy(&mut self, written: &WrittenCopy, pattern: &Pattern) -> Option<Copies> {
        let land = self.template(&written.land, written.land.get_ref());
        let of = self.known(&written.of)?;
        let named = pattern.names().map(|(_, name)| name).eq([&*of.name]);
        let post = pattern
            .template()
            .filter(|_| named && pattern.method == Some(Method::POST));
        let Some(post) = post else {
            let message = format!(
                "a copy is a `POST` whose path names one `{{{}}}` and nothing else",
                of.name
            );
            self.reader.fault(written.of.span(), message);
            return None;
        };
        let (line, _) = self.reader.source().position(written.of.span().start);
        if let Some(first) = self.copies.insert(of.kind.0, line) {
            let message = format!("line {first} says already how a `{}` is copied", of.name);
            self.reader.fault(written.of.span(), message);
        }
        let post = self.template(&written.of, &post);
        Some(Copies {
            of: of.kind,
            post: post?,
            land: land?,
        })
    }

    fn learn(&mut self, written: &WrittenLearn) -> Option<Learn> {
        let place = written.place.get_ref();
        let place = if let Some(pointer) = place.strip_prefix("json:") {
            Pointer::parse(pointer)
                .map_err(|message| self.reader.fault(written.place.span(), message))
                .ok()
                .map(Place::Json)
        } else if let Some(path) = place.strip_prefix("location:") {
            self.template(&written.place, path).map(Place::Location)
        } else {
            let message = format!("`{place}` is no place: `json:/pointer` or `location:/path`");
            self.reader.fault(written.place.span(), message);
            None
        };
        let resource = self.known(&written.resource)?;
        if !resource.learns() {
            self.reader.fault_with_help(
                written.resource.span(),
                format!("nothing reads what is learned of a `{}`", resource.name),
                format!(
                    "add `{{ from = \"learned\" }}` to the facts of [resource.{}]",
                    resource.name
                ),
            );
        }
        Some(Learn {
            resource,
            place: place?,
        })
    }

    fn known(&mut self, written: &Text) -> Option<Arc<Resource>> {
        let name = written.get_ref().as_str();
        let found = self.resources.get(name);
        if found.is_none() {
            let message = format!("there is no [resource.{name}]");
            self.reader.fault(written.span(), message);
        }
        found.cloned().flatten()
    }

    fn template(&mut self, at: &Text, text: &str) -> Option<PathTemplate> {
        PathTemplate::parse(text)
            .map_err(|message| self.reader.fault(at.span(), message))
            .ok()
    }
}
