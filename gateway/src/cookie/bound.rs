//! Cookies of an application, bound to the user that they were set for.
//!
//! A bound cookie's value begins with a tag: 128 bits of an HMAC over the user, the cookie's name and
//! the value, in base64url, and a dot. Whoever shows another user's cookie, one that no answer set,
//! or one with another value, shows a cookie that is not there.

use data_encoding::BASE64URL_NOPAD;

use super::{is_ours, is_readable_value, is_token, unquoted};
use crate::secret::{self, Key};

/// Bytes of a tag: 16 bytes of MAC in base64url.
const TAG: usize = 22;

/// For whom a cookie was set. What is set for nobody in particular is never carried into a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder<'a> {
    /// Whoever came over a public route.
    Nobody,
    /// A user, by identifier.
    User(&'a str),
}

/// Makes and checks tags.
#[derive(Debug)]
pub struct Binder {
    key: Key,
}

impl Binder {
    /// With a key of its own.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self { key }
    }

    /// A value as the browser keeps it. Quotation marks stay outside.
    #[must_use]
    pub fn bind(&self, holder: Holder<'_>, name: &[u8], value: &[u8]) -> Vec<u8> {
        let (inner, quoted) = unquoted(value);
        let mut bound = Vec::with_capacity(value.len() + TAG + 1);
        if quoted {
            bound.push(b'"');
        }
        bound.extend_from_slice(self.tag(holder, name, inner).as_bytes());
        bound.push(b'.');
        bound.extend_from_slice(inner);
        if quoted {
            bound.push(b'"');
        }
        bound
    }

    /// The value as the application set it; `None` if it was not set for this holder.
    #[must_use]
    pub fn release(&self, holder: Holder<'_>, name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let (inner, quoted) = unquoted(value);
        let (tag, rest) = inner.split_at_checked(TAG)?;
        let value = rest.strip_prefix(b".")?;
        if !secret::same(tag, self.tag(holder, name, value).as_bytes()) {
            return None;
        }
        let mut released = value.to_vec();
        if quoted {
            released.insert(0, b'"');
            released.push(b'"');
        }
        Some(released)
    }

    fn tag(&self, holder: Holder<'_>, name: &[u8], value: &[u8]) -> String {
        let (kind, user) = match holder {
            Holder::Nobody => (&b"nobody"[..], ""),
            Holder::User(user) => (&b"user"[..], user),
        };
        let mac = self.key.mac(&[kind, user.as_bytes(), name, value]);
        BASE64URL_NOPAD.encode(mac.first_chunk::<16>().unwrap_or(&[0; 16]))
    }
}

/// Whether a value looks like a bound one, whoever may have made it.
pub(super) fn looks_bound(value: &[u8]) -> bool {
    unquoted(value).0.get(TAG) == Some(&b'.')
}

/// What of a `Cookie` field's pair may reach the application: the pair as it shall see it.
pub(super) fn admitted(
    binder: &Binder,
    holder: Holder<'_>,
    readable: &[String],
    pair: &[u8],
) -> Option<Vec<u8>> {
    let at = pair.iter().position(|&b| b == b'=')?;
    let (name, value) = pair.split_at_checked(at)?;
    let (name, value) = (name.trim_ascii(), value.get(1..)?.trim_ascii());
    if !is_token(name) || is_ours(name) {
        return None;
    }
    let value = if readable.iter().any(|one| one.as_bytes() == name) {
        // A blank or a comma would be the start of another cookie to some readers.
        is_readable_value(value).then(|| value.to_vec())?
    } else {
        binder.release(holder, name, value)?
    };
    let mut admitted = name.to_vec();
    admitted.push(b'=');
    admitted.extend_from_slice(&value);
    Some(admitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::MasterKey;

    fn binder() -> Binder {
        Binder::new(MasterKey::generate().derive("application cookies"))
    }

    #[test]
    fn a_cookie_is_released_to_its_holder_alone() {
        let binder = binder();
        let kari = Holder::User("u-kari");
        for value in [&b"abc"[..], b"", b"\"a b\"", b"a=b", b"x.y", b"\xff"] {
            let bound = binder.bind(kari, b"sid", value);
            assert_eq!(binder.release(kari, b"sid", &bound).unwrap(), value);
            for (holder, name) in [
                (Holder::User("u-ola"), &b"sid"[..]),
                (Holder::Nobody, b"sid"),
                (Holder::User(""), b"sid"),
                (kari, b"SID"),
                (kari, b"other"),
            ] {
                assert!(binder.release(holder, name, &bound).is_none(), "{holder:?}");
            }
            assert!(binder.release(kari, b"sid", value).is_none());
            let mut other = bound.clone();
            other.insert(bound.len() - usize::from(bound.ends_with(b"\"")), b'x');
            assert!(binder.release(kari, b"sid", &other).is_none());
        }
        let nobody = binder.bind(Holder::Nobody, b"sid", b"abc");
        assert!(binder.release(kari, b"sid", &nobody).is_none());
        assert!(binder.release(Holder::User(""), b"sid", &nobody).is_none());
    }

    #[test]
    fn a_tag_is_made_of_what_may_stand_in_a_cookie() {
        let bound = binder().bind(Holder::User("u-k\u{e5}ri"), b"sid", b"abc");
        assert!(
            is_readable_value(&bound),
            "{}",
            String::from_utf8_lossy(&bound)
        );
    }
}
