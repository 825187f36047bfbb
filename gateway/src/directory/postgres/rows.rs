//! From an e-mail address to the spellings it may have in the table, and from a row to a person.

use std::sync::Arc;

use tokio_postgres::Row;
use unicode_normalization::UnicodeNormalization;

use crate::directory::{Person, PhoneNumber, is_token};
use crate::principal::{Company, EmailAddress, EmailError, Principal};

/// One row of the query.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) email: Result<EmailAddress, EmailError>,
    phone: Option<String>,
    name: Option<String>,
    company: Option<String>,
    company_name: Option<String>,
    login: Option<String>,
    roles: Vec<Option<String>>,
    suspended: bool,
}

/// What PostgreSQL's `lower()` may make of an address as somebody else has written it: composed
/// or decomposed, its domain in letters or in ASCII, its other letters lower or (in a database
/// with the locale `C`) as they were. Each row found is compared properly afterwards.
pub(super) fn spellings(email: &EmailAddress) -> Vec<String> {
    let whole = email.as_str();
    let (local, ascii) = whole.split_once('@').unwrap_or((whole, ""));
    let (domain, _) = idna::domain_to_unicode(ascii);
    let mut spellings = Vec::new();
    for local in [local.to_owned(), local.to_lowercase()] {
        for local in [local.nfc().collect(), local.nfd().collect::<String>()] {
            for domain in [ascii, &domain, &domain.nfd().collect::<String>()] {
                spellings.push(format!("{local}@{domain}"));
            }
        }
    }
    spellings.sort_unstable();
    spellings.dedup();
    spellings
}

/// What a login may be in the table: where nobody wrote one, it is the whole address.
pub(super) fn logins(login: &str) -> Vec<String> {
    let mut all = EmailAddress::parse(login).map_or_else(|_| Vec::new(), |it| spellings(&it));
    all.push(login.to_owned());
    all.retain(|text| !text.contains('\0'));
    all
}

impl Found {
    /// The login, written or not.
    pub(super) fn login(&self) -> Option<&str> {
        let address = || self.email.as_ref().ok().map(EmailAddress::as_str);
        self.login.as_deref().or_else(address)
    }

    /// Reads a row in the order of the statements' columns.
    pub(super) fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let email: Option<String> = row.try_get(1)?;
        Ok(Self {
            id: row.try_get::<_, Option<String>>(0)?.unwrap_or_default(),
            email: EmailAddress::parse(&email.unwrap_or_default()),
            phone: row.try_get(2)?,
            name: row.try_get(3)?,
            company: row.try_get(4)?,
            company_name: row.try_get(5)?,
            login: row.try_get(6)?,
            roles: row
                .try_get::<_, Option<Vec<Option<String>>>>(7)?
                .unwrap_or_default(),
            // Neither yes nor no is no leave to enter.
            suspended: row.try_get::<_, Option<bool>>(8)?.unwrap_or(true),
        })
    }

    /// The person, by the same rules as in a file; or why it is none.
    pub(super) fn person(&self) -> Result<Person, String> {
        let token = |what: &str, text: Option<&str>| match text {
            Some(text) if is_token(text) => Ok(text.to_owned()),
            Some(text) => Err(format!("`{}` cannot be a {what}", text.escape_debug())),
            None => Err(format!("it has no {what}")),
        };
        let email = self
            .email
            .clone()
            .map_err(|why| format!("its address is none: {why}"))?;
        let phone = self.phone.as_deref().and_then(|typed| {
            let digits = |c: &char| !matches!(c, ' ' | '-' | '(' | ')' | '\u{a0}');
            PhoneNumber::parse(&typed.chars().filter(digits).collect::<String>())
        });
        let login = match self.login.as_deref() {
            Some(login) => token("login", Some(login))?,
            None => email.as_str().to_owned(),
        };
        let name = plain(self.name.as_deref())?.unwrap_or(email.as_str());
        let company = token("company id", self.company.as_deref())?;
        let company_name = plain(self.company_name.as_deref())?.unwrap_or(&company);
        let mut roles = Vec::new();
        for role in self.roles.iter().flatten().map(|role| role.trim()) {
            if !is_token(role) || role.contains(',') {
                return Err(format!("`{}` cannot be a role", role.escape_debug()));
            }
            roles.push(role.into());
        }
        Ok(Person {
            phone: phone.ok_or("its telephone number is none: `+`, then 8 to 15 digits")?,
            principal: Arc::new(Principal {
                id: token("user id", Some(&self.id))?.as_str().into(),
                name: name.into(),
                login: login.into(),
                company: Arc::new(Company {
                    id: company.as_str().into(),
                    name: company_name.into(),
                }),
                roles,
                suspended: self.suspended,
                email,
            }),
        })
    }
}

/// Text for people, on one line; none where it is blank.
fn plain(text: Option<&str>) -> Result<Option<&str>, String> {
    match text.map(str::trim) {
        Some(text) if text.contains(char::is_control) => {
            Err(format!("`{}` cannot be a name", text.escape_debug()))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}
