//! Decisions on requests: facts, then rules, then one verdict, each step kept for the next time.

use std::array;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderMap, Method, StatusCode, Uri};
use prometheus::IntCounter;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::principal::Principal;
use crate::store::{LearnedFacts, SharedStore};
use crate::target::{Leniency, Target};

use super::PolicySet;
use super::cedar::Action;
use super::facts::{Asker, FactsCache, FactsError};
use super::resource::Record;
use super::routes::{Learn, MAX_IDENTIFIERS, Place, RouteMatch, Subject};
use super::source::Lookups;
use super::template::Pointed;
use super::verdict::{self, Decision, Judged};

/// How many decisions are remembered.
const CAPACITY: usize = 100_000;

/// Decides over requests. It survives the exchange of the policy set: what it keeps is kept
/// under the set that it was found by.
pub struct Authoriser {
    facts: Arc<FactsCache>,
    decisions: Cache<Key, Arc<Judged>>,
    store: SharedStore,
    clock: SharedClock,
    metrics: Metrics,
    without_rule: IntCounter,
}

impl Authoriser {
    /// An authoriser that knows nothing yet. It counts decisions and look-ups itself.
    #[must_use]
    pub fn new(store: SharedStore, clock: SharedClock, metrics: Metrics) -> Self {
        Self {
            facts: Arc::new(FactsCache::new(
                Arc::clone(&store),
                Arc::clone(&clock),
                &metrics,
            )),
            decisions: Cache::new(CAPACITY),
            without_rule: metrics.decisions.with_label_values(&["deny", "default"]),
            store,
            clock,
            metrics,
        }
    }

    /// Decides over a request. Where everything is known already, nothing is awaited and nothing
    /// allocated.
    ///
    /// # Errors
    ///
    /// [`FactsError`] if the facts cannot be had: the request is refused as unavailable.
    pub async fn decide(
        &self,
        set: &Arc<PolicySet>,
        principal: &Arc<Principal>,
        matched: &RouteMatch,
        lookups: &Arc<dyn Lookups>,
    ) -> Result<Decision, FactsError> {
        let judge =
            |action, record: Option<&Arc<Record>>| self.judge(set, principal, action, record);
        let route = matched.route();
        let Subject::Named(..) = &route.subject else {
            return Ok(verdict::decide(set, route, std::iter::once(None), judge));
        };
        let mut named = array::from_fn::<_, MAX_IDENTIFIERS, _>(|_| None);
        for (slot, (resource, id)) in named.iter_mut().zip(matched.named()) {
            let Some(id) = id else {
                // No resource can be called so, and nobody is asked about it.
                return Ok(self.hidden(set, Arc::new([])));
            };
            *slot = Some((resource, id));
        }
        let asker = Asker {
            set,
            principal,
            lookups,
        };
        let mut records = array::from_fn::<_, MAX_IDENTIFIERS, _>(|_| None);
        for (record, (resource, id)) in records.iter_mut().zip(named.iter().flatten()) {
            *record = self.facts.find(asker, resource, id).await?;
            if record.is_none() {
                return Ok(self.hidden(set, Arc::new([resource.label(id)])));
            }
        }
        let subjects = records.iter().flatten().map(Some);
        Ok(verdict::decide(set, route, subjects, judge))
    }

    /// Stops believing what is known of the resources that a request may change. To be called
    /// before it is forwarded; what it returns is held until the answer is through, and drops the
    /// facts once more if the client goes away before [`Authoriser::after_answer`].
    pub async fn before_forward(
        &self,
        _set: &Arc<PolicySet>,
        matched: &RouteMatch,
        method: &Method,
    ) -> Unsettled {
        let matched = matched.route().changes(method).then(|| matched.clone());
        let unsettled = Unsettled {
            facts: Arc::clone(&self.facts),
            matched,
        };
        unsettled.drop_facts();
        unsettled
    }

    /// Drops facts once more after the answer, forgets what was deleted, and learns who owns
    /// what was made. Returns the identifier of what was made, where the route says `learn`.
    ///
    /// `body` is the answer's, bounded, and needed only if the route's
    /// [`learn_needs_body`](super::Route::learn_needs_body).
    ///
    /// # Errors
    ///
    /// [`FactsError`] if the store could not keep what was learned or forget what was deleted.
    pub async fn after_answer(
        &self,
        set: &Arc<PolicySet>,
        matched: &RouteMatch,
        principal: &Arc<Principal>,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<Option<String>, FactsError> {
        let route = matched.route();
        if route.changes(matched.method()) {
            drop_facts(&self.facts, matched);
        }
        if *matched.method() == Method::DELETE
            && status.is_success()
            && let Some((resource, id)) = matched.last_named()
            && resource.learns()
        {
            let label = resource.label(&id);
            let forgotten = self.store.forget_facts(&label).await;
            forgotten.map_err(|error| unavailable(label, &error))?;
            self.facts.drop_facts(resource, &id);
        }
        let Some(learn) = &route.learn else {
            return Ok(None);
        };
        let Some(id) = new_identifier(learn, status, headers, body) else {
            return Ok(None);
        };
        let label = learn.resource.label(&id);
        if !self.facts.is_known(set, &learn.resource, &id) {
            let learned = LearnedFacts {
                company: principal.company.id.clone(),
                owner: Some(principal.id.clone()),
                at: self.clock.now(),
            };
            let kept = self.store.learn_facts(&label, learned).await;
            kept.map_err(|error| unavailable(label, &error))?;
        }
        self.facts.drop_facts(&learn.resource, &id);
        Ok(Some(id))
    }

    /// What the rules say, from the cache if they were asked the same before.
    fn judge(
        &self,
        set: &PolicySet,
        principal: &Arc<Principal>,
        action: Action,
        record: Option<&Arc<Record>>,
    ) -> Arc<Judged> {
        let key = KeyRef {
            set: set.fingerprint(),
            principal,
            action,
            record,
        };
        if let Some(judged) = self.decisions.get(&key) {
            return judged;
        }
        let judged = set.judge(principal, action, record);
        let verdict = if judged.allow { "allow" } else { "deny" };
        let rule = judged.rule.as_deref().unwrap_or("default");
        let judged = Arc::new(Judged {
            counter: Some(self.metrics.decisions.with_label_values(&[verdict, rule])),
            ..judged
        });
        self.decisions.insert(key.to_owned(), Arc::clone(&judged));
        judged
    }

    fn hidden(&self, set: &PolicySet, resources: Arc<[Arc<str>]>) -> Decision {
        self.without_rule.inc();
        Decision::hidden(set, resources)
    }
}

impl fmt::Debug for Authoriser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authoriser")
            .field("decisions", &self.decisions.len())
            .finish_non_exhaustive()
    }
}

/// A change that was forwarded and whose answer is not through: when this is let go, the facts
/// of what it named are dropped once more.
pub struct Unsettled {
    facts: Arc<FactsCache>,
    matched: Option<RouteMatch>,
}

impl Unsettled {
    fn drop_facts(&self) {
        if let Some(matched) = &self.matched {
            drop_facts(&self.facts, matched);
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.drop_facts();
    }
}

impl fmt::Debug for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsettled")
            .field("matched", &self.matched)
            .finish_non_exhaustive()
    }
}

fn drop_facts(facts: &FactsCache, matched: &RouteMatch) {
    for (resource, id) in matched.named() {
        if let Some(id) = id {
            facts.drop_facts(resource, &id);
        }
    }
}

fn unavailable(resource: Arc<str>, error: &dyn fmt::Display) -> FactsError {
    FactsError {
        resource,
        why: error.to_string().into(),
    }
}

/// The identifier that an answer gives to what was made.
fn new_identifier(
    learn: &Learn,
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<&[u8]>,
) -> Option<String> {
    let id = match &learn.place {
        Place::Json(pointer) => {
            let body = body.filter(|_| status.is_success())?;
            match pointer.read(&serde_json::from_slice(body).ok()?) {
                Pointed::Identifier(id) => id,
                Pointed::Null | Pointed::Missing | Pointed::Other => return None,
            }
        }
        Place::Location(template) => {
            if !status.is_success() && status != StatusCode::SEE_OTHER {
                return None;
            }
            let location = Uri::try_from(headers.get(LOCATION)?.as_bytes()).ok()?;
            let path = location.path_and_query()?;
            let target = Target::parse(Method::GET, path, Leniency::default()).ok()?;
            template.find(target.path())?
        }
    };
    learn.resource.is_identifier(&id).then_some(id)
}

/// All that a decision reads: a change of any part is another key.
#[derive(Clone)]
struct Key {
    set: [u8; 32],
    principal: Arc<Principal>,
    action: Action,
    record: Option<Arc<Record>>,
}

/// A [`Key`] that owns nothing.
#[derive(Clone, Copy)]
struct KeyRef<'a> {
    set: &'a [u8; 32],
    principal: &'a Arc<Principal>,
    action: Action,
    record: Option<&'a Arc<Record>>,
}

impl Key {
    const fn borrowed(&self) -> KeyRef<'_> {
        KeyRef {
            set: &self.set,
            principal: &self.principal,
            action: self.action,
            record: self.record.as_ref(),
        }
    }
}

impl KeyRef<'_> {
    fn to_owned(self) -> Key {
        Key {
            set: *self.set,
            principal: Arc::clone(self.principal),
            action: self.action,
            record: self.record.cloned(),
        }
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Enough to tell keys apart; equality reads everything.
        self.action.hash(state);
        self.principal.id.hash(state);
        if let Some(record) = self.record {
            record.kind.hash(state);
            record.id.hash(state);
            record.owner.hash(state);
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl PartialEq for KeyRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let principals = Arc::ptr_eq(self.principal, other.principal) || {
            let (a, b) = (self.principal, other.principal);
            a.id == b.id
                && a.company.id == b.company.id
                && a.roles == b.roles
                && a.suspended == b.suspended
        };
        let records = match (self.record, other.record) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        };
        principals && records && self.action == other.action && self.set == other.set
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.borrowed() == other.borrowed()
    }
}

impl Eq for Key {}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.borrowed()
    }
}
