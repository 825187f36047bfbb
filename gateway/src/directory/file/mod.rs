//! The directory in a TOML file, held in memory and read again when it changes.

mod reader;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::{Directory, DirectoryError, Person};
use crate::config::fault::{Fault, Source};
use crate::principal::{EmailAddress, UserId};

/// Companies and users from a file. Looking somebody up takes no lock and never fails.
pub struct FileDirectory {
    path: PathBuf,
    current: ArcSwap<Generation>,
    /// Of the numbers that were there at load: a reload adds none.
    countries: BTreeSet<String>,
    /// Held while a reload goes on, so that two do not overtake each other.
    reloading: Mutex<()>,
}

/// What one reading of the file gave.
struct Generation {
    number: u64,
    register: Register,
}

/// Everybody, by what they are looked up by.
#[derive(Default)]
struct Register {
    by_email: HashMap<EmailAddress, Arc<Person>>,
    by_login: HashMap<Arc<str>, Arc<Person>>,
    by_id: HashMap<UserId, Arc<Person>>,
}

impl Register {
    fn countries(&self) -> BTreeSet<String> {
        // A block of numbers lies in one country, and telling which takes a while.
        let mut seen = HashSet::new();
        self.by_id
            .values()
            .filter(|person| seen.insert(person.phone.prefix()))
            .map(|person| person.phone.country())
            .collect()
    }
}

impl FileDirectory {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Every fault in it at once, in the order of the text.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        let register = read(path)?;
        let countries = register.countries();
        Ok(Self {
            countries,
            path: path.to_owned(),
            current: ArcSwap::from_pointee(Generation {
                number: 1,
                register,
            }),
            reloading: Mutex::new(()),
        })
    }

    /// Reads the file again. What was read stays in force until all of the new is good.
    ///
    /// # Errors
    ///
    /// Every fault in it at once; nothing has changed then.
    pub fn reload(&self) -> Result<(), Vec<Fault>> {
        let _alone = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let register = read(&self.path)?;
        let number = self.current.load().number + 1;
        self.current
            .store(Arc::new(Generation { number, register }));
        Ok(())
    }
}

impl fmt::Debug for FileDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current.load();
        f.debug_struct("FileDirectory")
            .field("path", &self.path)
            .field("generation", &current.number)
            .field("users", &current.register.by_id.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Directory for FileDirectory {
    async fn by_email(&self, email: &EmailAddress) -> Result<Option<Arc<Person>>, DirectoryError> {
        Ok(self.current.load().register.by_email.get(email).cloned())
    }

    async fn by_id(&self, id: &UserId) -> Result<Option<Arc<Person>>, DirectoryError> {
        Ok(self.current.load().register.by_id.get(id).cloned())
    }

    async fn by_login(&self, login: &str) -> Result<Option<Arc<Person>>, DirectoryError> {
        Ok(self.current.load().register.by_login.get(login).cloned())
    }

    fn generation(&self) -> u64 {
        self.current.load().number
    }

    fn countries(&self) -> Option<BTreeSet<String>> {
        Some(self.countries.clone())
    }

    fn reload(&self) -> Result<(), Vec<Fault>> {
        Self::reload(self)
    }
}

fn read(path: &Path) -> Result<Register, Vec<Fault>> {
    let source = Source::read(path).map_err(|fault| vec![fault])?;
    reader::read(&source)
}
