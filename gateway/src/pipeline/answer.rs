//! The head of an answer on its way down: what is the upstream connection's, or ours, does not
//! pass; cookies are bound to whom they are for; addresses become those that the client knows.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response};

use super::normalise::Authority;
use super::{address, headers};
use crate::body::Body;
use crate::config::{Cookies, PublicUrl, Upstream};
use crate::cookie::{self, Binder, Holder, SetCookie};

/// How one request's answer is treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner<'a> {
    pub(super) settings: &'a Upstream,
    pub(super) public: &'a PublicUrl,
    pub(super) binder: &'a Binder,
    /// As the client named us.
    pub(super) authority: &'a Authority,
    /// Whom its cookies are for.
    pub(super) holder: Holder<'a>,
    /// Names of cookies of someone who is logged in, which a public page shall not replace.
    pub(super) held_back: &'a [Vec<u8>],
}

impl Manner<'_> {
    /// What a logged-in person sees is nobody else's to keep.
    pub(super) fn clean(&self, fields: &mut HeaderMap) {
        if fields.contains_key(header::TRANSFER_ENCODING) {
            // Only one of the two is the body's end (RFC 9112, section 6.3), and it was not this.
            fields.remove(header::CONTENT_LENGTH);
        }
        headers::remove_hop_by_hop(fields);
        fields.remove(header::TE);
        self.cookies(fields);
        self.addresses(fields);
        if self.holder != Holder::Nobody {
            keep_private(fields);
        }
    }

    /// The `101` that begins an upgrade, with the fields that it needs.
    pub(super) fn switched(&self, response: Response<Body>) -> Response<Body> {
        let (mut head, _) = response.into_parts();
        self.clean(&mut head.headers);
        let upgrade = HeaderValue::from_static("upgrade");
        head.headers.insert(header::CONNECTION, upgrade);
        let websocket = HeaderValue::from_static("websocket");
        head.headers.insert(header::UPGRADE, websocket);
        Response::from_parts(head, Body::Empty)
    }

    fn cookies(&self, fields: &mut HeaderMap) {
        if let header::Entry::Occupied(entry) = fields.entry(header::SET_COOKIE) {
            let (name, values) = entry.remove_entry_mult();
            let kept: Vec<_> = values.filter_map(|value| self.cookie(&value)).collect();
            for value in kept {
                fields.append(&name, value);
            }
        }
    }

    /// One cookie as the browser shall keep it, if at all.
    fn cookie(&self, field: &HeaderValue) -> Option<HeaderValue> {
        let mut cookie = SetCookie::read(field);
        // A cookie without a name is sent back as its value alone.
        let name = if cookie.name.is_empty() {
            &cookie.value
        } else {
            &cookie.name
        };
        if cookie::is_ours(name) {
            return None;
        }
        let readable = self.settings.cookies_readable.iter();
        let readable = { readable }.any(|one| one.as_bytes() == cookie.name);
        match self.settings.cookies {
            Cookies::Drop if !readable => return None,
            Cookies::Bind if !readable => {
                if !cookie::is_token(&cookie.name) || self.held_back.contains(&cookie.name) {
                    return None;
                }
                if !cookie.is_removal() {
                    cookie.value = self.binder.bind(self.holder, &cookie.name, &cookie.value);
                }
            }
            Cookies::Bind | Cookies::Drop | Cookies::Pass => {}
        }
        self.place(&mut cookie);
        cookie.write()
    }

    /// Attributes that hold where the client is: its host, over TLS, not from other sites.
    fn place(&self, cookie: &mut SetCookie) {
        let host_only = cookie.name.to_ascii_lowercase().starts_with(b"__host-");
        cookie.remove("domain");
        if !host_only {
            if let Some(domain) = &self.settings.cookie_domain {
                cookie.add(format!("Domain={domain}"));
            }
            if let Some(path) = &self.settings.cookie_path {
                cookie.remove("path");
                cookie.add(format!("Path={path}"));
            }
        }
        if self.public.scheme == "https" && cookie.attribute("secure").is_none() {
            cookie.add("Secure");
        }
        if cookie.attribute("samesite").is_none() {
            cookie.add("SameSite=Lax");
        }
    }

    /// Where an answer names a place of the application's by an address of its own.
    fn addresses(&self, fields: &mut HeaderMap) {
        let refresh = HeaderName::from_static("refresh");
        for name in [header::LOCATION, header::CONTENT_LOCATION, refresh] {
            let Some(text) = fields.get(&name).and_then(|value| value.to_str().ok()) else {
                continue;
            };
            let rewritten = if name == "refresh" {
                address::refresh(text, |url| self.public_form(url))
            } else {
                self.public_form(text)
            };
            let value = rewritten.and_then(|text| HeaderValue::try_from(text).ok());
            if let Some(value) = value {
                fields.insert(name, value);
            }
        }
    }

    /// A URL at one of the application's own addresses, at the public one instead.
    fn public_form(&self, url: &str) -> Option<String> {
        let found = address::Absolute::read(url)?;
        let own = found.is_at(self.authority.as_str())
            || found.is_at(&self.public.authority())
            || self.settings.is_known_as(&found.authority);
        own.then(|| format!("{}{}", self.authority.origin(self.public), found.rest))
    }
}

/// No shared cache keeps it (RFC 9111, section 5.2.2): `public` and `s-maxage` become `private`.
fn keep_private(fields: &mut HeaderMap) {
    let for_caches = |name: &HeaderName| {
        name.as_str().ends_with("cdn-cache-control")
            || matches!(
                name.as_str(),
                "surrogate-control" | "x-accel-expires" | "edge-control"
            )
    };
    let doomed: Vec<HeaderName> = fields
        .keys()
        .filter(|name| for_caches(name))
        .cloned()
        .collect();
    for name in doomed {
        fields.remove(name);
    }
    let mut kept = Vec::new();
    let mut closed = false;
    for value in fields.get_all(header::CACHE_CONTROL) {
        for directive in directives(value.to_str().unwrap_or("no-store")) {
            let name = directive
                .split('=')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            match name.as_str() {
                "" | "public" | "s-maxage" => continue,
                // `private="field"` leaves the rest public (section 5.2.2.7).
                "private" if directive.contains('=') => continue,
                "private" | "no-store" => closed = true,
                _ => {}
            }
            kept.push(directive.to_owned());
        }
    }
    if !closed {
        kept.push("private".to_owned());
    }
    if let Ok(value) = HeaderValue::try_from(kept.join(", ")) {
        fields.insert(header::CACHE_CONTROL, value);
    }
}

/// The members of a list, whose quoted texts may hold commas (RFC 9110, section 5.6.4). Where a
/// quotation never ends, every reader guesses: nobody shall keep that.
fn directives(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                found.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return vec!["no-store"];
    }
    found.push(text.get(start..).unwrap_or_default().trim());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_control(sent: &[&'static str]) -> String {
        let mut fields = HeaderMap::new();
        for value in sent {
            fields.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
        }
        keep_private(&mut fields);
        fields[header::CACHE_CONTROL].to_str().unwrap().to_owned()
    }

    #[test]
    fn what_a_person_sees_is_never_publicly_cacheable() {
        for (sent, left) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "max-age=60, private"),
            (&["max-age=60", "s-maxage=600"], "max-age=60, private"),
            (&["Public"], "private"),
            (&["no-store"], "no-store"),
            (&["private, max-age=5"], "private, max-age=5"),
            (&["private=\"set-cookie\", max-age=5"], "max-age=5, private"),
            (
                &["private=\"set-cookie, x\", max-age=5"],
                "max-age=5, private",
            ),
            (
                &["no-cache=\"a, private\", public"],
                "no-cache=\"a, private\", private",
            ),
            (
                &["x=\"a\\\", private\", public"],
                "x=\"a\\\", private\", private",
            ),
            (&["private=\"a, max-age=60"], "no-store"),
        ] {
            assert_eq!(cache_control(sent), left, "{sent:?}");
        }
    }
}
