//! `portvakt status`: the whole gateway on one screen.

use std::collections::BTreeMap;

use super::Gateway;
use crate::admin::Check;
use crate::admin::operations::{Budget, Shield};
use crate::admin::status::{Certificate, Listener, Part, Status, Upstream};
use crate::clock::Timestamp;
use crate::config;
use crate::upstream::FAILURES;

impl Gateway {
    /// Whatever does not answer is told as such: this is what ops look at when something is wrong.
    pub(super) async fn status_now(&self) -> Status {
        let (shared, config) = (&self.shared, &self.shared.config);
        let now = shared.clock.now();
        let checks = self.readiness().await;
        let shield = self.store.shield(now, config.login.fleet).await.ok();
        let messages = self.login.messages().await.ok();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started.rfc3339(),
            uptime_seconds: now.since(self.started).as_secs(),
            public_url: config.public_url.origin(),
            ready: Check::all_well(&checks),
            listeners: self.listeners(now),
            upstreams: self.upstreams(&checks),
            policy: self.reloads.policy.told(now),
            directory: part(
                &checks,
                "directory",
                match &config.directory {
                    config::Directory::File { path } => ("file", Some(path.display().to_string())),
                    config::Directory::Postgres(_) => ("postgres", None),
                },
            ),
            // An address in Redis may hold a password.
            store: part(
                &checks,
                "store",
                match &config.store {
                    config::Store::Embedded { path } => {
                        ("embedded", Some(path.display().to_string()))
                    }
                    config::Store::Redis(_) => ("redis", None),
                },
            ),
            shield: shield.map(|shield| Shield::told(&shield, config.login.fleet)),
            messages: messages.map(|told| told.iter().map(budget).collect()),
            sessions: shared.metrics.sessions_live.get(),
            connections: shared.metrics.connections.get(),
            checks,
        }
    }

    fn listeners(&self, now: Timestamp) -> Vec<Listener> {
        let configured = self.shared.config.listeners.iter().zip(&self.addresses);
        let told = configured.map(|(listener, address)| {
            let terms = listener
                .tls
                .as_deref()
                .map(|set| self.reloads.terms_of(set));
            Listener {
                address: address.to_string(),
                tls: terms.is_some(),
                certificates: terms
                    .unwrap_or_default()
                    .into_iter()
                    .map(|term| Certificate {
                        days_left: term.until.since(now).as_secs() / 86_400,
                        not_before: term.from.rfc3339(),
                        not_after: term.until.rfc3339(),
                        name: term.name,
                    })
                    .collect(),
            }
        });
        told.collect()
    }

    fn upstreams(&self, checks: &[Check]) -> Vec<Upstream> {
        let configured = self.shared.config.upstreams.iter();
        let told = configured.map(|settings| {
            let name = settings.name.as_str();
            let (under_way, limit) = self.under_way(name);
            let count = |kind: &str| {
                let counter = &self.shared.metrics.upstream_errors;
                counter.with_label_values(&[name, kind]).get()
            };
            let failures = FAILURES.map(|kind| (kind.to_owned(), count(kind)));
            let failures: BTreeMap<_, _> = failures.into_iter().filter(|(_, n)| *n > 0).collect();
            Upstream {
                name: name.to_owned(),
                addresses: settings.endpoints.iter().map(address).collect(),
                up: is_up(checks, &format!("upstream:{name}")),
                under_way,
                limit,
                failures,
            }
        });
        told.collect()
    }

    /// Requests under way to an upstream over all workers, and how many may be.
    pub(super) fn under_way(&self, name: &str) -> (usize, usize) {
        let workers = self.workers_upstreams.iter();
        let each = workers.filter_map(|one| Some(one.find(Some(name))?.under_way()));
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

fn address(endpoint: &config::Endpoint) -> String {
    let (host, port) = (&endpoint.host, endpoint.port);
    if host.contains(':') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

fn budget((window, used): &(config::Window, u32)) -> Budget {
    Budget {
        limit: window.limit,
        per_seconds: window.per.as_secs(),
        used: usize::try_from(*used).unwrap_or(usize::MAX),
        left: usize::try_from(window.limit.saturating_sub(*used)).unwrap_or(usize::MAX),
        frees: None,
    }
}

fn part(checks: &[Check], name: &str, (kind, place): (&str, Option<String>)) -> Part {
    let check = checks.iter().find(|check| check.name == name);
    Part {
        kind: kind.to_owned(),
        place,
        up: check.is_some_and(|check| check.ok),
        reason: check.and_then(|check| check.reason.clone()),
    }
}

/// Whether a check of a name is there and passed.
pub(super) fn is_up(checks: &[Check], name: &str) -> bool {
    checks.iter().any(|check| check.name == name && check.ok)
}
