//! A wire that fails as wires do: slowly, half, or altogether.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They pass.
    Nothing,
    /// They pass this much later.
    Slow(Duration),
    /// They vanish, and nobody is told.
    HalfOpen,
    /// Connections are closed, and so is every new one.
    Cut,
    /// Connections are reset, and so is every new one.
    Reset,
}

/// A way to a port, with whatever fault the test wants.
pub(crate) struct Wire {
    pub(crate) port: u16,
    fault: watch::Sender<Fault>,
}

impl Wire {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (fault, faults) = watch::channel(Fault::Nothing);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = SocketAddr::from(([127, 0, 0, 1], port));
                tokio::spawn(carry(near, far, faults.clone()));
            }
        });
        Self { port: own, fault }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn now(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn carry(mut near: TcpStream, far: SocketAddr, mut faults: watch::Receiver<Fault>) {
    let broken = |fault: &Fault| matches!(fault, Fault::Cut | Fault::Reset);
    let whole = !broken(&faults.borrow().clone());
    if whole && let Ok(mut far) = TcpStream::connect(far).await {
        let (near_in, near_out) = near.split();
        let (far_in, far_out) = far.split();
        let there = pump(near_in, far_out, faults.clone());
        let back = pump(far_in, near_out, faults.clone());
        tokio::select! {
            _ = faults.wait_for(broken) => {}
            _ = async { tokio::join!(there, back) } => {}
        }
    }
    if *faults.borrow() == Fault::Reset {
        let _ = near.set_zero_linger();
    }
}

/// Carries one direction. What comes while the wire is half-open is lost, and so is the rest.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    faults: watch::Receiver<Fault>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(n) = from.read(&mut buffer).await else {
            return;
        };
        if n == 0 {
            let _ = to.shutdown().await;
            return;
        }
        let fault = *faults.borrow();
        match fault {
            Fault::Slow(by) => tokio::time::sleep(by).await,
            Fault::HalfOpen => std::future::pending().await,
            Fault::Nothing | Fault::Cut | Fault::Reset => {}
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
