//! A policy folder to write, and an application to ask.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::{Method, StatusCode};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::learner::Learner;
use crate::clock::{ManualClock, Timestamp};
use crate::config::fault::Fault;
use crate::metrics::Metrics;
use crate::policy::{
    Answer, Authoriser, Decision, FactsError, LookupAnswer, LookupError, LookupRows, Lookups,
    OwnerAs, PolicySet, RouteMatch, Sent, Unsettled,
};
use crate::principal::{Company, EmailAddress, Principal, UserId};
use crate::target::Target;

/// The shipped folder.
pub(super) fn shipped_dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))
}

/// The shipped set.
pub(super) fn shipped() -> Arc<PolicySet> {
    load(shipped_dir())
}

fn load(dir: &Path) -> Arc<PolicySet> {
    match PolicySet::load(dir, &["projects".into(), "other".into()]) {
        Ok(loaded) => loaded.set,
        Err(faults) => panic!("{}", reports(&faults)),
    }
}

pub(super) fn reports(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.report()).collect()
}

/// The faults of a folder as `file:line: message`.
pub(super) fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let dir = folder(files);
    let Err(faults) = PolicySet::load(dir.path(), &["projects".into()]) else {
        return Vec::new();
    };
    let inside = format!("{}/", dir.path().display());
    let told = |fault: &Fault| {
        let location = fault.location().unwrap_or_default().replace(&inside, "");
        format!("{location}: {}", fault.message().replace(&inside, ""))
    };
    faults
        .iter()
        .filter(|f| !f.is_warning())
        .map(told)
        .collect()
}

/// A copy of the shipped folder, with some files replaced.
pub(super) fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "schema.cedarschema",
        "projects.cedar",
        "invariants.cedar",
        "routes.toml",
    ] {
        std::fs::copy(shipped_dir().join(name), dir.path().join(name)).unwrap();
    }
    std::fs::create_dir(dir.path().join("tests")).unwrap();
    if files.iter().any(|(name, _)| name.starts_with("facts/")) {
        std::fs::create_dir(dir.path().join("facts")).unwrap();
    }
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// The shipped set with some files replaced.
pub(super) fn set(files: &[(&str, &str)]) -> Arc<PolicySet> {
    load(folder(files).path())
}

/// The shipped routes with one text replaced by another.
pub(super) fn routes_with(old: &str, new: &str) -> String {
    let routes = std::fs::read_to_string(shipped_dir().join("routes.toml")).unwrap();
    assert!(routes.contains(old), "{old}");
    routes.replace(old, new)
}

pub(super) fn principal(user: &str, company: &str) -> Arc<Principal> {
    Arc::new(Principal {
        id: user.into(),
        email: EmailAddress::parse("someone@somewhere.example").unwrap(),
        name: user.into(),
        login: user.into(),
        company: Arc::new(Company {
            id: company.into(),
            name: company.into(),
        }),
        roles: Vec::new(),
        suspended: false,
    })
}

pub(super) fn kari() -> Arc<Principal> {
    principal("u-kari", "fjord")
}

pub(super) fn ola() -> Arc<Principal> {
    principal("u-ola", "fjord")
}

pub(super) fn nils() -> Arc<Principal> {
    principal("u-nils", "tinde")
}

pub(super) fn matched(set: &PolicySet, line: &str) -> RouteMatch {
    let target = Target::from_line(line).unwrap();
    let matched = set.route(&target, "localhost");
    matched.unwrap_or_else(|| panic!("no route for `{line}`"))
}

/// An authoriser with an application behind it.
pub(super) struct House {
    pub(super) set: Arc<PolicySet>,
    pub(super) authoriser: Arc<Authoriser>,
    pub(super) application: Arc<Application>,
    pub(super) store: Arc<Learner>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) metrics: Metrics,
}

impl House {
    pub(super) fn new(set: Arc<PolicySet>) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
        let store = Arc::new(Learner::default());
        let metrics = Metrics::new().unwrap();
        let authoriser = Authoriser::new(store.clone(), clock.clone(), metrics.clone());
        Self {
            set,
            authoriser: Arc::new(authoriser),
            application: Arc::new(Application::default()),
            store,
            clock,
            metrics,
        }
    }

    /// The shipped set, and the demo's three projects.
    pub(super) fn shipped() -> Self {
        let house = Self::new(shipped());
        for (id, company, owner) in [
            (1, "fjord", "u-kari"),
            (2, "fjord", "u-ola"),
            (3, "tinde", "u-nils"),
        ] {
            house.application.project(id, company, owner);
        }
        house
    }

    pub(super) async fn decide(&self, who: &Arc<Principal>, line: &str) -> Decision {
        self.try_decide(who, line).await.unwrap()
    }

    pub(super) async fn try_decide(
        &self,
        who: &Arc<Principal>,
        line: &str,
    ) -> Result<Decision, FactsError> {
        let lookups: Arc<dyn Lookups> = self.application.clone();
        let matched = matched(&self.set, line);
        let deciding = self.authoriser.decide(&self.set, who, &matched, &lookups);
        deciding.await
    }

    /// A request with a body of JSON.
    pub(super) async fn read_and_decide(
        &self,
        who: &Arc<Principal>,
        line: &str,
        body: &str,
    ) -> Decision {
        let mut matched = matched(&self.set, line);
        let headers = [(
            http::header::CONTENT_TYPE,
            "application/json".parse().unwrap(),
        )];
        let sent = Sent {
            headers: &headers.into_iter().collect(),
            scheme: "https",
            authority: "localhost",
            body: body.as_bytes(),
        };
        matched.read(sent).unwrap();
        let lookups: Arc<dyn Lookups> = self.application.clone();
        let deciding = self.authoriser.decide(&self.set, who, &matched, &lookups);
        deciding.await.unwrap()
    }

    /// A request that is forwarded and answered.
    pub(super) async fn forward(
        &self,
        who: &Arc<Principal>,
        line: &str,
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &str,
    ) -> Option<String> {
        let matched = matched(&self.set, line);
        let method: Method = line.split(' ').next().unwrap().parse().unwrap();
        let unsettled = self.authoriser.before_forward(&self.set, &matched, &method);
        let unsettled = unsettled.await.unwrap();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            body: Some(body.as_bytes()),
        };
        let lookups: Arc<dyn Lookups> = self.application.clone();
        self.authoriser
            .after_answer(&self.set, &matched, who, &lookups, unsettled, answer)
            .await
            .unwrap()
    }

    /// A request that is forwarded and not answered yet.
    pub(super) async fn send(&self, line: &str) -> Unsettled {
        let matched = matched(&self.set, line);
        let method: Method = line.split(' ').next().unwrap().parse().unwrap();
        let unsettled = self.authoriser.before_forward(&self.set, &matched, &method);
        unsettled.await.unwrap()
    }

    pub(super) fn counted(&self, result: &str) -> u64 {
        self.metrics.facts.with_label_values(&[result]).get()
    }
}

/// What the application answers, and what it was asked.
pub(super) struct Application {
    documents: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<(String, Option<String>)>>,
    rows: Mutex<HashMap<(String, String), LookupRows>>,
    /// Users by e-mail address or login.
    pub(super) users: Mutex<HashMap<String, String>>,
    /// While it holds no permit, answers wait; then each takes what stood when it was asked.
    pub(super) gate: Semaphore,
    pub(super) broken: AtomicBool,
}

impl Default for Application {
    fn default() -> Self {
        Self {
            documents: Mutex::default(),
            asked: Mutex::default(),
            rows: Mutex::default(),
            users: Mutex::default(),
            gate: Semaphore::new(1_000_000),
            broken: AtomicBool::new(false),
        }
    }
}

impl Application {
    pub(super) fn answers(&self, path: &str, document: &str) {
        let mut documents = self.documents.lock().unwrap();
        documents.insert(path.to_owned(), document.to_owned());
    }

    /// The rows of a query about an identifier.
    pub(super) fn row(&self, query: &str, id: &str, columns: &[&str], rows: &[&[&str]]) {
        let text = |it: &&str| (*it).to_owned();
        let rows = LookupRows {
            columns: columns.iter().map(text).collect(),
            rows: rows
                .iter()
                .map(|row| {
                    row.iter()
                        .map(|it| (*it != "null").then(|| text(it)))
                        .collect()
                })
                .collect(),
        };
        let mut known = self.rows.lock().unwrap();
        known.insert((query.to_owned(), id.to_owned()), rows);
    }

    pub(super) fn project(&self, id: u64, company: &str, owner: &str) {
        let document = format!(r#"{{"id":{id},"company_id":"{company}","owner_id":"{owner}"}}"#);
        self.answers(&format!("/projects/{id}"), &document);
    }

    pub(super) fn task(&self, id: u64, project: u64) {
        let document = format!(r#"{{"id":{id},"project_id":{project}}}"#);
        self.answers(&format!("/tasks/{id}"), &document);
    }

    /// Every path that was asked for, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(path, _)| path.clone()).collect()
    }

    /// As whom each was asked.
    pub(super) fn askers(&self) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(_, caller)| caller.clone()).collect()
    }

    /// Answers wait from now on.
    pub(super) fn close(&self) {
        self.gate.forget_permits(usize::MAX);
    }

    /// Lets some answers go.
    pub(super) fn let_go(&self, answers: usize) {
        self.gate.add_permits(answers);
    }

    /// Waits until it has been asked so often.
    pub(super) async fn was_asked(&self, times: usize) {
        for _ in 0..10_000 {
            if self.asked().len() >= times {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("asked {} times, not {times}", self.asked().len());
    }
}

#[async_trait]
impl Lookups for Application {
    async fn get(
        &self,
        _upstream: Option<&str>,
        path: &str,
        caller: Option<&Arc<Principal>>,
        _identity: Option<&str>,
    ) -> Result<LookupAnswer, LookupError> {
        let caller = caller.map(|caller| caller.id.to_string());
        self.asked.lock().unwrap().push((path.to_owned(), caller));
        let answer = self.documents.lock().unwrap().get(path).cloned();
        self.gate.acquire().await.unwrap().forget();
        if self.broken.load(Ordering::SeqCst) {
            return Err(LookupError("the application answered 500".to_owned()));
        }
        Ok(match answer {
            Some(document) => LookupAnswer::Found(document.into()),
            None => LookupAnswer::Missing,
        })
    }

    async fn rows(&self, query: &str, id: &str) -> Result<LookupRows, LookupError> {
        let asked = format!("{query}: {id}");
        self.asked.lock().unwrap().push((asked, None));
        let key = (query.to_owned(), id.to_owned());
        let answer = self.rows.lock().unwrap().get(&key).cloned();
        self.gate.acquire().await.unwrap().forget();
        if self.broken.load(Ordering::SeqCst) {
            return Err(LookupError("the database is down".to_owned()));
        }
        Ok(answer.unwrap_or_else(|| LookupRows {
            columns: Arc::new(["company".to_owned()]),
            rows: Vec::new(),
        }))
    }

    async fn user(&self, _: OwnerAs, name: &str) -> Result<Option<UserId>, LookupError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(LookupError("the directory is down".to_owned()));
        }
        let users = self.users.lock().unwrap();
        Ok(users.get(name).map(|user| user.as_str().into()))
    }
}
