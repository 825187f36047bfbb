//! An answer's body on its way down: it breaks off when the session that asked for it ends, and its
//! trailers are as clean as its head.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::headers::HeaderPlan;
use crate::body::{Body, BodyError};
use crate::session::Session;

/// A body that never ends cleanly once its session is over.
pub(super) struct Watched {
    inner: Body,
    session: Option<Arc<Session>>,
    plan: Arc<HeaderPlan>,
    /// Made when the body first has to be waited for: most never are.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Watched {
    /// A body that lives as long as its session, if it has one; one that cannot end in trailers
    /// and has none needs no watching.
    pub(super) fn wrap(inner: Body, session: Option<Arc<Session>>, plan: &Arc<HeaderPlan>) -> Body {
        let known = inner.size_hint().exact().is_some();
        if inner.is_end_stream() || (session.is_none() && known) {
            return inner;
        }
        Body::boxed(Self {
            inner,
            session,
            plan: Arc::clone(plan),
            ended: None,
        })
    }

    fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
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
            Poll::Ready(Some(Ok(mut frame))) => {
                match &this.session {
                    Some(session) if !session.is_live() => return over(),
                    // What still flows is used: a long download does not run into the idle limit.
                    Some(session) => session.touch(),
                    None => {}
                }
                if let Some(trailers) = frame.trailers_mut() {
                    this.plan.clean_answer_trailers(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
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
