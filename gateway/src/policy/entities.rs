//! Users, companies and resources as Cedar's entities; the type names are parsed once.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{
    Entities, Entity, EntityAttrEvaluationError, EntityId, EntityTypeName, EntityUid,
    RestrictedExpression, Schema,
};

use crate::config::fault::{Fault, Source};
use crate::principal::Principal;

use super::resource::{Record, Resources};

/// The owner of what has none. No user is called so: the rules deny one who is.
pub(super) const NOBODY: &str = "";

/// Entity types, parsed once, and which attributes the schema gives them.
#[derive(Debug)]
pub(super) struct Types {
    pub(super) user: EntityTypeName,
    user_shape: UserShape,
    pub(super) company: EntityTypeName,
    /// By [`Kind`]; `None` for those that are never judged themselves.
    pub(super) kinds: Vec<Option<KindType>>,
}

#[derive(Clone, Copy, Debug)]
struct UserShape {
    roles: bool,
    suspended: bool,
}

#[derive(Debug)]
pub(super) struct KindType {
    pub(super) name: EntityTypeName,
    owner: bool,
}

impl Types {
    /// Reads which types and attributes the schema has; a type that does not fit is a fault.
    pub(super) fn read(
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
        let company = Entity::with_uid(types.company_uid("c"));
        if let Err(error) = Entities::from_entities([company], Some(schema)) {
            faults.push(misfit(source, "Company", &error.to_string()));
        }
        for resource in resources.values() {
            let kind = match resource {
                Some(resource) if !resource.facts.is_empty() => {
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

    pub(super) fn user_uid(&self, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.user.clone(), EntityId::new(id))
    }

    pub(super) fn company_uid(&self, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.company.clone(), EntityId::new(id))
    }

    pub(super) fn user(&self, principal: &Principal) -> Built {
        self.user_entity(
            principal.id.as_str(),
            principal.company.id.as_str(),
            &principal.roles,
            principal.suspended,
            self.user_shape,
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
        Entity::new(self.user_uid(id), attributes, HashSet::new()).map_err(Box::new)
    }

    pub(super) fn resource(&self, record: &Record) -> Option<Built> {
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
        Entity::new(uid, attributes, HashSet::new()).map_err(Box::new)
    }
}

/// An entity, or why Cedar does not take its attributes.
pub(super) type Built = Result<Entity, Box<EntityAttrEvaluationError>>;

fn entity(uid: EntityUid) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid)
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
