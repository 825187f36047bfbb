//! The health of the gateway and of what it depends on, in the metrics, whoever asks or not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::status::is_up;
use super::{Gateway, raised};
use crate::admin::Check;
use crate::metrics::Health;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often a lag that grows is told of.
const TELL: Duration = Duration::from_millis(500);

impl Gateway {
    /// Looks until `stopped` turns true, and once more then.
    pub(super) async fn watch_health(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.look().await,
                () = raised(&mut stopped) => {
                    self.shared.metrics.health.ready.set(0);
                    return;
                }
            }
        }
    }

    async fn look(&self) {
        let health = &self.shared.metrics.health;
        let checks = self.readiness().await;
        health.ready.set(Check::all_well(&checks).into());
        // One that is shared tells at once what becomes of it.
        if self.store.others().is_none() {
            let up = is_up(&checks, "store");
            self.shared.metrics.store_up.set(up.into());
        }
        health.directory_up.set(is_up(&checks, "directory").into());
        for settings in &self.shared.config.upstreams {
            let name = settings.name.as_str();
            let (under_way, limit) = self.under_way(name);
            let up = is_up(&checks, &format!("upstream:{name}"));
            for (family, value) in [
                (&health.upstream_up, i64::from(up)),
                (&health.upstream_requests, number(under_way)),
                (&health.upstream_requests_limit, number(limit)),
            ] {
                family.with_label_values(&[name]).set(value);
            }
        }
        self.look_at_budgets(health).await;
        self.look_at_audit(health).await;
    }

    async fn look_at_budgets(&self, health: &Health) {
        let burst = self.shared.config.login.fleet.burst;
        health.fleet_burst.set(burst.into());
        // A store that does not answer has its own metric.
        for (window, used) in self.login.messages().await.unwrap_or_default() {
            let per = window.per.as_secs().to_string();
            let (used, limit) = (i64::from(used), i64::from(window.limit));
            health.messages_used.with_label_values(&[&per]).set(used);
            health.messages_limit.with_label_values(&[&per]).set(limit);
        }
    }

    /// How far the audit trail's writer is behind: so long a question of its own waits there.
    async fn look_at_audit(&self, health: &Health) {
        let asked = Instant::now();
        let mut caught_up = std::pin::pin!(self.shared.audit.catch_up());
        let mut stopping = self.stopping.clone();
        let mut tell = interval(TELL);
        loop {
            tokio::select! {
                answer = &mut caught_up => {
                    if answer.is_err() {
                        tracing::error!("the audit trail cannot be written");
                    }
                    break;
                }
                () = raised(&mut stopping) => break,
                _ = tell.tick() => {}
            }
            health.audit_lag.set(asked.elapsed().as_secs_f64());
        }
        health.audit_lag.set(asked.elapsed().as_secs_f64());
        let lost = self.shared.audit.lost();
        let told = health.audit_lost.get();
        health.audit_lost.inc_by(lost.saturating_sub(told));
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
