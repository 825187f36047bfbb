//! Authorise: the policy's decision, and the [`Permit`] that only it can make.

use std::sync::Arc;

use super::authenticate::Authenticated;
use super::normalise::Normalised;
use super::observe::Seen;
use super::{Refusal, Routed, Shared};
use crate::policy::{Denied, FactsError, Lookups, PolicySet, RouteMatch, Verdict};
use crate::session::Session;
use crate::target::is_safe;

/// The proof of an allow. Its fields are this page's alone: code that forwards without a decision
/// does not compile.
#[derive(Debug)]
pub struct Permit {
    normalised: Normalised,
    set: Arc<PolicySet>,
    matched: RouteMatch,
    /// What it is besides, if the application takes it for another method.
    also: Vec<RouteMatch>,
    session: Option<Arc<Session>>,
}

impl Permit {
    /// Takes the permit apart, to use it up.
    pub(super) fn into_parts(self) -> Parts {
        Parts {
            normalised: self.normalised,
            set: self.set,
            matched: self.matched,
            also: self.also,
            session: self.session,
        }
    }

    pub(super) const fn matched(&self) -> &RouteMatch {
        &self.matched
    }
}

/// A [`Permit`] used up.
pub(super) struct Parts {
    pub(super) normalised: Normalised,
    pub(super) set: Arc<PolicySet>,
    pub(super) matched: RouteMatch,
    pub(super) also: Vec<RouteMatch>,
    pub(super) session: Option<Arc<Session>>,
}

/// Judges the request by the set that routed it.
pub(super) async fn authorise(
    shared: &Shared,
    lookups: &Arc<dyn Lookups>,
    authenticated: Authenticated,
    seen: &mut Seen,
) -> Result<Permit, Refusal> {
    let (routed, session) = match authenticated {
        Authenticated::Public(routed) => (routed, None),
        Authenticated::User(routed, session) => (routed, Some(session)),
    };
    let Routed {
        normalised,
        set,
        matched,
        also,
    } = routed;
    let matched = matched.ok_or(Refusal::NotFound {
        reason: "no route matches",
    })?;
    let Some(session) = session else {
        return Ok(Permit {
            normalised,
            set,
            matched,
            also,
            session: None,
        });
    };
    let principal = session.principal();
    let decide = |matched| shared.authoriser.decide(&set, principal, matched, lookups);
    let unavailable = |error: FactsError| Refusal::Unavailable(error.to_string());
    let mut decision = decide(&matched).await.map_err(unavailable)?;
    for matched in &also {
        // Allowed as sent and as whatever else it may be taken for; what denies is what decides.
        if decision.is_allowed() {
            decision = decide(matched).await.map_err(unavailable)?;
        }
    }
    seen.decision(&decision);
    let record = seen.record(shared, &decision);
    match decision.verdict {
        Verdict::Allow => {
            let reads = also.iter().all(|matched| is_safe(matched.method()));
            if reads && normalised.target.is_safe() && !normalised.upgrade {
                note(shared, record);
            } else {
                // What changes something is on record before it happens.
                let kept = shared.audit.keep(record).await;
                kept.map_err(|error| Refusal::Unavailable(error.to_string()))?;
            }
            Ok(Permit {
                normalised,
                set,
                matched,
                also,
                session: Some(session),
            })
        }
        Verdict::Deny(denied) => {
            note(shared, record);
            Err(refuse(shared, denied, seen).await)
        }
    }
}

/// Reads and denials do not wait for the disk.
fn note(shared: &Shared, record: crate::audit::Record) {
    if let Err(error) = shared.audit.note(&record) {
        tracing::error!(%error, "a decision was not recorded");
    }
}

async fn refuse(shared: &Shared, denied: Denied, seen: &mut Seen) -> Refusal {
    match denied {
        Denied::Hidden => Refusal::NotFound {
            reason: "denied, and reading is not allowed either",
        },
        Denied::Visible { owner, copy } => {
            if let Some(id) = owner.as_ref().filter(|_| seen.wants_page) {
                // A name for the page is a courtesy: without the directory there is none.
                if let Ok(Some(person)) = shared.directory.by_id(id).await {
                    seen.owner = Some((id.clone(), Arc::clone(&person.principal.name)));
                }
            }
            Refusal::ReadOnly { owner, copy }
        }
    }
}
