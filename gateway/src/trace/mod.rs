//! Traces: what one request was, and what of it the upstream was, as OpenTelemetry has it.
//!
//! Off unless `[log] traces` names a collector; then nothing of it is made. A span says which route it
//! took and how it ended, never a path, a user or an address. Spans go through a bounded queue: one that
//! does not fit is dropped and counted, and no request waits for a collector.

mod export;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use http::{HeaderValue, Method, StatusCode};
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::config::HttpUrl;
use crate::secret;

/// Spans that may wait for the exporter.
const QUEUE: usize = 4096;

/// The way to the collector, where there is one.
#[derive(Clone, Debug)]
pub struct Traces {
    queue: Option<mpsc::Sender<Item>>,
    dropped: IntCounter,
}

#[derive(Debug)]
enum Item {
    Span(Box<Span>),
    /// Answered once everything before it has been sent, or dropped.
    Flush(oneshot::Sender<()>),
}

/// Where a request is in its trace (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace: [u8; 16],
    parent: Option<[u8; 8]>,
    server: [u8; 8],
    client: [u8; 8],
    sampled: bool,
}

/// One request, when it is over.
#[derive(Debug)]
pub struct Span {
    /// Its place in its trace.
    pub context: Context,
    /// Its route as the policy set writes it; `own` or `none` without one.
    pub route: String,
    /// Its method.
    pub method: Method,
    /// Of the answer.
    pub status: StatusCode,
    /// Deciding rule as `file:line`.
    pub rule: Option<String>,
    /// When the answer's head left.
    pub ended: Timestamp,
    /// How long all of it took.
    pub took: Duration,
    /// The upstream, how long after the beginning the request went there, and how long that took.
    pub upstream: Option<(Arc<str>, Duration, Duration)>,
}

impl Context {
    /// A place below the one that a trusted peer told, or in a trace of the request's own.
    #[must_use]
    pub fn begin(told: Option<&HeaderValue>, own: [u8; 16]) -> Self {
        let told = told.and_then(|value| parse(value.as_bytes()));
        let (trace, parent, sampled) = match told {
            Some((trace, parent, sampled)) => (trace, Some(parent), sampled),
            None => (own, None, true),
        };
        Self {
            trace,
            parent,
            server: secret::random(),
            client: secret::random(),
            sampled,
        }
    }

    /// What the upstream is told: its own work is below our asking.
    #[must_use]
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let (trace, span) = (HEXLOWER.encode(&self.trace), HEXLOWER.encode(&self.client));
        let flags = u8::from(self.sampled);
        HeaderValue::try_from(format!("00-{trace}-{span}-{flags:02x}")).ok()
    }
}

/// Version 00, or a later one read as far as that goes.
fn parse(value: &[u8]) -> Option<([u8; 16], [u8; 8], bool)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let version: [u8; 1] = hex(parts.next()?)?;
    let (trace, parent) = (hex(parts.next()?)?, hex(parts.next()?)?);
    let [flags] = hex(parts.next()?)?;
    let whole = version != [0] || parts.next().is_none();
    let fits = whole && version != [0xff] && trace != [0; 16] && parent != [0; 8];
    fits.then_some((trace, parent, flags & 1 == 1))
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

impl Traces {
    /// To a collector, or nowhere. Starts the exporter on the runtime that this is called in.
    #[must_use]
    pub fn to(collector: Option<&HttpUrl>, dropped: &IntCounter) -> Self {
        let queue = collector.map(|url| {
            let (queue, items) = mpsc::channel(QUEUE);
            tokio::spawn(export::export(url.clone(), items, dropped.clone()));
            queue
        });
        Self {
            queue,
            dropped: dropped.clone(),
        }
    }

    /// Whether anybody wants to know.
    #[must_use]
    pub const fn on(&self) -> bool {
        self.queue.is_some()
    }

    /// A request is over.
    pub fn put(&self, span: Span) {
        let Some(queue) = self.queue.as_ref().filter(|_| span.context.sampled) else {
            return;
        };
        if queue.try_send(Item::Span(Box::new(span))).is_err() {
            self.dropped.inc();
        }
    }

    /// Waits until what was put before has been sent or dropped, at most so long.
    pub async fn flush(&self, patience: Duration) {
        let Some(queue) = &self.queue else {
            return;
        };
        let flushed = async {
            let (done, wait) = oneshot::channel();
            if queue.send(Item::Flush(done)).await.is_ok() {
                let _ = wait.await;
            }
        };
        let _ = tokio::time::timeout(patience, flushed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_told_place_is_taken_over_if_it_is_one() {
        let told =
            |text: &str| Context::begin(Some(&HeaderValue::try_from(text).unwrap()), [7; 16]);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = told(&format!("00-{trace}-00f067aa0ba902b7-01"));
        assert_eq!(good.parent, hex("00f067aa0ba902b7"));
        assert!(good.sampled);
        let passed = good.traceparent().unwrap();
        let passed = passed.to_str().unwrap();
        assert!(passed.starts_with(&format!("00-{trace}-")) && passed.ends_with("-01"));
        assert!(!passed.contains("00f067aa0ba902b7"), "below us, not beside");
        assert!(!told(&format!("00-{trace}-00f067aa0ba902b7-00")).sampled);
        assert!(
            told(&format!("42-{trace}-00f067aa0ba902b7-01-more"))
                .parent
                .is_some()
        );
        for bad in [
            "",
            "00",
            &format!("00-{trace}-00f067aa0ba902b7-01-more"),
            &format!("ff-{trace}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            &format!("00-{trace}-00f067aa0ba902b-01"),
        ] {
            let own = told(bad);
            assert_eq!((own.trace, own.parent), ([7; 16], None), "{bad}");
        }
    }
}
