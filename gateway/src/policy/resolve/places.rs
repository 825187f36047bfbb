//! What a route reads outside the path, resolved.

use crate::policy::cedar::Action;
use crate::policy::query::{QueryRule, SetField, parse_value};
use crate::policy::reader::{Text, nearest};
use crate::policy::reading::{ContextPlace, MOST_READ_BYTES, Name, Named, Place, Reads};
use crate::policy::routes::Subject;
use crate::policy::written::{WrittenPlaces, WrittenQuery, WrittenRoute, WrittenSubject};

use super::Resolver;

impl Resolver<'_, '_, '_> {
    pub(super) fn query(&mut self, written: &WrittenQuery, public: bool) -> Option<QueryRule> {
        let name = |text: &Text| Name::new(text.get_ref());
        let mut rule = QueryRule {
            allow: written
                .allow
                .as_ref()
                .map(|all| all.iter().map(name).collect()),
            set: Vec::new(),
        };
        for (field, value) in &written.set {
            match parse_value(value.get_ref()) {
                Ok(value) => rule.set.push(SetField {
                    name: name(field),
                    value,
                }),
                Err(message) => {
                    self.reader.fault(value.span(), message);
                    return None;
                }
            }
        }
        if public && !rule.set.is_empty() {
            let message = "on a public route nobody is known, of whom `set` could tell";
            self.reader.fault(written.span.clone(), message);
        }
        Some(rule)
    }

    /// What the route reads outside the path.
    pub(super) fn reads(&mut self, written: &WrittenRoute) -> Option<Reads> {
        let mut reads = Reads::default();
        if let WrittenSubject::Places(all) = &written.subject {
            let named: Vec<_> = all.iter().map(|places| self.named(places)).collect();
            for named in named {
                reads.named.push(named?);
            }
        }
        reads.context = self.context(written)?;
        if reads.needs_body()
            && written
                .body_limit
                .is_some_and(|most| most > MOST_READ_BYTES)
        {
            let message = format!(
                "a body that is read is held in memory: `body_limit` is at most {MOST_READ_BYTES}"
            );
            self.reader.fault(written.matches.span(), message);
        }
        Some(reads)
    }

    /// The values that the rules may read, each of the type that the schema gives it.
    fn context(&mut self, written: &WrittenRoute) -> Option<Vec<ContextPlace>> {
        if let (true, Some((name, _))) = (written.public, written.context.first()) {
            let message = "a public route is not judged: leave `context` out";
            self.reader.fault(name.span(), message);
            return None;
        }
        let Some(rules) = self.rules else {
            return Some(Vec::new());
        };
        let action = rules.action(written.action.as_ref().map_or("", |a| a.get_ref()));
        // An action that is none is told where it stands.
        let declared = action
            .map(|action| rules.context(action))
            .unwrap_or_default();
        let mut places = Vec::new();
        for (name, place) in written.context.iter().filter(|_| action.is_some()) {
            let key = name.get_ref().as_str();
            let parsed = Place::parse(place.get_ref(), None, self.namespaces)
                .map_err(|message| self.reader.fault(place.span(), message));
            let Some(field) = declared.iter().find(|field| *field.name == *key) else {
                let message = format!("the schema's action has no `{key}` in its `context`");
                let known = declared.iter().map(|field| &*field.name);
                match nearest(key, known) {
                    Some(near) => self.reader.fault_with_help(
                        name.span(),
                        message,
                        format!("did you mean `{near}`?"),
                    ),
                    None => self.reader.fault(name.span(), message),
                }
                continue;
            };
            let Ok(parsed) = parsed else { continue };
            if parsed.optional && field.required {
                let message = format!("the schema always wants `{key}`: declare it as `{key}?`");
                self.reader.fault(place.span(), message);
            }
            match field.kind {
                Some(kind) => places.push(ContextPlace {
                    name: key.into(),
                    place: parsed,
                    kind,
                }),
                None => {
                    let message = format!(
                        "`{key}` is a `String`, `Long`, `Bool`, or a `Set` of the first two"
                    );
                    self.reader.fault(name.span(), message);
                }
            }
        }
        for field in declared.iter().filter(|field| field.required) {
            if !written
                .context
                .iter()
                .any(|(name, _)| **name.get_ref() == *field.name)
            {
                let span = written.action.as_ref().map(Text::span).unwrap_or_default();
                self.reader.fault_with_help(
                    span,
                    format!(
                        "the schema wants `{}` in the context of this action",
                        field.name
                    ),
                    format!(
                        "`context = {{ {} = \"json:/…\" }}`, or declare it as `{}?`",
                        field.name, field.name
                    ),
                );
            }
        }
        Some(places)
    }

    fn named(&mut self, written: &WrittenPlaces) -> Option<Named> {
        let resource = self.known(&written.resource);
        let name = written.resource.get_ref().as_str();
        let places: Vec<_> = written
            .places
            .iter()
            .map(|place| {
                Place::parse(place.get_ref(), Some(name), self.namespaces)
                    .map_err(|message| self.reader.fault(place.span(), message))
                    .ok()
            })
            .collect();
        Some(Named {
            places: places.into_iter().collect::<Option<Vec<_>>>()?,
            resource: resource?,
        })
    }

    /// What making the path's last resource is.
    pub(super) fn creates(
        &mut self,
        written: &WrittenRoute,
        subject: Option<&Subject>,
    ) -> Option<Action> {
        let span = written.creates.clone()?;
        let Subject::Named(_, captures) = subject? else {
            let message = "`creates` is for a resource that the path names";
            self.reader.fault(span, message);
            return None;
        };
        let Some(capture) = captures.last() else {
            let message = "`creates` is for a resource that the path names";
            self.reader.fault(span, message);
            return None;
        };
        if !capture.resource.knows_missing() {
            let message = format!(
                "no source tells surely that a `{}` does not exist: what is learned or asked as the \
                 caller does not know all",
                capture.resource.name
            );
            self.reader.fault(span, message);
            return None;
        }
        let rules = self.rules?;
        let create = rules
            .action("create")
            .filter(|create| rules.applies(*create, None));
        if create.is_none() {
            let message = "`creates` needs an action `create` that the schema lets a `User` do to a `Company`";
            self.reader.fault(span, message);
        }
        create
    }
}
