//! An answer's body on its way down: it breaks off when the session that asked for it ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BodyError};
use crate::session::Session;

/// A body that never ends cleanly once its session is over.
pub(super) struct Watched {
    inner: Body,
    session: Arc<Session>,
    /// Made when the body first has to be waited for: most never are.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Watched {
    /// A body that lives as long as its session; an empty one needs no watching.
    pub(super) fn wrap(inner: Body, session: Option<Arc<Session>>) -> Body {
        match session {
            Some(session) if !inner.is_end_stream() => Body::boxed(Self {
                inner,
                session,
                ended: None,
            }),
            _ => inner,
        }
    }

    fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let session = &self.session;
        let ended = self.ended.get_or_insert_with(|| {
            let session = Arc::clone(session);
            Box::pin(async move { session.ended().await })
        });
        ended.as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let over = || Poll::Ready(Some(Err(io::Error::other("the session has ended").into())));
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if this.session.is_live() => {
                // What still flows is used: a long download does not run into the idle limit.
                this.session.touch();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Ok(_))) => over(),
            Poll::Pending if this.has_ended(cx) => over(),
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
