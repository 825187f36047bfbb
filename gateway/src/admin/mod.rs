//! What ops talk to: a listener with metrics, health, readiness and the development outbox, and a
//! Unix socket that the commands act through ([`socket`], [`client`]).
//!
//! The listener is bound to loopback by default and shares no router, port or prefix with the public
//! listeners. What it shows comes through functions that `app` fills in.

pub mod client;
pub mod operations;
pub mod socket;
pub mod status;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// One condition of being ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is looked at: `certificates`, `policy`, `store`, `upstream:NAME` …
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What is wrong, or worth knowing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the gateway can serve without it.
    #[serde(default)]
    pub optional: bool,
}

impl Check {
    /// Whether the gateway can serve.
    #[must_use]
    pub fn all_well(checks: &[Self]) -> bool {
        checks.iter().all(|check| check.ok || check.optional)
    }
}

type Checks = Pin<Box<dyn Future<Output = Vec<Check>> + Send>>;

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    /// All counts.
    pub metrics: Metrics,
    /// Looks at every condition of being ready.
    pub readiness: Arc<dyn Fn() -> Checks + Send + Sync>,
    /// What is told of the policy set in force.
    pub policy: Arc<dyn Fn() -> status::Policy + Send + Sync>,
    /// The messages kept by the development outbox, if there is one.
    pub outbox: Option<Arc<dyn Fn() -> Value + Send + Sync>>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("outbox", &self.outbox.is_some())
            .finish_non_exhaustive()
    }
}

/// Serves until `stop` resolves.
///
/// # Errors
///
/// What the system says of the socket.
pub async fn serve(
    admin: Admin,
    socket: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/outbox", get(outbox))
        .with_state(admin)
        .into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(socket, router)
        .with_graceful_shutdown(stop)
        .await
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// `200` once everything that is needed is as it should be; the reasons either way.
async fn readyz(State(admin): State<Admin>) -> Response {
    let checks = (admin.readiness)().await;
    let ready = Check::all_well(&checks);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let told = json!({ "ready": ready, "checks": checks, "policy": (admin.policy)() });
    (status, Json(told)).into_response()
}

/// Login codes: for a program on this machine that says so, never for a page that was made to ask.
async fn outbox(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let Some(messages) = &admin.outbox else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !peer.ip().to_canonical().is_loopback() || !names_loopback(&headers) {
        return (StatusCode::FORBIDDEN, "the outbox is for loopback only\n").into_response();
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(messages())).into_response()
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let Ok(authority) = host.parse::<http::uri::Authority>() else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_name_may_ask_for_codes() {
        for (host, fits) in [
            ("localhost:9090", true),
            ("127.0.0.1:9090", true),
            ("[::1]:9090", true),
            ("127.0.0.1.evil.example", false),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(names_loopback(&headers), fits, "{host}");
        }
        assert!(!names_loopback(&HeaderMap::new()));
    }
}
