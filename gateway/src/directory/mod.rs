//! The directory: which companies and users exist, and where their codes go.

pub mod file;
pub mod postgres;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::config::fault::Fault;
use crate::principal::{EmailAddress, Principal, UserId};

/// A directory that everyone shares.
pub type SharedDirectory = Arc<dyn Directory>;

/// A user with what only the login needs.
#[derive(Clone, Debug)]
pub struct Person {
    /// The user.
    pub principal: Arc<Principal>,
    /// Where codes go.
    pub phone: PhoneNumber,
}

/// A telephone number in E.164, such as `+4790000001`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(Arc<str>);

impl PhoneNumber {
    /// Reads `+` and 8 to 15 digits, the first not zero (ITU-T E.164, section 6.2).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+')?;
        let fits = (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| Self(text.into()))
    }

    /// The whole number, for the one who sends to it.
    #[must_use]
    pub fn as_e164(&self) -> &str {
        &self.0
    }

    /// The number without its last four digits: what a block of numbers shares.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let end = self.0.len().saturating_sub(4);
        self.0.get(..end).unwrap_or_default()
    }

    /// The country, as ISO 3166-1 alpha-2; of a number that is no country's, its calling code,
    /// such as `+883`.
    #[must_use]
    pub fn country(&self) -> String {
        let Ok(number) = phonenumber::parse(None, &*self.0) else {
            return String::new();
        };
        let country = number.country();
        match country.id() {
            Some(id) => id.as_ref().to_owned(),
            None => format!("+{}", country.code()),
        }
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(..)")
    }
}

/// Why nobody can be found just now. Whoever sees it refuses.
#[derive(Debug, thiserror::Error)]
#[error("the directory is unavailable: {0}")]
pub struct DirectoryError(pub String);

/// Who exists.
#[async_trait]
pub trait Directory: Send + Sync + fmt::Debug {
    /// The user with this address, suspended or not.
    async fn by_email(&self, email: &EmailAddress) -> Result<Option<Arc<Person>>, DirectoryError>;

    /// The user with this identifier, suspended or not.
    async fn by_id(&self, id: &UserId) -> Result<Option<Arc<Person>>, DirectoryError>;

    /// The user with this login, suspended or not.
    async fn by_login(&self, login: &str) -> Result<Option<Arc<Person>>, DirectoryError>;

    /// A number that changes whenever what was found before may no longer be so.
    fn generation(&self) -> u64;

    /// The countries of the numbers that were there at load, where that can be told.
    fn countries(&self) -> Option<BTreeSet<String>> {
        None
    }

    /// Says that these users will be asked for by identifier, one after the other: whoever has
    /// them far away may fetch them together.
    async fn expect(&self, _: &[UserId]) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Takes in what has changed. What is faulty changes nothing.
    ///
    /// # Errors
    ///
    /// Every fault at once.
    fn reload(&self) -> Result<(), Vec<Fault>> {
        Ok(())
    }

    /// Whether anybody can be found just now.
    async fn ready(&self) -> Result<(), DirectoryError> {
        Ok(())
    }
}

/// Longest identifier, login or role in bytes: all of them travel in headers.
const MAX_BYTES: usize = 64;

/// Whether a text may be an identifier, a login or (without commas) a role.
fn is_token(text: &str) -> bool {
    (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_its_country_and_its_block() {
        for (number, country, prefix) in [
            ("+4790000001", "NO", "+479000"),
            ("+46701234567", "SE", "+4670123"),
            ("+12025550123", "US", "+1202555"),
            ("+18765550123", "JM", "+1876555"),
            ("+883510000000", "+883", "+88351000"),
        ] {
            let number = PhoneNumber::parse(number).unwrap();
            assert_eq!(number.country(), country, "{number:?}");
            assert_eq!(number.prefix(), prefix);
        }
    }
}
