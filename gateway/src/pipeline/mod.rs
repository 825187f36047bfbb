//! The story of one request: normalise, route, authenticate, read, authorise, rewrite, forward.
//!
//! Each step consumes the type of the step before it, so that no step can be left out: what is
//! forwarded holds a [`Permit`], and only `authorise` can make one. Every refusal goes through one
//! place that turns it into an answer, and one wrapper observes it all.

mod access_log;
mod address;
mod answer;
mod authenticate;
mod authorise;
mod database;
mod forward;
mod guard;
mod headers;
mod lookups;
mod names;
mod normalise;
mod observe;
mod read;
mod refusal;
mod rewrite;
mod watched;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{HeaderValue, Request, Response, StatusCode, header};
use ipnet::IpNet;
use tokio::sync::watch;

use crate::audit::Audit;
use crate::body::Body;
use crate::clock::SharedClock;
use crate::config::{Config, MethodOverride, PublicUrl};
use crate::cookie::Binder;
use crate::directory::SharedDirectory;
use crate::metrics::Metrics;
use crate::policy::{Authoriser, Lookups, Overrides, PolicySet, RouteMatch};
use crate::session::Sessions;
use crate::session::assertion::Keyring;
use crate::target::{TargetError, is_safe};
use crate::trace::Traces;
use crate::upstream::Upstreams;
pub use access_log::AccessLog;
pub use authorise::Permit;
pub use database::FactsDatabase;
pub use headers::HeaderPlan;
pub use names::Names;
use normalise::Normalised;
pub use normalise::REFUSED;
use observe::Seen;
pub use refusal::Refusal;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The resolved configuration.
    pub config: Config,
    /// The policy set in force; swapped whole.
    pub policy: ArcSwap<PolicySet>,
    /// Facts and decisions, cached.
    pub authoriser: Authoriser,
    /// The application's database, where policies may ask one.
    pub facts_database: Option<FactsDatabase>,
    /// Who is logged in.
    pub sessions: Arc<Sessions>,
    /// Names for the pages that refuse.
    pub directory: SharedDirectory,
    /// Signs assertions.
    pub keyring: Arc<Keyring>,
    /// Counts.
    pub metrics: Metrics,
    /// What happened.
    pub audit: Audit,
    /// One line per request.
    pub access_log: AccessLog,
    /// What is told of requests to a collector, if there is one.
    pub traces: Traces,
    /// Time.
    pub clock: SharedClock,
    /// The gateway's own pages.
    pub own_pages: Arc<dyn OwnPages>,
    /// What is stripped from every request, and what is set.
    pub headers: Arc<HeaderPlan>,
    /// What of the latter names someone, written once.
    pub names: Names,
    /// Binds the application's cookies to their users.
    pub binder: Binder,
}

/// The gateway's own pages, which the floor above provides.
#[async_trait]
pub trait OwnPages: Send + Sync + std::fmt::Debug {
    /// Answers a request below the gateway's prefix; its extensions hold [`crate::client::Client`].
    async fn answer(&self, request: Request<Body>) -> Response<Body>;
}

/// The other end of the connection that a request came over.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address; with the PROXY protocol, the one told there.
    pub address: IpAddr,
    /// Whether the client's connection is encrypted; `None` where a router ends the encryption and
    /// does not say.
    pub encrypted: Option<bool>,
    /// The trusted proxies, if it is one of them: then its forwarding headers are believed.
    pub believed: Option<Arc<[IpNet]>>,
    /// Keeps the connection counted.
    pub hold: Hold,
}

impl Peer {
    /// The scheme of the client's connection; where a router does not say, the public URL's.
    fn scheme(&self, public: &PublicUrl) -> &'static str {
        match self.encrypted.unwrap_or(public.scheme != "http") {
            true => "https",
            false => "http",
        }
    }
}

/// Whoever holds it keeps the client's connection counted as open: an upgrade outlives the HTTP
/// that began it.
#[derive(Clone, Default)]
pub struct Hold(Option<Arc<dyn Held>>);

/// What a [`Hold`] holds, and drops when the connection is over.
pub trait Held: Send + Sync {
    /// Turns true when the gateway ends, and the connection shall.
    fn draining(&self) -> watch::Receiver<bool>;
}

impl Hold {
    /// Holds what is dropped when the connection is over.
    pub fn new(held: impl Held + 'static) -> Self {
        Self(Some(Arc::new(held)))
    }

    /// Resolves when the gateway ends.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        let draining = self.0.as_ref().map(|held| held.draining());
        async move {
            match draining {
                Some(mut draining) => {
                    let _ = draining.wait_for(|draining| *draining).await;
                }
                None => std::future::pending().await,
            }
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.0.is_some()).finish()
    }
}

/// One worker's way through: the shared parts, and upstream connections of its own.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
    upstreams: Arc<Upstreams>,
    lookups: Arc<dyn Lookups>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("upstreams", &self.upstreams)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline for one worker. `None` without any configured upstream.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Option<Self> {
        let upstreams = Arc::new(Upstreams::new(
            &shared.config.upstreams,
            shared.config.workers,
            &shared.metrics,
        )?);
        let lookups = Arc::new(lookups::Sources::new(Arc::clone(&upstreams), &shared));
        Some(Self {
            shared,
            upstreams,
            lookups,
        })
    }

    /// Its upstream connections.
    #[must_use]
    pub fn upstreams(&self) -> Arc<Upstreams> {
        Arc::clone(&self.upstreams)
    }

    /// Its way to ask for facts.
    #[must_use]
    pub fn lookups(&self) -> Arc<dyn Lookups> {
        Arc::clone(&self.lookups)
    }

    /// The whole story, observed; always an answer.
    pub async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body> {
        let mut seen = Seen::begin(&peer, &request);
        let mut answer = match self.tell(peer, request, &mut seen).await {
            Ok(response) => response,
            Err(refusal) => {
                seen.note_refusal(&self.shared, &refusal);
                refusal.into_answer(&self.shared, &mut seen)
            }
        };
        let upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if seen.http1 && seen.upgrade_asked && !upgraded {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        seen.end(&self.shared, &answer);
        answer
    }

    /// The story itself.
    async fn tell(
        &self,
        peer: Peer,
        request: Request<Body>,
        seen: &mut Seen,
    ) -> Result<Response<Body>, Refusal> {
        let normalised = normalise::normalise(&self.shared, peer, request, seen)?;
        if normalised.is_own(&self.shared.config.prefix) {
            return Ok(self
                .shared
                .own_pages
                .answer(normalised.into_own(seen))
                .await);
        }
        let routed = Routed::new(&self.shared, normalised, seen)?;
        let authenticated = authenticate::authenticate(&self.shared, routed, seen).await?;
        let authenticated = read::read(&self.shared, authenticated, seen).await?;
        let permit = authorise::authorise(&self.shared, &self.lookups, authenticated, seen).await?;
        let outgoing = rewrite::rewrite(&self.shared, &self.upstreams, permit)?;
        forward::forward(&self.shared, &self.lookups, outgoing, seen).await
    }
}

/// A target with the route that it matches, if any, in the policy set that judges it to the end.
#[derive(Debug)]
struct Routed {
    normalised: Normalised,
    set: Arc<PolicySet>,
    matched: Option<RouteMatch>,
    /// What it is besides, if the application takes it for another method.
    also: Vec<RouteMatch>,
}

impl Routed {
    fn new(shared: &Shared, mut normalised: Normalised, seen: &mut Seen) -> Result<Self, Refusal> {
        normalised.refuse_cross_site(&shared.config, false)?;
        let set = shared.policy.load_full();
        let mut matched = set.route(normalised.target(), normalised.host());
        if set.encoded_slashes() {
            let held = matched.as_ref().map(RouteMatch::holds_slashes);
            if !held.unwrap_or_else(|| !normalised.target().path().contains("%2F")) {
                return Err(Refusal::Target(TargetError::Separator));
            }
        }
        let upstream = matched.as_ref().and_then(|found| found.route().upstream());
        if normalised.strip_query(shared.config.upstream(upstream)) {
            // What is judged is what is forwarded.
            matched = set.route(normalised.target(), normalised.host());
        }
        if let Some(matched) = &matched {
            seen.route = Some(Arc::clone(matched.route()));
        }
        let mut routed = Self {
            normalised,
            set,
            matched,
            also: Vec::new(),
        };
        let headers = routed.normalised.request.headers();
        let declared = routed.declared(shared);
        let target = routed.normalised.target();
        let methods = routed.set.overrides_in_head(target, headers, declared)?;
        if !methods.is_empty() {
            routed.take_for(shared, &Overrides::These(methods))?;
        }
        Ok(routed)
    }

    /// Where the upstream reads a method that overrides the request's.
    fn declared(&self, shared: &Shared) -> MethodOverride {
        let name = self
            .matched
            .as_ref()
            .and_then(|matched| matched.route().upstream());
        let mut upstreams = shared.config.upstreams.iter();
        let upstream = upstreams.find(|upstream| name.is_none_or(|name| name == upstream.name));
        upstream
            .map(|upstream| upstream.method_override)
            .unwrap_or_default()
    }

    /// Judges the request by other methods as well: it must be allowed under each.
    fn take_for(&mut self, shared: &Shared, overrides: &Overrides) -> Result<(), Refusal> {
        let (target, host) = (self.normalised.target(), self.normalised.host());
        let Some(also) = self.set.overridden(target, host, overrides) else {
            // Under some method no route takes it.
            self.matched = None;
            return Ok(());
        };
        let unsafe_ones = also.iter().any(|matched| !is_safe(matched.method()));
        self.normalised
            .refuse_cross_site(&shared.config, unsafe_ones)?;
        if self.set.encoded_slashes() && !also.iter().all(RouteMatch::holds_slashes) {
            return Err(Refusal::Target(TargetError::Separator));
        }
        self.also.extend(also);
        Ok(())
    }

    /// Everything that the request may be.
    fn all(&self) -> impl Iterator<Item = &RouteMatch> {
        self.matched.iter().chain(&self.also)
    }

    /// Whether everyone may, logged in or not.
    fn is_public(&self) -> bool {
        self.matched.is_some() && self.all().all(|matched| matched.route().is_public())
    }
}
