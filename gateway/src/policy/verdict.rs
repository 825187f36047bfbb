//! From what the rules say of each resource to one decision on a request.

use std::sync::Arc;

use prometheus::IntCounter;

use crate::principal::{Principal, UserId};

use super::PolicySet;
use super::cedar::{Action, Finding};
use super::resource::Record;
use super::routes::{Route, Subject};

/// Allow or deny, with the rule.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Whether the request may go on.
    pub verdict: Verdict,
    /// The rule that decided, such as `projects.cedar:7`; `None` where no rule matched.
    pub rule: Option<Arc<str>>,
    /// The resources that were judged, such as `Project::1`.
    pub resources: Arc<[Arc<str>]>,
    /// The policy set's digest.
    pub digest: Arc<str>,
}

/// Allow, or deny in one of two ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Allow,
    /// Refuse it.
    Deny(Denied),
}

/// How much a refusal may tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The caller may not know whether it exists: `404`.
    Hidden,
    /// The caller may see it, but not do this: `403`.
    Visible {
        /// Whose it is.
        owner: Option<UserId>,
        /// How to get one of one's own.
        copy: Option<CopyOffer>,
    },
}

/// "Copy it first."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOffer {
    /// The path to post to.
    pub post: String,
    /// Where what was refused can be looked at.
    pub look: String,
}

impl Decision {
    /// Whether the request may go on.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allow)
    }

    /// Refused without a rule: nothing may be said.
    pub(super) fn hidden(set: &PolicySet, resources: Arc<[Arc<str>]>) -> Self {
        Self {
            verdict: Verdict::Deny(Denied::Hidden),
            rule: None,
            resources,
            digest: set.shared_digest(),
        }
    }
}

/// What the rules say of one action on one thing, kept for the next time.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) allow: bool,
    pub(super) rule: Option<Arc<str>>,
    /// The label of what was judged, ready for a decision.
    pub(super) resources: Arc<[Arc<str>]>,
    /// Counts decisions that end with this.
    pub(super) counter: Option<IntCounter>,
}

impl Judged {
    /// A finding, labelled; not counted.
    pub(super) fn new(
        principal: &Principal,
        record: Option<&Arc<Record>>,
        finding: Finding,
    ) -> Self {
        let label = match record {
            Some(record) => Arc::clone(&record.label),
            None => format!("Company::{}", principal.company.id).into(),
        };
        Self {
            allow: finding.allow,
            rule: finding.rule,
            resources: Arc::new([label]),
            counter: None,
        }
    }
}

/// Puts together what `judge` says of each subject; `None` among them is the caller's company.
pub(super) fn decide<'r>(
    set: &PolicySet,
    route: &Route,
    subjects: impl Iterator<Item = Option<&'r Arc<Record>>> + Clone,
    mut judge: impl FnMut(Action, Option<&Arc<Record>>) -> Arc<Judged>,
) -> Decision {
    let (Subject::Company(action) | Subject::Named(action, _)) = &route.subject else {
        return Decision {
            verdict: Verdict::Allow,
            ..Decision::hidden(set, Arc::new([]))
        };
    };
    let mut judged: Option<Arc<Judged>> = None;
    let mut labels: Option<Vec<Arc<str>>> = None;
    let mut refused = None;
    for subject in subjects.clone() {
        let this = judge(*action, subject);
        if let Some(first) = &judged {
            labels
                .get_or_insert_with(|| first.resources.to_vec())
                .extend(this.resources.iter().cloned());
        }
        if !this.allow && refused.is_none() {
            refused = Some(subject);
            judged = Some(this);
        } else if judged.is_none() {
            judged = Some(this);
        }
    }
    let Some(judged) = judged else {
        return Decision::hidden(set, Arc::new([]));
    };
    let resources = match labels {
        Some(labels) => labels.into(),
        None => Arc::clone(&judged.resources),
    };
    let verdict = match refused {
        None => Verdict::Allow,
        Some(subject) => Verdict::Deny(refusal(set, route, subject, subjects, &mut judge)),
    };
    if let Some(counter) = &judged.counter {
        counter.inc();
    }
    Decision {
        verdict,
        rule: judged.rule.clone(),
        resources,
        digest: set.shared_digest(),
    }
}

/// What a refusal may tell: if every resource may be seen, whose the refused one is.
fn refusal<'r>(
    set: &PolicySet,
    route: &Route,
    refused: Option<&Arc<Record>>,
    mut subjects: impl Iterator<Item = Option<&'r Arc<Record>>>,
    judge: &mut impl FnMut(Action, Option<&Arc<Record>>) -> Arc<Judged>,
) -> Denied {
    let Some(see) = route.visible_by else {
        return Denied::Hidden;
    };
    if !subjects.all(|subject| judge(see, subject).allow) {
        return Denied::Hidden;
    }
    let copy = refused.and_then(|record| {
        let (action, copies) = set.copies_of(record.kind)?;
        judge(action, Some(record)).allow.then(|| CopyOffer {
            post: copies.post.fill(&record.id),
            look: copies.land.fill(&record.id),
        })
    });
    Denied::Visible {
        owner: refused.and_then(|record| record.owner.clone()),
        copy,
    }
}
