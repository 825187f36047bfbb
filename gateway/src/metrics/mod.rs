//! What Prometheus scrapes, under the field's names. Label sets are bounded: no path, user,
//! address or identifier is ever a label.

mod health;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

pub use self::health::Health;

/// Every family of metrics, registered once.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests by `route` (its `match`, or `own`, `none`), `method` class (`read`, `write`) and `status`.
    pub requests: IntCounterVec,
    /// Seconds that the gateway itself added to a request: all but the upstream's part.
    pub own_seconds: Histogram,
    /// Seconds from forwarding a request to the upstream's response head, by `upstream`.
    pub upstream_seconds: HistogramVec,
    /// Upstream failures by `upstream` and `kind` (`broken`, `connect`, `full`, `timeout`).
    pub upstream_errors: IntCounterVec,
    /// Decisions by `verdict` and `rule` (`file:line`, or `default`).
    pub decisions: IntCounterVec,
    /// Facts look-ups by `result` (`hit`, `miss`, `negative`, `error`).
    pub facts: IntCounterVec,
    /// Login steps by `step` (`email`, `code`, `resend`, `logout`) and `result`.
    pub logins: IntCounterVec,
    /// Codes by `provider` and `result`: `sent`, `failed`, `throttled`, `refused`, `unknown`; under
    /// the first provider also `dropped` and `expired`.
    pub codes_sent: IntCounterVec,
    /// Text messages that wait for a provider, or are with one.
    pub sms_queue: IntGauge,
    /// Moment until which a `provider` wanted to be left alone, seconds since the Unix epoch.
    pub sms_paused_until: IntGaugeVec,
    /// Receipts by the state that they tell, or `duplicate`, `forged`.
    pub sms_receipts: IntCounterVec,
    /// Mails by `result`.
    pub mails_sent: IntCounterVec,
    /// Messages held back by a budget that only we know of (`prefix`, `company`, `all`,
    /// `country`), by `budget`.
    pub messages_held: IntCounterVec,
    /// Share of the last 200 codes that were typed in, from 0 to 1; 1 before the first.
    pub verification_rate: Gauge,
    /// Whether the login's shield is raised (1) or not (0).
    pub shield_raised: IntGauge,
    /// Units that the fleet's budget has left.
    pub fleet_left: IntGauge,
    /// Whether the store answers in time and is prepared (1) or not (0).
    pub store_up: IntGauge,
    /// Whether a shared store has lost its epoch, or never had one (1), or not (0).
    pub store_epoch_missing: IntGauge,
    /// Sessions live in this gateway's store; a shared one counts those past their idle limit too.
    pub sessions_live: IntGauge,
    /// Reloads by `what` (`certificates`, `directory`, `policy`) and `result` (`ok`, `failed`).
    pub reloads: IntCounterVec,
    /// Whether the last reload of `what` failed (1) or not (0).
    pub reload_failed: IntGaugeVec,
    /// Generation of the policy set in force: 1 at the start, one more with each change.
    pub policy_generation: IntGauge,
    /// Always 1, with the `digest` of the policy set in force.
    pub policy_info: IntGaugeVec,
    /// Moment at which the policy set in force took effect, seconds since the Unix epoch.
    pub policy_since: IntGauge,
    /// Moment of the last policy set that was refused, seconds since the Unix epoch; 0 for none.
    pub policy_failed_at: IntGauge,
    /// Whether the policy set in force is proved (1) or not (0).
    pub policy_proved: IntGauge,
    /// Moment at which the certificate `name` ends, seconds since the Unix epoch.
    pub certificate_not_after: IntGaugeVec,
    /// Connections open on public listeners.
    pub connections: IntGauge,
    /// Access log lines dropped because the writer fell behind.
    pub log_dropped: prometheus::IntCounter,
    /// How the gateway and what it depends on are.
    pub health: Health,
}

impl Metrics {
    /// Registers every family.
    ///
    /// # Errors
    ///
    /// If two families share a name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let own_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "portvakt_request_overhead_seconds",
                "Seconds that the gateway itself added to a request",
            )
            .buckets(vec![
                2.5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2, 5e-2, 0.25, 1.0,
            ]),
        )?;
        registry.register(Box::new(own_seconds.clone()))?;
        let upstream_seconds = HistogramVec::new(
            HistogramOpts::new(
                "portvakt_upstream_response_seconds",
                "Seconds from forwarding a request to the head of the upstream's response",
            ),
            &["upstream"],
        )?;
        registry.register(Box::new(upstream_seconds.clone()))?;
        let verification_rate = Gauge::new(
            "portvakt_login_verification_rate",
            "Share of the last 200 codes that were typed in",
        )?;
        verification_rate.set(1.0);
        registry.register(Box::new(verification_rate.clone()))?;
        let log_dropped = prometheus::IntCounter::new(
            "portvakt_access_log_dropped_total",
            "Access log lines dropped because the writer fell behind",
        )?;
        registry.register(Box::new(log_dropped.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        gauges(
            "portvakt_build_info",
            "Always 1, with the version",
            &["version"],
        )?
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1);
        Ok(Self {
            health: Health::register(&registry)?,
            requests: counters(
                "portvakt_http_requests_total",
                "Requests by route, method class and status",
                &["route", "method", "status"],
            )?,
            own_seconds,
            upstream_seconds,
            upstream_errors: counters(
                "portvakt_upstream_errors_total",
                "Requests that the upstream did not answer",
                &["upstream", "kind"],
            )?,
            decisions: counters(
                "portvakt_policy_decisions_total",
                "Decisions by verdict and deciding rule",
                &["verdict", "rule"],
            )?,
            facts: counters(
                "portvakt_facts_lookups_total",
                "Facts look-ups by result",
                &["result"],
            )?,
            logins: counters(
                "portvakt_login_steps_total",
                "Login steps by result",
                &["step", "result"],
            )?,
            codes_sent: counters(
                "portvakt_codes_sent_total",
                "Codes handed to a provider",
                &["provider", "result"],
            )?,
            sms_queue: gauge(
                "portvakt_sms_queue",
                "Text messages that wait for a provider, or are with one",
            )?,
            sms_paused_until: gauges(
                "portvakt_sms_provider_paused_until_timestamp_seconds",
                "Moment until which a provider wanted to be left alone",
                &["provider"],
            )?,
            sms_receipts: counters(
                "portvakt_sms_receipts_total",
                "Receipts for text messages by what they tell",
                &["status"],
            )?,
            mails_sent: counters(
                "portvakt_mails_sent_total",
                "Mails handed to the mail server by result",
                &["result"],
            )?,
            messages_held: counters(
                "portvakt_messages_held_total",
                "Messages held back by a budget that callers do not learn of",
                &["budget"],
            )?,
            verification_rate,
            shield_raised: gauge(
                "portvakt_login_shield_raised",
                "Whether unknown devices need a link sent by e-mail",
            )?,
            fleet_left: gauge(
                "portvakt_login_fleet_budget_left",
                "Units left of the budget of guesses from unknown devices",
            )?,
            store_up: gauge(
                "portvakt_store_up",
                "Whether the store answers in time and is prepared",
            )?,
            store_epoch_missing: gauge(
                "portvakt_store_epoch_missing",
                "Whether the shared store was flushed or never prepared",
            )?,
            sessions_live: gauge("portvakt_sessions_live", "Sessions that are live")?,
            reloads: counters(
                "portvakt_reloads_total",
                "Reloads by result",
                &["what", "result"],
            )?,
            reload_failed: gauges(
                "portvakt_reload_failed",
                "Whether the last reload failed and the state before it is in force",
                &["what"],
            )?,
            policy_generation: gauge(
                "portvakt_policy_generation",
                "Generation of the policy set in force",
            )?,
            policy_info: gauges(
                "portvakt_policy_info",
                "The policy set in force, by its digest",
                &["digest"],
            )?,
            policy_since: gauge(
                "portvakt_policy_loaded_timestamp_seconds",
                "Moment at which the policy set in force took effect",
            )?,
            policy_failed_at: gauge(
                "portvakt_policy_failed_timestamp_seconds",
                "Moment of the last policy set that was refused, 0 for none",
            )?,
            policy_proved: gauge(
                "portvakt_policy_proved",
                "Whether the policy set in force is proved",
            )?,
            certificate_not_after: gauges(
                "portvakt_certificate_not_after_timestamp_seconds",
                "Moment at which a certificate ends",
                &["name"],
            )?,
            connections: gauge(
                "portvakt_connections",
                "Connections open on public listeners",
            )?,
            log_dropped,
            registry,
        })
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// If a family cannot be written as text.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        String::from_utf8(out).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}
