//! How the gateway and what it depends on are: looked at every few seconds, whoever asks or not.

use prometheus::{Gauge, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

/// What is looked at rather than counted.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether everything that serving needs is as it should be: what `/readyz` says.
    pub ready: IntGauge,
    /// Whether anybody can be found in the directory.
    pub directory_up: IntGauge,
    /// Whether an endpoint of `upstream` takes a connection.
    pub upstream_up: IntGaugeVec,
    /// Requests under way to `upstream`.
    pub upstream_requests: IntGaugeVec,
    /// Requests that may be under way to `upstream`.
    pub upstream_requests_limit: IntGaugeVec,
    /// Seconds that a record waits before the audit trail has it.
    pub audit_lag: Gauge,
    /// Audit records that could not be written.
    pub audit_lost: IntCounter,
    /// Whether the audit trail was unbroken when it was gone through last; 1 before.
    pub audit_unbroken: IntGauge,
    /// Spans of traces that were not delivered.
    pub traces_dropped: IntCounter,
    /// Text messages that the budget of all of them has seen in the last `per` seconds.
    pub messages_used: IntGaugeVec,
    /// Text messages that it allows in `per` seconds.
    pub messages_limit: IntGaugeVec,
    /// What the fleet's budget has when it is full.
    pub fleet_burst: IntGauge,
}

impl Health {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let family = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let audit_lag = Gauge::new(
            "portvakt_audit_lag_seconds",
            "Seconds that a record waits before the audit trail has it",
        )?;
        registry.register(Box::new(audit_lag.clone()))?;
        let audit_lost = IntCounter::new(
            "portvakt_audit_lost_total",
            "Audit records that could not be written",
        )?;
        registry.register(Box::new(audit_lost.clone()))?;
        let audit_unbroken = gauge(
            "portvakt_audit_unbroken",
            "Whether the audit trail was unbroken when it was gone through last",
        )?;
        audit_unbroken.set(1);
        let traces_dropped = IntCounter::new(
            "portvakt_traces_dropped_total",
            "Spans of traces that were not delivered",
        )?;
        registry.register(Box::new(traces_dropped.clone()))?;
        Ok(Self {
            traces_dropped,
            ready: gauge(
                "portvakt_ready",
                "Whether everything that serving needs is as it should be",
            )?,
            directory_up: gauge(
                "portvakt_directory_up",
                "Whether anybody can be found in the directory",
            )?,
            upstream_up: gauges(
                "portvakt_upstream_up",
                "Whether an endpoint takes a connection",
                "upstream",
            )?,
            upstream_requests: gauges(
                "portvakt_upstream_requests",
                "Requests under way",
                "upstream",
            )?,
            upstream_requests_limit: gauges(
                "portvakt_upstream_requests_limit",
                "Requests that may be under way",
                "upstream",
            )?,
            audit_lag,
            audit_lost,
            audit_unbroken,
            messages_used: gauges(
                "portvakt_messages_budget_used",
                "Text messages in the last so many seconds, of those that the budget of all allows",
                "per",
            )?,
            messages_limit: gauges(
                "portvakt_messages_budget_limit",
                "Text messages that the budget of all allows in so many seconds",
                "per",
            )?,
            fleet_burst: gauge(
                "portvakt_login_fleet_budget_burst",
                "Units that the budget of guesses from unknown devices has when it is full",
            )?,
        })
    }
}
