//! A request's body on its way up: counted, limited, and seen to move.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BodyError};

/// What a watcher knows of a body that someone else is sending.
#[derive(Clone, Debug)]
pub(super) struct Watched(Option<Arc<State>>);

#[derive(Debug)]
struct State {
    start: Instant,
    /// Milliseconds after `start` at which bytes last moved.
    moved: AtomicU64,
    stalled: AtomicBool,
}

impl Watched {
    /// Whether the body was given up because it stood still.
    pub(super) fn stalled(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|state| state.stalled.load(Ordering::Acquire))
    }

    /// The later deadline of an answer, if the body moved (or ended) since the last one was set:
    /// an upstream need not answer before it has the whole request.
    pub(super) fn extension(&self, after: Duration) -> Option<Instant> {
        let state = self.0.as_ref()?;
        let moved = state.start + Duration::from_millis(state.moved.load(Ordering::Acquire));
        let later = moved + after;
        (later > Instant::now()).then_some(later)
    }
}

/// Puts a watch on a request's body, and a limit on how long it may stand still.
pub(super) fn watch(request: &mut Request<Body>, idle: Duration) -> Watched {
    if request.body().is_end_stream() || matches!(request.body(), Body::Full(_)) {
        return Watched(None);
    }
    let state = Arc::new(State {
        start: Instant::now(),
        moved: AtomicU64::new(0),
        stalled: AtomicBool::new(false),
    });
    let inner = std::mem::take(request.body_mut());
    *request.body_mut() = Body::boxed(Moving {
        inner,
        state: Arc::clone(&state),
        idle,
        stalled: None,
    });
    Watched(Some(state))
}

struct Moving {
    inner: Body,
    state: Arc<State>,
    idle: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Moving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            let idle = this.idle;
            let stalled = this
                .stalled
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
            ready!(stalled.as_mut().poll(cx));
            this.state.stalled.store(true, Ordering::Release);
            let error = io::Error::new(io::ErrorKind::TimedOut, "the request's body stalled");
            return Poll::Ready(Some(Err(Box::new(error))));
        };
        this.stalled = None;
        let millis = u64::try_from(this.state.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        this.state.moved.store(millis, Ordering::Release);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
