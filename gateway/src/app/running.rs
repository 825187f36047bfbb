//! A gateway that serves, and its end, in steps: it is not ready; it accepts nothing new, and what
//! is under way goes on; at last those who look after it end, and it lets go of the store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::workers::Workers;
use super::{Gateway, reload, supervisor};

/// How long housekeeping and the admin listener have to end.
const GRACE: Duration = Duration::from_secs(1);

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    /// Where it accepts, in the configuration's order, with the ports that the system chose.
    pub addresses: Vec<SocketAddr>,
    /// Where ops find it.
    pub admin: SocketAddr,
    pub(super) ending: Ending,
    pub(super) workers: Workers,
    pub(super) tasks: Vec<JoinHandle<()>>,
    pub(super) gateway: Arc<Gateway>,
}

/// The steps of the end; each flag turns true once.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Not ready any more; still accepting.
    pub(super) leaving: watch::Sender<bool>,
    /// Accepting no more; what is under way goes on.
    pub(super) stop: watch::Sender<bool>,
    /// Nothing is under way any more.
    pub(super) over: watch::Sender<bool>,
}

impl Running {
    /// Reads certificates, directory and policies again, as `SIGHUP` does; what is faulty stays as
    /// it was.
    pub async fn reload(&self) {
        reload::all(&self.gateway).await;
    }

    /// Not ready from now on; lets every request finish, within the drain's deadline.
    pub async fn stop(self) {
        let limits = self.gateway.shared.config.limits;
        supervisor::stopping(limits.drain_delay + limits.drain);
        self.ending.leaving.send_replace(true);
        tokio::time::sleep(limits.drain_delay).await;
        self.ending.stop.send_replace(true);
        let end = Instant::now() + limits.drain;
        if tokio::time::timeout_at(end, self.workers.ended())
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end within the drain's deadline");
        }
        // What they asked for is owed to people as much as an answer is.
        let rest = end.saturating_duration_since(Instant::now());
        self.gateway.login.drain(rest).await;
        self.ending.over.send_replace(true);
        self.gateway.shared.traces.flush(GRACE).await;
        if let Err(error) = self.gateway.shared.sessions.flush_all().await {
            tracing::warn!(%error, "the use of sessions could not be written down");
        }
        if let Err(error) = self.gateway.note("gateway.stop", "ok").await {
            tracing::warn!(%error, "the stop was not recorded");
        }
        for mut task in self.tasks {
            // One who keeps asking the admin listener does not keep the gateway from ending.
            if tokio::time::timeout(GRACE, &mut task).await.is_err() {
                task.abort();
                let _ = task.await;
            }
        }
    }
}
