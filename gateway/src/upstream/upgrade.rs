//! WebSockets: once the upstream has answered `101`, bytes pass both ways until either side, or the
//! session, ends. When the gateway ends, both sides are told so with a close frame.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
pub use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::frames::{self, Frames};
use crate::body::Body;

/// How long both sides may take to answer that the gateway goes away.
const FAREWELL: Duration = Duration::from_secs(1);

/// The client's side of a coming upgrade; take it before the request is rewritten.
pub fn client_side(request: &mut Request<Body>) -> OnUpgrade {
    hyper::upgrade::on(request)
}

/// The upstream's side of an upgrade that it has agreed to.
pub fn upstream_side(response: &mut Response<Body>) -> OnUpgrade {
    hyper::upgrade::on(response)
}

/// Copies both ways until a side closes or `until` resolves; then both are closed. `used` is called
/// whenever bytes come from the client. Once `leaving` resolves, both directions end behind the
/// frame that is under way, with a close frame of ours (RFC 6455, section 7.4.1: 1001).
pub async fn bridge(
    client: OnUpgrade,
    upstream: OnUpgrade,
    used: impl Fn() + Unpin,
    until: impl Future<Output = ()>,
    leaving: impl Future<Output = ()> + Send + 'static,
) {
    let copy = async {
        let (client, upstream) = tokio::try_join!(client, upstream)?;
        // Either side may be the one that waits, so each has a way to be woken.
        let (left, leaves) = tokio::sync::watch::channel(false);
        let mut client = Side::new(TokioIo::new(client), used, false, leaves.clone());
        let mut upstream = Side::new(TokioIo::new(upstream), || {}, true, leaves);
        let tell = async move {
            leaving.await;
            let _ = left.send(true);
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            copied = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {
                copied?;
            }
            () = tell => return Ok(()),
        }
        if client.going {
            // An answer that nobody reads would be answered with a reset, which may overtake.
            let _ = tokio::time::timeout(FAREWELL, client.rest()).await;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    tokio::select! {
        copied = copy => {
            if let Err(error) = copied {
                tracing::debug!(%error, "an upgraded connection ended");
            }
        }
        () = until => {}
    }
}

/// One side: it tells when it is read from, and when the gateway ends it ends between two frames.
struct Side<S, F> {
    inner: S,
    used: F,
    /// Whether what is written here is masked, as a client's frames are.
    masks: bool,
    read: Frames,
    written: Frames,
    leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
    going: bool,
    /// What is still to be written of the close frame, once its time has come.
    farewell: Option<Vec<u8>>,
}

impl<S, F> Side<S, F> {
    fn new(inner: S, used: F, masks: bool, mut left: tokio::sync::watch::Receiver<bool>) -> Self {
        Self {
            inner,
            used,
            masks,
            read: Frames::default(),
            written: Frames::default(),
            leaving: Box::pin(async move {
                if left.wait_for(|left| *left).await.is_err() {
                    std::future::pending().await
                }
            }),
            going: false,
            farewell: None,
        }
    }
}

impl<S: AsyncRead + Unpin, F> Side<S, F> {
    /// Reads what still comes, and forgets it.
    async fn rest(&mut self) {
        let mut buffer = [0; 1024];
        while matches!(self.inner.read(&mut buffer).await, Ok(1..)) {}
    }
}

impl<S: AsyncRead + Unpin, F: Fn() + Unpin> AsyncRead for Side<S, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.going && this.leaving.as_mut().poll(cx).is_ready() {
            this.going = true;
        }
        let mut most = buffer.remaining();
        if this.going {
            most = most.min(usize::try_from(this.read.wanted()).unwrap_or(usize::MAX));
            if most == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let mut here = ReadBuf::new(buffer.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut here))?;
        this.read.follow(here.filled());
        let came = here.filled().len();
        buffer.advance(came);
        (this.used)();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Side<S, F> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        this.written.follow(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.going && this.leaving.as_mut().poll(cx).is_ready() {
            this.going = true;
        }
        let between = this.written.wanted() == 0 && !this.written.closed();
        if this.farewell.is_none() && this.going && between {
            this.farewell = Some(frames::going_away(this.masks));
        }
        while let Some(rest) = this.farewell.as_mut().filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut this.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.drain(..count.min(rest.len()));
        }
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
