//! Upgrades: once the upstream has answered `101`, bytes pass both ways until either side, or the
//! session, ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
pub use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::Body;

/// The client's side of a coming upgrade; take it before the request is rewritten.
pub fn client_side(request: &mut Request<Body>) -> OnUpgrade {
    hyper::upgrade::on(request)
}

/// The upstream's side of an upgrade that it has agreed to.
pub fn upstream_side(response: &mut Response<Body>) -> OnUpgrade {
    hyper::upgrade::on(response)
}

/// Copies both ways until a side closes or `until` resolves; then both are closed. `used` is called
/// whenever bytes come from the client.
pub async fn bridge(
    client: OnUpgrade,
    upstream: OnUpgrade,
    used: impl Fn() + Unpin,
    until: impl Future<Output = ()>,
) {
    let copy = async {
        let (client, upstream) = tokio::try_join!(client, upstream)?;
        let mut client = Telling {
            inner: TokioIo::new(client),
            used,
        };
        let mut upstream = TokioIo::new(upstream);
        tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
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

/// A connection that tells when it is read from.
struct Telling<S, F> {
    inner: S,
    used: F,
}

impl<S: AsyncRead + Unpin, F: Fn() + Unpin> AsyncRead for Telling<S, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        (this.used)();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Telling<S, F> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
