//! HTTP on one connection: hyper reads and writes, within our limits.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Handler;
use super::activity::{Activity, State};
use super::guard::Guard;
use super::head::HeadLimits;
use super::stall::Stall;
use crate::body::{Body, BodyError};
use crate::config::Limits;
use crate::pipeline::Peer;

/// Why a connection ended early; of interest to nobody but the log.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// HTTP/2 flow control: how much one stream may send ahead.
const STREAM_WINDOW: u32 = 256 * 1024;
/// How much all streams of a connection may send ahead.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What one HTTP/2 stream may hold for sending.
const SEND_BUFFER: usize = 64 * 1024;
/// Pings find connections whose other end is gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Streams that a client may reset before we have looked at them (CVE-2023-44487).
const PENDING_RESETS: usize = 20;

/// How long an HTTP/2 connection may ask for nothing once it has asked for something.
const QUIET: Duration = Duration::from_secs(120);

/// How long a connection over which requests have come may be quiet once the gateway ends: one that
/// is in use is told with an answer, and closes without a request on its way.
const LAST_QUIET: Duration = Duration::from_millis(250);
/// How long a new connection may take to its first request once the gateway ends: nobody sends it
/// again by themselves, and a lost packet takes a second.
const LAST_FIRST: Duration = Duration::from_secs(2);
/// How long an HTTP/2 client may take to see that the gateway ends (RFC 9113, section 6.8: the time
/// of a round trip). One that is gone without a word never does.
const LAST_STREAM: Duration = Duration::from_secs(1);
/// And so long since the last answer began: what we wrote may still be under way.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// How much of an unread body is read before its answer leaves, in bytes.
const DRAINED: usize = 64 * 1024;
/// For so long.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// What serves one connection.
pub(super) struct Server<H> {
    pub(super) limits: Limits,
    pub(super) handler: H,
    pub(super) peer: Peer,
    pub(super) stop: watch::Receiver<bool>,
}

impl<H: Handler> Server<H> {
    pub(super) async fn http1<S>(self, stream: S) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            // Beyond the guard's limits, which answers first.
            .max_buf_size(self.limits.header_bytes.saturating_mul(2).max(16 * 1024));
        // Left alone, hyper has room for a hundred on the stack; for more it asks the allocator, twice
        // for each request.
        if self.limits.header_count > 100 {
            builder.max_headers(self.limits.header_count);
        }
        let limits = HeadLimits {
            bytes: self.limits.header_bytes,
            fields: self.limits.header_count,
        };
        let stream = Guard::new(Stall::new(stream, self.limits.body_timeout), limits);
        let (begun, leaving) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let service = service_fn(|request| {
            begun.store(true, Ordering::Relaxed);
            let answer = self.answer(request);
            async move {
                let mut answer = answer.await?;
                if leaving.load(Ordering::Relaxed)
                    && answer.status() != StatusCode::SWITCHING_PROTOCOLS
                {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut connection = pin!(
            builder
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let mut stop = self.stop.clone();
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(Error::from),
            _ = stop.wait_for(|stop| *stop) => leaving.store(true, Ordering::Relaxed),
        }
        // hyper would close at once, with a request perhaps on its way.
        for patience in [LAST_QUIET, LAST_FIRST - LAST_QUIET] {
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(Error::from),
                () = tokio::time::sleep(patience) => {}
            }
            if begun.load(Ordering::Relaxed) {
                break;
            }
        }
        connection.as_mut().graceful_shutdown();
        connection.await.map_err(Error::from)
    }

    pub(super) async fn http2<S>(self, stream: S) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(
                u32::try_from(self.limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX),
            )
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_INTERVAL);
        let activity = Activity::new();
        let service = service_fn(|request| {
            activity.begin();
            let (answer, activity) = (self.answer_stream(request), Arc::clone(&activity));
            async move {
                answer
                    .await
                    .map(|answer| answer.map(|body| activity.answer(body)))
            }
        });
        let stream = Stall::new(stream, self.limits.body_timeout);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stop = self.stop.clone();
        let mut tick = tokio::time::interval(self.limits.header_timeout / 2);
        let mut leaving = false;
        let mut ends = None;
        // A new connection must ask for something as soon as a head must come on HTTP/1.
        let mut quiet = self.limits.header_timeout;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(Error::from),
                _ = stop.wait_for(|stop| *stop), if ends.is_none() => {
                    leaving = true;
                    ends = Some(Instant::now() + LAST_STREAM);
                    tick = tokio::time::interval(LAST_LOOK);
                    quiet = quiet.min(LAST_ANSWER);
                    connection.as_mut().graceful_shutdown();
                }
                _ = tick.tick() => match activity.state(quiet, self.limits.body_timeout) {
                    State::Busy if activity.was_used() && ends.is_none() => quiet = QUIET,
                    State::Busy => {}
                    State::Stalled => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                    State::Idle if ends.is_some_and(|ends| Instant::now() < ends) => {}
                    // Told to go and still here: it never spoke HTTP/2, or does not listen.
                    State::Idle if leaving => return Ok(()),
                    State::Idle => {
                        leaving = true;
                        connection.as_mut().graceful_shutdown();
                    }
                },
            }
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + use<H> {
        let (handler, peer) = (self.handler.clone(), self.peer.clone());
        async move { Ok(handler.handle(peer, request.map(Body::from)).await) }
    }

    /// The same over HTTP/2, where a body that is dropped before the answer has left would reset
    /// the stream, and the answer with it: it is kept until then.
    fn answer_stream(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + use<H> {
        let (handler, peer) = (self.handler.clone(), self.peer.clone());
        async move {
            let (head, body) = request.into_parts();
            if http_body::Body::is_end_stream(&body) {
                let request = Request::from_parts(head, Body::Empty);
                return Ok(handler.handle(peer, request).await);
            }
            let kept = Kept(Arc::new(Mutex::new(body)));
            let request = Request::from_parts(head, Body::boxed(kept.clone()));
            let answer = handler.handle(peer, request).await;
            let mut rest = kept.clone();
            let drain = async {
                let mut left = DRAINED;
                while let Some(Ok(frame)) = rest.frame().await {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    match left.checked_sub(length) {
                        Some(less) => left = less,
                        None => break,
                    }
                }
            };
            // Only what nobody else reads any more: a refusal's, not that of an early answer.
            if Arc::strong_count(&kept.0) == 2 {
                let _ = tokio::time::timeout(DRAIN_TIME, drain).await;
            }
            Ok(answer.map(|inner| Body::boxed(With { inner, _kept: kept })))
        }
    }
}

/// A request's body that lives as long as someone keeps it.
#[derive(Clone)]
struct Kept(Arc<Mutex<Incoming>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

/// An answer's body, with the request's that it keeps.
struct With {
    inner: Body,
    _kept: Kept,
}

impl http_body::Body for With {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
