//! Several spellings of one resource, such as a number and a slug: what is changed with one.

/// Stands for every resource of a type, in the slots: one was changed, nobody knows which.
pub(super) const ALL: &str = "\0all";

/// Stands for every second spelling of a type: a change of any may have given one away.
pub(super) const SPELLINGS: &str = "\0spellings";

/// What a spelling was found to mean.
#[derive(Debug)]
pub(super) enum Spelled {
    /// Nothing is spelled in two ways.
    Alone,
    /// This one.
    Means(Box<str>),
    /// Nobody has asked yet, or it was forgotten.
    Unknown,
}

impl Spelled {
    /// The identifiers of a resource of this spelling.
    pub(super) fn names<'s>(&'s self, id: &'s str) -> impl Iterator<Item = &'s str> {
        let meant = match self {
            Self::Means(meant) if **meant != *id => Some(&**meant),
            _ => None,
        };
        [Some(id), meant].into_iter().flatten()
    }

    /// What is changed with a resource of this spelling.
    pub(super) fn all<'s>(&'s self, id: &'s str) -> impl Iterator<Item = &'s str> {
        let [second, third] = match self {
            Self::Alone => [None, None],
            Self::Means(meant) if **meant == *id => [Some(SPELLINGS), None],
            Self::Means(meant) => [Some(SPELLINGS), Some(&**meant)],
            Self::Unknown => [Some(SPELLINGS), Some(ALL)],
        };
        [Some(id), second, third].into_iter().flatten()
    }
}
