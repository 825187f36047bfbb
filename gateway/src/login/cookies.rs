//! Cookies: how they are read, and the exact form in which they are set.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};

use crate::cookie;
use crate::secret::BearerId;

/// The session.
pub(super) const SESSION: &str = cookie::OURS;
/// Binds a code to the browser that asked for it.
pub(super) const CHALLENGE: &str = "__Host-portvakt-challenge";
/// The accounts that this browser has logged in to before.
pub(super) const DEVICE: &str = "__Host-portvakt-device";
/// Binds a form to the browser that was shown it.
pub(super) const FORM: &str = "__Host-portvakt-form";

/// Accounts that one browser is remembered for.
const DEVICES_PER_BROWSER: usize = 5;

/// The cookies of a request (RFC 6265, section 5.4). What is no identifier, and what stands there
/// twice, is not there: another site's page or a neighbouring host may have planted it.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<(String, String)>);

impl Jar {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let pairs = cookie::pairs(headers)
            .filter(|(name, _)| name.starts_with(SESSION))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self(pairs)
    }

    /// The identifier that a cookie carries.
    pub(super) fn bearer(&self, name: &str) -> Option<BearerId> {
        BearerId::parse(self.value(name)?)
    }

    /// The identifiers of this browser's devices, at most one per account, the newest first.
    pub(super) fn devices(&self) -> Vec<BearerId> {
        self.value(DEVICE)
            .unwrap_or_default()
            .split('.')
            .take(DEVICES_PER_BROWSER)
            .filter_map(BearerId::parse)
            .collect()
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(own, _)| own == name);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value.as_str())
    }
}

/// Sets a cookie; without an age it lasts as long as the browser runs.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: &str, age: Option<Duration>) {
    let age = age.map_or_else(String::new, |age| format!("; Max-Age={}", age.as_secs()));
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}");
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
    }
}

/// Sets the device cookie: the newest device, then those of other accounts.
pub(super) fn set_devices(
    headers: &mut HeaderMap,
    newest: &BearerId,
    others: &[BearerId],
    age: Duration,
) {
    let values: Vec<String> = std::iter::once(newest)
        .chain(others)
        .take(DEVICES_PER_BROWSER)
        .map(BearerId::to_cookie_value)
        .collect();
    set(headers, DEVICE, &values.join("."), Some(age));
}

/// Takes a cookie away.
pub(super) fn clear(headers: &mut HeaderMap, name: &str) {
    set(headers, name, "", Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(fields: &[&str]) -> Jar {
        let value = |text: &&str| (header::COOKIE, HeaderValue::from_str(text).unwrap());
        Jar::of(&fields.iter().map(value).collect())
    }

    #[test]
    fn a_cookie_that_stands_there_twice_is_not_there() {
        let value = "A".repeat(43);
        let pair = format!("__Host-portvakt={value}");
        let hash = BearerId::parse(&value).unwrap().hash();
        for fields in [
            &[pair.as_str()][..],
            &["a=b; other=1", &pair],
            &[&format!("x=y;{pair};z")],
        ] {
            assert_eq!(
                jar(fields).bearer(SESSION).unwrap().hash(),
                hash,
                "{fields:?}"
            );
        }
        for fields in [
            &[pair.as_str(), pair.as_str()][..],
            &[&format!("{pair}; {pair}")],
            &[&format!("{pair}; __Host-portvakt=x")],
            &[&pair.to_lowercase()],
            &["__Host-portvakt="],
            &["__Host-portvakt"],
            &["__Host-portvakt=garbage"],
            &[&format!("__Host-portvakt=\"{value}\"")],
        ] {
            assert!(jar(fields).bearer(SESSION).is_none(), "{fields:?}");
        }
    }

    #[test]
    fn a_browser_holds_one_device_per_account_and_not_too_many() {
        let ids: Vec<BearerId> = (0..9).map(|_| BearerId::generate()).collect();
        let mut headers = HeaderMap::new();
        set_devices(&mut headers, &ids[0], &ids[1..], Duration::from_secs(60));
        let text = headers[header::SET_COOKIE].to_str().unwrap();
        let pair = text.split(';').next().unwrap();
        let found = jar(&[pair]).devices();
        let hashes: Vec<_> = found.iter().map(BearerId::hash).collect();
        let newest: Vec<_> = ids.iter().take(5).map(BearerId::hash).collect();
        assert_eq!(hashes, newest);
        assert!(jar(&["__Host-portvakt-device=x.y..z"]).devices().is_empty());
    }

    #[test]
    fn cookies_are_set_to_the_byte() {
        let mut headers = HeaderMap::new();
        set(&mut headers, SESSION, "v", None);
        set(&mut headers, CHALLENGE, "v", Some(Duration::from_secs(300)));
        clear(&mut headers, FORM);
        let values: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(
            values,
            [
                "__Host-portvakt=v; Path=/; Secure; HttpOnly; SameSite=Lax",
                "__Host-portvakt-challenge=v; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=300",
                "__Host-portvakt-form=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0",
            ]
        );
    }
}
