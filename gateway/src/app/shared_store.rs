//! The store that several gateways share: opened, and watched for what becomes of it.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{AppError, Gateway, other, raised, supervisor};
use crate::admin::Check;
use crate::audit::Record;
use crate::config::{self, Config};
use crate::store::embedded::Embedded;
use crate::store::redis::Redis;
use crate::store::{Change, Condition, Hears, Others, SharedStore};

/// How long a gateway may take to end beyond its drain.
const HANDOVER: Duration = Duration::from_secs(10);

/// How often the store's state is looked at, for metrics and alerts.
const LOOK: Duration = Duration::from_millis(100);

/// How often, while nothing is told, the store is asked about what is open.
const ASK: Duration = Duration::from_millis(300);

/// The store that is configured; one file that another gateway has open is waited for, if
/// `in_turn`, as long as that one may drain.
pub(super) async fn open(config: &Config, in_turn: bool) -> Result<SharedStore, AppError> {
    Ok(match &config.store {
        config::Store::Embedded { path } if in_turn => {
            let drain = config.limits.drain_delay + config.limits.drain;
            let waits = || {
                tracing::info!("waiting until the gateway before this one lets go of the store");
                supervisor::waiting(drain);
            };
            let opening = Embedded::open_in_turn(path, drain + HANDOVER, waits);
            Arc::new(opening.await.map_err(other)?)
        }
        config::Store::Embedded { path } => Arc::new(Embedded::open(path).map_err(other)?),
        config::Store::Redis(settings) => {
            // Boxed: the layouts of its many futures would nest too deep.
            let opening: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(Redis::join(settings));
            Arc::new(opening.await.map_err(other)?)
        }
    })
}

impl Gateway {
    /// Tells what becomes of the store: metrics, log and audit trail.
    pub(super) async fn watch_store(
        self: Arc<Self>,
        others: Arc<Others>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut known = None;
        let mut asked = Instant::now();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = raised(&mut stopped) => return,
            }
            let now = others.condition();
            self.shared.authoriser.give_up_on_others();
            if others.is_lost() && asked.elapsed() >= ASK {
                self.ask_or_let_go().await;
                asked = Instant::now();
            }
            // The first heartbeat has just been asked for.
            let first = known.is_none() && now == Condition::Silent && !others.was_heard();
            if known == Some(now) || first {
                continue;
            }
            self.tell_condition(now, known);
            known = Some(now);
        }
    }

    /// Nothing is told of what others end: what is open goes on only as the store says so.
    async fn ask_or_let_go(&self) {
        let sessions = &self.shared.sessions;
        if let Err(error) = sessions.ask_for_all().await {
            tracing::debug!(%error, "what others have ended is not known");
            sessions.let_go();
        }
    }

    /// Asks about every session that others may have ended, as it is told.
    pub(super) async fn clear_doubts(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            () = self.shared.sessions.clear_doubts() => {}
            () = raised(&mut stopped) => {}
        }
    }

    /// Takes over the assertion's keys as another gateway exchanges them.
    pub(super) async fn follow_keys(
        self: Arc<Self>,
        others: Arc<Others>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let exchanged = Arc::new(KeysExchanged::default());
        let hearer: Weak<KeysExchanged> = Arc::downgrade(&exchanged);
        others.tell_too(hearer);
        loop {
            tokio::select! {
                () = exchanged.0.notified() => {}
                () = raised(&mut stopped) => return,
            }
            if let Err(error) = self.shared.keyring.rotate_if_due().await {
                tracing::warn!(%error, "the assertion's keys could not be read again");
            }
        }
    }

    fn tell_condition(&self, now: Condition, before: Option<Condition>) {
        let metrics = &self.shared.metrics;
        metrics.store_up.set((now == Condition::Well).into());
        if now != Condition::Silent {
            let missing = now == Condition::NoEpoch;
            metrics.store_epoch_missing.set(missing.into());
        }
        let event = match now {
            Condition::Well if before.is_none() => return,
            Condition::Well => {
                tracing::info!("the store answers");
                "store.well"
            }
            Condition::Silent => {
                tracing::error!("{}", trouble(now));
                "store.silent"
            }
            Condition::NoEpoch => {
                tracing::error!("{}", trouble(now));
                "store.no_epoch"
            }
            Condition::Evicting => {
                tracing::error!("{}", trouble(now));
                "store.evicting"
            }
        };
        let result = if now == Condition::Well {
            "ok"
        } else {
            "failed"
        };
        let record = Record::new(self.shared.clock.now(), event, result);
        if let Err(error) = self.shared.audit.note(&record) {
            tracing::error!(%error, "what became of the store was not recorded");
        }
    }

    /// Whether other gateways' changes are told, where there may be others.
    pub(super) fn others_check(&self) -> Option<Check> {
        let others = self.store.others()?;
        let fault = (!others.is_current()).then(|| trouble(Condition::Silent).to_owned());
        Some(Check {
            name: "store:others".to_owned(),
            ok: fault.is_none(),
            reason: fault,
            optional: true,
        })
    }
}

/// Hears that the assertion's keys may be others by now.
#[derive(Debug, Default)]
struct KeysExchanged(Notify);

impl Hears for KeysExchanged {
    fn hear(&self, change: &Change<'_>) {
        if matches!(change, Change::Sealed | Change::Anything) {
            self.0.notify_one();
        }
    }
}

const fn trouble(condition: Condition) -> &'static str {
    match condition {
        Condition::Well => "the store answers",
        Condition::Silent => {
            "the store does not tell what other gateways change: nothing in memory is believed"
        }
        Condition::NoEpoch => {
            "the store holds no epoch: it is new or was flushed, and every session and challenge is void; `portvakt state init` prepares it"
        }
        Condition::Evicting => {
            "the store may drop keys when its memory is full: its `maxmemory-policy` must be `noeviction`; logins are refused"
        }
    }
}
