//! The services we forward to, and how each takes the identity.

use std::time::Duration;

use crate::secret::Secret;

/// A service we forward to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name; the assertion's `aud`.
    pub name: String,
    /// At least one endpoint.
    pub endpoints: Vec<Endpoint>,
    /// `Host` to send; `None` passes the client's.
    pub host: Option<String>,
    /// Header templates, name (lower case) and value, in order.
    pub headers: Vec<HeaderTemplate>,
    /// Sent instead of `headers` on routes that name one.
    pub identities: Vec<Identity>,
    /// Names of query fields that never pass, lower case, `.` and blanks as `_`.
    pub strip_query: Vec<String>,
    /// What happens to its cookies.
    pub cookies: Cookies,
    /// Names of cookies that pass as they are.
    pub cookies_readable: Vec<String>,
    /// `Path` of its cookies, if not its own.
    pub cookie_path: Option<String>,
    /// `Domain` of its cookies, if any.
    pub cookie_domain: Option<String>,
    /// By which authorities it may call itself: endpoints, `host` and more; lower case, without
    /// the port of the scheme.
    pub known_as: Vec<String>,
    /// Whether runs of `/` are merged instead of refused.
    pub merge_slashes: bool,
    /// Where it reads a method that overrides the request's.
    pub method_override: MethodOverride,
    /// For a connection to stand; default 3 s.
    pub connect_timeout: Duration,
    /// From the request's end to the response's head; default 30 s.
    pub response_timeout: Duration,
    /// For a body to make progress; default 60 s.
    pub idle_timeout: Duration,
    /// Connections kept open without a request, per worker and endpoint; default 32.
    pub keep_idle: usize,
    /// Requests under way at once, over all workers; default 1,024; beyond: `503`.
    pub concurrency: usize,
}

impl Upstream {
    /// The headers of an identity; those of the upstream itself without a name.
    #[must_use]
    pub fn identity(&self, name: Option<&str>) -> Option<&[HeaderTemplate]> {
        let Some(name) = name else {
            return Some(&self.headers);
        };
        let found = self.identities.iter().find(|one| one.name == name)?;
        Some(&found.headers)
    }

    /// Whether it may call itself so.
    #[must_use]
    pub fn is_known_as(&self, authority: &str) -> bool {
        self.known_as.iter().any(|one| one == authority)
    }

    /// Every header that any of its identities sets.
    pub fn all_headers(&self) -> impl Iterator<Item = &HeaderTemplate> {
        let named = self.identities.iter().flat_map(|one| &one.headers);
        self.headers.iter().chain(named)
    }
}

/// What happens to an application's cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookies {
    /// Each is bound to the user that it was set for.
    Bind,
    /// They pass as they are.
    Pass,
    /// None passes.
    Drop,
}

/// A way in which an application takes the identity, chosen by route.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What routes call it.
    pub name: String,
    /// Header templates, in order.
    pub headers: Vec<HeaderTemplate>,
}

/// What a policy set may name of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamNames<'a> {
    /// Its own name.
    pub name: &'a str,
    /// Those of its identities.
    pub identities: Vec<&'a str>,
}

impl<'a> UpstreamNames<'a> {
    pub(super) fn of(upstream: &'a Upstream) -> Self {
        let identities = upstream.identities.iter();
        Self {
            name: &upstream.name,
            identities: identities.map(|one| one.name.as_str()).collect(),
        }
    }
}

impl<'a> From<&'a str> for UpstreamNames<'a> {
    fn from(name: &'a str) -> Self {
        Self {
            name,
            identities: Vec::new(),
        }
    }
}

/// Where an application reads a field `_method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodOverride {
    /// In the query.
    pub query: bool,
    /// In a form.
    pub form: bool,
    /// In a form in parts.
    pub multipart: bool,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// Host and port as a URL has them.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A header that the gateway sets on requests to an upstream.
#[derive(Clone, Debug)]
pub struct HeaderTemplate {
    /// Lower-case name.
    pub name: http::HeaderName,
    /// What it carries.
    pub parts: Vec<TemplatePart>,
}

impl HeaderTemplate {
    /// Whether the assertion is in it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.has(|part| matches!(part, TemplatePart::Assertion))
    }

    /// Whether it tells of a user, or is only what the gateway itself may say.
    #[must_use]
    pub fn names_someone(&self) -> bool {
        self.has(|part| !matches!(part, TemplatePart::Literal(_) | TemplatePart::Secret(_)))
    }

    fn has(&self, what: impl Fn(&TemplatePart) -> bool) -> bool {
        self.parts.iter().any(|part| match part {
            TemplatePart::Basic { user, password } => user.iter().chain(password).any(&what),
            part => what(part),
        })
    }
}

/// A piece of a header's value.
#[derive(Clone, Debug)]
pub enum TemplatePart {
    /// As it stands.
    Literal(String),
    /// A secret by reference, such as an upstream's API key.
    Secret(Secret),
    /// A user's name and password for basic authentication, in base64 (RFC 7617, section 2).
    Basic {
        /// Without a colon.
        user: Vec<TemplatePart>,
        /// The rest.
        password: Vec<TemplatePart>,
    },
    /// `{user.id}`
    UserId,
    /// `{user.email}`
    UserEmail,
    /// `{user.name}`
    UserName,
    /// `{user.login}`
    UserLogin,
    /// `{user.roles}`, joined by commas.
    UserRoles,
    /// `{company.id}`
    CompanyId,
    /// `{company.name}`
    CompanyName,
    /// `{assertion}`: the signed assertion.
    Assertion,
}
