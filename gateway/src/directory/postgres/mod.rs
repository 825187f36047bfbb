//! The directory in PostgreSQL: a configured query over the application's own users table.
//!
//! A change in the table binds within `max_age`, though nothing signals it. An answer is believed
//! for half of that, counted from the moment it was asked for; the generation moves on every
//! quarter, and sessions judge their user again when it does. The last quarter is for the asking.
//! A database that cannot be asked is an error once the last answer is older than that, never a
//! pass.
//!
//! Whoever stands in the table twice is nobody: no rule could say which row is meant.

mod database;
mod rows;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::database::{By, Database};
use super::{Directory, DirectoryError, Person};
use crate::clock::{SharedClock, Timestamp};
use crate::config;
use crate::config::fault::Fault;
use crate::principal::{EmailAddress, UserId};

/// How many answers are remembered.
const CAPACITY: usize = 100_000;

/// How many complaints about rows are remembered, so that each is made once.
const COMPLAINTS: usize = 1_000;

/// How many people one query asks for.
const ASKED_AT_ONCE: usize = 500;

/// How long nobody is believed to be nobody, at most.
const NOBODY: Duration = Duration::from_secs(1);

/// Companies and users from a query.
pub struct PostgresDirectory {
    people: Arc<People>,
    /// Where the database's connections live, whoever asks.
    runtime: Handle,
}

struct People {
    database: Database,
    clock: SharedClock,
    max_age: Duration,
    answers: Cache<Key, Answer>,
    flights: Mutex<HashMap<Key, watch::Receiver<Option<Landed>>>>,
    /// How often everything was forgotten.
    forgotten: AtomicU64,
    complaints: Cache<String, ()>,
    down: AtomicBool,
}

/// What somebody is looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Email(EmailAddress),
    Id(UserId),
    Login(Box<str>),
}

/// What was found, and until when it is believed.
#[derive(Clone)]
struct Answer {
    person: Option<Arc<Person>>,
    until: Timestamp,
}

type Landed = Result<Option<Arc<Person>>, Arc<str>>;

impl PostgresDirectory {
    /// A directory that asks once it is asked. Its connections live on the runtime that this is
    /// called on.
    ///
    /// # Errors
    ///
    /// A fault if the certificates that vouch for the server cannot be read.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open(config: &config::Postgres, clock: SharedClock) -> Result<Self, Fault> {
        Ok(Self {
            people: Arc::new(People {
                database: Database::new(config)?,
                clock,
                max_age: config.max_age,
                answers: Cache::new(CAPACITY),
                flights: Mutex::default(),
                forgotten: AtomicU64::new(0),
                complaints: Cache::new(COMPLAINTS),
                down: AtomicBool::new(false),
            }),
            runtime: Handle::current(),
        })
    }

    /// Asks the database what the query yields, without running it.
    ///
    /// # Errors
    ///
    /// Every fault in the query; one warning if the database cannot be asked now.
    pub async fn examine(&self) -> Result<(), Vec<Fault>> {
        let people = Arc::clone(&self.people);
        let examined = self
            .runtime
            .spawn(async move { people.database.examine().await });
        match examined.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(trouble)) => Err(trouble.faults()),
            Err(error) => Err(vec![Fault::new(error.to_string())]),
        }
    }

    async fn find(&self, key: Key) -> Result<Option<Arc<Person>>, DirectoryError> {
        if let Some(answer) = self.people.believed(&key) {
            return Ok(answer.person);
        }
        let mut flight = self.join(key.clone());
        let landed = flight.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(Ok(person))) => Ok(person.clone()),
            Ok(Some(Err(why))) => Err(DirectoryError(why.to_string())),
            _ => {
                drop(landed);
                // Nobody else shall wait for it.
                self.people.flights().remove(&key);
                Err(DirectoryError("the look-up ended early".to_owned()))
            }
        }
    }

    /// The look-up that is under way, or a new one. It goes on though nobody waits for it.
    fn join(&self, key: Key) -> watch::Receiver<Option<Landed>> {
        let mut flights = self.people.flights();
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let (land, flight) = watch::channel(None);
        flights.insert(key.clone(), flight.clone());
        drop(flights);
        let people = Arc::clone(&self.people);
        self.runtime.spawn(async move {
            let landed = people.look_up(&key).await;
            people.flights().remove(&key);
            let _ = land.send(Some(landed));
        });
        flight
    }
}

impl People {
    fn believed(&self, key: &Key) -> Option<Answer> {
        let now = self.clock.now();
        self.answers.get(key).filter(|answer| now < answer.until)
    }

    async fn look_up(&self, key: &Key) -> Landed {
        let asked = self.clock.now();
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let (by, values) = match key {
            Key::Email(email) => (By::Email, rows::spellings(email)),
            Key::Id(id) => (By::Id, vec![id.as_str().to_owned()]),
            Key::Login(login) => (By::Login, rows::logins(login)),
        };
        let rows = self.ask(by, values).await?;
        if self.clock.now() >= asked.plus(self.max_age) {
            return Err("the database's answer came too late to be believed".into());
        }
        let person = self.one(rows.iter().filter(|row| match key {
            Key::Email(email) => row.email.as_ref() == Ok(email),
            Key::Id(id) => row.id == id.as_str(),
            Key::Login(login) => row.login() == Some(login),
        }));
        self.remember(key.clone(), person.clone(), asked, forgotten);
        Ok(person)
    }

    /// Looks up those of whom nothing believable is known, many at once.
    async fn look_up_all(&self, ids: Vec<UserId>) -> Result<(), Arc<str>> {
        let asked = self.clock.now();
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let values = ids.iter().map(|id| id.as_str().to_owned()).collect();
        let rows = self.ask(By::Id, values).await?;
        let mut by_id: HashMap<&str, Vec<&rows::Found>> = HashMap::new();
        for row in &rows {
            by_id.entry(&row.id).or_default().push(row);
        }
        for id in ids {
            let found = by_id.remove(id.as_str()).unwrap_or_default();
            let person = self.one(found.into_iter());
            self.remember(Key::Id(id), person, asked, forgotten);
        }
        Ok(())
    }

    async fn ask(&self, by: By, values: Vec<String>) -> Result<Vec<rows::Found>, Arc<str>> {
        match self.database.people(by, values).await {
            Ok(rows) => {
                if self.down.swap(false, Ordering::AcqRel) {
                    tracing::info!("the directory's database answers again");
                }
                for (id, why) in rows
                    .iter()
                    .filter_map(|row| Some((&row.id, row.email.as_ref().err()?)))
                {
                    self.complain(format!("its address is none: {why}"), id);
                }
                Ok(rows)
            }
            Err(trouble) => {
                let why = trouble.to_string();
                if !self.down.swap(true, Ordering::AcqRel) {
                    tracing::error!(%why, "the directory's database cannot be asked");
                }
                Err(why.into())
            }
        }
    }

    /// The person whom the rows are about; nobody if there is no row, or a choice, or a row that
    /// makes no person.
    fn one<'a>(&self, mut rows: impl Iterator<Item = &'a rows::Found>) -> Option<Arc<Person>> {
        let row = rows.next()?;
        if rows.next().is_some() {
            let why = "the query yields several rows for one address or identifier".to_owned();
            self.complain(why, &row.id);
            return None;
        }
        match row.person() {
            Ok(person) => Some(Arc::new(person)),
            Err(why) => {
                self.complain(why, &row.id);
                None
            }
        }
    }

    fn complain(&self, why: String, id: &str) {
        let complaint = format!("{id} {why}");
        if self.complaints.get(&complaint).is_none() {
            self.complaints.insert(complaint, ());
            tracing::error!(user = id, %why, "a row of the directory's query is passed over");
        }
    }

    fn remember(&self, key: Key, person: Option<Arc<Person>>, asked: Timestamp, forgotten: u64) {
        let believed = match &person {
            Some(_) => self.max_age / 2,
            None => NOBODY.min(self.max_age / 4),
        };
        let until = asked.plus(believed);
        self.answers.insert(key.clone(), Answer { person, until });
        // What was asked for before everything was forgotten is not kept after it.
        if self.forgotten.load(Ordering::Acquire) != forgotten {
            self.answers.remove(&key);
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Option<Landed>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Directory for PostgresDirectory {
    async fn by_email(&self, email: &EmailAddress) -> Result<Option<Arc<Person>>, DirectoryError> {
        self.find(Key::Email(email.clone())).await
    }

    async fn by_id(&self, id: &UserId) -> Result<Option<Arc<Person>>, DirectoryError> {
        self.find(Key::Id(id.clone())).await
    }

    async fn by_login(&self, login: &str) -> Result<Option<Arc<Person>>, DirectoryError> {
        self.find(Key::Login(login.into())).await
    }

    fn generation(&self) -> u64 {
        let quarter = (self.people.max_age.as_millis() as u64 / 4).max(1);
        let passed = self.people.clock.now().as_millis() / quarter;
        passed + self.people.forgotten.load(Ordering::Acquire)
    }

    async fn expect(&self, ids: &[UserId]) -> Result<(), DirectoryError> {
        let mut asked_for: Vec<UserId> = ids
            .iter()
            .filter(|&id| self.people.believed(&Key::Id(id.clone())).is_none())
            .cloned()
            .collect();
        asked_for.sort_unstable();
        asked_for.dedup();
        for some in asked_for.chunks(ASKED_AT_ONCE) {
            let (people, some) = (Arc::clone(&self.people), some.to_vec());
            let asked = self
                .runtime
                .spawn(async move { people.look_up_all(some).await });
            match asked.await {
                Ok(answer) => answer.map_err(|why| DirectoryError(why.to_string()))?,
                Err(error) => return Err(DirectoryError(error.to_string())),
            }
        }
        Ok(())
    }

    /// Forgets every answer: what changed in the table binds now.
    fn reload(&self) -> Result<(), Vec<Fault>> {
        self.people.forgotten.fetch_add(1, Ordering::AcqRel);
        self.people.answers.clear();
        // Whoever asks from now on does not join a look-up that began before.
        self.people.flights().clear();
        Ok(())
    }

    async fn ready(&self) -> Result<(), DirectoryError> {
        let people = Arc::clone(&self.people);
        let asked = self
            .runtime
            .spawn(async move { people.ask(By::Id, Vec::new()).await });
        match asked.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(why)) => Err(DirectoryError(why.to_string())),
            Err(error) => Err(DirectoryError(error.to_string())),
        }
    }
}

impl fmt::Debug for PostgresDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresDirectory")
            .field("max_age", &self.people.max_age)
            .field("answers", &self.people.answers.len())
            .finish_non_exhaustive()
    }
}
