//! Authorise: the policy's decision, and the [`Permit`] that only it can make.

use std::sync::Arc;

use super::authenticate::Authenticated;
use super::normalise::Normalised;
use super::observe::Seen;
use super::{Refusal, Routed, Shared};
use crate::policy::{Denied, Lookups, PolicySet, RouteMatch, Verdict};
use crate::session::Session;

/// The proof of an allow. Its fields are this page's alone: code that forwards without a decision
/// does not compile.
#[derive(Debug)]
pub struct Permit {
    normalised: Normalised,
    set: Arc<PolicySet>,
    matched: RouteMatch,
    session: Option<Arc<Session>>,
}

impl Permit {
    /// Takes the permit apart, to use it up.
    pub(super) fn into_parts(
        self,
    ) -> (Normalised, Arc<PolicySet>, RouteMatch, Option<Arc<Session>>) {
        (self.normalised, self.set, self.matched, self.session)
    }

    pub(super) const fn matched(&self) -> &RouteMatch {
        &self.matched
    }
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
    } = routed;
    let matched = matched.ok_or(Refusal::NotFound {
        reason: "no route matches",
    })?;
    let Some(session) = session else {
        return Ok(Permit {
            normalised,
            set,
            matched,
            session: None,
        });
    };
    let principal = session.principal();
    let decision = shared
        .authoriser
        .decide(&set, principal, &matched, lookups)
        .await
        .map_err(|error| Refusal::Unavailable(error.to_string()))?;
    seen.decision(&decision);
    let record = seen.record(shared, &decision);
    match decision.verdict {
        Verdict::Allow => {
            if normalised.target.is_safe() && !normalised.upgrade {
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
    if let Err(error) = shared.audit.note(record) {
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
