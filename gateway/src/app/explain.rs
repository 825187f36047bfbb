//! `portvakt policy explain`: how the running gateway would decide over a request.

use std::fmt::Display;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::Gateway;
use super::operations::{Outcome, unavailable};
use crate::admin::operations::{Asked, OperationError};
use crate::pipeline::Pipeline;
use crate::policy::{Described, Explanation};
use crate::target::{Leniency, Target};

impl Gateway {
    /// Asks for facts as a request would, over connections of its own.
    pub(super) async fn explained(&self, by: &str, asked: Asked) -> Outcome<Explanation> {
        let event = "admin.policy.explain";
        let (mut command, person) = self.about_user(event, by, &asked.email).await?;
        command.about = Some(asked.request.clone());
        self.begun(&command).await?;
        let shared = &self.shared;
        let set = shared.policy.load_full();
        let upstreams = &shared.config.upstreams;
        let leniency = Leniency {
            merge_slashes: upstreams.iter().all(|upstream| upstream.merge_slashes),
            encoded_slash: set.encoded_slashes(),
        };
        let target = Target::from_line_with(&asked.request, leniency)
            .map_err(|error| unknown(&asked.request, "request", &error))?;
        let headers = headers(&asked.headers)?;
        let lookups = Pipeline::new(Arc::clone(shared))
            .map(|pipeline| pipeline.lookups())
            .ok_or_else(|| unavailable("there is no upstream to ask for facts"))?;
        let host = asked.host.as_ref();
        let host = host.unwrap_or(&shared.config.public_url.host);
        let declared = |name: Option<&str>| {
            let mut named = upstreams.iter();
            let named = named.find(|upstream| name.is_none_or(|name| upstream.name == name));
            named
                .map(|upstream| upstream.method_override)
                .unwrap_or_default()
        };
        let described = Described {
            target: &target,
            host,
            headers: &headers,
            body: asked.body.as_bytes(),
            declared: &declared,
        };
        let principal = Arc::new(person.principal.clone());
        let explaining = shared
            .authoriser
            .explain(&set, &principal, described, &lookups);
        Ok(explaining.await)
    }
}

/// Fields as `Name: value`.
fn headers(lines: &[String]) -> Outcome<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let name = HeaderName::try_from(name.trim()).map_err(|e| unknown(line, "field", &e))?;
        let value = HeaderValue::try_from(value.trim()).map_err(|e| unknown(line, "field", &e))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn unknown(text: &str, what: &str, error: &dyn Display) -> OperationError {
    OperationError::Unknown(format!("`{text}` is no {what}: {error}"))
}
