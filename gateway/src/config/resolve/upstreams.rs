//! `[[upstream]]`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::super::values::host_and_port;
use super::super::written::{self, At};
use super::super::{Endpoint, MethodOverride, PublicUrl, Upstream};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn upstreams(
        &mut self,
        written: &[written::Upstream],
        public: &PublicUrl,
    ) -> Vec<Upstream> {
        let mut names = HashMap::new();
        let mut upstreams = Vec::new();
        for one in written {
            if let Some(at) = &one.name {
                self.upstream_name(at, &mut names);
            }
            upstreams.push(self.upstream(one, public));
        }
        upstreams
    }

    fn upstream_name<'a>(&mut self, at: &'a At<String>, names: &mut HashMap<&'a str, usize>) {
        let name = at.get();
        let (line, _) = self.source.position(at.span().start);
        if let Some(first) = names.insert(name, line) {
            self.fault(
                at.span(),
                format!("two upstreams are named `{name}`, the first in line {first}"),
                "routes and assertions tell upstreams apart by name",
            );
        }
        if !is_name(name) {
            self.fault(
                at.span(),
                format!("`upstream.name` is `{name}`, which is no name"),
                "letters, digits, `-`, `_` and `.`",
            );
        }
    }

    fn upstream(&mut self, written: &written::Upstream, public: &PublicUrl) -> Upstream {
        let second = Duration::from_secs(1);
        let patience = Duration::from_millis(10)..=second * 3600;
        let endpoints = self.endpoints(written.addresses.as_ref());
        let host = match &written.host {
            Some(at) => self.host_to_send(at, &endpoints),
            None => None,
        };
        Upstream {
            name: written
                .name
                .as_ref()
                .map_or_else(String::new, |at| at.get().clone()),
            headers: self.own_identity(written),
            identities: self.identities(written.identity.as_deref().unwrap_or_default()),
            strip_query: self.strip_query(written.strip_query.as_ref()),
            cookies: self.cookies(written.cookies.as_ref()),
            cookies_readable: self.cookies_readable(written.cookies_readable.as_ref()),
            cookie_path: self.cookie_path(written.cookie_path.as_ref()),
            cookie_domain: self.cookie_domain(written.cookie_domain.as_ref(), public),
            known_as: self.known_as(written.known_as.as_ref(), &endpoints, host.as_deref()),
            endpoints,
            host,
            merge_slashes: written.merge_slashes.as_ref().is_some_and(|at| *at.get()),
            method_override: self.method_override(written.method_override.as_ref()),
            connect_timeout: self.duration(
                "upstream.connect_timeout",
                written.connect_timeout.as_ref(),
                patience.clone(),
                second * 3,
            ),
            response_timeout: self.duration(
                "upstream.response_timeout",
                written.response_timeout.as_ref(),
                patience.clone(),
                second * 30,
            ),
            idle_timeout: self.duration(
                "upstream.idle_timeout",
                written.idle_timeout.as_ref(),
                patience,
                second * 60,
            ),
            keep_idle: self.count(
                "upstream.keep_idle",
                written.keep_idle.as_ref(),
                0..=10_000,
                32,
            ),
            concurrency: self.count(
                "upstream.concurrency",
                written.concurrency.as_ref(),
                1..=1_000_000,
                1024,
            ),
        }
    }

    fn method_override(&mut self, written: Option<&At<Vec<At<String>>>>) -> MethodOverride {
        let mut places = MethodOverride::default();
        for at in written.into_iter().flat_map(At::get) {
            match at.get().as_str() {
                "query" => places.query = true,
                "form" => places.form = true,
                "multipart" => places.multipart = true,
                other => self.fault(
                    at.span(),
                    format!("`upstream.method_override` has `{other}`, which is no place"),
                    "`query`, `form` or `multipart`",
                ),
            }
        }
        places
    }

    fn endpoints(&mut self, written: Option<&At<Vec<At<String>>>>) -> Vec<Endpoint> {
        let Some(list) = written else {
            return Vec::new();
        };
        if list.get().is_empty() {
            self.fault(
                list.span(),
                "`upstream.addresses` is empty",
                "at least one `http://HOST:PORT`",
            );
        }
        let mut endpoints = Vec::new();
        for at in list.get() {
            match endpoint(at.get()) {
                Some(endpoint) if endpoints.contains(&endpoint) => self.fault(
                    at.span(),
                    format!("`{}` stands twice in `upstream.addresses`", at.get()),
                    "each endpoint once",
                ),
                Some(endpoint) => endpoints.push(endpoint),
                None => {
                    // The text as shown: a password in it is starred out.
                    let shown = self.source.text().get(at.span()).unwrap_or_default();
                    let message = format!("`upstream.addresses` has {shown}, which is no address");
                    self.fault(
                        at.span(),
                        message,
                        "write `http://HOST:PORT`, without a path",
                    );
                }
            }
        }
        endpoints
    }

    /// `None` for the one that the client sent.
    fn host_to_send(&mut self, at: &At<String>, endpoints: &[Endpoint]) -> Option<String> {
        match at.get().as_str() {
            "public" => return None,
            "upstream" => return endpoints.first().map(Endpoint::authority),
            _ => {}
        }
        let fits = host_and_port(at.get()).is_ok_and(|(host, _)| endpoint_host(host).is_some());
        if !fits {
            self.fault(
                at.span(),
                format!("`upstream.host` is `{}`, which is no host", at.get()),
                "a host name, perhaps with a port, such as `app.internal:3000`",
            );
        }
        Some(at.get().clone())
    }

    /// Its endpoints, its `host`, and what else it calls itself.
    fn known_as(
        &mut self,
        written: Option<&At<Vec<At<String>>>>,
        endpoints: &[Endpoint],
        host: Option<&str>,
    ) -> Vec<String> {
        let mut known: Vec<String> = endpoints.iter().map(Endpoint::authority).collect();
        known.extend(host.map(str::to_owned));
        for at in written.into_iter().flat_map(At::get) {
            let text = at.get();
            if !host_and_port(text).is_ok_and(|(host, _)| endpoint_host(host).is_some()) {
                self.fault(
                    at.span(),
                    format!("`upstream.known_as` has `{text}`, which is no host"),
                    "a host name, perhaps with a port, such as `app.internal:3000`",
                );
            }
            known.push(text.clone());
        }
        for one in &mut known {
            one.make_ascii_lowercase();
            let bare = one.strip_suffix(":80").or(one.strip_suffix(":443"));
            if let Some(bare) = bare.map(str::to_owned) {
                *one = bare;
            }
        }
        known
    }
}

/// Whether routes can call something so.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty() && text.bytes().all(fits)
}

/// Reads `http://HOST:PORT`, and nothing else.
fn endpoint(text: &str) -> Option<Endpoint> {
    let rest = text.strip_prefix("http://")?;
    let (host, port) = host_and_port(rest).ok()?;
    Some(Endpoint {
        host: endpoint_host(host)?,
        port: port?,
    })
}

/// A host to look up: an address (IPv6 comes in brackets and goes without), or a name as internal
/// networks have them, `_` included.
fn endpoint_host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let address: IpAddr = inner.strip_suffix(']')?.parse().ok()?;
        return address.is_ipv6().then(|| address.to_string());
    }
    is_name(text).then(|| text.to_owned())
}
