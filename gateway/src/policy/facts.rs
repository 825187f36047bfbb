//! Facts, cached: bounded in age and number, one look-up in flight per resource, and dropped when
//! a write may have changed them (`slots.rs`).
//!
//! Every company has its own: were they shared, the time of a refusal would tell a resource that
//! another company uses from one that does not exist. For the same reason another company's
//! facts are believed no longer than that there is nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::clock::{SharedClock, Timestamp};
use crate::metrics::Metrics;
use crate::principal::{CompanyId, Principal};
use crate::store::SharedStore;

use super::PolicySet;
use super::afar::Afar;
use super::climb::{Chain, Climb, Step};
use super::facts_key::{Key, KeyRef};
use super::resource::Resource;
use super::slots::{Begun, Slots};
use super::source::{Known, Lookups, Question};
use super::spelling::{ALL, SPELLINGS, Spelled};

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
    pub(super) clock: SharedClock,
    entries: Cache<Key, Arc<Entry>>,
    /// Which resource each spelling was found to mean, for as long as there is room: a write
    /// names a resource as it likes.
    spellings: Cache<Key, Box<str>>,
    flights: Mutex<HashMap<Key, Flight>>,
    /// How many look-ups were started: each goes by its number.
    started: AtomicU64,
    pub(super) slots: Slots,
    pub(super) afar: Afar,
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
        let afar = Afar::new(store.others());
        Self {
            store,
            clock,
            entries: Cache::new(CAPACITY),
            spellings: Cache::new(CAPACITY),
            flights: Mutex::new(HashMap::new()),
            started: AtomicU64::new(0),
            slots: Slots::new(),
            afar,
            hits: counter("hit"),
            misses: counter("miss"),
            negatives: counter("negative"),
            errors: counter("error"),
        }
    }

    /// The facts that decide over a resource: its own, and those of what it lies in. `None` if
    /// there is no such resource.
    pub(super) async fn find(
        self: &Arc<Self>,
        asker: Asker<'_>,
        resource: &Arc<Resource>,
        id: &str,
    ) -> Result<Option<Chain>, FactsError> {
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
        let entry = self.believed(asker, resource, id, now, None)?;
        Some(now.since(entry.begun.moment()))
    }

    /// Stops believing what is known of a resource, and of what lies in it.
    pub(super) fn drop_facts(&self, set: &PolicySet, resource: &Resource, id: &str) {
        for id in self.spelled(set, resource, id).all(id) {
            self.slots.drop_facts(&resource.name, id);
        }
    }

    /// What a change of a resource changes besides what it names.
    pub(super) fn spelled(&self, set: &PolicySet, resource: &Resource, id: &str) -> Spelled {
        if !resource.has_spellings() {
            return Spelled::Alone;
        }
        let key = KeyRef {
            table: set.table_key(),
            kind: resource.kind,
            id,
            company: &CompanyId::from(""),
            caller: None,
        };
        match self.spellings.get(&key) {
            Some(meant) => Spelled::Means(meant),
            None => Spelled::Unknown,
        }
    }

    /// A change of a resource is forwarded: until it is settled, nothing that is read is kept.
    pub(super) fn change(&self, resource: &Resource, id: &str, spelled: &Spelled) {
        for id in spelled.all(id) {
            self.slots.change(&resource.name, id);
        }
    }

    /// Ends what [`FactsCache::change`] began; unanswered, for what is read only after a while.
    pub(super) fn settle(&self, resource: &Resource, id: &str, spelled: &Spelled, answered: bool) {
        let early = (!answered).then(|| self.clock.now());
        for id in spelled.all(id) {
            self.slots.settle(&resource.name, id, early);
        }
    }

    /// The whole chain from the cache; `None` if any of it must be asked for.
    fn cached<'a>(
        &self,
        asker: Asker<'a>,
        mut resource: &'a Arc<Resource>,
        id: &str,
    ) -> Option<Option<Chain>> {
        let now = self.clock.now();
        let mut entry = self.believed(asker, resource, id, now, None)?;
        let mut climb = Climb::default();
        loop {
            let next = match climb.step(&entry.known, entry.begun, resource) {
                Step::Nothing => {
                    self.negatives.inc();
                    return Some(None);
                }
                Step::Top => {
                    self.hits.inc();
                    return Some(climb.into_chain());
                }
                Step::Up(above, id) => {
                    resource = asker.set.resource(above.kind)?;
                    if !resource.is_identifier(id) {
                        return None;
                    }
                    let next = self.believed(asker, resource, id, now, None)?;
                    let still = |name: &str, id: &str| {
                        self.slots.stands(climb.oldest(now), name, id)
                            && self.slots.is_settled(climb.oldest(now), name, id)
                    };
                    if !self.holds(&next, resource, id, still) {
                        return None;
                    }
                    next
                }
            };
            entry = next;
        }
    }

    /// The whole chain, asked for where it must be. What is known of the lower steps is asked for
    /// again if what they lie in has changed since.
    async fn look_up<'a>(
        self: &Arc<Self>,
        asker: Asker<'a>,
        resource: &'a Arc<Resource>,
        id: &str,
    ) -> Result<Option<Chain>, Arc<str>> {
        let mut since = None;
        loop {
            if let Some(found) = self.climb(asker, resource, id, since).await? {
                return Ok(found);
            }
            since = Some(self.slots.begin_anew(self.clock.now()));
        }
    }

    /// The whole chain, no step of it believed from before `since`; `None` if it must be gone
    /// over again.
    async fn climb<'a>(
        self: &Arc<Self>,
        asker: Asker<'a>,
        mut resource: &'a Arc<Resource>,
        id: &str,
        since: Option<Begun>,
    ) -> Result<Option<Option<Chain>>, Arc<str>> {
        let now = self.clock.now();
        let mut entry = self.entry(asker, resource, id, since).await?;
        let mut climb = Climb::default();
        loop {
            let next = match climb.step(&entry.known, entry.begun, resource) {
                Step::Nothing => return Ok(Some(None)),
                Step::Top => return Ok(Some(climb.into_chain())),
                Step::Up(above, id) => {
                    let above = asker.set.resource(above.kind);
                    resource = above.ok_or("what it lies in has no type")?;
                    if !resource.is_identifier(id) {
                        let name = &resource.name;
                        return Err(format!("it lies in `{id}`, which is no `{name}`").into());
                    }
                    let next = self.entry(asker, resource, id, since).await?;
                    let still = |name: &str, id: &str| {
                        let oldest = climb.oldest(now);
                        let settled = || self.slots.is_settled(oldest, name, id);
                        self.slots.stands(oldest, name, id) && (since.is_some() || settled())
                    };
                    if !self.holds(&next, resource, id, still) {
                        return Ok(None);
                    }
                    next
                }
            };
            entry = next;
        }
    }

    /// One step of the chain, asked for if it is not cached; asked again if it was dropped
    /// meanwhile.
    async fn entry(
        self: &Arc<Self>,
        asker: Asker<'_>,
        resource: &Arc<Resource>,
        id: &str,
        since: Option<Begun>,
    ) -> Result<Arc<Entry>, Arc<str>> {
        loop {
            if let Some(entry) = self.believed(asker, resource, id, self.clock.now(), since) {
                return Ok(entry);
            }
            let mut landed = self.join(asker, resource, id, since);
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
        since: Option<Begun>,
    ) -> Option<Arc<Entry>> {
        if !self.afar.is_heard() {
            return None;
        }
        let shared = KeyRef {
            table: asker.set.table_key(),
            kind: resource.kind,
            id,
            company: &asker.principal.company.id,
            caller: None,
        };
        let sound = |entry: &Arc<Entry>| {
            now < entry.until
                && since.is_none_or(|since| entry.begun.is_since(since))
                && self.stands(entry, resource, id)
        };
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
        self.holds(entry, resource, id, |name, id| {
            self.slots.stands(entry.begun, name, id)
        })
    }

    /// Whether something holds of all that an answer depends on: the resource by this and by its
    /// canonical identifier, and what it lies in.
    fn holds(
        &self,
        entry: &Entry,
        resource: &Resource,
        id: &str,
        of: impl Fn(&str, &str) -> bool,
    ) -> bool {
        let name = &resource.name;
        if !of(name, id) || (resource.has_spellings() && !of(name, ALL)) {
            return false;
        }
        let Known::Found(found) = &entry.known else {
            return true;
        };
        // Any write to this type may have given a second spelling to another resource.
        let means = *found.id == *id || (of(name, &found.id) && of(name, SPELLINGS));
        means
            && found
                .parent
                .as_ref()
                .is_none_or(|(above, id)| of(&above.name, id))
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
        since: Option<Begun>,
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
            && self.afar.is_heard()
            && since.is_none_or(|since| flight.begun.is_since(since))
            && self.slots.stands(flight.begun, &resource.name, id)
            && self.slots.is_settled(flight.begun, &resource.name, id)
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
            let mut question = Question {
                resource: &resource,
                id: &ticket.key.id,
                principal: &principal,
                lookups: &*lookups,
                store: &*ticket.cache.store,
                documents: Vec::new(),
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
        let foreign = known
            .record()
            .is_some_and(|record| record.company != key.company);
        if let Known::Found(found) = &known
            && resource.has_spellings()
        {
            let spelling = Key {
                company: CompanyId::from(""),
                caller: None,
                ..key.clone()
            };
            self.spellings.insert(spelling, found.id.clone());
        }
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
        let settled = self.holds(&entry, resource, &key.id, |name, id| {
            self.slots.is_settled(begun, name, id)
        });
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
