//! Explain: how a request would be decided now, step by step, for ops. Nothing is counted or
//! recorded as a decision, and nothing is forwarded; facts are asked for as for a request.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::PolicySet;
use super::authorise::Authoriser;
use super::facts::Asker;
use super::overrides::Overrides;
use super::reading::{Sent, Unreadable};
use super::resource::{From, Record};
use super::routes::{RouteMatch, Subject};
use super::source::Lookups;
use super::verdict::{self, Denied, Verdict};
use crate::config::MethodOverride;
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
    /// Why it cannot be read in one way.
    pub unreadable: Option<String>,
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
    /// The method that it is judged as: an override's, where that decides.
    pub method: String,
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

impl Explanation {
    fn begin(case: Case<'_>, described: Described<'_>) -> Self {
        let principal = case.principal;
        Self {
            target: described.target.to_string(),
            host: described.host.to_owned(),
            user: principal.id.to_string(),
            company: principal.company.id.to_string(),
            roles: principal.roles.iter().map(ToString::to_string).collect(),
            suspended: principal.suspended,
            unreadable: None,
            route: None,
            resources: Vec::new(),
            verdict: "deny".to_owned(),
            status: Some(404),
            rule: None,
            policy: case.set.digest().to_owned(),
        }
    }
}

/// What an explanation is asked of.
#[derive(Clone, Copy)]
struct Case<'a> {
    set: &'a PolicySet,
    principal: &'a Arc<Principal>,
    lookups: &'a Arc<dyn Lookups>,
}

/// A request that nobody makes.
#[derive(Clone, Copy)]
pub struct Described<'a> {
    /// Method and target.
    pub target: &'a Target,
    /// The host that it names.
    pub host: &'a str,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a [u8],
    /// Where an upstream reads method overrides; `None` is the default one.
    pub declared: &'a (dyn Fn(Option<&str>) -> MethodOverride + Sync),
}

impl fmt::Debug for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Described");
        shown.field("target", self.target).finish_non_exhaustive()
    }
}

impl Described<'_> {
    /// The request as sent and as whatever its application may take it for, each with all that it
    /// names; empty where no route takes one of them.
    fn readings(self, set: &PolicySet) -> Result<Vec<RouteMatch>, Unreadable> {
        let Some(matched) = set.route(self.target, self.host) else {
            return Ok(Vec::new());
        };
        let declared = (self.declared)(matched.route().upstream());
        let head = set.overrides_in_head(self.target, self.headers, declared)?;
        let mut overrides = Overrides::These(head);
        if !self.body.is_empty() {
            overrides.add(set.overrides_in_body(self.headers, Some(self.body), declared)?);
        }
        let Some(also) = set.overridden(self.target, self.host, &overrides) else {
            return Ok(Vec::new());
        };
        let mut readings = vec![matched];
        readings.extend(also);
        for matched in &mut readings {
            if !matched.holds_slashes() {
                let why = "the path has an encoded slash where none may be".to_owned();
                return Err(Unreadable::Malformed(why));
            }
            matched.read(Sent {
                headers: self.headers,
                scheme: "https",
                authority: self.host,
                body: self.body,
            })?;
        }
        Ok(readings)
    }
}

impl Authoriser {
    /// Decides over a request that nobody makes, and tells how. Where a method override gives it
    /// several readings, the first that is refused is told, for that refuses it.
    pub async fn explain(
        &self,
        set: &PolicySet,
        principal: &Arc<Principal>,
        described: Described<'_>,
        lookups: &Arc<dyn Lookups>,
    ) -> Explanation {
        let case = Case {
            set,
            principal,
            lookups,
        };
        let mut first = Explanation::begin(case, described);
        let readings = match described.readings(set) {
            Ok(readings) => readings,
            Err(why) => {
                first.status = Some(why.status().as_u16());
                first.unreadable = Some(why.to_string());
                return first;
            }
        };
        let mut allowed = None;
        for matched in readings {
            let mut told = first.clone();
            self.explain_one(case, &matched, &mut told).await;
            if told.verdict != "allow" {
                return told;
            }
            allowed.get_or_insert(told);
        }
        allowed.unwrap_or(first)
    }

    async fn explain_one(&self, case: Case<'_>, matched: &RouteMatch, told: &mut Explanation) {
        let route = matched.route();
        told.route = Some(ExplainedRoute {
            matches: route.label().to_owned(),
            place: route.name(),
            action: route.action().to_owned(),
            method: matched.method().to_string(),
        });
        match self.subjects(case, matched, told).await {
            Some(subjects) => conclude(case, matched, &subjects, told),
            None if told.verdict == "unavailable" => told.status = Some(503),
            None => {}
        }
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
        for (number, (resource, id)) in matched.named().enumerate() {
            let mut creates = false;
            let mut one = ExplainedResource::default();
            let chain = match id {
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
                            creates = found.is_none() && matched.creates(number).is_some();
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
            let Some(chain) = &chain else {
                if creates {
                    one.source = Some("nothing: the request makes it".to_owned());
                    if let Some(subjects) = &mut subjects {
                        subjects.push(None);
                    }
                } else {
                    one.unknown
                        .get_or_insert_with(|| "no source knows it".to_owned());
                    subjects = None;
                }
                told.resources.push(one);
                continue;
            };
            // What has facts and lies in something that has some too is judged on each of them.
            let mut first = Some(one);
            for record in chain.records() {
                let mut step = first.take().unwrap_or_else(|| ExplainedResource {
                    named: record.label.to_string(),
                    ..ExplainedResource::default()
                });
                describe(&mut step, case.set, record);
                told.resources.push(step);
                if let Some(subjects) = &mut subjects {
                    subjects.push(Some(Arc::clone(record)));
                }
            }
        }
        subjects
    }
}

fn describe(one: &mut ExplainedResource, set: &PolicySet, record: &Record) {
    if *record.label != *one.named {
        one.decided_by = Some(record.label.to_string());
    }
    one.company = Some(record.company.to_string());
    one.owner = record.owner.as_ref().map(ToString::to_string);
    one.source = if record.learned {
        Some("learned from an answer that passed through".to_owned())
    } else {
        asked(set, record)
    };
}

/// The sources that are asked for such a record; the first that answers wins.
fn asked(set: &PolicySet, record: &Record) -> Option<String> {
    let resource = set.resource(record.kind)?;
    let sources = resource
        .facts
        .iter()
        .filter_map(|source| match &source.from {
            From::Upstream { ask, .. } => Some(format!("upstream, {}", ask.get.fill(&record.id))),
            From::Postgres(_) => Some("postgres".to_owned()),
            From::File(_) => Some("a file of the policy folder".to_owned()),
            From::Learned => None,
        });
    let sources: Vec<_> = sources.collect();
    (!sources.is_empty()).then(|| sources.join(", else "))
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
    let judged = |action, record: Option<&Arc<Record>>| {
        // As for a request: what does not exist yet is made on the company, and another action
        // than the route's own has no context.
        let action = match (&route.subject, route.creates, record) {
            (Subject::Named(own, _), Some(create), None) if *own == action => create,
            _ => action,
        };
        match route.subject.action() == Some(action) {
            true => (action, matched.context()),
            false => (action, Default::default()),
        }
    };
    if let Subject::Company(action) | Subject::Named(action, _) = &route.subject {
        for (one, subject) in told.resources.iter_mut().zip(subjects) {
            let (action, given) = judged(*action, subject.as_ref());
            let finding = set.find(principal, action, subject.as_ref(), given);
            one.allowed = finding.allow;
            one.rules = finding.rules.iter().map(ToString::to_string).collect();
        }
    }
    let subjects = subjects.iter().map(Option::as_ref);
    let decision = verdict::decide(set, route, subjects, |action, record| {
        let (action, given) = judged(action, record);
        Arc::new(set.judge(principal, action, record, given))
    });
    told.rule = decision.rule.as_ref().map(ToString::to_string);
    (told.verdict, told.status) = match decision.verdict {
        Verdict::Allow => ("allow".to_owned(), None),
        Verdict::Deny(Denied::Hidden) => ("deny".to_owned(), Some(404)),
        Verdict::Deny(Denied::Visible { .. }) => ("deny".to_owned(), Some(403)),
    };
}
