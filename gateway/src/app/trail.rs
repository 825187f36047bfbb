//! The audit trail, audited: gone through from end to end at the start and once a day.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Gateway, raised};
use crate::audit::{self, Broken, PublicKey, Verified};
use crate::clock::Timestamp;
use crate::pages::safety::{self, Shown};

/// How often.
const DAY: Duration = Duration::from_secs(86_400);

/// What became of the trail when it was gone through last.
#[derive(Debug)]
pub(super) struct Trail {
    key: PublicKey,
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Debug)]
struct Seen {
    at: Timestamp,
    found: Result<Verified, Box<Broken>>,
}

impl Trail {
    /// Not gone through yet; heads must be signed with `key`.
    pub(super) const fn new(key: PublicKey) -> Self {
        Self {
            key,
            seen: Mutex::new(None),
        }
    }

    /// For the safety statement.
    pub(super) fn shown(&self) -> Shown<safety::Verified> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.as_ref() {
            None => Shown::NotShown("the audit trail has not been verified yet".to_owned()),
            Some(Seen { at, found }) => match found {
                Ok(verified) => Shown::Shown(safety::Verified {
                    records: verified.records,
                    at: at.rfc3339(),
                }),
                // Where its files are is nobody's business here.
                Err(broken) => Shown::NotShown(format!("the audit trail: {}", broken.reason)),
            },
        }
    }
}

impl Gateway {
    /// Looks at once, and every day until `stopped` turns true.
    pub(super) async fn watch_trail(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut tick = interval(DAY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.verify_trail().await,
                () = raised(&mut stopped) => return,
            }
        }
    }

    async fn verify_trail(&self) {
        let (dir, key) = (self.shared.config.audit.dir.clone(), self.trail.key);
        let looked = tokio::task::spawn_blocking(move || audit::verify(&dir, &key)).await;
        let found = match looked {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(%error, "the audit trail could not be verified");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "the audit trail could not be verified");
                return;
            }
        };
        self.shared
            .metrics
            .health
            .audit_unbroken
            .set(found.is_ok().into());
        match &found {
            Ok(verified) => {
                tracing::info!(records = verified.records, "the audit trail is unbroken")
            }
            Err(broken) => tracing::error!(
                "the audit trail is BROKEN: {broken}; keep a copy of it, and see `portvakt audit verify`"
            ),
        }
        let at = self.shared.clock.now();
        let mut seen = self
            .trail
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *seen = Some(Seen { at, found });
    }
}
