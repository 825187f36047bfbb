//! A login with everything behind it, and clients that keep their cookies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;

use crate::audit::{Audit, HEADS_KEY, Record};
use crate::body::Body;
use crate::client::{Client, RequestId};
use crate::clock::{Clock as _, ManualClock, SharedClock, Timestamp};
use crate::config::{self, Config, Keeping, PublicUrl, Window};
use crate::directory::SharedDirectory;
use crate::directory::file::FileDirectory;
use crate::login::{Login, LoginParts, Outbox, OutboxMailer};
use crate::metrics::Metrics;
use crate::secret::MasterKey;
use crate::session::Sessions;
use crate::session::assertion::Keyring;
use crate::store::SharedStore;
use crate::store::embedded::Embedded;

pub(super) const KARI: &str = "kari@fjord.example";
pub(super) const KARIS_PHONE: &str = "+4790000001";
/// As long as Kari's address, and nobody's.
pub(super) const NOBODY: &str = "kine@fjord.example";
/// As long as Kari's address, and suspended.
pub(super) const SUSPENDED: &str = "siri@fjord.example";
pub(super) const OLA: &str = "ola@fjord.example";

pub(super) const PEOPLE: &str = r#"
[[company]]
id = "fjord"
name = "Fjord AS"

[[user]]
id = "u-kari"
email = "kari@fjord.example"
phone = "+4790000001"
name = "Kari Nordmann"
company = "fjord"

[[user]]
id = "u-ola"
email = "ola@fjord.example"
phone = "+4790000002"
name = "Ola Hansen"
company = "fjord"

[[user]]
id = "u-siri"
email = "siri@fjord.example"
phone = "+4790000003"
name = "Siri Lie"
company = "fjord"
suspended = true
"#;

pub(super) struct World {
    pub(super) login: Arc<Login>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: SharedStore,
    pub(super) directory: Arc<FileDirectory>,
    pub(super) metrics: Metrics,
    audit: Audit,
    dir: TempDir,
}

/// What a test may put in place of the real thing.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) store: Option<SharedStore>,
    pub(super) directory: Option<SharedDirectory>,
    pub(super) full_disk: bool,
    pub(super) tick: Duration,
    /// The login's numbers; by default those that are shipped, but with wide budgets of sends, so
    /// that a test about something else may ask for as many codes as it likes.
    pub(super) login: Option<config::Login>,
    pub(super) no_mail_server: bool,
    pub(super) people: Option<String>,
}

/// The login's numbers as they are shipped.
pub(super) fn shipped() -> config::Login {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let window = |limit, per| Window { limit, per };
    config::Login {
        code_lifetime: Duration::from_secs(300),
        attempts_per_challenge: 3,
        live_challenges: 3,
        unknown_device: vec![window(5, hours(24)), window(20, hours(720))],
        known_device: vec![window(10, hours(24)), window(30, hours(720))],
        device_lifetime: hours(24 * 180),
        answer_tick: Duration::ZERO,
        sends: config::Sends::default(),
        fleet: config::Fleet::default(),
        shield: config::Shield::Link,
    }
}

fn with_wide_sends(mut login: config::Login) -> config::Login {
    let wide = vec![Window {
        limit: 1_000_000,
        per: Duration::from_secs(3600),
    }];
    login.sends = config::Sends {
        unknown_device: wide.clone(),
        known_device: wide.clone(),
        address: wide.clone(),
        address_codes: wide.clone(),
        prefix: wide.clone(),
        company: wide.clone(),
        all: wide,
        countries: None,
    };
    login
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(Changes::default()).await
    }

    pub(super) async fn with(changes: Changes) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let people = dir.path().join("directory.toml");
        let text = changes.people.as_deref().unwrap_or(PEOPLE);
        std::fs::write(&people, text).unwrap();
        if changes.full_disk {
            std::os::unix::fs::symlink("/dev/full", dir.path().join("audit.jsonl")).unwrap();
        }
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_123)));
        let shared_clock: SharedClock = clock.clone();
        let embedded: SharedStore =
            Arc::new(Embedded::open(&dir.path().join("state.redb")).unwrap());
        let store = changes.store.unwrap_or_else(|| Arc::clone(&embedded));
        let directory = Arc::new(FileDirectory::load(&people).unwrap());
        let shared_directory = changes.directory.unwrap_or_else(|| directory.clone());
        let metrics = Metrics::new().unwrap();
        let login = changes.login;
        let login = login.unwrap_or_else(|| with_wide_sends(shipped()));
        let config = configuration(config::Login {
            answer_tick: changes.tick,
            ..login
        });
        let master = MasterKey::generate();
        let outbox = Arc::new(Outbox::new(shared_clock.clone()));
        let issuer = config.public_url.origin();
        let sealing = master.derive("sealing");
        let keyring = Keyring::open(embedded, sealing, shared_clock.clone(), issuer);
        let heads = MasterKey::generate().derive(HEADS_KEY);
        let audit = Audit::open(dir.path(), Keeping::default(), &heads).unwrap();
        let login = Login::new(LoginParts {
            store: Arc::clone(&store),
            directory: Arc::clone(&shared_directory),
            sessions: Sessions::new(
                Arc::clone(&store),
                shared_directory,
                shared_clock.clone(),
                config.session,
                metrics.clone(),
            ),
            keyring: keyring.await.unwrap(),
            clock: shared_clock,
            master: &master,
            senders: vec![outbox.clone()],
            mailer: (!changes.no_mail_server)
                .then(|| Arc::new(OutboxMailer::new(outbox.clone())) as _),
            audit: audit.clone(),
            metrics: metrics.clone(),
            config: &config,
        });
        Self {
            login: Arc::new(login),
            outbox,
            clock,
            store,
            directory,
            metrics,
            audit,
            dir,
        }
    }

    pub(super) fn browser(&self) -> Browser {
        Browser {
            login: Arc::clone(&self.login),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            cookies: BTreeMap::new(),
            headers: vec![("accept", "text/html,application/xhtml+xml".to_owned())],
        }
    }

    pub(super) fn program(&self) -> Browser {
        Browser {
            headers: vec![("accept", "application/json".to_owned())],
            ..self.browser()
        }
    }

    /// The code in the latest of `count` messages in all.
    pub(super) async fn code(&self, count: usize) -> String {
        let text = self.message(count).await;
        let (_, code) = text.rsplit_once('#').unwrap();
        code.to_owned()
    }

    pub(super) async fn message(&self, count: usize) -> String {
        let arrived = async {
            while self.outbox.messages().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), arrived)
            .await
            .expect("a message arrives");
        let messages = self.outbox.messages();
        assert_eq!(messages.len(), count);
        messages.last().unwrap().text.clone()
    }

    pub(super) fn people(&self, text: &str) {
        std::fs::write(self.dir.path().join("directory.toml"), text).unwrap();
        self.directory.reload().unwrap();
    }

    /// What is in the trail, once all that was noted before has been written.
    pub(super) async fn records(&self) -> Vec<Value> {
        let mark = Record::new(Timestamp::default(), "test.mark", "ok");
        self.audit.keep(mark).await.unwrap();
        let text = std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        let record = |line: &str| serde_json::from_str(line).unwrap();
        let records: Vec<Value> = text.lines().map(record).collect();
        let marked = |record: &Value| record["event"] == "test.mark";
        records.into_iter().filter(|r| !marked(r)).collect()
    }

    pub(super) fn counted(&self, step: &str, result: &str) -> u64 {
        self.metrics.logins.with_label_values(&[step, result]).get()
    }

    pub(super) async fn sessions(&self) -> usize {
        let (now, all) = (self.clock.now(), crate::store::Whose::All);
        self.store.sessions(now, &all).await.unwrap().len()
    }
}

/// A code that is not this one.
pub(super) fn another(code: &str) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:04}", (number + 1) % 10_000)
}

/// A client with its cookies.
#[derive(Clone)]
pub(super) struct Browser {
    pub(super) login: Arc<Login>,
    pub(super) address: IpAddr,
    pub(super) cookies: BTreeMap<String, String>,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Browser {
    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.call(Method::GET, path, None, "").await
    }

    /// Posts a form as its page would: with the page's token.
    pub(super) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf().await;
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("csrf", &csrf)
            .extend_pairs(fields)
            .finish();
        self.call(Method::POST, path, Some(FORM), &body).await
    }

    pub(super) async fn post_json(&mut self, path: &str, value: &Value) -> Answer {
        let body = value.to_string();
        self.call(Method::POST, path, Some("application/json"), &body)
            .await
    }

    pub(super) async fn csrf(&mut self) -> String {
        let page = self.get("/.portvakt/login").await.text;
        page.split("name=\"csrf\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap()
            .to_owned()
    }

    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !pairs.is_empty() {
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let client = Client {
            address: self.address,
            request_id: RequestId::parse(&"0b".repeat(16)).unwrap(),
        };
        let request = request
            .extension(client)
            .body(Body::full(body.to_owned()))
            .unwrap();
        let answer = Answer::of(self.login.call(request).await).await;
        for (name, value) in answer.cookies() {
            if value.is_empty() {
                self.cookies.remove(&name);
            } else {
                self.cookies.insert(name, value);
            }
        }
        answer
    }

    /// All of the login; `messages` is how many there will have been.
    pub(super) async fn log_in(&mut self, world: &World, email: &str, messages: usize) -> Answer {
        let sent = self.post("/.portvakt/login", &[("email", email)]).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
        let code = world.code(messages).await;
        let done = self.post("/.portvakt/code", &[("code", &code)]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
        done
    }
}

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            (
                "strict-transport-security",
                "max-age=31536000; includeSubDomains",
            ),
        ] {
            assert_eq!(parts.headers[name], value, "{}", parts.status);
        }
        assert!(parts.headers.contains_key(header::CONTENT_SECURITY_POLICY));
        assert!(parts.headers.contains_key(header::CACHE_CONTROL));
        assert!(!parts.headers.contains_key(header::SERVER));
        Self {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let kind = self.headers[header::CONTENT_TYPE].to_str().unwrap();
        assert!(kind.ends_with("json"), "{kind}: {}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    pub(super) fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().unwrap()
    }

    /// Names and values of the cookies that it sets.
    pub(super) fn cookies(&self) -> BTreeMap<String, String> {
        let split = |value: &http::HeaderValue| {
            let (pair, attributes) = value.to_str().unwrap().split_once("; ").unwrap();
            assert!(attributes.starts_with("Path=/; Secure; HttpOnly; SameSite=Lax"));
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        let values = self.headers.get_all(header::SET_COOKIE);
        values.iter().map(split).collect()
    }

    /// All that a stranger can tell one answer from another by, with cookie values masked by
    /// their length.
    pub(super) fn shape(&self, email: &str) -> (StatusCode, BTreeSet<String>, String) {
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            let text = value.to_str().unwrap();
            let masked = match text.split_once('=') {
                Some((cookie, rest)) if name == header::SET_COOKIE => {
                    let (value, attributes) = rest.split_once(';').unwrap_or((rest, ""));
                    format!("{cookie}=<{}>;{attributes}", value.len())
                }
                _ if name == header::REFRESH => {
                    // Sealed by the world's own key.
                    let (told, seal) = text.split_once("&seal=").unwrap();
                    format!("{told}&seal=<{}>", seal.len())
                }
                _ => text.to_owned(),
            };
            format!("{name}: {masked}")
        };
        let fields: Vec<String> = self.headers.iter().map(field).collect();
        let set: BTreeSet<String> = fields.iter().cloned().collect();
        assert_eq!(set.len(), fields.len(), "no field stands twice");
        (self.status, set, self.text.replace(email, "<email>"))
    }
}

fn configuration(login: config::Login) -> Config {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    Config {
        safety_page: false,
        source: PathBuf::new(),
        public_url: PublicUrl {
            scheme: "https".to_owned(),
            host: "projects.example.com".to_owned(),
            port: Some(8443),
        },
        hosts: vec![],
        allowed_origins: vec![],
        prefix: "/.portvakt".to_owned(),
        workers: 1,
        listeners: vec![],
        tls: BTreeMap::new(),
        store: config::Store::Embedded {
            path: PathBuf::new(),
        },
        master_key: None,
        directory: config::Directory::File {
            path: PathBuf::new(),
        },
        sms: config::Sms {
            providers: vec![config::SmsProvider::Outbox],
            queue: 1_000,
        },
        mail: None,
        session: config::Session {
            idle: hours(1),
            absolute: hours(24),
        },
        login,
        upstreams: vec![],
        policy: config::Policy {
            database: None,
            dir: PathBuf::new(),
            require_proof: false,
            solver: "cvc5".into(),
            prove_timeout: Duration::from_secs(60),
        },
        admin: config::Admin {
            bind: (Ipv4Addr::LOCALHOST, 0).into(),
            socket: PathBuf::new(),
        },
        limits: config::Limits {
            header_bytes: 32 * 1024,
            header_count: 100,
            body_bytes: 1 << 31,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            connections: 100,
            streams: 100,
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
        },
        log: config::Log {
            access: None,
            traces: None,
        },
        audit: config::Audit {
            dir: PathBuf::new(),
            keeping: Keeping::default(),
        },
    }
}
