//! Facts, cached: bounded in age and number, one look-up in flight per resource, and dropped when
//! a write may have changed them (`slots.rs`).
//!
//! Every company has its own: were they shared, the time of a refusal would tell a resource that
//! another company uses from one that does not exist. For the same reason another company's
//! facts are believed no longer than that there is nothing.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::clock::{SharedClock, Timestamp};
use crate::metrics::Metrics;
use crate::principal::{CompanyId, Principal, UserId};
use crate::store::SharedStore;

use super::PolicySet;
use super::resource::{Kind, Origin, Record, Resource};
use super::slots::{Begun, Slots};
use super::source::{Known, Lookups, Question};

/// How many resources are remembered.
const CAPACITY: usize = 100_000;

/// How long a request waits for all its facts together.
const BUDGET: Duration = Duration::from_secs(3);

/// The facts cannot be had: the request is refused, never allowed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the facts of `{resource}` are unavailable: {why}")]
pub struct FactsError {
    /// What was asked for, such as `Project::1`.
    pub resource: Arc<str>,
    /// What went wrong.
    pub why: Arc<str>,
}

/// Everything that is known of resources.
pub(super) struct FactsCache {
    store: SharedStore,
    clock: SharedClock,
    entries: Cache<Key, Arc<Entry>>,
    flights: Mutex<HashMap<Key, Flight>>,
    /// How many look-ups were started: each goes by its number.
    started: AtomicU64,
    slots: Slots,
    hits: IntCounter,
    misses: IntCounter,
    negatives: IntCounter,
    errors: IntCounter,
}

/// What was learned by one look-up.
#[derive(Debug)]
struct Entry {
    known: Known,
    begun: Begun,
    /// Believed until then.
    until: Timestamp,
}

/// A look-up under way.
struct Flight {
    number: u64,
    begun: Begun,
    landed: watch::Receiver<Option<Landed>>,
}

type Landed = Result<Arc<Entry>, Arc<str>>;

/// What a look-up is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    /// The route table that says how facts are found.
    table: u64,
    kind: Kind,
    id: Box<str>,
    /// The company that asked.
    company: CompanyId,
    /// Whose credentials asked, where an answer depends on them.
    caller: Option<UserId>,
}

/// A [`Key`] that owns nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct KeyRef<'a> {
    table: u64,
    kind: Kind,
    id: &'a str,
    company: &'a CompanyId,
    caller: Option<&'a UserId>,
}

/// Who asks, by which policy set.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) set: &'a PolicySet,
    pub(super) principal: &'a Arc<Principal>,
    pub(super) lookups: &'a Arc<dyn Lookups>,
}

impl FactsCache {
    pub(super) fn new(store: SharedStore, clock: SharedClock, metrics: &Metrics) -> Self {
        let counter = |result| metrics.facts.with_label_values(&[result]);
        Self {
            store,
            clock,
            entries: Cache::new(CAPACITY),
            flights: Mutex::new(HashMap::new()),
            started: AtomicU64::new(0),
            slots: Slots::new(),
            hits: counter("hit"),
            misses: counter("miss"),
            negatives: counter("negative"),
            errors: counter("error"),
        }
    }

    /// The facts that decide over a resource: its own, or those of what it lies in. `None` if
    /// there is no such resource.
    pub(super) async fn find(
        self: &Arc<Self>,
        asker: Asker<'_>,
        resource: &Arc<Resource>,
        id: &str,
    ) -> Result<Option<Arc<Record>>, FactsError> {
        if let Some(found) = self.cached(asker, resource, id) {
            return Ok(found);
        }
        let found = tokio::time::timeout(BUDGET, self.look_up(asker, resource, id)).await;
        found
            .unwrap_or_else(|_| Err("no answer in time".into()))
            .map_err(|why| {
                self.errors.inc();
                let resource = resource.label(id);
                tracing::warn!(%resource, %why, "facts are unavailable");
                FactsError { resource, why }
            })
    }

    /// How old what is cached of a resource is.
    pub(super) fn age(&self, asker: Asker<'_>, resource: &Resource, id: &str) -> Option<Duration> {
        let now = self.clock.now();
        let entry = self.believed(asker, resource, id, now)?;
        Some(now.since(entry.begun.at()))
    }

    /// Stops believing what is known of a resource, and of what lies in it.
    pub(super) fn drop_facts(&self, resource: &Resource, id: &str) {
        self.slots.drop_facts(resource, id);
    }

    /// A change of a resource is forwarded: until it is settled, nothing that is read is kept.
    pub(super) fn change(&self, resource: &Resource, id: &str) {
        self.slots.change(resource, id);
    }

    /// Ends what [`FactsCache::change`] began; unanswered, for what is read only after a while.
    pub(super) fn settle(&self, resource: &Resource, id: &str, answered: bool) {
        let early = (!answered).then(|| self.clock.now());
        self.slots.settle(resource, id, early);
    }

    /// The whole chain from the cache; `None` if any of it must be asked for.
    fn cached(
        &self,
        asker: Asker<'_>,
        resource: &Arc<Resource>,
        id: &str,
    ) -> Option<Option<Arc<Record>>> {
        let now = self.clock.now();
        let mut entry = self.believed(asker, resource, id, now)?;
        let mut resource = resource;
        loop {
            match (&entry.known, &resource.origin) {
                (Known::Facts(record), _) => {
                    self.hits.inc();
                    return Some(Some(Arc::clone(record)));
                }
                (
                    Known::Parent(id),
                    Origin::Parent {
                        resource: parent, ..
                    },
                ) => {
                    let above = self.believed(asker, parent, id, now)?;
                    resource = parent;
                    entry = above;
                }
                _ => {
                    self.negatives.inc();
                    return Some(None);
                }
            }
        }
    }

    async fn look_up(
        self: &Arc<Self>,
        asker: Asker<'_>,
        resource: &Arc<Resource>,
        id: &str,
    ) -> Result<Option<Arc<Record>>, Arc<str>> {
        let mut entry = self.entry(asker, resource, id).await?;
        let mut resource = resource;
        loop {
            match (&entry.known, &resource.origin) {
                (Known::Facts(record), _) => return Ok(Some(Arc::clone(record))),
                (
                    Known::Parent(id),
                    Origin::Parent {
                        resource: parent, ..
                    },
                ) => {
                    let above = self.entry(asker, parent, id).await?;
                    resource = parent;
                    entry = above;
                }
                _ => return Ok(None),
            }
        }
    }

    /// One step of the chain, asked for if it is not cached; asked again if it was dropped
    /// meanwhile.
    async fn entry(
        self: &Arc<Self>,
        asker: Asker<'_>,
        resource: &Arc<Resource>,
        id: &str,
    ) -> Result<Arc<Entry>, Arc<str>> {
        loop {
            if let Some(entry) = self.believed(asker, resource, id, self.clock.now()) {
                return Ok(entry);
            }
            let mut landed = self.join(asker, resource, id);
            let entry = match landed.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or_else(|| Err("no answer".into()))?,
                // Its worker is gone, with the look-up.
                Err(_) => return Err("the look-up was given up".into()),
            };
            if self.stands(&entry, resource, id) {
                return Ok(entry);
            }
        }
    }

    /// What is cached and may be believed.
    fn believed(
        &self,
        asker: Asker<'_>,
        resource: &Resource,
        id: &str,
        now: Timestamp,
    ) -> Option<Arc<Entry>> {
        let shared = KeyRef {
            table: asker.set.table_key(),
            kind: resource.kind,
            id,
            company: &asker.principal.company.id,
            caller: None,
        };
        let sound = |entry: &Arc<Entry>| now < entry.until && self.stands(entry, resource, id);
        let found = self.entries.get(&shared).filter(sound);
        if found.is_some() || !resource.is_per_caller() {
            return found;
        }
        let own = KeyRef {
            caller: Some(&asker.principal.id),
            ..shared
        };
        self.entries.get(&own).filter(sound)
    }

    /// Whether neither the resource nor what it lies in was dropped since this was asked for.
    fn stands(&self, entry: &Entry, resource: &Resource, id: &str) -> bool {
        let stands = |resource: &Resource, id: &str| self.slots.stands(entry.begun, resource, id);
        stands(resource, id) && above(&entry.known, resource).is_none_or(|(r, id)| stands(r, id))
    }

    /// Joins the look-up of a resource that is in flight, or starts one.
    ///
    /// It runs in a task of its own: that a client goes away must not take it from the others
    /// who wait. With `cache = "0s"`, and while a change is under way, everyone starts their own,
    /// for an answer must not be older than its request.
    fn join(
        self: &Arc<Self>,
        asker: Asker<'_>,
        resource: &Arc<Resource>,
        id: &str,
    ) -> watch::Receiver<Option<Landed>> {
        let key = Key {
            table: asker.set.table_key(),
            kind: resource.kind,
            id: id.into(),
            company: asker.principal.company.id.clone(),
            caller: resource.is_per_caller().then(|| asker.principal.id.clone()),
        };
        let begun = self.slots.begin(self.clock.now());
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&key)
            && !resource.cache.is_zero()
            && self.slots.stands(flight.begun, resource, id)
            && self.slots.is_settled(flight.begun, resource, id)
        {
            return flight.landed.clone();
        }
        self.misses.inc();
        let (landing, landed) = watch::channel(None);
        let number = self.started.fetch_add(1, Ordering::SeqCst);
        let flight = Flight {
            number,
            begun,
            landed: landed.clone(),
        };
        flights.insert(key.clone(), flight);
        drop(flights);
        let cache = Arc::clone(self);
        let resource = Arc::clone(resource);
        let (principal, lookups) = (Arc::clone(asker.principal), Arc::clone(asker.lookups));
        tokio::spawn(async move {
            let ticket = Ticket { cache, key, number };
            let question = Question {
                resource: &resource,
                id: &ticket.key.id,
                principal: &principal,
                lookups: &*lookups,
                store: &*ticket.cache.store,
            };
            let outcome = tokio::time::timeout(BUDGET, question.ask())
                .await
                .unwrap_or_else(|_| Err("no answer in time".to_owned()));
            let outcome = match outcome {
                Ok(known) => Ok(ticket.cache.keep(&ticket.key, &resource, known, begun)),
                Err(why) => Err(why.into()),
            };
            // Off the list before it is told, so that who asks next finds the cache.
            drop(ticket);
            landing.send_replace(Some(outcome));
        });
        landed
    }

    fn keep(&self, key: &Key, resource: &Resource, known: Known, begun: Begun) -> Arc<Entry> {
        let missing = known == Known::Nothing;
        let foreign = matches!(&known, Known::Facts(record) if record.company != key.company);
        let life = if missing || foreign {
            resource.negative_cache
        } else {
            resource.cache
        };
        let entry = Arc::new(Entry {
            known,
            begun,
            until: self.clock.now().plus(life),
        });
        let settled = |resource: &Resource, id: &str| self.slots.is_settled(begun, resource, id);
        let settled = settled(resource, &key.id)
            && above(&entry.known, resource).is_none_or(|(r, id)| settled(r, id));
        if !life.is_zero() && settled {
            // Facts are facts, whoever asked; that there is nothing holds for who asked.
            let caller = key.caller.clone().filter(|_| missing);
            let key = Key {
                caller,
                ..key.clone()
            };
            self.entries.insert(key, Arc::clone(&entry));
        }
        entry
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        // Nothing that holds the lock can leave the list half changed.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a resource lies in.
fn above<'k>(known: &'k Known, resource: &'k Resource) -> Option<(&'k Resource, &'k str)> {
    match (known, &resource.origin) {
        (Known::Parent(id), Origin::Parent { resource, .. }) => Some((resource, id)),
        _ => None,
    }
}

/// A look-up's place on the list of flights; given up however the look-up ends.
struct Ticket {
    cache: Arc<FactsCache>,
    key: Key,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut flights = self.cache.flights();
        // A later look-up may have taken the place.
        if flights
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            flights.remove(&self.key);
        }
    }
}

impl Key {
    fn borrowed(&self) -> KeyRef<'_> {
        KeyRef {
            table: self.table,
            kind: self.kind,
            id: &self.id,
            company: &self.company,
            caller: self.caller.as_ref(),
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.borrowed()
    }
}
