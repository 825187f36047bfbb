//! What a look-up of facts is known by.

use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;

use super::resource::Kind;
use crate::principal::{CompanyId, UserId};

/// What a look-up is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The route table that says how facts are found.
    pub(super) table: u64,
    pub(super) kind: Kind,
    pub(super) id: Box<str>,
    /// The company that asked.
    pub(super) company: CompanyId,
    /// Whose credentials asked, where an answer depends on them.
    pub(super) caller: Option<UserId>,
}

/// A [`Key`] that owns nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyRef<'a> {
    pub(super) table: u64,
    pub(super) kind: Kind,
    pub(super) id: &'a str,
    pub(super) company: &'a CompanyId,
    pub(super) caller: Option<&'a UserId>,
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
