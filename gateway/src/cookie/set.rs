//! `Set-Cookie` (RFC 6265, section 5.2), read as browsers read it and written again.

use http::header::HeaderValue;

/// A cookie that an answer sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCookie {
    /// Its name, without blanks around it; may be empty.
    pub name: Vec<u8>,
    /// Its value, without blanks around it.
    pub value: Vec<u8>,
    /// Its attributes as written, in order.
    pub attributes: Vec<Vec<u8>>,
}

impl SetCookie {
    /// Reads a field's value. Without `=` all of it is the value of a cookie without a name.
    #[must_use]
    pub fn read(field: &HeaderValue) -> Self {
        let mut parts = field
            .as_bytes()
            .split(|&b| b == b';')
            .map(<[u8]>::trim_ascii);
        let pair = parts.next().unwrap_or_default();
        let (name, value) = match pair.iter().position(|&b| b == b'=') {
            Some(at) => (
                pair.get(..at).unwrap_or_default(),
                pair.get(at + 1..).unwrap_or_default(),
            ),
            None => (&b""[..], pair),
        };
        Self {
            name: name.trim_ascii().to_vec(),
            value: value.trim_ascii().to_vec(),
            attributes: parts
                .filter(|part| !part.is_empty())
                .map(<[u8]>::to_vec)
                .collect(),
        }
    }

    /// Whether it takes an emptied cookie away (section 5.2.2): there is nothing to bind.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        let age = |value: &[u8]| value == b"0" || value.starts_with(b"-");
        self.value.is_empty()
            && (self.attribute("expires").is_some() || self.attribute("max-age").is_some_and(age))
    }

    /// An attribute's value, the last one if it stands there several times (section 5.3).
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&[u8]> {
        let named = |one: &&Vec<u8>| named(one, name);
        let found = self.attributes.iter().rev().find(named)?;
        let value = found.splitn(2, |&b| b == b'=').nth(1);
        Some(value.unwrap_or_default().trim_ascii())
    }

    /// Takes an attribute away.
    pub fn remove(&mut self, name: &str) {
        self.attributes.retain(|one| !named(one, name));
    }

    /// Adds an attribute.
    pub fn add(&mut self, attribute: impl Into<Vec<u8>>) {
        self.attributes.push(attribute.into());
    }

    /// The field's value; `None` if it cannot stand in a field.
    #[must_use]
    pub fn write(&self) -> Option<HeaderValue> {
        let mut text = self.name.clone();
        text.push(b'=');
        text.extend_from_slice(&self.value);
        for attribute in &self.attributes {
            text.extend_from_slice(b"; ");
            text.extend_from_slice(attribute);
        }
        HeaderValue::from_bytes(&text).ok()
    }
}

fn named(attribute: &[u8], name: &str) -> bool {
    let own = attribute.split(|&b| b == b'=').next().unwrap_or_default();
    own.trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> SetCookie {
        SetCookie::read(&HeaderValue::from_static(text))
    }

    #[test]
    fn a_field_is_read_as_browsers_read_it() {
        let cookie = read(" sid = a=b ; PATH=/x;; HttpOnly ; path = /y; domain=");
        assert_eq!((&*cookie.name, &*cookie.value), (&b"sid"[..], &b"a=b"[..]));
        assert_eq!(cookie.attribute("path"), Some(&b"/y"[..]));
        assert_eq!(cookie.attribute("httponly"), Some(&b""[..]));
        assert_eq!(cookie.attribute("secure"), None);
        let whole = cookie.write().unwrap();
        assert_eq!(whole, "sid=a=b; PATH=/x; HttpOnly; path = /y; domain=");
        let bare = read("lone; Secure");
        assert_eq!((&*bare.name, &*bare.value), (&b""[..], &b"lone"[..]));
    }

    #[test]
    fn a_removal_is_told_from_an_empty_cookie() {
        assert!(read("a=; Max-Age=0").is_removal());
        assert!(read("a=; max-age=-1").is_removal());
        assert!(read("a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT").is_removal());
        assert!(!read("a=").is_removal());
        assert!(!read("a=; Max-Age=60").is_removal());
        assert!(!read("a=b; Max-Age=0").is_removal());
    }
}
