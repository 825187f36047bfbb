//! The safety statement, put together from what is in force.

use async_trait::async_trait;

use super::Gateway;
use super::reload::summary;
use crate::clock::Timestamp;
use crate::config::Window;
use crate::limit;
use crate::listener::tls;
use crate::pages::safety::{
    Access, Certificate, Limit, Login, Rule, Safety, Shown, Statement, Tls,
};

#[async_trait]
impl Safety for Gateway {
    async fn statement(&self) -> Statement {
        let now = self.shared.clock.now();
        let listeners = self.shared.config.listeners.iter().zip(&self.addresses);
        let (with, without): (Vec<_>, Vec<_>) =
            listeners.partition(|(listener, _)| listener.tls.is_some());
        Statement {
            made: now.rfc3339(),
            site: self.shared.config.public_url.origin(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started.rfc3339(),
            certificates: self.shown_certificates(now),
            without_tls: without
                .iter()
                .map(|(_, address)| address.to_string())
                .collect(),
            tls: (!with.is_empty()).then(offered),
            login: self.login_claims(now).await,
            access: self.access_claims(),
            trail: self.trail.shown(),
            backup: Shown::NotShown("no backup has been made".into()),
            restore: Shown::NotShown("no backup has been put back".into()),
        }
    }
}

impl Gateway {
    /// The certificates of every set that a listener shows, each once.
    fn shown_certificates(&self, now: Timestamp) -> Vec<Certificate> {
        let mut told: Vec<Certificate> = Vec::new();
        for set in self
            .shared
            .config
            .listeners
            .iter()
            .filter_map(|one| one.tls.as_deref())
        {
            for term in self.reloads.terms_of(set) {
                let Some(details) = term.details else {
                    continue;
                };
                if told.iter().all(|known| known.sha256 != details.sha256) {
                    told.push(Certificate {
                        days_left: details.not_after.since(now).as_secs() / 86_400,
                        not_before: details.not_before.rfc3339(),
                        not_after: details.not_after.rfc3339(),
                        subject: details.subject,
                        names: details.names,
                        issuer: details.issuer,
                        key: details.key,
                        sha256: details.sha256,
                    });
                }
            }
        }
        told
    }

    async fn login_claims(&self, now: Timestamp) -> Login {
        let config = &self.shared.config;
        let login = &config.login;
        let worst = limit::takeovers_per_year(login);
        let shield = match self.store.shield(now, login.fleet).await {
            Ok(shield) => Shown::Shown(shield.raised.is_some()),
            Err(error) => Shown::NotShown(error.to_string()),
        };
        Login {
            code_lifetime: login.code_lifetime.as_secs(),
            attempts_per_challenge: login.attempts_per_challenge,
            unknown_device: login.unknown_device.iter().map(limit_of).collect(),
            known_device: login.known_device.iter().map(limit_of).collect(),
            takeover_per_day: worst.per_day,
            takeover_per_year: worst.per_year,
            takeovers_of_all_per_year: limit::fleet_takeovers_per_year(login),
            shield_raised: shield,
            session_idle: config.session.idle.as_secs(),
            session_absolute: config.session.absolute.as_secs(),
        }
    }

    fn access_claims(&self) -> Access {
        let (set, proof, since) = self.reloads.policy.proved();
        let rules = set.in_words().into_iter();
        Access {
            digest: set.digest().to_owned(),
            since: since.rfc3339(),
            routes: set.route_count(),
            public: set.public_routes(),
            rules: rules
                .map(|rule| Rule {
                    words: rule.words,
                    place: rule.place,
                })
                .collect(),
            proof: match proof.is_proved() {
                true => Shown::Shown(proof.invariants),
                false => Shown::NotShown(
                    summary(&proof.reasons).unwrap_or_else(|| "nothing was proved".to_owned()),
                ),
            },
        }
    }
}

fn offered() -> Tls {
    let offered = tls::offered();
    Tls {
        protocols: offered.protocols,
        suites: offered.suites,
        groups: offered.groups,
    }
}

fn limit_of(window: &Window) -> Limit {
    Limit {
        limit: window.limit,
        per: window.per.as_secs(),
    }
}
