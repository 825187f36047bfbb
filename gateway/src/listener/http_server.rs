//! HTTP on one connection: hyper reads and writes, within our limits.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::Handler;
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
            // A little beyond our own limits, so that we answer before hyper does.
            .max_buf_size(self.limits.header_bytes.saturating_mul(2).max(16 * 1024))
            .max_headers(self.limits.header_count.saturating_mul(2));
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
        let mut stop = self.stop.clone();
        let service = service_fn(|request| self.answer(request));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(Error::from),
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        connection.await.map_err(Error::from)
    }

    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + use<H> {
        let (handler, peer) = (self.handler.clone(), self.peer.clone());
        async move { Ok(handler.handle(peer, request.map(Body::from)).await) }
    }
}
