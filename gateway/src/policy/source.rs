//! Asking for facts: the look-ups of one resource, in the order of its sources.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use crate::principal::{CompanyId, Principal, UserId};
use crate::store::Store;

use super::resource::{Ask, FactSource, Origin, Record, Resource};
use super::template::{Pointed, Pointer};

/// Asks the application for a document; `app` fills this with the upstream.
#[async_trait]
pub trait Lookups: Send + Sync {
    /// Asks an upstream (`None` is the default) for a path with `Accept: application/json`: as
    /// `caller` with their identity headers, or without one as the gateway itself.
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
    ) -> Result<LookupAnswer, LookupError>;
}

/// What the application said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupAnswer {
    /// A document.
    Found(Bytes),
    /// There is no such thing, or the caller may not know of it.
    Missing,
}

/// The application gave no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(pub String);

/// What is known of an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It decides by its own facts.
    Facts(Arc<Record>),
    /// It lies in this one, which decides.
    Parent(Box<str>),
    /// There is no such resource.
    Nothing,
}

/// One look-up: what is asked, and of whom.
pub(super) struct Question<'a> {
    pub(super) resource: &'a Resource,
    pub(super) id: &'a str,
    pub(super) principal: &'a Arc<Principal>,
    pub(super) lookups: &'a dyn Lookups,
    pub(super) store: &'a dyn Store,
}

impl Question<'_> {
    /// Asks source after source; the first that answers wins. An error says what no source said.
    pub(super) async fn ask(&self) -> Result<Known, String> {
        match &self.resource.origin {
            Origin::Parent { resource, ask, id } => self.ask_parent(resource, ask, id).await,
            Origin::Facts(sources) => {
                for source in sources {
                    let known = match source {
                        FactSource::Upstream {
                            ask,
                            company,
                            owner,
                        } => self.ask_upstream(ask, company, owner.as_ref()).await?,
                        FactSource::Learned => self.ask_store().await?,
                    };
                    if known != Known::Nothing {
                        return Ok(known);
                    }
                }
                Ok(Known::Nothing)
            }
        }
    }

    async fn ask_upstream(
        &self,
        ask: &Ask,
        company: &Pointer,
        owner: Option<&Pointer>,
    ) -> Result<Known, String> {
        let Some(document) = self.document(ask).await? else {
            return Ok(Known::Nothing);
        };
        let company = match company.read(&document) {
            Pointed::Identifier(company) if !company.is_empty() => company,
            // What belongs to no company is open to no one.
            Pointed::Null => return Ok(Known::Nothing),
            _ => return Err(no_identifier(company)),
        };
        let owner = match owner.map(|pointer| (pointer, pointer.read(&document))) {
            None | Some((_, Pointed::Null | Pointed::Missing)) => None,
            Some((_, Pointed::Identifier(owner))) => {
                (!owner.is_empty()).then(|| UserId::from(owner.as_str()))
            }
            Some((pointer, Pointed::Other)) => return Err(no_identifier(pointer)),
        };
        Ok(self.facts(CompanyId::from(company.as_str()), owner, false))
    }

    async fn ask_store(&self) -> Result<Known, String> {
        let label = self.resource.label(self.id);
        let learned = self.store.learned_facts(&label).await;
        Ok(match learned.map_err(|error| error.to_string())? {
            Some(learned) => self.facts(learned.company, learned.owner, true),
            None => Known::Nothing,
        })
    }

    async fn ask_parent(
        &self,
        parent: &Resource,
        ask: &Ask,
        id: &Pointer,
    ) -> Result<Known, String> {
        let Some(document) = self.document(ask).await? else {
            return Ok(Known::Nothing);
        };
        match id.read(&document) {
            Pointed::Identifier(id) if parent.is_identifier(&id) => Ok(Known::Parent(id.into())),
            // What lies in nothing is open to no one.
            Pointed::Null => Ok(Known::Nothing),
            _ => Err(no_identifier(id)),
        }
    }

    async fn document(&self, ask: &Ask) -> Result<Option<Value>, String> {
        let path = ask.get.fill(self.id);
        let caller = ask.as_caller.then_some(self.principal);
        let answer = self.lookups.get(ask.upstream.as_deref(), &path, caller);
        match answer.await.map_err(|error| error.to_string())? {
            LookupAnswer::Missing => Ok(None),
            LookupAnswer::Found(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| format!("the answer is no JSON: {error}")),
        }
    }

    fn facts(&self, company: CompanyId, owner: Option<UserId>, learned: bool) -> Known {
        Known::Facts(Arc::new(Record {
            kind: self.resource.kind,
            id: self.id.into(),
            label: self.resource.label(self.id),
            company,
            owner,
            learned,
        }))
    }
}

fn no_identifier(pointer: &Pointer) -> String {
    format!("the answer has no identifier at `{}`", pointer.as_str())
}
