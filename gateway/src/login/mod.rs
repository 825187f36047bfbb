//! The login: an e-mail address, then a four-digit code by SMS, then a session.
//!
//! A service over `http` types for every path below the gateway's prefix; it knows nothing of the
//! proxy. Pages and JSON calls share one code path: an extractor reads either (`visit.rs`), the
//! steps (`opening.rs`, `challenge.rs`) know neither, and what they refuse is answered in one place (`refused.rs`).
//!
//! What an address is worth is never told: known, unknown and suspended addresses take the same
//! steps, draw on the same counters and get the same answers, which leave on a fixed tick.

mod account;
mod agent;
mod challenge;
mod code;
mod cookies;
mod delivery;
mod email;
mod landing;
mod link;
mod notice;
mod opening;
mod refused;
mod safety;
mod sending;
mod visit;
mod waiting;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use tokio::time::Instant;
use tower_service::Service;

use crate::audit::{Audit, Record};
use crate::body::Body;
use crate::clock::SharedClock;
use crate::config::{self, Config};
use crate::directory::SharedDirectory;
use crate::limit;
use crate::metrics::Metrics;
use crate::pages::{self, safety::Safety};
use crate::secret::{Key, MasterKey};
use crate::session::assertion::Keyring;
use crate::session::{Session, Sessions};
use crate::store::{SharedStore, StoreError};

use delivery::{Delivery, Patience, QueuedMailer, RECEIPTS, Receipt, Receipts};
use refused::Refused;
use visit::Visit;

pub use delivery::{
    CarrierError, Carriers, Mailer, Message, Outbox, OutboxMailer, SendError, Sender, SmtpMailer,
    Twilio, Webhook,
};

/// Label of the derived key under which accounts are counted; whoever unlocks one needs it too.
pub const ACCOUNT_KEY: &str = "login account";

/// How often a drain looks whether it is over.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// What the login is built from.
#[derive(Debug)]
pub struct LoginParts<'a> {
    /// Challenges, budgets, devices.
    pub store: SharedStore,
    /// Who exists.
    pub directory: SharedDirectory,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// The assertion's keys, whose public halves are published here.
    pub keyring: Arc<Keyring>,
    /// What every lifetime and window runs on.
    pub clock: SharedClock,
    /// Root of the pepper and of the form and account keys.
    pub master: &'a MasterKey,
    /// Who takes codes to telephones, in the order in which they are tried.
    pub senders: Vec<Arc<dyn Sender>>,
    /// Who takes mails to people; `None` without a mail server.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// The audit trail.
    pub audit: Audit,
    /// Counters.
    pub metrics: Metrics,
    /// Public URL, prefix, origins and limits.
    pub config: &'a Config,
}

/// The gateway's own pages.
#[derive(Clone)]
pub struct Login {
    desk: Arc<Desk>,
    routes: Router,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

/// What every step has at hand.
struct Desk {
    store: SharedStore,
    directory: SharedDirectory,
    sessions: Arc<Sessions>,
    keyring: Arc<Keyring>,
    clock: SharedClock,
    /// Hashes codes; the store never holds it.
    pepper: Key,
    /// Binds a form to its cookie.
    form_key: Key,
    /// Names accounts in the store.
    account_key: Key,
    delivery: Delivery,
    receipts: Option<Receipts>,
    /// Where the shield's links go; `None` without a mail server.
    mailer: Option<QueuedMailer>,
    sending: limit::Sending,
    verification: limit::Verification,
    /// Whether the shield was raised when it was looked at last.
    shield_seen: AtomicBool,
    audit: Audit,
    metrics: Metrics,
    limits: config::Login,
    body_timeout: Duration,
    prefix: String,
    /// Host of the public URL, which messages are bound to.
    host: String,
    origin: String,
    allowed_origins: Vec<String>,
    /// Who tells the safety statement, where everyone may read it.
    safety: OnceLock<Weak<dyn Safety>>,
}

impl Login {
    /// Builds the login, and starts the task that delivers its messages on the Tokio runtime that
    /// this is called in.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn new(parts: LoginParts<'_>) -> Self {
        let config = parts.config;
        let patience = Patience {
            queue: config.sms.queue,
            lifetime: config.login.code_lifetime,
        };
        let delivery = Delivery::start(
            parts.senders,
            patience,
            Arc::clone(&parts.clock),
            parts.metrics.clone(),
        );
        let mailer = parts.mailer;
        let sends = parts.master.derive("login sends");
        let sending = limit::Sending::new(sends, &config.login.sends, &*parts.directory);
        let desk = Arc::new(Desk {
            sending,
            store: parts.store,
            directory: parts.directory,
            sessions: parts.sessions,
            keyring: parts.keyring,
            clock: parts.clock,
            pepper: parts.master.derive("login pepper"),
            form_key: parts.master.derive("login form"),
            account_key: parts.master.derive(ACCOUNT_KEY),
            delivery,
            receipts: Receipts::of(config, parts.metrics.clone()),
            mailer: mailer.map(|mailer| QueuedMailer::start(mailer, parts.metrics.clone())),
            verification: limit::Verification::new(config.login.code_lifetime),
            shield_seen: AtomicBool::new(false),
            audit: parts.audit,
            metrics: parts.metrics,
            limits: config.login.clone(),
            body_timeout: config.limits.body_timeout,
            prefix: config.prefix.clone(),
            host: config.public_url.host.clone(),
            origin: config.public_url.origin(),
            allowed_origins: config.allowed_origins.clone(),
            safety: OnceLock::new(),
        });
        let routes = routes(Arc::clone(&desk));
        Self { desk, routes }
    }

    /// Answers a request for a path below the prefix; any other path is missing.
    ///
    /// The request's host, framing and target have been judged, and its extensions hold the
    /// [`Client`](crate::client::Client). The answers of the login's steps leave on the configured
    /// tick, counted from the moment of this call.
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        let arrived = Instant::now();
        let (mut parts, body) = request.into_parts();
        parts.uri = below(&self.desk.prefix, &parts.uri);
        let steps = matches!(parts.uri.path(), "/login" | "/code" | "/resend" | "/link");
        let ticked = steps && parts.method == Method::POST;
        let request = Request::from_parts(parts, axum::body::Body::new(body));
        let Ok(response) = self.routes.clone().call(request).await;
        if ticked {
            wait_for_tick(arrived, self.desk.limits.answer_tick).await;
        }
        response.map(Body::boxed)
    }

    /// Lets everyone read the safety statement, as `safety` tells it.
    pub fn show_safety(&self, safety: Weak<dyn Safety>) {
        // Only the first can be told: there is one gateway around a login.
        let _ = self.desk.safety.set(safety);
    }

    /// Tells, in metrics, log and audit trail, of a shield that was raised or lowered and of too
    /// few codes being typed in. To be called every few seconds.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store does not answer.
    pub async fn watch(&self) -> Result<(), StoreError> {
        let now = self.desk.clock.now();
        self.desk.watch_verification(now);
        self.desk.watch_shield(now).await?;
        Ok(())
    }

    /// What the caps on all messages together allow, and how many of it were asked for within each
    /// one's window.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store does not answer.
    pub async fn messages(&self) -> Result<Vec<(config::Window, u32)>, StoreError> {
        let now = self.desk.clock.now();
        let mut told = Vec::new();
        for (window, key) in self.desk.sending.caps_on_all() {
            let drafts = self.desk.store.drafts(key).await?;
            let within = drafts.iter().filter(|(at, _)| at.plus(window.per) > now);
            told.push((window, within.map(|(_, count)| count).sum()));
        }
        Ok(told)
    }

    /// Waits until every message and mail that was asked for has been sent or has failed; after
    /// `patience`, tells in log and metrics of those that were not, and are dropped.
    pub async fn drain(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mails = || self.desk.mailer.as_ref().map_or(0, QueuedMailer::waiting);
        let waiting = || (self.desk.delivery.waiting(), mails());
        while waiting() != (0, 0) && Instant::now() < end {
            tokio::time::sleep(DRAIN_STEP).await;
        }
        let (messages, mails) = waiting();
        if messages + mails == 0 {
            return;
        }
        tracing::error!(
            messages,
            mails,
            "the gateway ends before these could be sent: they are dropped"
        );
        self.desk.delivery.give_up(messages);
        if let Some(mailer) = &self.desk.mailer {
            mailer.give_up(mails);
        }
    }
}

fn routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/login", get(email::form).post(email::submit))
        .route("/code", get(code::form).post(code::submit))
        .route("/resend", post(code::resend))
        .route("/wait", get(waiting::show))
        .route("/link", get(link::form).post(link::submit))
        .route("/logout", post(account::logout))
        .route("/account", get(account::show))
        .route("/account/sessions/{id}/revoke", post(account::revoke))
        .route("/account/devices/{id}/forget", post(account::forget))
        .route(RECEIPTS, post(receipt))
        .route("/whoami", get(account::whoami))
        .route("/jwks.json", get(jwks))
        .route("/safety", get(safety::show))
        .route("/assets/{name}", get(asset))
        .fallback(async |State(desk): State<Arc<Desk>>, visit: Visit| {
            Refused::Missing.answer(&desk, &visit)
        })
        .method_not_allowed_fallback(async |State(desk): State<Arc<Desk>>, visit: Visit| {
            Refused::Method.answer(&desk, &visit)
        })
        .with_state(desk)
}

async fn jwks(State(desk): State<Arc<Desk>>) -> Response<Body> {
    pages::json(StatusCode::OK, &desk.keyring.jwks())
}

/// A provider tells what became of a message. It has no cookie and no page of ours: its signature
/// is what makes it believed.
async fn receipt(
    State(desk): State<Arc<Desk>>,
    visit: Visit,
    body: axum::body::Body,
) -> Response<Body> {
    let Some(receipts) = &desk.receipts else {
        return Refused::Missing.answer(&desk, &visit);
    };
    let form = match visit::whole(&desk, body).await {
        Ok(form) => form,
        Err(refused) => return refused.answer(&desk, &visit),
    };
    let signature = visit.headers.get("x-twilio-signature");
    match receipts.take(signature.map(HeaderValue::as_bytes), &form) {
        Receipt::News | Receipt::Duplicate => pages::bare(StatusCode::NO_CONTENT),
        Receipt::Forged => pages::bare(StatusCode::FORBIDDEN),
    }
}

async fn asset(State(desk): State<Arc<Desk>>, name: Segment, visit: Visit) -> Response<Body> {
    segment(name)
        .ok()
        .and_then(|name| pages::asset(&name, &visit.headers))
        .unwrap_or_else(|| Refused::Missing.answer(&desk, &visit))
}

/// The part of a path that names something.
type Segment = Result<Path<String>, PathRejection>;

/// A name that cannot be read names nothing.
fn segment(segment: Segment) -> Result<String, Refused> {
    segment.map(|Path(name)| name).map_err(|_| Refused::Missing)
}

impl Desk {
    /// The live session of the browser that visits, if it shows one.
    async fn session(&self, visit: &Visit) -> Result<Option<Arc<Session>>, Refused> {
        match visit.jar.bearer(cookies::SESSION) {
            Some(cookie) => Ok(self.sessions.find(&cookie).await?),
            None => Ok(None),
        }
    }

    /// Counts a step by how it ended.
    fn count(&self, step: &str, result: &str) {
        self.metrics.logins.with_label_values(&[step, result]).inc();
    }

    /// A record of what a visit did.
    fn record(&self, visit: &Visit, event: &'static str, result: &str) -> Record {
        Record {
            client: Some(visit.client.address.to_string()),
            request_id: Some(visit.client.request_id.to_string()),
            ..Record::new(self.clock.now(), event, result)
        }
    }
}

/// What follows the prefix in a path, with the query; a path that matches nothing if there is no
/// such thing.
fn below(prefix: &str, uri: &Uri) -> Uri {
    uri.path_and_query()
        .and_then(|whole| whole.as_str().strip_prefix(prefix))
        .filter(|rest| rest.starts_with('/'))
        .and_then(|rest| PathAndQuery::try_from(rest).ok())
        .map_or_else(Uri::default, Uri::from)
}

/// Returns at the next multiple of `tick` since `arrived`, so that the work in between does not
/// show in the time that it took.
async fn wait_for_tick(arrived: Instant, tick: Duration) {
    let tick_nanos = tick.as_nanos();
    if tick_nanos == 0 {
        return;
    }
    let ticks = arrived.elapsed().as_nanos() / tick_nanos + 1;
    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
    tokio::time::sleep_until(arrived + tick.saturating_mul(ticks)).await;
}

#[cfg(test)]
mod tests;
