//! Which header fields never come from outside, and which the gateway sets.

use std::collections::HashSet;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use crate::config;

/// Fields that describe one connection only (RFC 9110, section 7.6.1), with the proxy ones.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Fields by which a client could tell an application who it is, where it comes from, or which
/// request is meant: only the gateway may.
const NEVER_FROM_OUTSIDE: [&str; 38] = [
    "authorization",
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "proxy",
    "remote-addr",
    "remote-user",
    "request-id",
    "script-name",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "x-auth-request-user",
    "x-authenticated-user",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-user",
    "x-request-id",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-ssl-client-cert",
    "x-webauth-user",
];

/// Fields of an answer that a reader who joins trailers to the head would obey.
const NOT_IN_A_TRAILER: [&str; 17] = [
    "cache-control",
    "clear-site-data",
    "content-encoding",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "expires",
    "location",
    "pragma",
    "refresh",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "vary",
    "www-authenticate",
];

/// What is stripped from every request in whatever spelling.
#[derive(Clone, Debug, Default)]
pub struct HeaderPlan {
    /// Lower case, with `-` for `_`.
    stripped: HashSet<String>,
}

impl HeaderPlan {
    /// The plan that covers every identity header of every upstream.
    #[must_use]
    pub fn new(upstreams: &[config::Upstream]) -> Self {
        let own = upstreams
            .iter()
            .flat_map(config::Upstream::all_headers)
            .map(|h| h.name.as_str());
        let defaults = [
            "x-user-id",
            "x-user-email",
            "x-company-id",
            "x-portvakt-assertion",
        ];
        let stripped = own
            .chain(defaults)
            .chain(NEVER_FROM_OUTSIDE)
            .map(spelling)
            .collect();
        Self { stripped }
    }

    /// Removes what belongs to the client's connection, then what may not come from outside, in
    /// this order: a name listed in `Connection` is gone before anything is set.
    pub(super) fn clean_request(&self, headers: &mut HeaderMap) {
        remove_hop_by_hop(headers);
        let doomed = headers
            .keys()
            .filter(|name| self.is_stripped(name.as_str()));
        remove_all(&doomed.cloned().collect::<Vec<_>>(), headers);
    }

    /// Trailers carry neither identity nor anything that frames, routes or authenticates
    /// (RFC 9110, section 6.5.1).
    pub(super) fn clean_trailers(&self, trailers: &mut HeaderMap) {
        let doomed: Vec<HeaderName> = trailers
            .keys()
            .filter(|name| {
                let text = name.as_str();
                self.is_stripped(text)
                    || HOP_BY_HOP.contains(&text)
                    || text.starts_with(':')
                    || [
                        header::HOST,
                        header::CONTENT_LENGTH,
                        header::COOKIE,
                        header::TRAILER,
                    ]
                    .contains(name)
            })
            .cloned()
            .collect();
        for name in doomed {
            trailers.remove(name);
        }
    }

    /// An answer's trailers set no cookie, frame nothing, and name nobody (the same).
    pub(super) fn clean_answer_trailers(&self, trailers: &mut HeaderMap) {
        self.clean_trailers(trailers);
        for name in NOT_IN_A_TRAILER {
            trailers.remove(name);
        }
    }

    fn is_stripped(&self, name: &str) -> bool {
        if name.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric()) {
            return self.listed(name);
        }
        // Under an odd spelling nothing may come that frames, routes or authenticates either.
        let name = spelling(name);
        self.listed(&name)
            || HOP_BY_HOP.contains(&name.as_str())
            || matches!(
                name.as_str(),
                "content-length" | "cookie" | "host" | "host-" | "trailer"
            )
    }

    fn listed(&self, name: &str) -> bool {
        name.starts_with("x-forwarded")
            || name.starts_with("x-portvakt-")
            || self.stripped.contains(name)
    }
}

/// Removes what describes one connection only, and whatever `Connection` names. `TE: trailers`
/// stays, since trailers are passed on.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|token| token.trim().to_ascii_lowercase().parse().ok())
        .collect();
    let trailers = headers.get(header::TE).is_some_and(|te| te == "trailers");
    // Most requests have none of them, and no list of theirs is made.
    let own = headers
        .keys()
        .filter(|name| HOP_BY_HOP.contains(&name.as_str()));
    remove_all(&own.cloned().collect::<Vec<_>>(), headers);
    for name in named {
        // The message's own framing is not the sender's to delete.
        if name != header::CONTENT_LENGTH && name != header::HOST && name != header::COOKIE {
            headers.remove(name);
        }
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

fn remove_all(names: &[HeaderName], headers: &mut HeaderMap) {
    for name in names {
        headers.remove(name);
    }
}

/// A name as every reader might fold it: CGI and its heirs read all that is no letter or digit as
/// one.
fn spelling(name: &str) -> String {
    let fold = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    name.chars().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        HeaderPlan::new(&[]).clean_request(&mut headers);
        headers
            .iter()
            .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn every_spelling_of_an_identity_header_is_stripped() {
        for name in [
            "x-user-id",
            "x_user_id",
            "x-user_id",
            "x-user-email",
            "x_company_id",
            "x-portvakt-assertion",
            "x_portvakt_anything",
            "x.user.id",
            "x!user!id",
            "content_length",
            "transfer_encoding",
            "host_",
            "proxy",
            "x-webauth-user",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-prefix",
            "forwarded",
            "x-original-url",
            "x-script-name",
            "x_rewrite_url",
            "x-http-method-override",
            "authorization",
            "remote_user",
            "x-real-ip",
            "x-request-id",
            "traceparent",
        ] {
            assert_eq!(
                cleaned(&[(name, "evil"), ("accept", "a")]),
                ["accept: a"],
                "{name}"
            );
            assert_eq!(
                cleaned(&[(name, "evil"), (name, "evil")]),
                Vec::<String>::new(),
                "{name}"
            );
        }
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        assert_eq!(
            cleaned(&[
                ("connection", "close, X-Thing, cookie"),
                ("x-thing", "1"),
                ("cookie", "a=1"),
                ("te", "trailers")
            ]),
            ["cookie: a=1", "te: trailers"]
        );
    }

    #[test]
    fn trailers_carry_no_identity() {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-user-id",
            "x_user_id",
            "content-length",
            "host",
            "x-checksum",
        ] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        HeaderPlan::new(&[]).clean_trailers(&mut trailers);
        assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-checksum"]);
    }
}
