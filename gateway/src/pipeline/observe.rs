//! Observe: what one request was, told once, when its answer leaves: a log line, metrics, and the
//! record of its decision.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version};

use super::access_log::Line;
use super::{Peer, Refusal, Shared};
use crate::audit::Record;
use crate::body::Body;
use crate::client::{self, Client, RequestId};
use crate::pages::Language;
use crate::policy::{Decision, Route, Verdict};
use crate::principal::{Principal, UserId};
use crate::target::{self, Target};
use crate::trace;

/// What is known of a request so far, for its log line and for the answer that may refuse it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) request_id: RequestId,
    pub(super) navigation: bool,
    pub(super) wants_page: bool,
    pub(super) language: Language,
    pub(super) http1: bool,
    /// Whether the client asked for an upgrade: if it gets none, its connection closes, since
    /// what it sends next may be anything.
    pub(super) upgrade_asked: bool,
    /// Where a login should land: the path and query of a navigation.
    pub(super) next: String,
    pub(super) route: Option<Arc<Route>>,
    pub(super) own: bool,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) upstream_asked: Option<Instant>,
    pub(super) upstream_time: Duration,
    /// The owner's name, looked up for the page that refuses.
    pub(super) owner: Option<(UserId, Arc<str>)>,
    trace: Option<trace::Context>,
    begun: Instant,
    method: Method,
    version: Version,
    address: std::net::IpAddr,
    path: Option<String>,
    principal: Option<Arc<Principal>>,
    decision: Option<Decision>,
    reason: Option<String>,
}

impl Seen {
    pub(super) fn begin(peer: &Peer, request: &Request<Body>) -> Self {
        let headers = request.headers();
        let navigation = client::is_navigation(request.method(), headers);
        let page = headers
            .get("sec-fetch-mode")
            .map_or_else(|| client::accepts_html(headers), |mode| mode == "navigate");
        Self {
            request_id: RequestId::generate(),
            navigation,
            wants_page: page,
            language: Language::of(headers),
            http1: request.version() < Version::HTTP_2,
            upgrade_asked: headers.contains_key(http::header::UPGRADE),
            next: if navigation {
                request
                    .uri()
                    .path_and_query()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            } else {
                String::new()
            },
            route: None,
            own: false,
            upstream: None,
            upstream_asked: None,
            upstream_time: Duration::ZERO,
            owner: None,
            trace: None,
            begun: Instant::now(),
            method: request.method().clone(),
            version: request.version(),
            address: peer.address,
            path: None,
            principal: None,
            decision: None,
            reason: None,
        }
    }

    pub(super) fn client(&mut self, client: &Client, target: &Target) {
        self.request_id = client.request_id;
        self.address = client.address;
        self.path = Some(target.path().to_owned());
    }

    /// What the upstream is told of a trace. Where traces are kept, that is the request's own place in
    /// one, below the place that a trusted peer told; otherwise what was told.
    pub(super) fn trace(
        &mut self,
        traces: &trace::Traces,
        told: Option<HeaderValue>,
    ) -> Option<HeaderValue> {
        if !traces.on() {
            return told;
        }
        let context = trace::Context::begin(told.as_ref(), self.request_id.bytes());
        self.trace = Some(context);
        context.traceparent()
    }

    pub(super) fn principal(&mut self, principal: &Arc<Principal>) {
        self.principal = Some(Arc::clone(principal));
    }

    pub(super) fn decision(&mut self, decision: &Decision) {
        self.decision = Some(decision.clone());
    }

    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.reason = Some(refusal.to_string());
    }

    pub(super) fn name_of(&self, user: &UserId) -> Option<Arc<str>> {
        self.owner
            .as_ref()
            .filter(|(id, _)| id == user)
            .map(|(_, name)| Arc::clone(name))
    }

    /// The record of the decision, for the trail.
    pub(super) fn record(&self, shared: &Shared, decision: &Decision) -> Record {
        let verdict = if matches!(decision.verdict, Verdict::Allow) {
            "allow"
        } else {
            "deny"
        };
        let mut record = Record {
            resources: decision.resources.iter().map(ToString::to_string).collect(),
            rule: decision.rule.as_ref().map(ToString::to_string),
            policy: Some(decision.digest.to_string()),
            ..Record::new(shared.clock.now(), "decision", verdict)
        };
        self.describe(&mut record);
        record
    }

    /// A refusal without a decision goes on record too: no route, no session, another site, what
    /// could be read in two ways.
    pub(super) fn note_refusal(&self, shared: &Shared, refusal: &Refusal) {
        if self.decision.is_some() {
            return;
        }
        let mut record = Record {
            detail: Some(refusal.to_string()),
            ..Record::new(
                shared.clock.now(),
                "request.refused",
                refusal.status().as_str(),
            )
        };
        self.describe(&mut record);
        if let Err(error) = shared.audit.note(&record) {
            tracing::error!(%error, "a refusal was not recorded");
        }
    }

    /// Who asked for what.
    fn describe(&self, record: &mut Record) {
        let principal = self.principal.as_ref();
        record.user = principal.map(|principal| principal.id.to_string());
        record.company = principal.map(|principal| principal.company.id.to_string());
        record.client = Some(self.address.to_string());
        record.request_id = Some(self.request_id.to_string());
        record.route = self
            .route
            .as_ref()
            .map(|route| format!("{} {}", route.name(), route.label()));
        record.target = self
            .path
            .as_ref()
            .map(|path| format!("{} {path}", self.method));
    }

    /// The answer's head leaves: count it and write its line.
    pub(super) fn end(self, shared: &Shared, answer: &Response<Body>) {
        let total = self.begun.elapsed();
        let route = match &self.route {
            Some(route) => route.label(),
            None if self.own => "own",
            None => "none",
        };
        let class = if target::is_safe(&self.method) {
            "read"
        } else {
            "write"
        };
        let status = answer.status();
        shared
            .metrics
            .requests
            .with_label_values(&[route, class, status.as_str()])
            .inc();
        if shared.traces.on() {
            shared.traces.put(self.span(shared, route, status, total));
        }
        let own_time = total.saturating_sub(self.upstream_time);
        shared.metrics.own_seconds.observe(own_time.as_secs_f64());
        let principal = self.principal.as_deref();
        let line = Line {
            at: shared.clock.now(),
            request_id: self.request_id,
            client: self.address,
            method: self.method.as_str(),
            path: self.path.as_deref(),
            protocol: protocol(self.version),
            status: status.as_u16(),
            route,
            user: principal.map(|principal| principal.id.as_str()),
            company: principal.map(|principal| principal.company.id.as_str()),
            rule: self
                .decision
                .as_ref()
                .and_then(|decision| decision.rule.as_deref()),
            upstream: self.upstream.as_deref(),
            own_us: micros(own_time),
            upstream_us: micros(self.upstream_time),
            reason: self.reason.as_deref(),
        };
        if !shared.access_log.write(&line) {
            shared.metrics.log_dropped.inc();
        }
    }
}

impl Seen {
    /// The request as a trace has it.
    fn span(
        &self,
        shared: &Shared,
        route: &str,
        status: StatusCode,
        took: Duration,
    ) -> trace::Span {
        let own = || trace::Context::begin(None, self.request_id.bytes());
        let asked = self.upstream.as_ref().zip(self.upstream_asked);
        trace::Span {
            context: self.trace.unwrap_or_else(own),
            route: route.to_owned(),
            method: self.method.clone(),
            status,
            rule: self
                .decision
                .as_ref()
                .and_then(|decision| decision.rule.as_ref())
                .map(ToString::to_string),
            ended: shared.clock.now(),
            took,
            upstream: asked.map(|(name, at)| {
                let after = at.saturating_duration_since(self.begun);
                (Arc::clone(name), after, self.upstream_time)
            }),
        }
    }
}

/// The protocol's name, as logs have it.
const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
