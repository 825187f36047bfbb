//! Kept connections: last in, first out, so that the warm ones work and the cold ones age.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BodyError};
use crate::config::{self, Endpoint};

/// Longest head of a response that is read, in bytes.
const MAX_HEAD: usize = 128 * 1024;
/// Most fields of a response's head. hyper makes room for all of them, twice for each response.
const MAX_FIELDS: usize = 256;

/// The kept connections of one worker to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Vec<SendRequest<Body>>>,
    keep: usize,
    endpoints: Vec<Endpoint>,
    turn: AtomicUsize,
}

impl Pool {
    pub(super) fn new(settings: &config::Upstream) -> Self {
        Self {
            idle: Mutex::new(Vec::new()),
            keep: settings.keep_idle.saturating_mul(settings.endpoints.len()),
            endpoints: settings.endpoints.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The kept connection that was used last, of those that are ready. One that is not may still
    /// be sending a request that was answered early: nobody waits for it.
    pub(super) fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.lock();
        let last = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.remove(last))
    }

    /// Keeps a connection whose answer has been read; with no room, instead of one that is stuck.
    pub(super) fn put(&self, connection: SendRequest<Body>) {
        if connection.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() >= self.keep {
            idle.retain(|kept| kept.is_ready() && !kept.is_closed());
        }
        if idle.len() < self.keep {
            idle.push(connection);
        }
    }

    /// Every endpoint once, beginning with the next in turn.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let count = self.endpoints.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1);
        self.endpoints.iter().cycle().skip(first).take(count)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Body>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects and starts the task that drives the connection.
pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<SendRequest<Body>> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::Builder::new()
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Whoever waits for an answer is told by its own future; this is for the log.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(sender)
}

/// A response's body that gives its connection back when it has ended well. Dropped before, the
/// connection closes, so that nothing left over is ever read as another response.
pub(super) struct Returning {
    incoming: Incoming,
    connection: Option<SendRequest<Body>>,
    pool: Arc<Pool>,
    idle: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Counts as under way until the answer has been read.
    _place: OwnedSemaphorePermit,
}

impl Returning {
    pub(super) fn new(
        incoming: Incoming,
        connection: SendRequest<Body>,
        pool: Arc<Pool>,
        idle: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            incoming,
            connection: Some(connection),
            pool,
            idle,
            stalled: None,
            _place: place,
        }
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
    }

    /// Still nothing: an error once that has lasted too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let idle = self.idle;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Box::new(io::Error::new(
            io::ErrorKind::TimedOut,
            "the upstream's body stalled",
        )))
    }
}

impl HttpBody for Returning {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            return this.poll_stall(cx).map(|error| Some(Err(error)));
        };
        if let Some(stalled) = &mut this.stalled {
            stalled.as_mut().reset(Instant::now() + this.idle);
        }
        match &frame {
            Some(Err(_)) => this.connection = None,
            None => this.give_back(),
            Some(Ok(_)) if this.incoming.is_end_stream() => this.give_back(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
