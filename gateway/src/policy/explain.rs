//! Explain: how a request would be decided now, step by step, for ops. Nothing is counted or
//! recorded as a decision, and nothing is forwarded; facts are asked for as for a request.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PolicySet;
use super::authorise::Authoriser;
use super::facts::Asker;
use super::resource::{FactSource, Origin, Record, Resource};
use super::routes::{RouteMatch, Subject};
use super::source::Lookups;
use super::verdict::{self, Denied, Verdict};
use crate::principal::Principal;
use crate::target::Target;

/// Every step of one decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Method and target in the one form that is judged and forwarded.
    pub target: String,
    /// The host that was asked.
    pub host: String,
    /// The user's identifier.
    pub user: String,
    /// Their company's.
    pub company: String,
    /// Their roles.
    pub roles: Vec<String>,
    /// Whether they are suspended.
    pub suspended: bool,
    /// Which route it takes.
    pub route: Option<ExplainedRoute>,
    /// What is judged, in order.
    pub resources: Vec<ExplainedResource>,
    /// `allow`, `deny` or `unavailable`.
    pub verdict: String,
    /// The status of a refusal.
    pub status: Option<u16>,
    /// The rule that decides, as `file:line`; without one, no rule matched.
    pub rule: Option<String>,
    /// Digest of the policy set.
    pub policy: String,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRoute {
    /// Its `match`.
    pub matches: String,
    /// Where it stands, as `routes.toml:30`.
    pub place: String,
    /// Its action, or `public`.
    pub action: String,
}

/// One resource that a request names, or the caller's company.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedResource {
    /// As the request names it.
    pub named: String,
    /// The resource that decides, if that is another one, in which this lies.
    pub decided_by: Option<String>,
    /// Its company.
    pub company: Option<String>,
    /// Its owner.
    pub owner: Option<String>,
    /// Where that comes from.
    pub source: Option<String>,
    /// How old it is.
    pub age_seconds: Option<u64>,
    /// Why nothing is known of it.
    pub unknown: Option<String>,
    /// Whether the rules allow it.
    pub allowed: bool,
    /// Every rule that matched and decided.
    pub rules: Vec<String>,
}

/// What an explanation is asked of.
#[derive(Clone, Copy)]
struct Case<'a> {
    set: &'a PolicySet,
    principal: &'a Arc<Principal>,
    lookups: &'a Arc<dyn Lookups>,
}

impl Authoriser {
    /// Decides over a request that nobody makes, and tells how.
    pub async fn explain(
        &self,
        set: &PolicySet,
        principal: &Arc<Principal>,
        (target, host): (&Target, &str),
        lookups: &Arc<dyn Lookups>,
    ) -> Explanation {
        let case = Case {
            set,
            principal,
            lookups,
        };
        let mut told = Explanation {
            target: target.to_string(),
            host: host.to_owned(),
            user: principal.id.to_string(),
            company: principal.company.id.to_string(),
            roles: principal.roles.iter().map(ToString::to_string).collect(),
            suspended: principal.suspended,
            route: None,
            resources: Vec::new(),
            verdict: "deny".to_owned(),
            status: Some(404),
            rule: None,
            policy: set.digest().to_owned(),
        };
        let Some(matched) = set.route(target, host) else {
            return told;
        };
        let route = matched.route();
        told.route = Some(ExplainedRoute {
            matches: route.label().to_owned(),
            place: route.name(),
            action: route.action().to_owned(),
        });
        match self.subjects(case, &matched, &mut told).await {
            Some(subjects) => conclude(case, &matched, &subjects, &mut told),
            None if told.verdict == "unavailable" => told.status = Some(503),
            None => {}
        }
        told
    }

    /// The facts of everything that is judged; `None` if one of them is not to be had.
    async fn subjects(
        &self,
        case: Case<'_>,
        matched: &RouteMatch,
        told: &mut Explanation,
    ) -> Option<Vec<Option<Arc<Record>>>> {
        match &matched.route().subject {
            Subject::Public => return Some(Vec::new()),
            Subject::Company(_) => {
                told.resources.push(ExplainedResource {
                    named: format!("Company::{}", case.principal.company.id),
                    source: Some("the caller's own".to_owned()),
                    ..ExplainedResource::default()
                });
                return Some(vec![None]);
            }
            Subject::Named(..) => {}
        }
        let asker = Asker {
            set: case.set,
            principal: case.principal,
            lookups: case.lookups,
        };
        let mut subjects = Some(Vec::new());
        for (resource, id) in matched.named() {
            let mut one = ExplainedResource::default();
            let record = match id {
                None => {
                    one.named = resource.entity.to_string();
                    one.unknown = Some("no such resource can be called so".to_owned());
                    None
                }
                Some(id) => {
                    one.named = resource.label(&id).to_string();
                    match self.facts().find(asker, resource, &id).await {
                        Ok(found) => {
                            let age = self.facts().age(asker, resource, &id);
                            one.age_seconds = age.map(|age| age.as_secs());
                            found
                        }
                        Err(error) => {
                            told.verdict = "unavailable".to_owned();
                            one.unknown = Some(error.to_string());
                            None
                        }
                    }
                }
            };
            match (&record, &mut subjects) {
                (Some(record), Some(subjects)) => subjects.push(Some(Arc::clone(record))),
                (Some(_), None) => {}
                (None, _) => {
                    one.unknown
                        .get_or_insert_with(|| "no source knows it".to_owned());
                    subjects = None;
                }
            }
            if let Some(record) = &record {
                describe(&mut one, resource, record);
            }
            told.resources.push(one);
        }
        subjects
    }
}

fn describe(one: &mut ExplainedResource, resource: &Resource, record: &Record) {
    if *record.label != *one.named {
        one.decided_by = Some(record.label.to_string());
    }
    one.company = Some(record.company.to_string());
    one.owner = record.owner.as_ref().map(ToString::to_string);
    let sources = match &resource.judged().origin {
        Origin::Facts(sources) => sources.as_slice(),
        Origin::Parent { .. } => &[],
    };
    let asked = sources.iter().find_map(|source| match source {
        FactSource::Upstream { ask, .. } => Some(format!("upstream, {}", ask.get.fill(&record.id))),
        _ => None,
    });
    one.source = if record.learned {
        Some("learned from an answer that passed through".to_owned())
    } else {
        asked
    };
}

/// What the rules say of each, and of all together.
fn conclude(
    case: Case<'_>,
    matched: &RouteMatch,
    subjects: &[Option<Arc<Record>>],
    told: &mut Explanation,
) {
    let Case { set, principal, .. } = case;
    let route = matched.route();
    if let Subject::Company(action) | Subject::Named(action, _) = &route.subject {
        for (one, subject) in told.resources.iter_mut().zip(subjects) {
            let finding = set.find(principal, *action, subject.as_ref());
            one.allowed = finding.allow;
            one.rules = finding.rules.iter().map(ToString::to_string).collect();
        }
    }
    let subjects = subjects.iter().map(Option::as_ref);
    let decision = verdict::decide(set, route, subjects, |action, record| {
        Arc::new(set.judge(principal, action, record))
    });
    told.rule = decision.rule.as_ref().map(ToString::to_string);
    (told.verdict, told.status) = match decision.verdict {
        Verdict::Allow => ("allow".to_owned(), None),
        Verdict::Deny(Denied::Hidden) => ("deny".to_owned(), Some(404)),
        Verdict::Deny(Denied::Visible { .. }) => ("deny".to_owned(), Some(403)),
    };
}
