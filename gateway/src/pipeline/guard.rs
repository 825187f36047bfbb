//! A request's body on its way up: limited in size, its trailers as clean as its headers, and cut
//! off with the session that sends it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::headers::HeaderPlan;
use crate::body::{Body, BodyError};
use crate::session::Session;

/// A body that is cut off once it grows beyond its limit.
pub(super) struct Guarded {
    inner: Body,
    left: u64,
    plan: Arc<HeaderPlan>,
    session: Option<Arc<Session>>,
    ending: Ending,
}

/// Why a guarded body ended early, told to the one who turns it into an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<AtomicU8>);

const TOO_LARGE: u8 = 1;
const BROKEN: u8 = 2;
const OVER: u8 = 3;

impl Ending {
    /// Whether the body grew beyond its limit.
    pub(super) fn too_large(&self) -> bool {
        self.0.load(Ordering::Acquire) == TOO_LARGE
    }

    /// Whether the client's side of it broke or stalled.
    pub(super) fn broken(&self) -> bool {
        self.0.load(Ordering::Acquire) == BROKEN
    }

    /// Whether the session that sent the body ended meanwhile.
    pub(super) fn session_over(&self) -> bool {
        self.0.load(Ordering::Acquire) == OVER
    }
}

impl Guarded {
    /// A body of at most `limit` bytes, and where an early end is told.
    pub(super) fn new(
        inner: Body,
        limit: u64,
        plan: Arc<HeaderPlan>,
        session: Option<Arc<Session>>,
    ) -> (Self, Ending) {
        let ending = Ending::default();
        (
            Self {
                inner,
                left: limit,
                plan,
                session,
                ending: ending.clone(),
            },
            ending,
        )
    }

    fn cut(&self, why: u8, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ending.0.store(why, Ordering::Release);
        Poll::Ready(Some(Err(error)))
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return this.cut(BROKEN, error),
            Some(Ok(frame)) => frame,
        };
        if this
            .session
            .as_ref()
            .is_some_and(|sender| !sender.is_live())
        {
            let error = io::Error::other("the session has ended");
            return this.cut(OVER, Box::new(error));
        }
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(left) = this.left.checked_sub(length) else {
            let error = io::Error::other("the request's body is over its limit");
            return this.cut(TOO_LARGE, Box::new(error));
        };
        this.left = left;
        if let Some(trailers) = frame.trailers_mut() {
            this.plan.clean_trailers(trailers);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
