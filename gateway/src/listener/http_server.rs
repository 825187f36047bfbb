//! HTTP on one connection: hyper reads and writes, within our limits.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::Handler;
use super::activity::{Activity, State};
use super::guard::Guard;
use super::head::HeadLimits;
use super::stall::Stall;
use crate::body::Body;
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
            .max_buf_size(self.limits.header_bytes.saturating_mul(2).max(16 * 1024))
            .max_headers(self.limits.header_count.saturating_mul(2));
        let limits = HeadLimits {
            bytes: self.limits.header_bytes,
            fields: self.limits.header_count,
        };
        let stream = Guard::new(Stall::new(stream, self.limits.body_timeout), limits);
        let service = service_fn(|request| self.answer(request));
        let mut connection = pin!(
            builder
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let mut stop = self.stop.clone();
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(Error::from),
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
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
            let (answer, activity) = (self.answer(request), Arc::clone(&activity));
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
        // A new connection must ask for something as soon as a head must come on HTTP/1.
        let mut quiet = self.limits.header_timeout;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(Error::from),
                _ = stop.wait_for(|stop| *stop), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = tick.tick() => match activity.state(quiet, self.limits.body_timeout) {
                    State::Busy if activity.was_used() => quiet = QUIET,
                    State::Busy => {}
                    State::Stalled => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
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
}
