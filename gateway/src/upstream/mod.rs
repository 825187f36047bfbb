//! Upstreams: the services we forward to, their connections and their failures.
//!
//! Every worker has its own [`Upstreams`], so that a request, its client's connection and its
//! upstream's connection live on one core. A request that may have reached the upstream is never
//! sent again: only one that was handed back unsent is tried on another connection.

mod frames;
mod pool;
mod progress;
mod upgrade;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::client::conn::http1::SendRequest;
use prometheus::Histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout};

use crate::body::Body;
use crate::config;
use crate::metrics::Metrics;
use pool::Pool;
use progress::Watched;
pub use upgrade::{OnUpgrade, bridge, client_side, upstream_side};

/// How an upstream can fail a request, as counted.
pub const FAILURES: [&str; 4] = ["broken", "connect", "full", "timeout"];

/// The services that one worker forwards to.
#[derive(Debug)]
pub struct Upstreams {
    by_name: HashMap<Arc<str>, Arc<Upstream>>,
    default: Arc<Upstream>,
}

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No endpoint took a connection in time.
    #[error("no endpoint of upstream `{upstream}` can be reached: {reason}")]
    Connect {
        /// Which.
        upstream: Arc<str>,
        /// What the last one said.
        reason: String,
    },
    /// The connection broke, or what came over it is not HTTP.
    #[error("upstream `{upstream}` broke off: {source}")]
    Broken {
        /// Which.
        upstream: Arc<str>,
        /// What hyper saw.
        source: hyper::Error,
    },
    /// The request's own body stood still for too long.
    #[error("the request's body stood still")]
    RequestStalled,
    /// As many requests are under way as the configuration allows.
    #[error("upstream `{upstream}` has as many requests under way as it may")]
    Full {
        /// Which.
        upstream: Arc<str>,
    },
    /// No answer by the deadline.
    #[error("upstream `{upstream}` did not answer in {} s", after.as_secs_f32())]
    Timeout {
        /// Which.
        upstream: Arc<str>,
        /// The deadline.
        after: Duration,
    },
}

impl Upstreams {
    /// Pools for the configured upstreams; connects to nothing yet. `None` without any upstream.
    #[must_use]
    pub fn new(configured: &[config::Upstream], workers: usize, metrics: &Metrics) -> Option<Self> {
        let all: Vec<_> = configured
            .iter()
            .map(|upstream| Arc::new(Upstream::new(upstream, workers, metrics)))
            .collect();
        let default = Arc::clone(all.first()?);
        let by_name = all
            .into_iter()
            .map(|one| (Arc::clone(&one.name), one))
            .collect();
        Some(Self { by_name, default })
    }

    /// The upstream of a name; the first configured one without.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<&Arc<Upstream>> {
        name.map_or(Some(&self.default), |name| self.by_name.get(name))
    }
}

/// One service, as one worker reaches it.
#[derive(Debug)]
pub struct Upstream {
    name: Arc<str>,
    settings: config::Upstream,
    pool: Arc<Pool>,
    /// This worker's share of the requests that may be under way.
    places: Arc<Semaphore>,
    share: usize,
    metrics: Metrics,
    response_seconds: Histogram,
}

impl Upstream {
    fn new(settings: &config::Upstream, workers: usize, metrics: &Metrics) -> Self {
        let name: Arc<str> = settings.name.as_str().into();
        let share = (settings.concurrency / workers.max(1)).max(1);
        // There from the start, so that the first failure is an increase.
        for kind in FAILURES {
            metrics.upstream_errors.with_label_values(&[&*name, kind]);
        }
        Self {
            pool: Arc::new(Pool::new(settings)),
            places: Arc::new(Semaphore::new(share)),
            share,
            response_seconds: metrics.upstream_seconds.with_label_values(&[&*name]),
            settings: settings.clone(),
            metrics: metrics.clone(),
            name,
        }
    }

    /// Its name; the assertion's `aud`.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How it was configured.
    #[must_use]
    pub const fn settings(&self) -> &config::Upstream {
        &self.settings
    }

    /// How many requests are under way, until their answers have been read, and how many may be.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        let free = self.places.available_permits();
        (self.share.saturating_sub(free), self.share)
    }

    /// Sends a request in origin-form and returns the response once its head is here; its body
    /// streams. The connection goes back to the pool when the body has ended.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`]; the request is tried again only where nothing of it was sent.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.count("full");
            return Err(UpstreamError::Full {
                upstream: Arc::clone(&self.name),
            });
        };
        let watch = progress::watch(&mut request, self.settings.idle_timeout);
        let started = Instant::now();
        loop {
            let (mut connection, fresh) = match self.pool.take() {
                Some(kept) => (kept, false),
                None => (self.connect().await?, true),
            };
            match self.exchange(&mut connection, request, &watch).await? {
                Ok(response) => {
                    self.response_seconds
                        .observe(started.elapsed().as_secs_f64());
                    return Ok(self.deliver(response, connection, place));
                }
                Err(mut refused) => match refused.take_message() {
                    // A kept connection that closed under us took nothing: the next one is tried.
                    Some(unsent) if !fresh => request = unsent,
                    _ if watch.stalled() => return Err(UpstreamError::RequestStalled),
                    _ => return Err(self.broken(refused.into_error())),
                },
            }
        }
    }

    /// One attempt, until the response's head or the deadline.
    async fn exchange(
        &self,
        connection: &mut SendRequest<Body>,
        request: Request<Body>,
        watch: &Watched,
    ) -> Result<Result<Response<hyper::body::Incoming>, TrySendError>, UpstreamError> {
        let after = self.settings.response_timeout;
        let mut answer = std::pin::pin!(connection.try_send_request(request));
        let mut deadline = tokio::time::Instant::now() + after;
        loop {
            tokio::select! {
                biased;
                answered = &mut answer => return Ok(answered),
                () = sleep_until(deadline) => match watch.extension(after) {
                    Some(later) => deadline = later,
                    None => {
                        self.count("timeout");
                        return Err(UpstreamError::Timeout { upstream: Arc::clone(&self.name), after });
                    }
                },
            }
        }
    }

    /// A new connection to the first endpoint that takes one.
    async fn connect(&self) -> Result<SendRequest<Body>, UpstreamError> {
        let mut reason = String::new();
        for endpoint in self.pool.endpoints() {
            match timeout(self.settings.connect_timeout, pool::connect(endpoint)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => reason = error.to_string(),
                Err(_) => "the connection did not stand in time".clone_into(&mut reason),
            }
        }
        self.count("connect");
        Err(UpstreamError::Connect {
            upstream: Arc::clone(&self.name),
            reason,
        })
    }

    /// The response with a body that hands its connection back at its end.
    fn deliver(
        &self,
        response: Response<hyper::body::Incoming>,
        connection: SendRequest<Body>,
        place: OwnedSemaphorePermit,
    ) -> Response<Body> {
        let (head, incoming) = response.into_parts();
        if http_body::Body::is_end_stream(&incoming) {
            if head.status != http::StatusCode::SWITCHING_PROTOCOLS {
                self.pool.put(connection);
            }
            // An upgrade's connection lives on behind `upgrade::upstream_side`.
            return Response::from_parts(head, Body::Empty);
        }
        let body = pool::Returning::new(
            incoming,
            connection,
            Arc::clone(&self.pool),
            self.settings.idle_timeout,
            place,
        );
        Response::from_parts(head, Body::boxed(body))
    }

    fn broken(&self, source: hyper::Error) -> UpstreamError {
        self.count("broken");
        UpstreamError::Broken {
            upstream: Arc::clone(&self.name),
            source,
        }
    }

    fn count(&self, kind: &str) {
        self.metrics
            .upstream_errors
            .with_label_values(&[&*self.name, kind])
            .inc();
    }

    /// Whether an endpoint takes a connection now.
    pub async fn is_reachable(&self) -> bool {
        let all = futures_util::future::join_all(
            self.pool
                .endpoints()
                .map(|endpoint| timeout(self.settings.connect_timeout, pool::connect(endpoint))),
        );
        all.await.iter().any(|one| matches!(one, Ok(Ok(_))))
    }
}

type TrySendError = hyper::client::conn::TrySendError<Request<Body>>;
