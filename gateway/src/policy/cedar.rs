//! The rules: Cedar, with its types named once and its faults turned into ours. Nothing else in
//! the house names Cedar.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, EntityAttrEvaluationError,
    EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;

use crate::config::fault::{Fault, Source};
use crate::principal::Principal;

use super::resource::{Kind, Origin, Record, Resources};

/// The owner of what has none. No user is called so: [`Rules::judge`] denies one who is.
const NOBODY: &str = "";

/// An action by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Action(usize);

/// Schema and rules, ready to judge.
#[derive(Debug)]
pub(super) struct Rules {
    authorizer: Authorizer,
    policies: PolicySet,
    /// The actions with their groups: what every evaluation needs.
    base: Entities,
    types: Types,
    actions: Vec<(Box<str>, EntityUid)>,
    /// What the schema lets a user do to what; `None` is the company.
    applies: HashSet<(Action, Option<Kind>)>,
    /// Each rule's place among all, and its name for people.
    labels: HashMap<PolicyId, (usize, Arc<str>)>,
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

/// Entity types, parsed once, and which attributes the schema gives them.
#[derive(Debug)]
struct Types {
    user: EntityTypeName,
    user_shape: UserShape,
    company: EntityTypeName,
    /// By [`Kind`]; `None` for those that are never judged themselves.
    kinds: Vec<Option<KindType>>,
}

#[derive(Clone, Copy, Debug)]
struct UserShape {
    roles: bool,
    suspended: bool,
}

#[derive(Debug)]
struct KindType {
    name: EntityTypeName,
    owner: bool,
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
        for source in files.rules {
            for (policy, label) in parse_rules(source, faults) {
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
        let applies = read_applies(&schema, &types, &actions);
        Some(Self {
            authorizer: Authorizer::new(),
            policies,
            base,
            types,
            actions,
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

    /// What the rules say of an action on a resource, or on the caller's company.
    ///
    /// A rule that cannot be evaluated denies: Cedar would pass over it, and a `forbid` passed
    /// over is an open door.
    pub(super) fn judge(
        &self,
        principal: &Principal,
        action: Action,
        subject: Option<&Record>,
    ) -> Finding {
        let applies = self.applies(action, subject.map(|record| record.kind));
        if !applies || principal.id.as_str() == NOBODY {
            return Finding::default();
        }
        self.evaluate(principal, action, subject)
            .unwrap_or_default()
    }

    fn evaluate(
        &self,
        principal: &Principal,
        action: Action,
        subject: Option<&Record>,
    ) -> Option<Finding> {
        let (_, action) = self.actions.get(action.0)?;
        let user = self.types.user_uid(principal.id.as_str());
        let resource = match subject {
            Some(record) => self.types.resource_uid(record)?,
            None => self.types.company_uid(principal.company.id.as_str()),
        };
        let mut entities = Vec::with_capacity(2);
        entities.push(self.types.user(principal, self.types.user_shape).ok()?);
        if let Some(record) = subject {
            entities.push(self.types.resource(record)?.ok()?);
        }
        let entities = self.base.clone().add_entities(entities, None).ok()?;
        let request = Request::new(user, action.clone(), resource, Context::empty(), None).ok()?;
        let response = self
            .authorizer
            .is_authorized(&request, &self.policies, &entities);
        let diagnostics = response.diagnostics();
        if let Some(error) = diagnostics.errors().next() {
            tracing::warn!(%error, "a rule could not be evaluated; the request is denied");
            let rules = self.named(diagnostics.errors().map(broken_rule));
            return Some(Finding {
                allow: false,
                rule: rules.first().cloned(),
                rules,
            });
        }
        let rules = self.named(diagnostics.reason());
        Some(Finding {
            allow: response.decision() == Decision::Allow,
            rule: rules.first().cloned(),
            rules,
        })
    }

    /// Rules' names, in order.
    fn named<'a>(&self, ids: impl Iterator<Item = &'a PolicyId>) -> Vec<Arc<str>> {
        let mut found: Vec<_> = ids.filter_map(|id| self.labels.get(id)).collect();
        found.sort();
        found.into_iter().map(|(_, name)| name.clone()).collect()
    }
}

impl Types {
    fn read(
        schema: &Schema,
        resources: &Resources,
        source: &Source,
        faults: &mut Vec<Fault>,
    ) -> Option<Self> {
        let mut types = Self {
            user: EntityTypeName::from_str("User").ok()?,
            user_shape: UserShape {
                roles: true,
                suspended: true,
            },
            company: EntityTypeName::from_str("Company").ok()?,
            kinds: Vec::new(),
        };
        types.user_shape = types.fit_user(schema, source, faults)?;
        let company = cedar_policy::Entity::with_uid(types.company_uid("c"));
        if let Err(error) = Entities::from_entities([company], Some(schema)) {
            faults.push(misfit(source, "Company", &error.to_string()));
        }
        for resource in resources.values() {
            let kind = match resource {
                Some(resource) if matches!(resource.origin, Origin::Facts(_)) => {
                    types.fit_kind(schema, &resource.entity, source, faults)
                }
                _ => None,
            };
            types.kinds.push(kind);
        }
        Some(types)
    }

    /// Which of a user's attributes the schema has: a trial tells.
    fn fit_user(
        &self,
        schema: &Schema,
        source: &Source,
        faults: &mut Vec<Fault>,
    ) -> Option<UserShape> {
        let mut first = None;
        for (roles, suspended) in [(true, true), (true, false), (false, true), (false, false)] {
            let shape = UserShape { roles, suspended };
            let sample = self.user_entity("u", "c", &[], false, shape).ok()?;
            match Entities::from_entities([sample], Some(schema)) {
                Ok(_) => return Some(shape),
                Err(error) => {
                    first.get_or_insert(error.to_string());
                }
            }
        }
        let fault = misfit(source, "User", &first.unwrap_or_default());
        faults.push(
            fault.help("entity User = { company: Company, roles: Set<String>, suspended: Bool };"),
        );
        None
    }

    fn fit_kind(
        &self,
        schema: &Schema,
        entity: &str,
        source: &Source,
        faults: &mut Vec<Fault>,
    ) -> Option<KindType> {
        let name = EntityTypeName::from_str(entity).ok()?;
        let mut first = None;
        for owner in [true, false] {
            let kind = KindType {
                name: name.clone(),
                owner,
            };
            let sample = self.kind_entity(&kind, "r", "c", "u").ok()?;
            match Entities::from_entities([sample], Some(schema)) {
                Ok(_) => return Some(kind),
                Err(error) => {
                    first.get_or_insert(error.to_string());
                }
            }
        }
        let fault = misfit(source, entity, &first.unwrap_or_default());
        let help = format!("entity {entity} = {{ company: Company, owner: User }};");
        faults.push(fault.help(help));
        None
    }

    fn user_uid(&self, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.user.clone(), EntityId::new(id))
    }

    fn company_uid(&self, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.company.clone(), EntityId::new(id))
    }

    fn resource_uid(&self, record: &Record) -> Option<EntityUid> {
        let kind = self.kinds.get(record.kind.0)?.as_ref()?;
        let id = EntityId::new(&record.id);
        Some(EntityUid::from_type_name_and_id(kind.name.clone(), id))
    }

    fn user(&self, principal: &Principal, shape: UserShape) -> Built {
        self.user_entity(
            principal.id.as_str(),
            principal.company.id.as_str(),
            &principal.roles,
            principal.suspended,
            shape,
        )
    }

    fn user_entity(
        &self,
        id: &str,
        company: &str,
        roles: &[Arc<str>],
        suspended: bool,
        shape: UserShape,
    ) -> Built {
        let mut attributes = HashMap::with_capacity(3);
        attributes.insert("company".to_owned(), entity(self.company_uid(company)));
        if shape.roles {
            let roles = roles
                .iter()
                .map(|role| RestrictedExpression::new_string(role.to_string()));
            attributes.insert("roles".to_owned(), RestrictedExpression::new_set(roles));
        }
        if shape.suspended {
            let suspended = RestrictedExpression::new_bool(suspended);
            attributes.insert("suspended".to_owned(), suspended);
        }
        cedar_policy::Entity::new(self.user_uid(id), attributes, HashSet::new()).map_err(Box::new)
    }

    fn resource(&self, record: &Record) -> Option<Built> {
        let kind = self.kinds.get(record.kind.0)?.as_ref()?;
        let owner = record.owner.as_ref().map_or(NOBODY, |owner| owner.as_str());
        Some(self.kind_entity(kind, &record.id, record.company.as_str(), owner))
    }

    fn kind_entity(&self, kind: &KindType, id: &str, company: &str, owner: &str) -> Built {
        let mut attributes = HashMap::with_capacity(2);
        attributes.insert("company".to_owned(), entity(self.company_uid(company)));
        if kind.owner {
            attributes.insert("owner".to_owned(), entity(self.user_uid(owner)));
        }
        let uid = EntityUid::from_type_name_and_id(kind.name.clone(), EntityId::new(id));
        cedar_policy::Entity::new(uid, attributes, HashSet::new()).map_err(Box::new)
    }
}

fn broken_rule(error: &AuthorizationError) -> &PolicyId {
    let AuthorizationError::PolicyEvaluationError(error) = error;
    error.policy_id()
}

type Built = Result<cedar_policy::Entity, Box<EntityAttrEvaluationError>>;

fn entity(uid: EntityUid) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid)
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

/// The rules of one file, each named by file and line, in the order in which they stand.
fn parse_rules(source: &Source, faults: &mut Vec<Fault>) -> Vec<(Policy, Arc<str>)> {
    let set = match PolicySet::from_str(source.text()) {
        Ok(set) => set,
        Err(errors) => {
            for error in errors.iter() {
                faults.push(diagnosed(source, error, None));
            }
            return Vec::new();
        }
    };
    for template in set.templates() {
        let place = template.as_ref().loc();
        let span = place.map_or(0..0, |loc| loc.start()..loc.end());
        faults.push(source.fault(
            span,
            "a rule with `?principal` or `?resource` decides nothing",
        ));
    }
    let file = source.path().file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let mut placed: Vec<(usize, &Policy)> = set
        .policies()
        .map(|policy| (start(policy), policy))
        .collect();
    placed.sort_by_key(|(start, _)| *start);
    let mut last_line = 0;
    let name = |(start, policy): (usize, &Policy)| {
        let (line, column) = source.position(start);
        let label: Arc<str> = if line == last_line {
            format!("{file}:{line}:{column}").into()
        } else {
            format!("{file}:{line}").into()
        };
        last_line = line;
        (policy.new_id(PolicyId::new(&label)), label)
    };
    placed.into_iter().map(name).collect()
}

fn start(policy: &Policy) -> usize {
    policy.as_ref().loc().map_or(0, |loc| loc.start())
}

fn parse_schema(source: &Source, faults: &mut Vec<Fault>) -> Option<Schema> {
    match Schema::from_cedarschema_str(source.text()) {
        Ok((schema, warnings)) => {
            faults.extend(warnings.map(|w| diagnosed(source, &w, None).warning()));
            Some(schema)
        }
        Err(error) => {
            faults.push(diagnosed(source, &error, None));
            let related = error.related().into_iter().flatten();
            faults.extend(related.map(|error| diagnosed(source, error, None)));
            None
        }
    }
}

fn validate<'s, S: Iterator<Item = &'s Source>>(
    validator: &Validator,
    set: &PolicySet,
    sources: impl Fn() -> S,
    faults: &mut Vec<Fault>,
) {
    let result = validator.validate(set, ValidationMode::Strict);
    let mut keep = |id: &PolicyId, diagnostic: &dyn Diagnostic, warning: bool| {
        // The identifier is the rule's name: `file:line`.
        let name = id.to_string();
        let file = name.split(':').next().unwrap_or_default();
        let Some(source) = sources().find(|source| source.path().ends_with(file)) else {
            return;
        };
        let fault = diagnosed(source, diagnostic, set.policy(id));
        faults.push(if warning { fault.warning() } else { fault });
    };
    for error in result.validation_errors() {
        keep(error.policy_id(), error, false);
    }
    for warning in result.validation_warnings() {
        keep(warning.policy_id(), warning, true);
    }
}

/// One of Cedar's diagnostics as a fault of ours; without a place of its own it stands at the
/// rule's.
fn diagnosed(source: &Source, diagnostic: &dyn Diagnostic, rule: Option<&Policy>) -> Fault {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let span = match &label {
        Some(label) => label.offset()..label.offset() + label.len(),
        None => rule
            .and_then(|rule| rule.as_ref().loc())
            .map_or(0..0, |loc| loc.start()..loc.end()),
    };
    let message = diagnostic.to_string();
    let message = match label.as_ref().and_then(|label| label.label()) {
        Some(label) => format!("{message}: {label}"),
        None => message,
    };
    let fault = source.fault(span, message);
    match diagnostic.help() {
        Some(help) => fault.help(help.to_string()),
        None => fault,
    }
}

fn misfit(schema: &Source, entity: &str, why: &str) -> Fault {
    let declaration = format!("entity {entity}");
    let start = schema.text().find(&declaration);
    let span = start.map_or(0..0, |start| start..start + declaration.len());
    schema.fault(
        span,
        format!("the gateway's `{entity}` does not fit the schema: {why}"),
    )
}
