//! `[[upstream]]` as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, DURATION, Hidden};

/// A service to forward to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its name: what routes call it, and the assertion's `aud`.
    #[schemars(required)]
    pub name: Option<At<String>>,
    /// Its endpoints, each `http://HOST:PORT`.
    #[schemars(required)]
    pub addresses: Option<At<Vec<At<String>>>>,
    /// The `Host` to send: `public`, the one that the client sent; `upstream`, the first endpoint's;
    /// or a name. Default: `public`.
    pub host: Option<At<String>>,
    /// Headers to set, name to value. A value is text with placeholders: `{user.id}`,
    /// `{user.email}`, `{user.name}`, `{user.login}`, `{user.roles}`, `{company.id}`,
    /// `{company.name}`, `{assertion}` and secrets, `{env:NAME}` or `{file:PATH}`; a value that is
    /// a secret and nothing else may leave out the braces; `{{` and `}}` are braces themselves.
    /// Replaces the default: `x-user-id`, `x-user-email`, `x-company-id` and
    /// `x-portvakt-assertion`.
    pub headers: Option<BTreeMap<At<String>, Hidden>>,
    /// HTTP basic authentication to send with `headers`.
    pub basic: Option<Basic>,
    /// Further ways to take the identity: a route that names one (`identity = "…"`) gets it instead
    /// of `headers` and `basic`.
    pub identity: Option<Vec<Identity>>,
    /// Query fields that carry credentials of the application's own, such as `key`: removed from
    /// every request before it is judged, in every spelling.
    pub strip_query: Option<At<Vec<At<String>>>>,
    /// What happens to the application's cookies. `bind`: each is tagged for the user that it was
    /// set for, and reaches the application again from them alone; `pass`: all but the gateway's
    /// own pass as they are; `drop`: none passes. Default: `bind`.
    #[schemars(extend("enum" = ["bind", "pass", "drop"]))]
    pub cookies: Option<At<String>>,
    /// Names of cookies that pass as they are, since the application's own scripts read or set
    /// them, such as `csrftoken`.
    pub cookies_readable: Option<At<Vec<At<String>>>>,
    /// The `Path` of the application's cookies. Default: the one that it gives.
    pub cookie_path: Option<At<String>>,
    /// The `Domain` of the application's cookies: the public host, or a domain above it. Default:
    /// none, so that they are for the public host alone.
    pub cookie_domain: Option<At<String>>,
    /// Further addresses, `HOST` or `HOST:PORT`, by which the application calls itself: in
    /// `Location` and its kin they become the public URL, as its endpoints and `host` do.
    pub known_as: Option<At<Vec<At<String>>>>,
    /// Whether runs of `/` in a path are merged into one instead of refused. Default: `false`.
    pub merge_slashes: Option<At<bool>>,
    /// Where the application reads a field `_method` that overrides the method, besides the header
    /// fields that do, which are always judged: `query`, `form`, `multipart`. Default: nowhere.
    pub method_override: Option<At<Vec<At<String>>>>,
    /// For a connection to stand. Default: `3s`.
    #[schemars(extend("pattern" = DURATION))]
    pub connect_timeout: Option<At<String>>,
    /// From the request's end to the head of the response. Default: `30s`.
    #[schemars(extend("pattern" = DURATION))]
    pub response_timeout: Option<At<String>>,
    /// For a body to make progress. Default: `60s`.
    #[schemars(extend("pattern" = DURATION))]
    pub idle_timeout: Option<At<String>>,
    /// Connections kept open without a request, per worker and endpoint. Default: 32.
    pub keep_idle: Option<At<u64>>,
    /// Requests under way at once, over all workers. Default: 1024; beyond: `503`.
    pub concurrency: Option<At<u64>>,
}

/// A way in which an application takes the identity.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What routes call it.
    #[schemars(required)]
    pub name: Option<At<String>>,
    /// Headers to set, as the upstream's `headers`; none where only `basic` is given.
    pub headers: Option<BTreeMap<At<String>, Hidden>>,
    /// HTTP basic authentication to send.
    pub basic: Option<Basic>,
}

/// HTTP basic authentication (RFC 7617).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user's name: a template such as `{user.login}`.
    #[schemars(required)]
    pub user: Option<Hidden>,
    /// The password: a template, mostly a secret by reference.
    #[schemars(required)]
    pub password: Option<Hidden>,
}
