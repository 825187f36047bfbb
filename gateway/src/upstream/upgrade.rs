//! Upgrades: once the upstream has answered `101`, bytes pass both ways until either side, or the
//! session, ends.

use http::{Request, Response};
pub use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::body::Body;

/// The client's side of a coming upgrade; take it before the request is rewritten.
pub fn client_side(request: &mut Request<Body>) -> OnUpgrade {
    hyper::upgrade::on(request)
}

/// The upstream's side of an upgrade that it has agreed to.
pub fn upstream_side(response: &mut Response<Body>) -> OnUpgrade {
    hyper::upgrade::on(response)
}

/// Copies both ways until a side closes or `until` resolves; then both are closed.
pub async fn bridge(client: OnUpgrade, upstream: OnUpgrade, until: impl Future<Output = ()>) {
    let copy = async {
        let (client, upstream) = tokio::try_join!(client, upstream)?;
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
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
