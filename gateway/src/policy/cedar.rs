//! The rules: schema and policies, ready to judge. Nothing outside this room names Cedar.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use cedar_policy::{Effect, Entities, EntityUid, PolicyId, PolicySet, Schema, Validator};

use crate::config::fault::{Fault, Source};
use crate::principal::Principal;

use super::cedar_files::{parse_rules, parse_schema, span, validate};
use super::context::{self, ContextField};
use super::entities::{KindType, NOBODY, Types};
use super::prepared::Prepared;
use super::reading::Given;
use super::resource::{Kind, Record, Resources};
use super::slice::{self, Question, Slice};

/// An action by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Action(usize);

/// Schema and rules, ready to judge.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) schema: Schema,
    pub(super) policies: PolicySet,
    /// The invariants: what would be a hole.
    pub(super) holes: PolicySet,
    pub(super) invariants: Option<Source>,
    /// The actions with their groups.
    base: Entities,
    types: Types,
    users: Prepared<Principal>,
    records: Prepared<Record>,
    actions: Vec<(Box<str>, EntityUid)>,
    /// What an evaluation of each action needs.
    slices: Vec<Slice>,
    /// What the schema has in the context of each action.
    contexts: Vec<Vec<ContextField>>,
    /// What the schema lets a user do to what; `None` is the company.
    applies: HashSet<(Action, Option<Kind>)>,
    /// Each rule's place among all, and its name for people.
    labels: HashMap<PolicyId, (usize, Arc<str>)>,
    /// Where each rule and invariant stands in its file.
    places: HashMap<PolicyId, (Source, Range<usize>)>,
}

/// What the rules say of one action on one thing.
#[derive(Clone, Debug, Default)]
pub(super) struct Finding {
    pub(super) allow: bool,
    /// The rule that decided, as `file:line`; the first in order where several did.
    pub(super) rule: Option<Arc<str>>,
    /// Every rule that decided.
    pub(super) rules: Vec<Arc<str>>,
}

/// The policy files.
pub(super) struct Files<'s> {
    pub(super) schema: &'s Source,
    pub(super) rules: &'s [Source],
    pub(super) invariants: Option<&'s Source>,
}

impl Rules {
    /// Parses and validates the files; every fault and warning is kept. `None` if the schema is
    /// so broken that nothing can be looked up in it.
    pub(super) fn load(
        files: &Files<'_>,
        resources: &Resources,
        faults: &mut Vec<Fault>,
    ) -> Option<Self> {
        let mut policies = PolicySet::new();
        let mut labels = HashMap::new();
        let mut places = HashMap::new();
        for source in files.rules {
            for (policy, label) in parse_rules(source, faults) {
                places.insert(policy.id().clone(), (source.clone(), span(&policy)));
                let order = labels.len();
                labels.insert(policy.id().clone(), (order, label));
                if let Err(error) = policies.add(policy) {
                    faults.push(source.fault(0..0, error.to_string()));
                }
            }
        }
        let mut holes = PolicySet::new();
        if let Some(source) = files.invariants {
            for (policy, _) in parse_rules(source, faults) {
                places.insert(policy.id().clone(), (source.clone(), span(&policy)));
                if policy.effect() == Effect::Forbid {
                    let message = "an invariant is a `permit`: it says what would be a hole";
                    faults.push(source.fault(span(&policy), message).help(
                        "a `forbid` would hide holes; put the exception into the `when` of its `permit`",
                    ));
                }
                if let Err(error) = holes.add(policy) {
                    faults.push(source.fault(0..0, error.to_string()));
                }
            }
        }
        let schema = parse_schema(files.schema, faults)?;
        let validator = Validator::new(schema.clone());
        let sources = || files.rules.iter().chain(files.invariants);
        for set in [&policies, &holes] {
            validate(&validator, set, sources, faults);
        }
        let types = Types::read(&schema, resources, files.schema, faults)?;
        let base = schema
            .action_entities()
            .map_err(|error| faults.push(files.schema.fault(0..0, error.to_string())))
            .ok()?;
        let mut actions: Vec<(Box<str>, EntityUid)> = schema
            .actions()
            .filter(|uid| uid.type_name().to_string() == "Action")
            .map(|uid| (uid.id().unescaped().into(), uid.clone()))
            .collect();
        actions.sort_by(|(a, _), (b, _)| a.cmp(b));
        let contexts = context::read(files.schema, actions.iter().map(|(name, _)| &**name));
        let slices = slice::cut(
            &policies,
            &base,
            actions.iter().map(|(_, uid)| uid),
            &labels,
        );
        let applies = read_applies(&schema, &types, &actions);
        Some(Self {
            schema,
            holes,
            invariants: files.invariants.cloned(),
            places,
            policies,
            base,
            types,
            users: Prepared::default(),
            records: Prepared::default(),
            actions,
            slices,
            contexts,
            applies,
            labels,
        })
    }

    /// An action by its name.
    pub(super) fn action(&self, name: &str) -> Option<Action> {
        let at = self
            .actions
            .binary_search_by(|(known, _)| (**known).cmp(name))
            .ok()?;
        Some(Action(at))
    }

    /// Every action's name, sorted.
    pub(super) fn action_names(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().map(|(name, _)| &**name)
    }

    /// An action's name.
    pub(super) fn action_name(&self, action: Action) -> &str {
        self.actions
            .get(action.0)
            .map_or("", |(name, _)| name.as_ref())
    }

    /// What the schema has in the context of an action.
    pub(super) fn context(&self, action: Action) -> &[ContextField] {
        self.contexts.get(action.0).map_or(&[], Vec::as_slice)
    }

    /// Whether the schema lets a user do this to that; `None` is the company.
    pub(super) fn applies(&self, action: Action, kind: Option<Kind>) -> bool {
        self.applies.contains(&(action, kind))
    }

    /// Every rule's name, in order.
    pub(super) fn rule_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.labels.values().collect();
        names.sort();
        names.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// A rule's place among all.
    pub(super) fn order(&self, id: &PolicyId) -> usize {
        self.labels.get(id).map_or(usize::MAX, |(order, _)| *order)
    }

    /// Where a rule or invariant stands.
    pub(super) fn place(&self, id: &PolicyId) -> Option<&(Source, Range<usize>)> {
        self.places.get(id)
    }

    /// A fault at the place of a rule or invariant, by its name.
    pub(super) fn fault_at(&self, name: &str, message: impl Into<String>) -> Fault {
        match self.place(&PolicyId::new(name)) {
            Some((source, span)) => source.fault(span.clone(), message),
            None => Fault::new(message),
        }
    }

    /// Whether one action belongs to a group.
    pub(super) fn is_in(&self, action: &EntityUid, group: &EntityUid) -> bool {
        self.base.is_ancestor_of(group, action)
    }

    /// What the rules say of an action on a resource, or on the caller's company.
    ///
    /// A rule that cannot be evaluated denies: Cedar would pass over it, and a `forbid` passed
    /// over is an open door.
    pub(super) fn judge(
        &self,
        principal: &Arc<Principal>,
        action: Action,
        subject: Option<&Arc<Record>>,
        given: &[(Box<str>, Given)],
    ) -> Finding {
        let applies = self.applies(action, subject.map(|record| record.kind));
        if !applies || principal.id.as_str() == NOBODY {
            return Finding::default();
        }
        self.evaluate(principal, action, subject, given)
            .unwrap_or_default()
    }

    fn evaluate(
        &self,
        principal: &Arc<Principal>,
        action: Action,
        subject: Option<&Arc<Record>>,
        given: &[(Box<str>, Given)],
    ) -> Option<Finding> {
        let slice = self.slices.get(action.0)?;
        let (_, action) = self.actions.get(action.0)?;
        let user = self
            .users
            .get(principal, || self.types.user(principal).ok())?;
        let record = match subject {
            Some(record) => {
                let build = || self.types.resource(record)?.ok();
                Some(self.records.get(record, build)?)
            }
            None => None,
        };
        let company;
        let resource = if let Some(record) = &record {
            record.uid()
        } else {
            company = self.types.company_uid(principal.company.id.as_str());
            company.as_ref()
        };
        let question = Question {
            principal: user.uid(),
            action: action.as_ref(),
            resource,
            context: context::given(given)?,
        };
        let known = [Some(Arc::clone(&user)), record.clone()];
        let said = slice.judge(question, known.into_iter().flatten())?;
        Some(Finding {
            allow: said.allow,
            rule: said.rules.first().cloned(),
            rules: said.rules,
        })
    }
}

fn read_applies(
    schema: &Schema,
    types: &Types,
    actions: &[(Box<str>, EntityUid)],
) -> HashSet<(Action, Option<Kind>)> {
    let mut applies = HashSet::new();
    for env in schema
        .request_envs()
        .filter(|env| *env.principal() == types.user)
    {
        let Some(action) = actions.iter().position(|(_, uid)| uid == env.action()) else {
            continue;
        };
        if *env.resource() == types.company {
            applies.insert((Action(action), None));
        }
        let is_this = |kind: &Option<KindType>| {
            kind.as_ref()
                .is_some_and(|kind| kind.name == *env.resource())
        };
        if let Some(kind) = types.kinds.iter().position(is_this) {
            applies.insert((Action(action), Some(Kind(kind))));
        }
    }
    applies
}
