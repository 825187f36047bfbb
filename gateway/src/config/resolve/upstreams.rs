//! `[[upstream]]`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;

use super::super::secret_ref::{is_reference, names_a_secret};
use super::super::template::{self, TemplateError};
use super::super::values::host_and_port;
use super::super::written::{self, At, Hidden};
use super::super::{Endpoint, HeaderTemplate, MethodOverride, TemplatePart, Upstream};
use super::Resolver;

/// Headers that the gateway itself keeps right; a template for one would break it.
const OUR_OWN: [&str; 21] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

impl Resolver<'_> {
    pub(super) fn upstreams(&mut self, written: &[written::Upstream]) -> Vec<Upstream> {
        let mut names = HashMap::new();
        let mut upstreams = Vec::new();
        for one in written {
            if let Some(at) = &one.name {
                self.upstream_name(at, &mut names);
            }
            upstreams.push(self.upstream(one));
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
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(fits) {
            self.fault(
                at.span(),
                format!("`upstream.name` is `{name}`, which is no name"),
                "letters, digits, `-`, `_` and `.`",
            );
        }
    }

    fn upstream(&mut self, written: &written::Upstream) -> Upstream {
        let second = Duration::from_secs(1);
        let patience = Duration::from_millis(10)..=second * 3600;
        Upstream {
            name: written
                .name
                .as_ref()
                .map_or_else(String::new, |at| at.get().clone()),
            endpoints: self.endpoints(written.addresses.as_ref()),
            host: written.host.as_ref().map(|at| self.host_to_send(at)),
            headers: match &written.headers {
                Some(headers) => self.headers(headers),
                None => default_headers(),
            },
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

    fn host_to_send(&mut self, at: &At<String>) -> String {
        let fits = host_and_port(at.get()).is_ok_and(|(host, _)| endpoint_host(host).is_some());
        if !fits {
            self.fault(
                at.span(),
                format!("`upstream.host` is `{}`, which is no host", at.get()),
                "a host name, perhaps with a port, such as `app.internal:3000`",
            );
        }
        at.get().clone()
    }

    fn headers(&mut self, written: &BTreeMap<At<String>, Hidden>) -> Vec<HeaderTemplate> {
        // In the order of the file, not of the alphabet.
        let mut entries: Vec<_> = written.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut seen = HashMap::new();
        let mut headers = Vec::new();
        for (at, value) in entries {
            let parts = self.template(at.get(), value);
            let Some(name) = self.header_name(at) else {
                continue;
            };
            let spelling = name.as_str().replace('_', "-");
            if let Some(first) = seen.insert(spelling, at.get()) {
                self.fault(
                    at.span(),
                    format!("`{}` and `{first}` are one header", at.get()),
                    "upper and lower case, `-` and `_` make no difference to many applications",
                );
            }
            headers.extend(parts.map(|parts| HeaderTemplate { name, parts }));
        }
        headers
    }

    fn header_name(&mut self, at: &At<String>) -> Option<HeaderName> {
        let Ok(name) = HeaderName::from_bytes(at.get().as_bytes()) else {
            self.fault(
                at.span(),
                format!("`{}` is no header name", at.get()),
                "letters, digits and `-`, such as `x-user-id`",
            );
            return None;
        };
        let spelling = name.as_str().replace('_', "-");
        if OUR_OWN.contains(&spelling.as_str()) {
            let help = match spelling.as_str() {
                "host" => "the upstream's `host` says what `Host` to send",
                _ => "choose another name",
            };
            self.fault(
                at.span(),
                format!("the header `{}` is the gateway's own to set", at.get()),
                help,
            );
        }
        Some(name)
    }

    fn template(&mut self, name: &str, value: &Hidden) -> Option<Vec<TemplatePart>> {
        let parts = match template::parse(value.expose(), self.around.env) {
            Ok(parts) => parts,
            Err(error) => {
                self.bad_template(name, value, &error);
                return None;
            }
        };
        let literal = parts
            .iter()
            .all(|part| matches!(part, TemplatePart::Literal(_)));
        if literal && names_a_secret(name) && !is_reference(value.expose()) {
            self.fault(
                value.span(),
                format!("the header `{name}` has a secret in plain text"),
                "give it by reference: `env:NAME`, `file:PATH`, or within text `{env:NAME}`",
            );
        }
        Some(parts)
    }

    fn bad_template(&mut self, name: &str, value: &Hidden, error: &TemplateError) {
        let mut span = value.span();
        let mut help = format!("placeholders: {}", template::placeholders());
        if names_a_secret(name) && matches!(error, TemplateError::Unknown { .. }) {
            // What stands in these braces may be part of a secret.
            self.fault(
                span,
                format!("the header `{name}`: unknown placeholder"),
                help,
            );
            return;
        }
        if let TemplateError::Unknown { name, meant } = error {
            // Point at the placeholder where it stands in the file as it stands in the value.
            let written = format!("{{{name}}}");
            let text = self.source.text().get(span.clone()).unwrap_or_default();
            if let Some(at) = text.find(&written) {
                span = span.start + at..span.start + at + written.len();
            }
            if let Some(meant) = meant {
                help = format!("did you mean `{{{meant}}}`?");
            }
        }
        self.fault(span, format!("the header `{name}`: {error}"), help);
    }
}

fn default_headers() -> Vec<HeaderTemplate> {
    [
        ("x-user-id", TemplatePart::UserId),
        ("x-user-email", TemplatePart::UserEmail),
        ("x-company-id", TemplatePart::CompanyId),
        ("x-portvakt-assertion", TemplatePart::Assertion),
    ]
    .into_iter()
    .map(|(name, part)| HeaderTemplate {
        name: HeaderName::from_static(name),
        parts: vec![part],
    })
    .collect()
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
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (!text.is_empty() && text.bytes().all(fits)).then(|| text.to_owned())
}
