//! How an upstream takes the identity: header templates, identities by route, and what it shall
//! never be told by anyone else.

use std::collections::{BTreeMap, HashMap};

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::super::secret_ref::{is_reference, names_a_secret};
use super::super::template::{self, TemplateError};
use super::super::written::{self, At, Hidden};
use super::super::{HeaderTemplate, Identity, TemplatePart};
use super::Resolver;
use super::upstreams::is_name;
use crate::target::query;

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
    /// What an upstream is sent by default.
    pub(super) fn own_identity(&mut self, written: &written::Upstream) -> Vec<HeaderTemplate> {
        let mut headers = match &written.headers {
            Some(headers) => self.headers(headers),
            None => default_headers(),
        };
        self.basic(written.basic.as_ref(), &mut headers);
        headers
    }

    /// What it is sent on routes that name an identity.
    pub(super) fn identities(&mut self, written: &[written::Identity]) -> Vec<Identity> {
        let mut names = HashMap::new();
        let mut identities = Vec::new();
        for one in written {
            let Some(at) = &one.name else { continue };
            let name = at.get().as_str();
            let (line, _) = self.source.position(at.span().start);
            if let Some(first) = names.insert(name, line) {
                self.fault(
                    at.span(),
                    format!("two identities are named `{name}`, the first in line {first}"),
                    "routes tell identities apart by name",
                );
            }
            if !is_name(name) {
                self.fault(
                    at.span(),
                    format!("`upstream.identity.name` is `{name}`, which is no name"),
                    "letters, digits, `-`, `_` and `.`",
                );
            }
            if one.headers.is_none() && one.basic.is_none() {
                self.fault(
                    at.span(),
                    format!("the identity `{name}` has neither `headers` nor `basic`"),
                    "to send nothing that names the caller, write `headers = {}`",
                );
            }
            let mut headers = match &one.headers {
                Some(headers) => self.headers(headers),
                None => Vec::new(),
            };
            self.basic(one.basic.as_ref(), &mut headers);
            identities.push(Identity {
                name: name.to_owned(),
                headers,
            });
        }
        identities
    }

    /// Names of query fields, as they are compared.
    pub(super) fn strip_query(&mut self, written: Option<&At<Vec<At<String>>>>) -> Vec<String> {
        let mut names = Vec::new();
        for at in written.into_iter().flat_map(At::get) {
            let name = at.get();
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if name.is_empty() || !name.bytes().all(fits) {
                self.fault(
                    at.span(),
                    format!("`upstream.strip_query` has `{name}`, which is no name of a field"),
                    "the name alone, such as `key`: every spelling of it is removed",
                );
            }
            names.push(query::folded(name.as_bytes()));
        }
        names
    }

    fn basic(&mut self, written: Option<&written::Basic>, headers: &mut Vec<HeaderTemplate>) {
        let Some((user, password)) =
            written.and_then(|basic| Some((basic.user.as_ref()?, basic.password.as_ref()?)))
        else {
            return;
        };
        if headers.iter().any(|one| one.name == AUTHORIZATION) {
            self.fault(
                user.span(),
                "`basic` and a header `authorization` are one header",
                "leave one of them out",
            );
        }
        let parts = (
            self.template("basic.user", user),
            self.template("basic.password", password),
        );
        let (Some(user_parts), Some(password)) = parts else {
            return;
        };
        let colon = |part: &TemplatePart| match part {
            TemplatePart::Literal(text) => text.contains(':'),
            _ => false,
        };
        if user_parts.iter().any(colon) {
            self.fault(
                user.span(),
                "a user's name in basic authentication has no colon",
                "what follows a colon would be read as the password (RFC 7617, section 2)",
            );
        }
        let encoded = TemplatePart::Basic {
            user: user_parts,
            password,
        };
        headers.push(HeaderTemplate {
            name: AUTHORIZATION,
            parts: vec![TemplatePart::Literal("Basic ".to_owned()), encoded],
        });
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
