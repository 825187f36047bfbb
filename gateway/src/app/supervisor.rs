//! What a supervisor such as systemd is told (`sd_notify(3)`): ready, reloading, ending, and, where
//! it watches, that every worker still works. Without one nothing is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;

/// What a reload or a drain may take beyond what was configured.
const MORE: Duration = Duration::from_secs(15);

/// Everything serves, or serves again after a reload.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload that was asked for begins; [`ready`] ends it, however it went.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[
            NotifyState::Reloading,
            now,
            NotifyState::Status("reading certificates, directory and policies again"),
        ]),
        Err(error) => tracing::warn!(%error, "the supervisor is not told of the reload"),
    }
}

/// Nothing new is taken; what is under way may take so long.
pub(super) fn stopping(drain: Duration) {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("draining: requests that are under way may end"),
        patience(drain),
    ]);
}

/// The one before us has not let go of the store; that may take so long.
pub(super) fn waiting(drain: Duration) {
    tell(&[
        NotifyState::Status("waiting until the gateway before this one lets go of the store"),
        patience(drain),
    ]);
}

fn patience(drain: Duration) -> NotifyState<'static> {
    let micros = (drain + MORE).as_micros();
    NotifyState::ExtendTimeoutUsec(u32::try_from(micros).unwrap_or(u32::MAX))
}

/// How long it waits for a sign of life, if it watches.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
}

/// Moves a worker's beat for as long as its runtime runs.
pub(super) async fn beat(beat: Arc<AtomicU64>, pace: Duration) {
    loop {
        beat.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(pace).await;
    }
}

/// Tells the supervisor that we live, as long as every worker's beat moves. Workers that drain end
/// one by one, so that then our own beat is enough.
pub(super) async fn live(beats: Vec<Arc<AtomicU64>>, stopped: watch::Receiver<bool>) {
    let Some(patience) = watchdog() else {
        return;
    };
    let mut last = vec![0; beats.len()];
    loop {
        let now: Vec<u64> = beats
            .iter()
            .map(|beat| beat.load(Ordering::Relaxed))
            .collect();
        if *stopped.borrow() || now.iter().zip(&last).all(|(now, last)| now != last) {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker stands still: the supervisor is not told that we live");
        }
        last = now;
        tokio::time::sleep(patience / 2).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor could not be told");
    }
}
