//! To the collector: OTLP over HTTP, in its JSON encoding (OpenTelemetry Protocol 1.0), a batch a
//! request. What cannot be delivered is dropped and counted: a trace is a convenience.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prometheus::IntCounter;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Item, Span};
use crate::config::HttpUrl;

/// Most spans of a batch.
const BATCH: usize = 512;
/// How long the first of a batch waits for others.
const PACE: Duration = Duration::from_secs(1);
/// For a batch to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends what is queued until nobody is left to queue anything.
pub(super) async fn export(url: HttpUrl, mut items: mpsc::Receiver<Item>, dropped: IntCounter) {
    let mut failing = false;
    while let Some(first) = items.recv().await {
        let (batch, flushes) = gather(first, &mut items).await;
        if !batch.is_empty() {
            let failed = deliver(&url, &batch).await.err();
            match &failed {
                Some(error) if !failing => {
                    tracing::warn!(%error, "traces cannot be delivered, and are dropped");
                }
                None if failing => tracing::warn!("traces are delivered again"),
                _ => {}
            }
            failing = failed.is_some();
            if failing {
                dropped.inc_by(batch.len() as u64);
            }
        }
        for flush in flushes {
            let _ = flush.send(());
        }
    }
}

type Flushes = Vec<tokio::sync::oneshot::Sender<()>>;

/// A batch: until it is full, its time is over, or someone waits for it.
async fn gather(first: Item, items: &mut mpsc::Receiver<Item>) -> (Vec<Span>, Flushes) {
    let (mut batch, mut flushes) = (Vec::new(), Vec::new());
    let mut next = Some(first);
    let end = tokio::time::Instant::now() + PACE;
    while let Some(item) = next {
        match item {
            Item::Span(span) => batch.push(*span),
            Item::Flush(done) => flushes.push(done),
        }
        if batch.len() >= BATCH || !flushes.is_empty() {
            break;
        }
        next = tokio::time::timeout_at(end, items.recv())
            .await
            .ok()
            .flatten();
    }
    (batch, flushes)
}

async fn deliver(url: &HttpUrl, batch: &[Span]) -> io::Result<()> {
    timeout(PATIENCE, post(url, document(batch).to_string().into()))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn post(url: &HttpUrl, body: Bytes) -> io::Result<()> {
    let host = url.origin.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, url.origin.port.unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Dropped, and with it the connection, when this returns.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(&url.path)
        .header(header::HOST, url.origin.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status();
    let _ = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await;
    if status.is_success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("the collector answers {status}")))
    }
}

/// `ExportTraceServiceRequest`.
fn document(batch: &[Span]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", "portvakt"), text("service.version", version)] },
        "scopeSpans": [{
            "scope": { "name": "portvakt", "version": version },
            "spans": batch.iter().flat_map(spans).collect::<Vec<_>>(),
        }],
    }] })
}

/// The request as it came in, and as it went on.
fn spans(span: &Span) -> Vec<Value> {
    let context = &span.context;
    let ended = u128::from(span.ended.as_millis()) * 1_000_000;
    let begun = ended.saturating_sub(span.took.as_nanos());
    let failed = span.status.is_server_error();
    let mut attributes = vec![
        text("http.request.method", method(&span.method)),
        text("http.route", &span.route),
        json!({ "key": "http.response.status_code",
                "value": { "intValue": span.status.as_u16().to_string() } }),
    ];
    attributes.extend(span.rule.as_ref().map(|rule| text("portvakt.rule", rule)));
    let mut server = json!({
        "traceId": HEXLOWER.encode(&context.trace),
        "spanId": HEXLOWER.encode(&context.server),
        "name": span.route,
        "kind": 2,
        "startTimeUnixNano": begun.to_string(),
        "endTimeUnixNano": ended.to_string(),
        "attributes": attributes,
        "status": { "code": if failed { 2 } else { 0 } },
    });
    if let (Some(parent), Some(fields)) = (context.parent, server.as_object_mut()) {
        fields.insert("parentSpanId".to_owned(), HEXLOWER.encode(&parent).into());
    }
    let client = span.upstream.as_ref().map(|(name, after, took)| {
        let begun = begun + after.as_nanos();
        json!({
            "traceId": HEXLOWER.encode(&context.trace),
            "spanId": HEXLOWER.encode(&context.client),
            "parentSpanId": HEXLOWER.encode(&context.server),
            "name": &**name,
            "kind": 3,
            "startTimeUnixNano": begun.to_string(),
            "endTimeUnixNano": (begun + took.as_nanos()).to_string(),
            "attributes": [text("portvakt.upstream", name)],
        })
    });
    std::iter::once(server).chain(client).collect()
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// A method that clients make up is not to fill a collector with names.
fn method(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => method.as_str(),
        _ => "_OTHER",
    }
}
