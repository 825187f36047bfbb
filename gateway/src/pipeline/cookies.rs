//! Our cookies among the application's: read, and kept from the upstream.

use http::HeaderMap;
use http::header::{self, HeaderValue};

use crate::secret::BearerId;

/// The session cookie's name.
pub(super) const SESSION: &str = "__Host-portvakt";

/// Puts the pieces of an HTTP/2 cookie field together again (RFC 9113, section 8.2.3).
pub(super) fn join_crumbs(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
    match joined {
        Ok(joined) => drop(headers.insert(header::COOKIE, joined)),
        Err(_) => drop(headers.remove(header::COOKIE)),
    }
}

/// The session that the browser holds. A cookie that is garbage, or there twice, is none.
pub(super) fn session(headers: &HeaderMap) -> Option<BearerId> {
    let text = headers.get(header::COOKIE)?.to_str().ok()?;
    let mut found = pairs(text).filter(|(name, _)| *name == SESSION);
    let (_, value) = found.next()?;
    if found.next().is_some() {
        return None;
    }
    BearerId::parse(value)
}

/// Removes our own cookies, and the field if nothing else is left.
pub(super) fn remove_ours(headers: &mut HeaderMap) {
    let Some(field) = headers.get(header::COOKIE) else {
        return;
    };
    if !field
        .as_bytes()
        .windows(SESSION.len())
        .any(|part| part.eq_ignore_ascii_case(SESSION.as_bytes()))
    {
        return;
    }
    let kept = field.to_str().ok().map(|text| {
        let others: Vec<&str> = text
            .split(';')
            .map(str::trim)
            .filter(|pair| !pair.is_empty() && !is_ours(pair.split('=').next().unwrap_or_default()))
            .collect();
        others.join("; ")
    });
    match kept
        .filter(|kept| !kept.is_empty())
        .and_then(|kept| HeaderValue::try_from(kept).ok())
    {
        Some(kept) => drop(headers.insert(header::COOKIE, kept)),
        None => drop(headers.remove(header::COOKIE)),
    }
}

/// Whether a cookie's name is one of the gateway's: an application may neither see nor set it.
pub(super) fn is_ours(name: &str) -> bool {
    name.trim()
        .get(..SESSION.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SESSION))
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies
            .iter()
            .map(|c| (header::COOKIE, HeaderValue::from_str(c).unwrap()))
            .collect()
    }

    #[test]
    fn crumbs_are_joined() {
        let mut map = headers(&["a=1", "b=2; c=3"]);
        join_crumbs(&mut map);
        assert_eq!(
            map.get_all(header::COOKIE).iter().collect::<Vec<_>>(),
            ["a=1; b=2; c=3"]
        );
    }

    #[test]
    fn ours_never_reach_the_upstream() {
        for (sent, left) in [
            ("__Host-portvakt=x", None),
            ("a=1; __Host-portvakt=x; b=2", Some("a=1; b=2")),
            ("__host-PORTVAKT=x; a=1", Some("a=1")),
            (
                "__Host-portvakt-device=x;__Host-portvakt-form=y;a=__Host-portvakt",
                Some("a=__Host-portvakt"),
            ),
            ("a=1", Some("a=1")),
        ] {
            let mut map = headers(&[sent]);
            remove_ours(&mut map);
            assert_eq!(
                map.get(header::COOKIE).map(|v| v.to_str().unwrap()),
                left,
                "{sent}"
            );
        }
    }

    #[test]
    fn garbage_or_doubled_cookies_are_no_session() {
        let good = BearerId::generate();
        let value = good.to_cookie_value();
        let found = session(&headers(&[&format!("a=1; __Host-portvakt={value}")]));
        assert_eq!(found.unwrap().hash(), good.hash());
        for sent in [
            "__Host-portvakt=".to_owned(),
            format!("__Host-portvakt={value}; __Host-portvakt={value}"),
            format!("__Host-portvakt={value}x"),
            format!("__Host-portvakt=\"{value}\""),
            format!("x__Host-portvakt={value}"),
        ] {
            assert!(session(&headers(&[&sent])).is_none(), "{sent}");
        }
    }
}
