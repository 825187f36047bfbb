//! Suspensions by ops: an overlay over the directory, kept in the store. Whoever asks the directory
//! through it, sessions and login alike, finds a suspended person as if the directory said so.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::config::fault::Fault;
use crate::directory::{Directory, DirectoryError, Person, SharedDirectory};
use crate::principal::{EmailAddress, Principal, UserId};
use crate::store::{Change, Hears, Others, SharedStore, StoreResult};

/// A directory in which those whom ops have suspended are suspended.
pub struct Suspensions {
    directory: SharedDirectory,
    store: SharedStore,
    suspended: ArcSwap<HashSet<UserId>>,
    /// How often `suspended` has changed; part of the generation.
    changes: AtomicU64,
    /// Held while store and memory change together.
    changing: Mutex<()>,
    /// The other gateways, where the store is shared.
    others: Option<Arc<Others>>,
    /// How often it was told that they changed something here.
    told: AtomicU64,
    /// How many of these `suspended` knows of.
    known: AtomicU64,
}

impl Suspensions {
    /// Lays what the store holds over a directory.
    ///
    /// # Errors
    ///
    /// [`StoreError`](crate::store::StoreError) if the store cannot say who is suspended.
    pub async fn open(store: SharedStore, directory: SharedDirectory) -> StoreResult<Arc<Self>> {
        let suspended = store.suspended().await?.into_iter().collect();
        let others = store.others();
        let overlay = Arc::new(Self {
            directory,
            store,
            suspended: ArcSwap::from_pointee(suspended),
            changes: AtomicU64::new(0),
            changing: Mutex::new(()),
            others,
            // What changed since the store was asked was not told.
            told: AtomicU64::new(1),
            known: AtomicU64::new(0),
        });
        if let Some(others) = &overlay.others {
            let hearer: Weak<Self> = Arc::downgrade(&overlay);
            others.tell_too(hearer);
        }
        Ok(overlay)
    }

    /// Whether ops have suspended this user.
    #[must_use]
    pub fn covers(&self, user: &UserId) -> bool {
        self.suspended.load().contains(user)
    }

    /// Suspends a user from the next request on; `false` if ops already had. Whoever calls this
    /// ends the user's sessions after it.
    ///
    /// # Errors
    ///
    /// [`StoreError`](crate::store::StoreError) if it may not be kept; nothing has changed here.
    pub async fn suspend(&self, user: &UserId) -> StoreResult<bool> {
        let _alone = self.changing.lock().await;
        let new = self.store.suspend(user).await?;
        self.change(|suspended| suspended.insert(user.clone()));
        Ok(new)
    }

    /// Takes a suspension back; `false` if there was none. What the directory itself says stays.
    ///
    /// # Errors
    ///
    /// [`StoreError`](crate::store::StoreError) if it may not be kept; nothing has changed here.
    pub async fn resume(&self, user: &UserId) -> StoreResult<bool> {
        let _alone = self.changing.lock().await;
        let was = self.store.resume(user).await?;
        self.change(|suspended| suspended.remove(user));
        Ok(was)
    }

    /// Asks the store, if others may have changed what is known here.
    async fn catch_up(&self) -> Result<(), DirectoryError> {
        let Some(others) = &self.others else {
            return Ok(());
        };
        if others.is_current() && !self.is_behind() {
            return Ok(());
        }
        let _alone = self.changing.lock().await;
        if others.is_current() && !self.is_behind() {
            return Ok(());
        }
        let told = self.told.load(Ordering::Acquire);
        let now = self.store.suspended().await;
        let now = now.map_err(|error| DirectoryError(error.to_string()))?;
        let now: HashSet<UserId> = now.into_iter().collect();
        if now != **self.suspended.load() {
            self.suspended.store(Arc::new(now));
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        self.known.fetch_max(told, Ordering::AcqRel);
        Ok(())
    }

    fn is_behind(&self) -> bool {
        self.known.load(Ordering::Acquire) < self.told.load(Ordering::Acquire)
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<UserId>) -> bool) {
        let mut suspended = HashSet::clone(&self.suspended.load());
        change(&mut suspended);
        self.suspended.store(Arc::new(suspended));
        // After the set: whoever sees the new generation sees the new set.
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn judged(&self, person: Arc<Person>) -> Arc<Person> {
        if person.principal.suspended || !self.covers(&person.principal.id) {
            return person;
        }
        let mut principal = Principal::clone(&person.principal);
        principal.suspended = true;
        Arc::new(Person {
            principal: Arc::new(principal),
            ..Person::clone(&person)
        })
    }
}

impl Hears for Suspensions {
    fn hear(&self, change: &Change<'_>) {
        if matches!(change, Change::Suspensions | Change::Anything) {
            // In this order: whoever sees the new generation asks the store.
            self.told.fetch_add(1, Ordering::AcqRel);
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for Suspensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspensions")
            .field("directory", &self.directory)
            .field("suspended", &self.suspended.load().len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Directory for Suspensions {
    async fn by_email(&self, email: &EmailAddress) -> Result<Option<Arc<Person>>, DirectoryError> {
        self.catch_up().await?;
        let found = self.directory.by_email(email).await?;
        Ok(found.map(|person| self.judged(person)))
    }

    async fn by_id(&self, id: &UserId) -> Result<Option<Arc<Person>>, DirectoryError> {
        self.catch_up().await?;
        let found = self.directory.by_id(id).await?;
        Ok(found.map(|person| self.judged(person)))
    }

    async fn by_login(&self, login: &str) -> Result<Option<Arc<Person>>, DirectoryError> {
        self.catch_up().await?;
        let found = self.directory.by_login(login).await?;
        Ok(found.map(|person| self.judged(person)))
    }

    /// Both parts only rise, so that their sum is new whenever either is.
    fn generation(&self) -> u64 {
        let changes = self.changes.load(Ordering::Acquire);
        self.directory.generation().wrapping_add(changes)
    }

    fn reload(&self) -> Result<(), Vec<Fault>> {
        self.directory.reload()
    }

    async fn ready(&self) -> Result<(), DirectoryError> {
        self.directory.ready().await
    }
}
