//! Asking for facts: the look-ups of one resource, in the order of its sources.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use crate::principal::{CompanyId, Principal, UserId};
use crate::store::Store;

use super::columns::Columns;
use super::resource::{
    Above, Ask, Asks, FactSource, From, Parent, ParentFrom, Query, Record, Resource,
};
use super::template::{Pointed, Pointer};

/// Asks whoever knows; `pipeline` fills this with the upstream, the database and the directory.
#[async_trait]
pub trait Lookups: Send + Sync {
    /// Asks an upstream (`None` is the default) for a path with `Accept: application/json`: as
    /// `caller` with their identity headers, or without one as the gateway itself. `identity`
    /// names which of the upstream's identities; as the gateway only what names no user is sent.
    ///
    /// # Errors
    ///
    /// [`LookupError`] for every answer but a success and a plain "there is no such thing"
    /// (`404`, `410`).
    async fn get(
        &self,
        upstream: Option<&str>,
        path: &str,
        caller: Option<&Arc<Principal>>,
        identity: Option<&str>,
    ) -> Result<LookupAnswer, LookupError>;

    /// Asks the application's database: a query with one parameter, the identifier.
    ///
    /// # Errors
    ///
    /// [`LookupError`] if it cannot be asked, or not so.
    async fn rows(&self, query: &str, id: &str) -> Result<LookupRows, LookupError>;

    /// The user whom the application names in this way; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`LookupError`] if the directory cannot be asked.
    async fn user(&self, named_by: OwnerAs, name: &str) -> Result<Option<UserId>, LookupError>;
}

/// How a source names owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerAs {
    /// By the directory's identifier.
    Id,
    /// By their e-mail address.
    Email,
    /// By their login.
    Login,
}

/// What the application said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupAnswer {
    /// A document.
    Found(Bytes),
    /// There is no such thing, or the caller may not know of it.
    Missing,
}

/// What the database said.
#[derive(Clone, Debug)]
pub struct LookupRows {
    /// The columns' names.
    pub columns: Arc<[String]>,
    /// Rows that differ from each other: none, one, or more than there should be.
    pub rows: Vec<Vec<Option<String>>>,
}

/// The application gave no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(pub String);

/// What is known of an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// There is such a resource.
    Found(Found),
    /// There is no such resource, or it belongs to nobody.
    Nothing,
}

/// A resource that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its canonical identifier.
    pub(super) id: Box<str>,
    /// Its own facts, where it has some.
    pub(super) record: Option<Arc<Record>>,
    /// What it lies in, which decides as well.
    pub(super) parent: Option<(Above, Box<str>)>,
}

impl Known {
    /// The facts, where there are some.
    pub(super) fn record(&self) -> Option<&Arc<Record>> {
        match self {
            Self::Found(found) => found.record.as_ref(),
            Self::Nothing => None,
        }
    }
}

/// One look-up: what is asked, and of whom.
pub(super) struct Question<'a> {
    pub(super) resource: &'a Resource,
    pub(super) id: &'a str,
    pub(super) principal: &'a Arc<Principal>,
    pub(super) lookups: &'a dyn Lookups,
    pub(super) store: &'a dyn Store,
    /// Documents that were asked for already: facts and parent may stand in one.
    pub(super) documents: Vec<Document>,
}

/// A document, by where it was asked for, and whether as the caller.
type Document = (
    (Option<Arc<str>>, String, (bool, Option<Arc<str>>)),
    Option<Arc<Value>>,
);

/// What a source says of a resource's own facts.
struct Said {
    company: String,
    owner: Option<String>,
    id: Option<String>,
}

/// What the sources say of where a resource lies.
enum Lies {
    /// There is no such resource.
    Unknown,
    /// In nothing.
    Nowhere,
    In(Above, Box<str>),
}

/// What one source says of it: the parent's identifier with how it names the parent's type, and
/// the resource's own identifier.
#[derive(Default)]
struct Placed {
    kind: Option<String>,
    parent: Option<String>,
    own: Option<String>,
}

impl Question<'_> {
    /// Asks source after source; the first that answers wins. An error says what no source said.
    pub(super) async fn ask(&mut self) -> Result<Known, String> {
        let mut id = None;
        let mut record = None;
        if !self.resource.facts.is_empty() {
            let Some(found) = self.ask_facts(&mut id).await? else {
                return Ok(Known::Nothing);
            };
            record = Some(found);
        }
        let parent = match self.ask_parents(&mut id).await? {
            Lies::In(above, id) => Some((above, id)),
            Lies::Nowhere if record.is_some() => None,
            // What lies in nothing and has no facts of its own is open to no one.
            Lies::Nowhere | Lies::Unknown => return Ok(Known::Nothing),
        };
        let id: Box<str> = id.as_deref().unwrap_or(self.id).into();
        let record = record.map(|(said, owner, learned)| {
            Arc::new(Record {
                kind: self.resource.kind,
                label: self.resource.label(&id),
                id: id.clone(),
                company: said,
                owner,
                learned,
            })
        });
        Ok(Known::Found(Found { id, record, parent }))
    }

    /// The company, the owner, and whether that was learned, from the first source that knows.
    async fn ask_facts(
        &mut self,
        id: &mut Option<String>,
    ) -> Result<Option<(CompanyId, Option<UserId>, bool)>, String> {
        for FactSource { from, owner_as } in &self.resource.facts {
            let said = match from {
                From::Upstream {
                    ask,
                    company,
                    owner,
                    id,
                } => {
                    let document = self.document(ask).await?;
                    read_facts(document.as_deref(), company, owner.as_ref(), id.as_ref())?
                }
                From::Postgres(query) => self.ask_database(query).await?,
                From::File(file) => file.find(self.id).and_then(|(id, entry)| {
                    Some(Said {
                        company: entry.company.as_deref()?.to_owned(),
                        owner: entry.owner.as_deref().map(str::to_owned),
                        id: Some(id.to_owned()),
                    })
                }),
                From::Learned => match self.ask_store().await? {
                    Some((company, owner)) => return Ok(Some((company, owner, true))),
                    None => None,
                },
            };
            let Some(said) = said else { continue };
            self.name(id, said.id)?;
            let owner = match said.owner.filter(|owner| !owner.is_empty()) {
                Some(owner) => self.owner(*owner_as, &owner).await?,
                None => None,
            };
            return Ok(Some((said.company.as_str().into(), owner, false)));
        }
        Ok(None)
    }

    async fn ask_database(&self, query: &Query) -> Result<Option<Said>, String> {
        let Some(mut row) = self.row(query, Asks::Facts).await? else {
            return Ok(None);
        };
        // What belongs to no company is open to no one.
        let company = row.take(|columns| columns.company);
        Ok(company.filter(|it| !it.is_empty()).map(|company| Said {
            company,
            owner: row.take(|columns| columns.owner),
            id: row.take(|columns| columns.id),
        }))
    }

    async fn ask_store(&self) -> Result<Option<(CompanyId, Option<UserId>)>, String> {
        let label = self.resource.label(self.id);
        let learned = self.store.learned_facts(&label).await;
        let learned = learned.map_err(|error| error.to_string())?;
        Ok(learned.map(|learned| (learned.company, learned.owner)))
    }

    /// What the resource lies in, from the first source that knows.
    async fn ask_parents(&mut self, id: &mut Option<String>) -> Result<Lies, String> {
        if self.resource.parents.is_empty() {
            return Ok(Lies::Nowhere);
        }
        let mut lies = Lies::Unknown;
        for parent in &self.resource.parents {
            let Some(placed) = self.ask_parent(parent).await? else {
                continue;
            };
            self.name(id, placed.own)?;
            match placed.parent.filter(|parent| !parent.is_empty()) {
                Some(found) => {
                    let above = parent.named(placed.kind.as_deref())?;
                    return Ok(Lies::In(above.clone(), found.into()));
                }
                None => lies = Lies::Nowhere,
            }
        }
        Ok(lies)
    }

    async fn ask_parent(&mut self, parent: &Parent) -> Result<Option<Placed>, String> {
        match &parent.from {
            ParentFrom::Upstream { ask, kind, id, own } => {
                let Some(document) = self.document(ask).await? else {
                    return Ok(None);
                };
                let kind = optional(kind.as_ref(), &document)?;
                Ok(Some(Placed {
                    parent: match id.read(&document) {
                        Pointed::Identifier(id) => Some(id),
                        Pointed::Null => None,
                        Pointed::Missing | Pointed::Other => return Err(no_identifier(id)),
                    },
                    kind,
                    own: optional(own.as_ref(), &document)?,
                }))
            }
            ParentFrom::Postgres(query) => {
                let row = self.row(query, parent.asks()).await?;
                Ok(row.map(|mut row| Placed {
                    kind: row.take(|columns| columns.kind),
                    parent: row.take(|columns| columns.parent),
                    own: row.take(|columns| columns.id),
                }))
            }
            ParentFrom::File(file) => Ok(file.find(self.id).map(|(id, entry)| {
                let lies_in = |name: &str| parent.types.iter().any(|(_, it)| *it.name == *name);
                let mut parents = entry.parents.iter();
                let found = parents.find(|(name, _)| lies_in(name));
                Placed {
                    kind: None,
                    parent: found.map(|(_, parent)| parent.to_string()),
                    own: Some(id.to_owned()),
                }
            })),
        }
    }

    /// Takes what a source calls the resource; two that differ name two resources.
    fn name(&self, known: &mut Option<String>, told: Option<String>) -> Result<(), String> {
        let Some(told) = told else {
            return match self.resource.has_slugs() && known.is_none() {
                true => Err("its source does not say which identifier it is".to_owned()),
                false => Ok(()),
            };
        };
        if !self.resource.is_identifier(&told) {
            return Err(format!("`{told}` is no identifier of its own"));
        }
        match known {
            Some(known) if *known != told => {
                Err(format!("it is called both `{known}` and `{told}`"))
            }
            _ => {
                *known = Some(told);
                Ok(())
            }
        }
    }

    async fn owner(&self, owner_as: OwnerAs, owner: &str) -> Result<Option<UserId>, String> {
        if owner_as == OwnerAs::Id {
            return Ok(Some(UserId::from(owner)));
        }
        let user = self.lookups.user(owner_as, owner).await;
        user.map_err(|error| error.to_string())
    }

    /// The one row of a query; rows that differ are a choice that nobody may make.
    async fn row(&self, query: &Query, asks: Asks) -> Result<Option<Row>, String> {
        let found = self.lookups.rows(&query.text, self.id).await;
        let found = found.map_err(|error| error.to_string())?;
        let mut rows = found.rows.into_iter();
        let Some(values) = rows.next() else {
            return Ok(None);
        };
        if rows.next().is_some() {
            return Err("the query yields rows that differ".to_owned());
        }
        let columns = Columns::of(&found.columns, asks)?;
        Ok(Some(Row { columns, values }))
    }

    async fn document(&mut self, ask: &Ask) -> Result<Option<Arc<Value>>, String> {
        let path = ask.get.fill(self.id);
        let who = (ask.as_caller, ask.identity.clone());
        let place = (ask.upstream.clone(), path, who);
        if let Some((_, document)) = self.documents.iter().find(|(known, _)| *known == place) {
            return Ok(document.clone());
        }
        let caller = ask.as_caller.then_some(self.principal);
        let answer = self.lookups.get(
            ask.upstream.as_deref(),
            &place.1,
            caller,
            ask.identity.as_deref(),
        );
        let document = match answer.await.map_err(|error| error.to_string())? {
            LookupAnswer::Missing => None,
            LookupAnswer::Found(bytes) => {
                let document = serde_json::from_slice(&bytes);
                let document =
                    document.map_err(|error| format!("the answer is no JSON: {error}"))?;
                Some(Arc::new(document))
            }
        };
        self.documents.push((place, document.clone()));
        Ok(document)
    }
}

/// A row, and what its columns mean.
struct Row {
    columns: Columns,
    values: Vec<Option<String>>,
}

impl Row {
    fn take(&mut self, column: impl FnOnce(&Columns) -> Option<usize>) -> Option<String> {
        self.values.get_mut(column(&self.columns)?)?.take()
    }
}

impl Parent {
    /// The type that a source means.
    fn named(&self, kind: Option<&str>) -> Result<&Above, String> {
        let mut types = self.types.iter();
        let found = types.find(|(named, _)| named.as_deref() == kind);
        found.map(|(_, above)| above).ok_or_else(|| {
            let kind = kind.unwrap_or_default();
            format!("it lies in a `{kind}`, which `types` does not name")
        })
    }
}

/// What a document says of company and owner; `None` where it belongs to no company, and so is
/// open to no one.
fn read_facts(
    document: Option<&Value>,
    company: &Pointer,
    owner: Option<&Pointer>,
    id: Option<&Pointer>,
) -> Result<Option<Said>, String> {
    let Some(document) = document else {
        return Ok(None);
    };
    let company = match company.read(document) {
        Pointed::Identifier(company) if !company.is_empty() => company,
        Pointed::Null => return Ok(None),
        _ => return Err(no_identifier(company)),
    };
    Ok(Some(Said {
        company,
        owner: optional(owner, document)?,
        id: match id {
            Some(id) => match id.read(document) {
                Pointed::Identifier(found) => Some(found),
                _ => return Err(no_identifier(id)),
            },
            None => None,
        },
    }))
}

/// What stands at a pointer that may lead to nothing.
fn optional(pointer: Option<&Pointer>, document: &Value) -> Result<Option<String>, String> {
    let Some(pointer) = pointer else {
        return Ok(None);
    };
    match pointer.read(document) {
        Pointed::Identifier(found) => Ok(Some(found)),
        Pointed::Null | Pointed::Missing => Ok(None),
        Pointed::Other => Err(no_identifier(pointer)),
    }
}

fn no_identifier(pointer: &Pointer) -> String {
    format!("the answer has no identifier at `{}`", pointer.as_str())
}
