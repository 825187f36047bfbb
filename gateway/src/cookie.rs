//! Cookies as they come (RFC 6265, section 5.4): read byte by byte, since browsers send what scripts
//! have set as it is, and one odd cookie of the application's must not hide ours.

mod bound;
mod set;

use http::HeaderMap;
use http::header::{self, HeaderValue};

pub use bound::{Binder, Holder};
pub use set::SetCookie;

/// The session cookie's name, which the names of all the gateway's cookies begin with.
pub const OURS: &str = "__Host-portvakt";

/// What our names look like where a reader, or a person, is less exact.
const ALIKE: &str = "__Secure-portvakt";

/// Most cookies of one request that are looked at for an application; the rest are not passed on.
/// Browsers keep at most 180 for one site.
const MOST: usize = 180;

/// Names and values of all cookies; a pair that is not UTF-8 is passed over.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|field| pieces(field.as_bytes()))
        .filter_map(|piece| std::str::from_utf8(piece).ok()?.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
}

/// The value of a cookie. One that stands there twice is not there: another site's page, or a
/// neighbouring host, may have planted it.
#[must_use]
pub fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = pairs(headers).filter(|(own, _)| *own == name);
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
}

/// Whether a cookie's name is one of the gateway's: an application may neither see nor set it.
#[must_use]
pub fn is_ours(name: &[u8]) -> bool {
    let name = name.trim_ascii();
    let begins = |with: &str| {
        name.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    begins(OURS) || begins(ALIKE)
}

/// Leaves of the cookies what was bound to the holder, as the application set it, and those whose
/// names are `readable`, as they are. Returns the names of bound ones that were held back. There
/// is one field: see [`join_crumbs`].
pub fn admit(
    headers: &mut HeaderMap,
    binder: &Binder,
    holder: Holder<'_>,
    readable: &[String],
) -> Vec<Vec<u8>> {
    let mut held_back = Vec::new();
    let Some(field) = headers.get(header::COOKIE) else {
        return held_back;
    };
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for pair in pieces(field.as_bytes()).take(MOST) {
        match bound::admitted(binder, holder, readable, pair) {
            Some(admitted) => kept.push(admitted),
            None => held_back.extend(bound_name(pair)),
        }
    }
    put(headers, &kept.join(&b"; "[..]));
    held_back
}

/// Leaves of the cookies those whose names are `readable`, as they are.
pub fn keep_readable(headers: &mut HeaderMap, readable: &[String]) {
    let Some(field) = headers.get(header::COOKIE) else {
        return;
    };
    let fits = |pair: &&[u8]| {
        let mut parts = pair.splitn(2, |&b| b == b'=').map(<[u8]>::trim_ascii);
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        readable.iter().any(|one| one.as_bytes() == name) && value.is_some_and(is_readable_value)
    };
    let kept: Vec<&[u8]> = pieces(field.as_bytes()).take(MOST).filter(fits).collect();
    put(headers, &kept.join(&b"; "[..]));
}

/// The name in a pair that looks like a bound cookie of the application's.
fn bound_name(pair: &[u8]) -> Option<Vec<u8>> {
    let mut parts = pair.splitn(2, |&b| b == b'=').map(<[u8]>::trim_ascii);
    let (name, value) = (parts.next()?, parts.next()?);
    let bound = is_token(name) && !is_ours(name) && bound::looks_bound(value);
    bound.then(|| name.to_vec())
}

/// Whether this can be a cookie's name: a token (RFC 9110, section 5.6.2).
#[must_use]
pub fn is_token(name: &[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(fits)
}

/// Whether every reader sees the end of this value where we see it (RFC 6265, section 4.1.1).
fn is_readable_value(value: &[u8]) -> bool {
    let (inner, _) = unquoted(value);
    let fits = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
    inner.iter().all(fits)
}

/// A value without the quotation marks around it, and whether there were any.
fn unquoted(value: &[u8]) -> (&[u8], bool) {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner.map_or((value, false), |inner| (inner, true))
}

/// Puts the pieces of an HTTP/2 cookie field together again (RFC 9113, section 8.2.3).
pub fn join_crumbs(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        let fields = headers.get_all(header::COOKIE).iter();
        let crumbs: Vec<&[u8]> = fields.map(HeaderValue::as_bytes).collect();
        put(headers, &crumbs.join(&b"; "[..]));
    }
}

/// Removes our own cookies, and the field if nothing else is left. There is one field: see
/// [`join_crumbs`].
pub fn remove_ours(headers: &mut HeaderMap) {
    let Some(field) = headers.get(header::COOKIE) else {
        return;
    };
    let name = |piece: &[u8]| piece.split(|&b| b == b'=').next().is_some_and(is_ours);
    if pieces(field.as_bytes()).any(name) {
        let kept: Vec<&[u8]> = pieces(field.as_bytes())
            .filter(|piece| !name(piece))
            .collect();
        put(headers, &kept.join(&b"; "[..]));
    }
}

fn pieces(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field
        .split(|&b| b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|piece| !piece.is_empty())
}

fn put(headers: &mut HeaderMap, field: &[u8]) {
    match HeaderValue::from_bytes(field) {
        Ok(value) if !field.is_empty() => drop(headers.insert(header::COOKIE, value)),
        _ => drop(headers.remove(header::COOKIE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies
            .iter()
            .map(|c| {
                (
                    header::COOKIE,
                    HeaderValue::from_bytes(c.as_bytes()).unwrap(),
                )
            })
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
    fn an_odd_cookie_hides_no_other() {
        let map = HeaderMap::from_iter([(
            header::COOKIE,
            HeaderValue::from_bytes(b"theme=Bl\xc3\xa5; raw=\xff; __Host-portvakt=x; lone")
                .unwrap(),
        )]);
        assert_eq!(single(&map, OURS), Some("x"));
        let mut left = map;
        remove_ours(&mut left);
        assert_eq!(
            left[header::COOKIE].as_bytes(),
            b"theme=Bl\xc3\xa5; raw=\xff; lone"
        );
    }

    #[test]
    fn a_doubled_cookie_is_none() {
        assert_eq!(
            single(&headers(&["__Host-portvakt=x; __Host-portvakt=x"]), OURS),
            None
        );
        assert_eq!(
            single(&headers(&["__Host-portvakt=x", "__Host-portvakt=y"]), OURS),
            None
        );
        assert_eq!(single(&headers(&["x__Host-portvakt=x"]), OURS), None);
        assert_eq!(
            single(&headers(&["a=1; __Host-portvakt=x"]), OURS),
            Some("x")
        );
    }
}
