//! The safety statement: what protects the application, each claim with its evidence and the
//! moment that it is from. What cannot be shown is said to be not shown.

use std::time::Duration;

use askama::Template;
use async_trait::async_trait;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::texts::{SafetyTexts, minute};
use super::{Frame, Language, assets, page};
use crate::body::Body;

/// Who can tell what is in force.
#[async_trait]
pub trait Safety: Send + Sync {
    /// The statement of this moment.
    async fn statement(&self) -> Statement;
}

/// What is in force. All moments are RFC 3339, all stretches of time in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// When this was put together.
    pub made: String,
    /// What people type into their browsers.
    pub site: String,
    /// Of the program.
    pub version: String,
    /// When it started, and read its configuration.
    pub started: String,
    /// The certificates that browsers are shown.
    pub certificates: Vec<Certificate>,
    /// Addresses without TLS, behind a router that ends it.
    pub without_tls: Vec<String>,
    /// What is offered where TLS ends here; `None` if nowhere.
    pub tls: Option<Tls>,
    /// The steps of the login and what they allow.
    pub login: Login,
    /// Who may do what.
    pub access: Access,
    /// The audit trail.
    pub trail: Shown<Verified>,
    /// The last backup that was read back.
    pub backup: Shown<Backup>,
    /// The last restore that came to its end.
    pub restore: Shown<Backup>,
}

/// A certificate in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// From when it is valid.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// Whole days until then.
    pub days_left: u64,
    /// Its kind of key.
    pub key: String,
    /// SHA-256 of the whole certificate.
    pub sha256: String,
}

/// What a handshake may agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Versions, the newest first.
    pub protocols: Vec<String>,
    /// Suites, the one liked best first.
    pub suites: Vec<String>,
    /// Groups of the key exchange, the one liked best first.
    pub groups: Vec<String>,
}

/// The login's limits, as they are configured, and what follows from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Login {
    /// How long a code is good.
    pub code_lifetime: u64,
    /// Tries at one code.
    pub attempts_per_challenge: u32,
    /// Wrong codes that an account takes from devices that it does not know.
    pub unknown_device: Vec<Limit>,
    /// The same from one that has logged in before.
    pub known_device: Vec<Limit>,
    /// The chance, from 0 to 1, that guessing opens one account within a day, at worst.
    pub takeover_per_day: f64,
    /// The same within a year.
    pub takeover_per_year: f64,
    /// Takeovers to expect in a year, all accounts together, at worst.
    pub takeovers_of_all_per_year: f64,
    /// Whether the shield is raised; not shown where the store does not answer.
    pub shield_raised: Shown<bool>,
    /// Without a request, a session ends after this.
    pub session_idle: u64,
    /// And after this in any case.
    pub session_absolute: u64,
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// How many.
    pub limit: u32,
    /// In how many seconds.
    pub per: u64,
}

/// The policy set in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Of its files.
    pub digest: String,
    /// Since when.
    pub since: String,
    /// All routes.
    pub routes: usize,
    /// Those that need no login, such as `GET /assets/**`.
    pub public: Vec<String>,
    /// What may be done, and what not in any case.
    pub rules: Vec<Rule>,
    /// How many invariants were proved for every request that there can be.
    pub proof: Shown<usize>,
}

/// A rule in the words of its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The comment above it; where there is none, the rule itself.
    pub words: String,
    /// Where it stands, such as `projects.cedar:4`.
    pub place: String,
}

/// A trail that was gone through from end to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// How many records.
    pub records: u64,
    /// When.
    pub at: String,
}

/// A backup that was made or used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// What it is called.
    pub name: String,
    /// When it was written, or put back.
    pub at: String,
}

/// Something that is claimed only with evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown<T> {
    /// It is so.
    Shown(T),
    /// It may or may not be so; why that is not known.
    NotShown(String),
}

/// A claim in one language, ready to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is claimed; that it is not shown, where it is not.
    pub text: String,
    /// What shows it.
    pub evidence: String,
    /// When that was so, RFC 3339.
    pub at: String,
    /// Whether there is any evidence.
    pub shown: bool,
}

impl Claim {
    /// The moment for people.
    #[must_use]
    pub fn when(&self) -> String {
        minute(&self.at)
    }
}

/// Claims that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// In order.
    pub claims: Vec<Claim>,
}

impl Statement {
    /// Every claim, in a language.
    #[must_use]
    pub fn sections(&self, language: Language) -> Vec<Section> {
        let texts = &language.texts().safety;
        let section = |title, claims| Section { title, claims };
        vec![
            section(texts.encryption, self.encryption(texts)),
            section(texts.login, self.login(texts)),
            section(texts.access, self.access(texts)),
            section(texts.record, self.record(texts)),
        ]
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        let texts = &language.texts().safety;
        let mut text = format!(
            "{}\n{}\n",
            texts.title,
            (texts.lead)(&self.site, &self.made)
        );
        for section in self.sections(language) {
            text.push_str(&format!("\n{}\n", section.title));
            for claim in section.claims {
                text.push_str(&format!("\n- {}\n", claim.text));
                text.push_str(&format!(
                    "  {}: {} ({})\n",
                    texts.evidence,
                    claim.evidence,
                    claim.when()
                ));
            }
        }
        text
    }

    /// The page, as an answer of the gateway's own.
    #[must_use]
    pub fn page(&self, frame: &Frame<'_>) -> Response<Body> {
        page(
            frame,
            StatusCode::OK,
            &self.template(frame.language, Some(frame)),
        )
    }

    /// The page as one file that refers to nothing else.
    ///
    /// # Errors
    ///
    /// What the template engine says.
    pub fn file(&self, language: Language) -> Result<String, askama::Error> {
        self.template(language, None).render()
    }

    fn template<'a>(&'a self, language: Language, frame: Option<&'a Frame<'a>>) -> Page<'a> {
        let texts = &language.texts().safety;
        Page {
            tag: language.tag(),
            lead: (texts.lead)(&self.site, &self.made),
            sections: self.sections(language),
            style: assets::STYLE,
            texts,
            frame,
        }
    }

    fn encryption(&self, texts: &SafetyTexts) -> Vec<Claim> {
        let mut claims: Vec<Claim> = self
            .certificates
            .iter()
            .map(|one| Claim {
                text: (texts.certificate)(one),
                evidence: format!("SHA-256 {}", one.sha256),
                at: self.made.clone(),
                shown: true,
            })
            .collect();
        claims.extend(self.tls.iter().map(|tls| Claim {
            text: (texts.protocols)(tls),
            evidence: tls.suites.join(", "),
            at: self.started.clone(),
            shown: true,
        }));
        claims.extend(self.without_tls.iter().map(|address| Claim {
            text: not_shown(texts, texts.router_ends_tls),
            evidence: address.clone(),
            at: self.started.clone(),
            shown: false,
        }));
        claims
    }

    fn login(&self, texts: &SafetyTexts) -> Vec<Claim> {
        let login = &self.login;
        let configured = |text| Claim {
            text,
            evidence: texts.configuration.to_owned(),
            at: self.started.clone(),
            shown: true,
        };
        let mut claims = vec![
            configured((texts.steps)(login)),
            configured((texts.tries)(login)),
            Claim {
                evidence: texts.arithmetic.to_owned(),
                ..configured((texts.takeovers)(login))
            },
            configured((texts.session)(login)),
        ];
        let shield = |raised: &bool| match raised {
            true => texts.shield_raised.to_owned(),
            false => texts.shield_down.to_owned(),
        };
        claims.push(self.shown(texts, &login.shield_raised, shield, |_| {
            (texts.store.to_owned(), self.made.clone())
        }));
        claims
    }

    fn access(&self, texts: &SafetyTexts) -> Vec<Claim> {
        let access = &self.access;
        let digest = format!("{} {}", texts.digest, access.digest);
        let mut claims = vec![Claim {
            text: (texts.routes)(access.routes, &access.public),
            evidence: digest.clone(),
            at: access.since.clone(),
            shown: true,
        }];
        claims.extend(access.rules.iter().map(|rule| Claim {
            text: rule.words.clone(),
            evidence: rule.place.clone(),
            at: access.since.clone(),
            shown: true,
        }));
        claims.push(self.shown(
            texts,
            &access.proof,
            |count| (texts.proved)(*count),
            |_| (digest, access.since.clone()),
        ));
        claims
    }

    fn record(&self, texts: &SafetyTexts) -> Vec<Claim> {
        let trail = self.shown(
            texts,
            &self.trail,
            |_| texts.trail.to_owned(),
            |one| ((texts.records)(one.records), one.at.clone()),
        );
        let backup = self.shown(
            texts,
            &self.backup,
            |_| texts.backup.to_owned(),
            |one| (one.name.clone(), one.at.clone()),
        );
        let restore = self.shown(
            texts,
            &self.restore,
            |_| texts.restore.to_owned(),
            |one| (one.name.clone(), one.at.clone()),
        );
        let version = Claim {
            text: (texts.version)(&self.version),
            evidence: texts.program.to_owned(),
            at: self.started.clone(),
            shown: true,
        };
        vec![trail, backup, restore, version]
    }

    /// A claim that is made only with evidence; else what it would have been about, not shown.
    fn shown<T>(
        &self,
        texts: &SafetyTexts,
        what: &Shown<T>,
        text: impl FnOnce(&T) -> String,
        evidence: impl FnOnce(&T) -> (String, String),
    ) -> Claim {
        match what {
            Shown::Shown(what) => {
                let text = text(what);
                let (evidence, at) = evidence(what);
                Claim {
                    text,
                    evidence,
                    at,
                    shown: true,
                }
            }
            Shown::NotShown(why) => Claim {
                text: not_shown(texts, why),
                evidence: texts.none.to_owned(),
                at: self.made.clone(),
                shown: false,
            },
        }
    }
}

fn not_shown(texts: &SafetyTexts, why: &str) -> String {
    format!("{}: {why}", texts.not_shown)
}

#[derive(Template)]
#[template(path = "safety.html")]
struct Page<'a> {
    tag: &'static str,
    lead: String,
    sections: Vec<Section>,
    style: &'static str,
    texts: &'static SafetyTexts,
    /// Without one, the page is a file of its own.
    frame: Option<&'a Frame<'a>>,
}

impl Limit {
    /// How long the limit's window is.
    pub(super) const fn window(self) -> Duration {
        Duration::from_secs(self.per)
    }
}
