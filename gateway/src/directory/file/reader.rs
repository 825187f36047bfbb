//! Reads the directory's text; whatever is wrong with it is found in one pass.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Register;
use crate::config::fault::{Fault, Source};
use crate::directory::{Person, PhoneNumber, is_token};
use crate::principal::{Company, EmailAddress, Principal};

const ENTRIES: [&str; 2] = ["company", "user"];
const COMPANY: [&str; 2] = ["id", "name"];
const USER: [&str; 8] = [
    "id",
    "email",
    "phone",
    "name",
    "company",
    "login",
    "roles",
    "suspended",
];

/// Reads everybody, or says everything that is wrong, in the order of the text.
pub(super) fn read(source: &Source) -> Result<Register, Vec<Fault>> {
    let mut reader = Reader {
        source,
        faults: Vec::new(),
        seen: HashMap::new(),
    };
    let (root, broken) = DeTable::parse_recoverable(source.text());
    // What is left of a broken text would seem to lack things that it has.
    let register = if broken.is_empty() {
        reader.everybody(root.get_ref())
    } else {
        Register::default()
    };
    for error in broken {
        reader.fault(error.span().unwrap_or_default(), error.message());
    }
    if reader.faults.is_empty() && register.by_id.is_empty() {
        // A file that is being written, or was emptied by mistake, must not end every session.
        reader.fault(0..0, "the directory names nobody: it has no `[[user]]`");
    }
    let mut faults = reader.faults;
    if faults.is_empty() {
        return Ok(register);
    }
    faults.sort_by_key(|(offset, _)| *offset);
    Err(faults.into_iter().map(|(_, fault)| fault).collect())
}

struct Reader<'s> {
    source: &'s Source,
    /// Each with the byte offset where it stands.
    faults: Vec<(usize, Fault)>,
    /// Where each value that must be the only one of its kind was first seen.
    seen: HashMap<(&'static str, String), usize>,
}

/// One `[[company]]` or `[[user]]`.
struct Entry<'a> {
    kind: &'static str,
    span: Range<usize>,
    table: &'a DeTable<'a>,
}

type Value<'a> = Spanned<DeValue<'a>>;
type Companies = HashMap<String, Arc<Company>>;

impl<'a> Reader<'_> {
    fn everybody(&mut self, root: &'a DeTable<'a>) -> Register {
        self.only_known(root, "the directory", &ENTRIES);
        let mut companies = Companies::new();
        for entry in self.entries(root, "company", &COMPANY) {
            if let Some(company) = self.company(&entry) {
                companies.insert(company.id.as_str().to_owned(), Arc::new(company));
            }
        }
        let mut register = Register::default();
        for entry in self.entries(root, "user", &USER) {
            if let Some(person) = self.user(&entry, &companies).map(Arc::new) {
                let Principal {
                    id, email, login, ..
                } = person.principal.as_ref();
                register.by_login.insert(login.clone(), Arc::clone(&person));
                register.by_email.insert(email.clone(), Arc::clone(&person));
                register.by_id.insert(id.clone(), Arc::clone(&person));
            }
        }
        register
    }

    /// A company with a good identifier; if its name is bad, its users are not to blame.
    fn company(&mut self, entry: &Entry<'a>) -> Option<Company> {
        let name = self.name(entry);
        let id = self.token(entry, "id", "company id")?;
        Some(Company {
            id: id.into(),
            name: name.unwrap_or_default().into(),
        })
    }

    fn user(&mut self, entry: &Entry<'a>, companies: &Companies) -> Option<Person> {
        // Each is read before any is missed, so that all of an entry's faults are found.
        let id = self.token(entry, "id", "user id");
        let email = self.email(entry);
        let phone = self.phone(entry);
        let name = self.name(entry);
        let company = self.company_of(entry, companies);
        let login = self.login(entry, email.as_ref());
        let roles = self.roles(entry);
        let suspended = self.suspended(entry);
        Some(Person {
            principal: Arc::new(Principal {
                id: id?.into(),
                email: email?,
                name: name?.into(),
                login: login?.into(),
                company: company?,
                roles,
                suspended,
            }),
            phone: phone?,
        })
    }

    /// A word of the user's or company's own, which nobody else has.
    fn token(&mut self, entry: &Entry<'a>, key: &str, what: &'static str) -> Option<&'a str> {
        let (word, span) = self.text(entry, key)?;
        if !is_token(word) {
            let help = "1 to 64 visible ASCII characters without spaces: it travels in headers";
            self.advise(span, format!("`{word}` cannot be a {what}"), help);
            return None;
        }
        self.only_one(what, word, span).then_some(word)
    }

    fn email(&mut self, entry: &Entry<'a>) -> Option<EmailAddress> {
        let (typed, span) = self.text(entry, "email")?;
        match EmailAddress::parse(typed) {
            Ok(email) => self
                .only_one("e-mail address", email.as_str(), span)
                .then_some(email),
            Err(error) => {
                self.fault(span, format!("`{typed}` is no e-mail address: {error}"));
                None
            }
        }
    }

    fn phone(&mut self, entry: &Entry<'a>) -> Option<PhoneNumber> {
        let (typed, span) = self.text(entry, "phone")?;
        let phone = PhoneNumber::parse(typed);
        if phone.is_none() {
            let help = "E.164: `+`, then 8 to 15 digits, such as `+4790000001`";
            self.advise(span, format!("`{typed}` is no telephone number"), help);
        }
        phone
    }

    fn name(&mut self, entry: &Entry<'a>) -> Option<&'a str> {
        let (name, span) = self.text(entry, "name")?;
        if name.trim().is_empty() || name.contains(char::is_control) {
            let message = format!("`{}` cannot be a name", name.escape_debug());
            self.advise(span, message, "some text on one line");
            return None;
        }
        Some(name)
    }

    fn company_of(&mut self, entry: &Entry<'a>, companies: &Companies) -> Option<Arc<Company>> {
        let (id, span) = self.text(entry, "company")?;
        let company = companies.get(id);
        if company.is_none() {
            let help = "a user's `company` is the `id` of a [[company]]";
            self.advise(span, format!("there is no company `{id}`"), help);
        }
        company.cloned()
    }

    /// The login as written, or else the whole address.
    fn login(&mut self, entry: &Entry<'a>, email: Option<&EmailAddress>) -> Option<String> {
        if entry.table.contains_key("login") {
            return self.token(entry, "login", "login").map(str::to_owned);
        }
        let email = email?.as_str();
        let span = entry.table.get("email").map(Spanned::span)?;
        self.only_one("login", email, span)
            .then(|| email.to_owned())
    }

    fn roles(&mut self, entry: &Entry<'a>) -> Vec<Arc<str>> {
        let Some(value) = entry.table.get("roles") else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type("roles", value, "a list of texts");
            return Vec::new();
        };
        let mut roles = Vec::new();
        for value in array.iter() {
            match value.get_ref().as_str() {
                Some(role) if is_token(role) && !role.contains(',') => roles.push(role.into()),
                Some(role) => {
                    let help = "1 to 64 visible ASCII characters without spaces and commas: \
                                roles travel in one header, joined by commas";
                    self.advise(value.span(), format!("`{role}` cannot be a role"), help);
                }
                None => self.wrong_type("roles", value, "a list of texts"),
            }
        }
        roles
    }

    fn suspended(&mut self, entry: &Entry<'a>) -> bool {
        let Some(value) = entry.table.get("suspended") else {
            return false;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type("suspended", value, "true or false");
            true
        })
    }

    /// The entries of a kind, their keys checked.
    fn entries(
        &mut self,
        root: &'a DeTable<'a>,
        kind: &'static str,
        known: &[&str],
    ) -> Vec<Entry<'a>> {
        let Some(value) = root.get(kind) else {
            return Vec::new();
        };
        let array = value.get_ref().as_array().map(|array| array.iter());
        let mut entries = Vec::new();
        for item in array.unwrap_or_else(|| std::slice::from_ref(value).iter()) {
            match item.get_ref().as_table() {
                Some(table) if value.get_ref().is_array() => {
                    self.only_known(table, kind, known);
                    entries.push(Entry {
                        kind,
                        span: item.span(),
                        table,
                    });
                }
                _ => self.fault(item.span(), format!("each {kind} is written as [[{kind}]]")),
            }
        }
        entries
    }

    /// A text that must be there, with its place.
    fn text(&mut self, entry: &Entry<'a>, key: &str) -> Option<(&'a str, Range<usize>)> {
        let Some(value) = entry.table.get(key) else {
            let message = format!("this {} has no `{key}`", entry.kind);
            self.fault(entry.span.clone(), message);
            return None;
        };
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a text");
        }
        Some((text?, value.span()))
    }

    fn only_known(&mut self, table: &DeTable<'_>, what: &str, known: &[&str]) {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let help = format!("known are: {}", known.join(", "));
                self.advise(key.span(), format!("{what} has no key `{name}`"), &help);
            }
        }
    }

    /// Whether nothing of its kind, but for ASCII case, stood before.
    fn only_one(&mut self, what: &'static str, value: &str, span: Range<usize>) -> bool {
        // To many an application two logins that differ in case alone are one account.
        let key = (what, value.to_ascii_lowercase());
        let Some(first) = self.seen.get(&key).copied() else {
            self.seen.insert(key, span.start);
            return true;
        };
        let (line, column) = self.source.position(first);
        let place = format!("{}:{line}:{column}", self.source.path().display());
        let message = format!("{what} `{value}` is taken, at {place}");
        self.fault(span, message);
        false
    }

    fn wrong_type(&mut self, key: &str, value: &Value<'_>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.fault(value.span(), format!("`{key}` is {wanted}, not {found}"));
    }

    fn fault(&mut self, span: Range<usize>, message: impl Into<String>) {
        let offset = span.start;
        self.faults.push((offset, self.source.fault(span, message)));
    }

    fn advise(&mut self, span: Range<usize>, message: String, help: &str) {
        let offset = span.start;
        let fault = self.source.fault(span, message).help(help);
        self.faults.push((offset, fault));
    }
}
