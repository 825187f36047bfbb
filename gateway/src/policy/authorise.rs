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
use super::climb::Chain;
use super::facts::{Asker, FactsCache, FactsError};
use super::reading::Given;
use super::resource::{Record, Resource};
use super::routes::{Learn, MAX_IDENTIFIERS, Place, RouteMatch, Subject};
use super::source::Lookups;
use super::template::Pointed;
use super::unsettled::Unsettled;
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
        let facts = FactsCache::new(Arc::clone(&store), Arc::clone(&clock), &metrics);
        let facts = Arc::new(facts);
        facts.listen();
        Self {
            facts,
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
        let route = matched.route();
        let judge = |action, record: Option<&Arc<Record>>| {
            // What does not exist yet is made on the company.
            let action = match (&route.subject, route.creates, record) {
                (Subject::Named(own, _), Some(create), None) if *own == action => create,
                _ => action,
            };
            // Another action than the route's, asked for what a refusal may tell, has no context.
            let given = match route.subject.action() == Some(action) {
                true => matched.context(),
                false => &[],
            };
            self.judge(set, principal, action, record, given)
        };
        if !matched.is_read() {
            return Ok(self.hidden(set, Arc::new([])));
        }
        let Subject::Named(..) = &route.subject else {
            return Ok(verdict::decide(set, route, std::iter::once(None), judge));
        };
        // What no resource can be called is nobody's: no one is asked about it.
        if matched.named().any(|(_, id)| id.is_none()) {
            return Ok(self.hidden(set, Arc::new([])));
        }
        let asker = Asker {
            set,
            principal,
            lookups,
        };
        let mut few = array::from_fn::<_, MAX_IDENTIFIERS, _>(|_| None);
        let mut many = Vec::new();
        let chains = if matched.count() <= MAX_IDENTIFIERS {
            few.as_mut_slice()
        } else {
            many.resize_with(matched.count(), || None);
            many.as_mut_slice()
        };
        let mut made = false;
        for (number, (chain, (resource, id))) in chains.iter_mut().zip(matched.named()).enumerate()
        {
            let id = id.unwrap_or_default();
            *chain = self.facts.find(asker, resource, &id).await?;
            let creates = matched.creates(number).is_some();
            if chain.is_none() && creates {
                // Someone may have made it since it was last asked for.
                self.facts.drop_facts(set, resource, &id);
                *chain = self.facts.find(asker, resource, &id).await?;
                made = chain.is_none();
            }
            if chain.is_none() && !creates {
                return Ok(self.hidden(set, Arc::new([resource.label(&id)])));
            }
        }
        // Of what lies in something that has facts too, every step must pass.
        let subjects = chains.iter().flatten().flat_map(Chain::records).map(Some);
        let subjects = subjects.chain(made.then_some(None));
        Ok(verdict::decide(set, route, subjects, judge))
    }

    /// Stops believing what is known of the resources that a request may change, at every gateway.
    /// To be called before it is forwarded. While what it returns is held, nothing that is read of
    /// them is kept; [`Authoriser::after_answer`] takes it back.
    ///
    /// # Errors
    ///
    /// [`FactsError`] if other gateways could not be told: nothing may be forwarded then.
    pub async fn before_forward(
        &self,
        set: &Arc<PolicySet>,
        matched: &RouteMatch,
        method: &Method,
    ) -> Result<Unsettled, FactsError> {
        let matched = matched.route().changes(method).then(|| matched.clone());
        let mut unsettled = Unsettled::begin(&self.facts, set, matched);
        unsettled.tell_begun(&self.store).await?;
        Ok(unsettled)
    }

    /// Waits no longer for gateways that began a change long ago and may be gone; to be called now
    /// and then where the store is shared.
    pub fn give_up_on_others(&self) {
        self.facts.give_up_on_others();
    }

    /// Drops facts once more after the answer, forgets what was deleted, and learns who owns
    /// what was made, if no other source knows it. Returns the identifier of what was made, where
    /// the route says `learn`, be it learned or not.
    ///
    /// # Errors
    ///
    /// [`FactsError`] if the store could not keep what was learned or forget what was deleted.
    pub async fn after_answer(
        &self,
        set: &Arc<PolicySet>,
        matched: &RouteMatch,
        principal: &Arc<Principal>,
        lookups: &Arc<dyn Lookups>,
        unsettled: Unsettled,
        answer: Answer<'_>,
    ) -> Result<Option<String>, FactsError> {
        let mut told = unsettled.settle();
        if *matched.method() == Method::DELETE
            && answer.status.is_success()
            && let Some((resource, id)) = matched.last_named()
            && resource.learns()
        {
            let spelled = self.facts.spelled(set, resource, &id);
            for id in spelled.names(&id) {
                let label = resource.label(id);
                let forgotten = self.store.forget_facts(&label).await;
                forgotten.map_err(|error| unavailable(label, &error))?;
            }
            self.facts.drop_facts(set, resource, &id);
        }
        let asker = Asker {
            set,
            principal,
            lookups,
        };
        let mut first = None;
        for learn in &matched.route().learn {
            if let Some(id) = new_identifier(learn, answer) {
                self.learn(asker, &learn.resource, &id).await?;
                told.changed(&learn.resource.name, &id);
                first.get_or_insert(id);
            }
        }
        if matched.route().creates.is_some()
            && answer.status.is_success()
            && let Some((resource, id)) = matched.last_captured()
            && resource.learns()
        {
            self.learn(asker, resource, &id).await?;
            told.changed(&resource.name, &id);
        }
        told.tell_answered(&self.store).await;
        Ok(first)
    }

    /// Remembers whose a new resource is, if every source says that there is no such thing.
    async fn learn(
        &self,
        asker: Asker<'_>,
        resource: &Arc<Resource>,
        id: &str,
    ) -> Result<(), FactsError> {
        // From before it was made, nobody may say that there is nothing.
        self.facts.drop_facts(asker.set, resource, id);
        match self.facts.find(asker, resource, id).await {
            // The caller sees nothing there: someone else's may be hidden from them.
            Ok(None) if resource.is_per_caller() => return Ok(()),
            Ok(None) => {}
            // An error was told, and teaches nothing.
            Ok(Some(_)) | Err(_) => return Ok(()),
        }
        let label = resource.label(id);
        let learned = LearnedFacts {
            company: asker.principal.company.id.clone(),
            owner: Some(asker.principal.id.clone()),
            at: self.clock.now(),
        };
        let kept = self.store.learn_facts(&label, learned).await;
        kept.map_err(|error| unavailable(label, &error))?;
        self.facts.drop_facts(asker.set, resource, id);
        Ok(())
    }

    /// What is known of resources.
    pub(super) const fn facts(&self) -> &Arc<FactsCache> {
        &self.facts
    }

    /// What the rules say, from the cache if they were asked the same before.
    fn judge(
        &self,
        set: &PolicySet,
        principal: &Arc<Principal>,
        action: Action,
        record: Option<&Arc<Record>>,
        given: &[(Box<str>, Given)],
    ) -> Arc<Judged> {
        if !given.is_empty() {
            // Values of one request are seldom those of the next.
            return Arc::new(self.count(set.judge(principal, action, record, given)));
        }
        let key = KeyRef {
            set: set.fingerprint(),
            principal,
            action,
            record,
        };
        if let Some(judged) = self.decisions.get(&key) {
            return judged;
        }
        let judged = Arc::new(self.count(set.judge(principal, action, record, given)));
        self.decisions.insert(key.to_owned(), Arc::clone(&judged));
        judged
    }

    fn count(&self, judged: Judged) -> Judged {
        let verdict = if judged.allow { "allow" } else { "deny" };
        let rule = judged.rule.as_deref().unwrap_or("default");
        Judged {
            counter: Some(self.metrics.decisions.with_label_values(&[verdict, rule])),
            ..judged
        }
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

/// An answer that passes through: what is read of it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Its body, bounded; needed only if the route's
    /// [`learn_needs_body`](super::Route::learn_needs_body).
    pub body: Option<&'a [u8]>,
}

pub(super) fn unavailable(resource: Arc<str>, error: &dyn fmt::Display) -> FactsError {
    FactsError {
        resource,
        why: error.to_string().into(),
    }
}

/// The identifier that an answer gives to what was made.
fn new_identifier(learn: &Learn, answer: Answer<'_>) -> Option<String> {
    let Answer {
        status,
        headers,
        body,
    } = answer;
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
