//! Whether an HTTP/2 connection is still of use: one that asks for nothing, or reads nothing of what
//! it asked for, is closed, since it holds a place that others wait for.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BodyError};

/// What one connection is at.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    /// Requests that have no answer yet.
    under_way: AtomicUsize,
    /// When the last answer began, or the connection did.
    last: AtomicU64,
    bodies: Mutex<Vec<Weak<AtomicU64>>>,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Something is going on.
    Busy,
    /// Nobody has asked for anything for too long.
    Idle,
    /// An answer has not been read for too long.
    Stalled,
}

/// A body whose reader takes what there is, in the clock of its [`Activity`]; 0 means that it waits
/// for more.
struct Watched {
    inner: Body,
    start: Instant,
    offered: Arc<AtomicU64>,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            under_way: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            bodies: Mutex::default(),
        })
    }

    /// A request has come.
    pub(super) fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::AcqRel);
    }

    /// Its answer begins; the body that streams is watched.
    pub(super) fn answer(&self, body: Body) -> Body {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        self.last.store(millis(self.start), Ordering::Release);
        if matches!(body, Body::Empty | Body::Full(_)) {
            return body;
        }
        let offered = Arc::new(AtomicU64::new(0));
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(&offered));
        Body::boxed(Watched {
            inner: body,
            start: self.start,
            offered,
        })
    }

    /// Whether it has asked for anything yet.
    pub(super) fn was_used(&self) -> bool {
        self.last.load(Ordering::Acquire) > 0 || self.under_way.load(Ordering::Acquire) > 0
    }

    /// What it is at, if a quiet connection may last so long, and an unread answer so long.
    pub(super) fn state(&self, quiet: Duration, unread: Duration) -> State {
        let now = millis(self.start);
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut streaming = false;
        for body in bodies.iter().filter_map(Weak::upgrade) {
            streaming = true;
            let offered = body.load(Ordering::Acquire);
            if offered != 0 && Duration::from_millis(now.saturating_sub(offered)) > unread {
                return State::Stalled;
            }
        }
        let since = Duration::from_millis(now.saturating_sub(self.last.load(Ordering::Acquire)));
        let asked = self.under_way.load(Ordering::Acquire) > 0 || streaming;
        if asked || since <= quiet {
            State::Busy
        } else {
            State::Idle
        }
    }
}

/// At least 1, since 0 means something else.
fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        this.offered.store(0, Ordering::Release);
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        this.offered.store(millis(this.start), Ordering::Release);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_connection_that_asks_for_nothing_is_idle_and_one_that_reads_nothing_stalled() {
        let activity = Activity::new();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(activity.state(Duration::from_millis(1), LONG), State::Idle);
        assert_eq!(activity.state(LONG, LONG), State::Busy);
        activity.begin();
        assert_eq!(activity.state(Duration::ZERO, LONG), State::Busy);
        let frames = [Ok::<_, std::convert::Infallible>(Frame::data(
            Bytes::from_static(b"a"),
        ))];
        let stream = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let mut body = activity.answer(Body::boxed(stream));
        assert_eq!(
            activity.state(Duration::ZERO, Duration::ZERO),
            State::Busy,
            "nothing was offered"
        );
        body.frame().await.unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(
            activity.state(LONG, Duration::from_millis(1)),
            State::Stalled
        );
        drop(body);
        assert_eq!(activity.state(LONG, Duration::from_millis(1)), State::Busy);
    }
}
