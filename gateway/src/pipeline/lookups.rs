//! Look-ups of facts, by way of the upstream that knows them.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::{Shared, rewrite};
use crate::body::Body;
use crate::policy::{LookupAnswer, LookupError, Lookups};
use crate::principal::Principal;
use crate::upstream::Upstreams;

/// Longest answer that is read for facts, in bytes.
const MAX_FACTS: usize = 256 * 1024;

/// Asks an upstream, as the gateway or in a caller's name.
#[derive(Debug)]
pub(super) struct UpstreamLookups {
    upstreams: Arc<Upstreams>,
    shared: Weak<Shared>,
}

impl UpstreamLookups {
    pub(super) fn new(upstreams: Arc<Upstreams>, shared: &Arc<Shared>) -> Self {
        Self {
            upstreams,
            shared: Arc::downgrade(shared),
        }
    }
}

#[async_trait]
impl Lookups for UpstreamLookups {
    async fn get(
        &self,
        upstream: Option<&str>,
        path: &str,
        caller: Option<&Arc<Principal>>,
    ) -> Result<LookupAnswer, LookupError> {
        let failed = |reason: String| LookupError(reason);
        let shared = self
            .shared
            .upgrade()
            .ok_or_else(|| failed("the gateway is stopping".to_owned()))?;
        let upstream = self
            .upstreams
            .find(upstream)
            .ok_or_else(|| failed("no such upstream".to_owned()))?;
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().map_err(|error| failed(format!("{error}")))?;
        let host = upstream
            .settings()
            .host
            .clone()
            .unwrap_or_else(|| shared.config.public_url.authority());
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            header::HOST,
            HeaderValue::try_from(host).map_err(|error| failed(error.to_string()))?,
        );
        if let Some(caller) = caller {
            rewrite::name_caller(headers, upstream.settings(), caller)
                .map_err(|error| failed(error.to_string()))?;
        }
        let response = upstream
            .send(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(LookupAnswer::Missing),
            status => return Err(failed(format!("`{path}` answered {status}"))),
        }
        let body = Limited::new(response.into_body(), MAX_FACTS)
            .collect()
            .await;
        body.map(|whole| LookupAnswer::Found(whole.to_bytes()))
            .map_err(|error| failed(error.to_string()))
    }
}
