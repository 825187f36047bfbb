//! Look-ups of facts, by way of whoever knows them: an upstream, the database, the directory.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::{Shared, rewrite};
use crate::body::Body;
use crate::policy::{LookupAnswer, LookupError, LookupRows, Lookups, OwnerAs};
use crate::principal::{EmailAddress, Principal, UserId};
use crate::upstream::Upstreams;

/// Longest answer that is read for facts, in bytes.
const MAX_FACTS: usize = 256 * 1024;

/// Asks an upstream, as the gateway or in a caller's name; the database; and the directory.
#[derive(Debug)]
pub(super) struct Sources {
    upstreams: Arc<Upstreams>,
    shared: Weak<Shared>,
}

impl Sources {
    pub(super) fn new(upstreams: Arc<Upstreams>, shared: &Arc<Shared>) -> Self {
        Self {
            upstreams,
            shared: Arc::downgrade(shared),
        }
    }
}

impl Sources {
    fn shared(&self) -> Result<Arc<Shared>, LookupError> {
        let stopping = || LookupError("the gateway is stopping".to_owned());
        self.shared.upgrade().ok_or_else(stopping)
    }
}

#[async_trait]
impl Lookups for Sources {
    async fn get(
        &self,
        upstream: Option<&str>,
        path: &str,
        caller: Option<&Arc<Principal>>,
        identity: Option<&str>,
    ) -> Result<LookupAnswer, LookupError> {
        let failed = |reason: String| LookupError(reason);
        let shared = self.shared()?;
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
        rewrite::name_asker(
            headers,
            upstream.settings(),
            caller.map(|it| &**it),
            identity,
        )
        .map_err(|error| failed(error.to_string()))?;
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

    async fn rows(&self, query: &str, id: &str) -> Result<LookupRows, LookupError> {
        let shared = self.shared()?;
        let database = shared.facts_database.as_ref();
        let database =
            database.ok_or_else(|| LookupError("no database is configured".to_owned()))?;
        let asked = database.ask(query, id).await;
        asked.map_err(|trouble| LookupError(trouble.to_string()))
    }

    async fn user(&self, named_by: OwnerAs, name: &str) -> Result<Option<UserId>, LookupError> {
        let shared = self.shared()?;
        let found = match named_by {
            OwnerAs::Id => return Ok(Some(UserId::from(name))),
            OwnerAs::Email => match EmailAddress::parse(name) {
                Ok(email) => shared.directory.by_email(&email).await,
                // What is no address is nobody's.
                Err(_) => return Ok(None),
            },
            OwnerAs::Login => shared.directory.by_login(name).await,
        };
        let found = found.map_err(|error| LookupError(error.to_string()))?;
        Ok(found.map(|person| person.principal.id.clone()))
    }
}
