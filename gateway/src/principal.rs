//! Who is asking: the verified user with their company, and the words that name them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// A user's stable identifier, as the directory gives it; what `X-User-Id` carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

/// A company's stable identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CompanyId(Arc<str>);

macro_rules! identifier {
    ($name:ident) => {
        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

identifier!(UserId);
identifier!(CompanyId);

/// A company: whose projects a user may open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Company {
    /// Stable identifier.
    pub id: CompanyId,
    /// Name for people.
    pub name: Arc<str>,
}

/// A user whom the directory knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Stable identifier.
    pub id: UserId,
    /// Address in its comparable form.
    pub email: EmailAddress,
    /// Name for people.
    pub name: Arc<str>,
    /// Login name for header templates; the whole address unless the directory says otherwise.
    pub login: Arc<str>,
    /// The company the user belongs to.
    pub company: Arc<Company>,
    /// Roles, in the directory's order.
    pub roles: Vec<Arc<str>>,
    /// Suspended in the directory: does nothing, opens nothing.
    pub suspended: bool,
}

/// An e-mail address in the one form that is compared and counted.
///
/// Surrounding blanks are trimmed, the text is NFC, the domain is in its lower-case ASCII form
/// (RFC 5891), the local part is compared without ASCII case and never folded further.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EmailAddress(Arc<str>);

/// Why a text is no e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Not exactly one `@`.
    #[error("an e-mail address has exactly one `@`")]
    At,
    /// Nothing before the `@`, or a character that no local part may hold.
    #[error("the part before `@` is empty or holds a character that may not stand there")]
    Local,
    /// No domain name after the `@`.
    #[error("the part after `@` is not a domain name")]
    Domain,
    /// Over 254 bytes.
    #[error("an e-mail address has at most 254 bytes")]
    Length,
}

impl EmailAddress {
    /// Longest address in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
    const MAX_BYTES: usize = 254;

    /// Reads an address as a person typed it.
    ///
    /// # Errors
    ///
    /// [`EmailError`] says which rule the text breaks.
    pub fn parse(typed: &str) -> Result<Self, EmailError> {
        let trimmed = typed.trim();
        if trimmed.len() > Self::MAX_BYTES {
            return Err(EmailError::Length);
        }
        let composed: String = trimmed.nfc().collect();
        let (local, domain) = composed.split_once('@').ok_or(EmailError::At)?;
        if domain.contains('@') {
            return Err(EmailError::At);
        }
        let forbidden = |c: char| {
            c.is_whitespace()
                || c.is_control()
                || matches!(
                    c,
                    '"' | '(' | ')' | '<' | '>' | ',' | ';' | ':' | '\\' | '[' | ']'
                )
        };
        if local.is_empty() || local.len() > 64 || local.contains(forbidden) {
            return Err(EmailError::Local);
        }
        let ascii = idna::domain_to_ascii_strict(domain).map_err(|_| EmailError::Domain)?;
        let labels_fit = ascii.split('.').all(|label| !label.is_empty());
        if !ascii.contains('.') || !labels_fit {
            return Err(EmailError::Domain);
        }
        let whole = format!("{}@{ascii}", local.to_ascii_lowercase());
        if whole.len() > Self::MAX_BYTES {
            return Err(EmailError::Length);
        }
        Ok(Self(whole.into()))
    }

    /// The comparable form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_one_address() {
        let plain = EmailAddress::parse("kari@fjord.example").unwrap();
        for typed in [
            "  kari@fjord.example\n",
            "Kari@FJORD.example",
            "KARI@fjord.EXAMPLE",
        ] {
            assert_eq!(EmailAddress::parse(typed).unwrap(), plain, "{typed:?}");
        }
        assert_eq!(
            EmailAddress::parse("k@bl\u{e5}.example").unwrap(),
            EmailAddress::parse("k@bla\u{30a}.example").unwrap(),
        );
    }

    #[test]
    fn a_plus_tag_is_another_address() {
        assert_ne!(
            EmailAddress::parse("kari+a@fjord.example").unwrap(),
            EmailAddress::parse("kari@fjord.example").unwrap(),
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for typed in [
            "",
            "kari",
            "@fjord.example",
            "kari@",
            "a@x@y.example",
            "a b@fjord.example",
            "kari@fjord",
            "kari@.example",
            "kari@fjord..example",
            "k\0@fjord.example",
            "kari@fjord.example,ola@fjord.example",
            "<kari@fjord.example>",
            "kari@fj ord.example",
            "kari@fjord.example.",
        ] {
            assert!(EmailAddress::parse(typed).is_err(), "{typed:?}");
        }
        let long = format!("{}@fjord.example", "k".repeat(250));
        assert!(EmailAddress::parse(&long).is_err());
    }
}
