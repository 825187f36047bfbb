//! Where a request came from, as the gateway itself saw it.

use std::fmt;
use std::net::IpAddr;

use data_encoding::HEXLOWER;
use http::{HeaderMap, Method, header};

use crate::secret;

/// The client of one request; the listener and the pipeline put it into the request's extensions.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address: the peer's, or what a trusted proxy told.
    pub address: IpAddr,
    /// Names the request in answers, logs and records.
    pub request_id: RequestId,
}

/// 128 random bits that name one request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// A new identifier.
    #[must_use]
    pub fn generate() -> Self {
        Self(secret::identifier())
    }

    /// Its bits: a trace's identifier as well, where nobody told another.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// Reads 32 lower-case hexadecimal digits, as a trusted proxy or an ops person gives them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()?
            .try_into()
            .ok()
            .map(Self)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        HEXLOWER.encode_mut(&self.0, &mut digits);
        f.write_str(str::from_utf8(&digits).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a request is a browser going to a page: a `GET` with `Sec-Fetch-Mode: navigate`, or
/// without that field one that accepts `text/html`.
#[must_use]
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    headers
        .get("sec-fetch-mode")
        .map_or_else(|| accepts_html(headers), |mode| mode == "navigate")
}

/// Whether `Accept` names `text/html`, and not to refuse it (RFC 9110, section 12.4.2).
#[must_use]
pub fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(is_html))
    })
}

/// Whether a member of `Accept` is `text/html` with a weight above nothing.
fn is_html(member: &str) -> bool {
    let mut parts = member.split(';').map(str::trim);
    let html = parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
    let refused = |part: &str| {
        let (name, weight) = part.split_once('=').unwrap_or((part, ""));
        let weight: f32 = weight.trim().parse().unwrap_or(1.0);
        name.trim().eq_ignore_ascii_case("q") && weight <= 0.0
    };
    html && !parts.any(refused)
}

/// Whether a request comes from another site's page: `Sec-Fetch-Site` that is neither
/// `same-origin` nor `none`, or an `Origin` that is neither our `own` nor listed as `allowed`
/// (Fetch, section 3.2; Fetch Metadata, section 2.3). A client that sends neither is a program,
/// not a browser.
#[must_use]
pub fn is_cross_site(headers: &HeaderMap, own: &str, allowed: &[String]) -> bool {
    let single = |name: &str| {
        let mut values = headers.get_all(name).iter();
        (values.next(), values.next().is_some())
    };
    let (site, many_sites) = single("sec-fetch-site");
    let (origin, many_origins) = single("origin");
    if many_sites || many_origins {
        return true;
    }
    match origin {
        Some(origin) if allowed.iter().any(|listed| origin == listed.as_str()) => false,
        Some(origin) if origin != own => true,
        _ => site.is_some_and(|site| site != "same-origin" && site != "none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn another_sites_request_is_told_from_ours() {
        let own = "https://localhost:8443";
        let allowed = ["https://app.example".to_owned()];
        for (fields, cross) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-site", "none"),
                ],
                true,
            ),
            (&[("origin", "https://localhost:8443")], false),
            (
                &[
                    ("origin", "https://localhost:8443"),
                    ("sec-fetch-site", "same-origin"),
                ],
                false,
            ),
            (&[("origin", "https://evil.example")], true),
            (&[("origin", "null")], true),
            (
                &[
                    ("origin", "https://app.example"),
                    ("sec-fetch-site", "cross-site"),
                ],
                false,
            ),
            (
                &[
                    ("origin", "https://localhost:8443"),
                    ("sec-fetch-site", "cross-site"),
                ],
                true,
            ),
            (
                &[
                    ("origin", "https://evil.example"),
                    ("sec-fetch-site", "same-origin"),
                ],
                true,
            ),
            (
                &[
                    ("origin", "https://localhost:8443"),
                    ("origin", "https://evil.example"),
                ],
                true,
            ),
        ] {
            assert_eq!(
                is_cross_site(&headers(fields), own, &allowed),
                cross,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_navigation_is_told_from_a_call() {
        for (fields, navigation) in [
            (&[][..], false),
            (&[("accept", "text/html,application/xhtml+xml")], true),
            (&[("accept", "application/json")], false),
            (&[("accept", "application/json, text/html;q=0")], false),
            (&[("accept", "Text/HTML ; Q = 0.000")], false),
            (&[("accept", "text/html;q=0.1")], true),
            (&[("accept", "text/html;level=1;q=0.1, */*;q=0")], true),
            (&[("accept", "text/htmlx")], false),
            (
                &[("accept", "text/html"), ("sec-fetch-mode", "cors")],
                false,
            ),
            (&[("sec-fetch-mode", "navigate")], true),
        ] {
            assert_eq!(
                is_navigation(&Method::GET, &headers(fields)),
                navigation,
                "{fields:?}"
            );
            assert!(!is_navigation(&Method::POST, &headers(fields)));
        }
    }
}
