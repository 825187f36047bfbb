//! What is attacked: a town of a hundred thousand people behind the gateway's login, as a library,
//! with the clock in the harness's hand and no sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use portvakt::audit::{Audit, HEADS_KEY};
use portvakt::body::Body;
use portvakt::client::{Client, RequestId};
use portvakt::clock::{Clock, ManualClock, SharedClock, Timestamp};
use portvakt::config::{self, Config, Keeping};
use portvakt::directory::{Directory, DirectoryError, Person, PhoneNumber, SharedDirectory};
use portvakt::login::{Login, LoginParts, Mailer, SendError, Sender};
use portvakt::metrics::Metrics;
use portvakt::principal::{Company, EmailAddress, Principal, UserId};
use portvakt::secret::MasterKey;
use portvakt::session::Sessions;
use portvakt::session::assertion::Keyring;
use portvakt::store::SharedStore;
use portvakt::store::embedded::Embedded;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::RwLock;

use crate::ledger::Ledger;

/// People in the directory.
pub(crate) const PEOPLE: u32 = 100_000;

/// Companies that they are of.
const COMPANIES: u32 = 100;

/// Addresses that the attacker comes from.
pub(crate) const ADDRESSES: u32 = 10_000;

const FOUNDED: Timestamp = Timestamp::from_millis(1_795_515_607_000);

/// The gateway's login with everything behind it.
pub(crate) struct Town {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ledger: Arc<Ledger>,
    login: RwLock<Option<Arc<Login>>>,
    house: House,
    challenges: AtomicU64,
}

/// What stays where it is over a restart.
struct House {
    config: Config,
    master: MasterKey,
    clock: Arc<ManualClock>,
    numbers: Numbers,
    telephones: Arc<Telephones>,
    dir: TempDir,
}

/// How people's numbers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// As in life: fifty to a prefix.
    Spread,
    /// Ten thousand to a prefix, as someone has who is paid for what arrives there.
    OnePrefix,
}

impl Town {
    /// A new town, on a new store.
    pub(crate) async fn found(numbers: Numbers) -> Arc<Self> {
        // What survives a power cut is not the question here, and a disk would only be slow.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let dir = dir.unwrap();
        let clock = Arc::new(ManualClock::at(FOUNDED));
        let ledger = Arc::new(Ledger::default());
        let house = House {
            config: configuration(dir.path()),
            master: MasterKey::generate(),
            clock: Arc::clone(&clock),
            numbers,
            telephones: Arc::new(Telephones {
                numbers,
                clock: Arc::clone(&clock),
                ledger: Arc::clone(&ledger),
                latest: Mutex::default(),
            }),
            dir,
        };
        Arc::new(Self {
            clock,
            ledger,
            login: RwLock::new(Some(Arc::new(house.open().await))),
            house,
            challenges: AtomicU64::new(0),
        })
    }

    /// Closes the store, and opens everything again on what is there.
    pub(crate) async fn restart(&self) {
        let mut login = self.login.write().await;
        drop(login.take());
        *login = Some(Arc::new(self.house.open().await));
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Days since the town was founded.
    pub(crate) fn days(&self) -> f64 {
        self.now().since(FOUNDED).as_secs_f64() / 86_400.0
    }

    /// Lets time pass, once what was posted has gone out: on a busy machine messages of several
    /// hours would else seem to be sent at once.
    pub(crate) async fn pass(&self, seconds: u64) {
        if let Some(login) = &*self.login.read().await {
            login.drain(Duration::from_secs(60)).await;
        }
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Asks for a code for person `n`.
    pub(crate) async fn ask(&self, n: u32, from: u32, device: &str) -> Reply {
        let body = json!({ "email": address_of(n) });
        self.post("login", device, from, &body).await
    }

    /// The challenge that an answer to [`Town::ask`] opened, if it did.
    pub(crate) fn challenge(&self, n: u32, reply: &Reply) -> Option<Challenge> {
        let cookie = reply.cookies.get("__Host-portvakt-challenge")?;
        Some(Challenge {
            person: n,
            number: self.challenges.fetch_add(1, Ordering::Relaxed),
            cookie: format!("__Host-portvakt-challenge={cookie}"),
        })
    }

    /// Opens a challenge, and guesses in it until it is over; returns whether it opened.
    pub(crate) async fn try_three(&self, n: u32, from: u32) -> bool {
        let reply = self.ask(n, from, "").await;
        let Some(challenge) = self.challenge(n, &reply) else {
            return false;
        };
        for guess in ["0000", "1234", "1111", "2580"] {
            if self.guess(&challenge, from, guess).await.status != StatusCode::UNAUTHORIZED {
                break;
            }
        }
        true
    }

    /// A guess on the unknown lane, which goes into the ledger if it was compared.
    pub(crate) async fn guess(&self, challenge: &Challenge, from: u32, code: &str) -> Reply {
        let body = json!({ "code": code });
        let reply = self.post("code", &challenge.cookie, from, &body).await;
        // A right guess was compared too, and is what the attacker is after.
        if reply.error == "wrong_code" || reply.status == StatusCode::OK {
            self.ledger.evaluated(
                self.now(),
                challenge.person,
                challenge.number,
                reply.status == StatusCode::OK,
            );
        }
        reply
    }

    pub(crate) async fn resend(&self, challenge: &Challenge, from: u32) -> Reply {
        self.post("resend", &challenge.cookie, from, &json!({}))
            .await
    }

    /// The person logs in, with the device cookie that they hold; returns the new one.
    pub(crate) async fn owner_logs_in(&self, n: u32, device: &str) -> Option<String> {
        let before = self.house.telephones.count(n);
        let reply = self.ask(n, OWNERS, device).await;
        let challenge = reply.cookies.get("__Host-portvakt-challenge")?.clone();
        let code = self.house.telephones.code(n, before).await?;
        let cookies = format!("{device}; __Host-portvakt-challenge={challenge}");
        let body = json!({ "code": code });
        let reply = self.post("code", &cookies, OWNERS, &body).await;
        let device = reply.cookies.get("__Host-portvakt-device")?;
        Some(format!("__Host-portvakt-device={device}"))
    }

    async fn post(&self, path: &str, cookies: &str, from: u32, body: &Value) -> Reply {
        let client = Client {
            address: address(from),
            request_id: RequestId::generate(),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/.portvakt/{path}"))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .extension(client);
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies);
        }
        let request = request.body(Body::full(body.to_string())).unwrap();
        let login = self.login.read().await.clone().unwrap();
        let (parts, body) = login.call(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let cookies = parts.headers.get_all(header::SET_COOKIE).iter();
        Reply {
            status: parts.status,
            error: body["error"].as_str().unwrap_or_default().to_owned(),
            cookies: cookies
                .filter_map(|cookie| cookie.to_str().ok()?.split(';').next()?.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

/// Someone's live code, as its browser holds it.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    pub(crate) person: u32,
    number: u64,
    cookie: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    cookies: BTreeMap<String, String>,
}

/// Where the people themselves come from.
const OWNERS: u32 = 1 << 23;

fn address(from: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits((10 << 24) | from))
}

fn address_of(n: u32) -> String {
    format!("p{n}@town.example")
}

impl House {
    async fn open(&self) -> Login {
        let clock: SharedClock = self.clock.clone();
        let store: SharedStore = Arc::new(self.store().await);
        let directory: SharedDirectory = Arc::new(Crowd::new(self.numbers));
        let metrics = Metrics::new().unwrap();
        let config = &self.config;
        let keyring = Keyring::open(
            Arc::clone(&store),
            self.master.derive("assertion keys"),
            Arc::clone(&clock),
            config.public_url.origin(),
        );
        Login::new(LoginParts {
            sessions: Sessions::new(
                Arc::clone(&store),
                Arc::clone(&directory),
                Arc::clone(&clock),
                config.session,
                metrics.clone(),
            ),
            store,
            directory,
            keyring: keyring.await.unwrap(),
            clock,
            master: &self.master,
            senders: vec![Arc::clone(&self.telephones) as Arc<dyn Sender>],
            mailer: Some(Arc::clone(&self.telephones) as Arc<dyn Mailer>),
            audit: Audit::open(
                self.dir.path(),
                Keeping::default(),
                &MasterKey::generate().derive(HEADS_KEY),
            )
            .unwrap(),
            metrics,
            config,
        })
    }

    /// The store, as soon as the one before has let go of the file.
    async fn store(&self) -> Embedded {
        let path = self.dir.path().join("state.redb");
        for _ in 0..500 {
            match Embedded::open(&path) {
                Ok(store) => return store,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        Embedded::open(&path).unwrap()
    }
}

/// The configuration that ships, but for the tick, which only costs the bench time.
fn configuration(dir: &Path) -> Config {
    let place = dir.display();
    let text = format!(
        r#"public_url = "https://localhost:8443"
[[listener]]
bind = "127.0.0.1:8443"
trusted_proxies = ["127.0.0.1/32"]
[store]
kind = "embedded"
path = "{place}/state.redb"
[directory]
kind = "file"
path = "{place}/directory.toml"
[sms]
kind = "outbox"
[[upstream]]
name = "projects"
addresses = ["http://127.0.0.1:3000"]
[policy]
dir = "{place}"
[admin]
bind = "127.0.0.1:0"
socket = "{place}/admin.sock"
"#
    );
    let path = dir.join("portvakt.toml");
    std::fs::write(&path, text).unwrap();
    match config::load(&path, &|_| None) {
        Ok((mut config, _)) => {
            config.login.answer_tick = Duration::ZERO;
            config
        }
        Err(faults) => panic!("{}", faults.iter().map(|f| f.report()).collect::<String>()),
    }
}

/// A directory that makes people up as they are asked for.
#[derive(Debug)]
struct Crowd {
    numbers: Numbers,
    companies: Vec<Arc<Company>>,
}

impl Crowd {
    fn new(numbers: Numbers) -> Self {
        let company = |n: u32| {
            Arc::new(Company {
                id: format!("c{n}").as_str().into(),
                name: format!("Company {n}").into(),
            })
        };
        let companies = (0..COMPANIES).map(company).collect();
        Self { numbers, companies }
    }

    fn person(&self, n: u32) -> Option<Arc<Person>> {
        let company = self.companies.get((n % COMPANIES) as usize)?;
        let email = EmailAddress::parse(&address_of(n)).ok()?;
        let principal = Principal {
            id: format!("p{n}").as_str().into(),
            name: format!("Person {n}").into(),
            login: email.as_str().into(),
            email,
            company: Arc::clone(company),
            roles: Vec::new(),
            suspended: false,
        };
        (n < PEOPLE).then(|| {
            Arc::new(Person {
                principal: Arc::new(principal),
                phone: PhoneNumber::parse(&number(self.numbers, n)).unwrap(),
            })
        })
    }
}

/// A Norwegian mobile number.
fn number(numbers: Numbers, n: u32) -> String {
    let (prefix, last) = match numbers {
        Numbers::Spread => (n % 2_000, n / 2_000),
        Numbers::OnePrefix => (n / 10_000, n % 10_000),
    };
    let first = if prefix < 1_000 { 4 } else { 9 };
    format!("+47{first}{:03}{last:04}", prefix % 1_000)
}

/// Whose person a number is: what [`number`] does, backwards.
fn company_of(numbers: Numbers, number: &str) -> u32 {
    let end = match numbers {
        Numbers::Spread => number.len() - 4,
        Numbers::OnePrefix => number.len(),
    };
    number[end - 2..end].parse::<u32>().unwrap() % COMPANIES
}

#[async_trait]
impl Directory for Crowd {
    async fn by_email(&self, email: &EmailAddress) -> Result<Option<Arc<Person>>, DirectoryError> {
        let name = email.as_str().strip_suffix("@town.example");
        let n = name.and_then(|name| name.strip_prefix('p')?.parse().ok());
        Ok(n.and_then(|n| self.person(n)))
    }

    async fn by_id(&self, id: &UserId) -> Result<Option<Arc<Person>>, DirectoryError> {
        let n = id.as_str().strip_prefix('p').and_then(|n| n.parse().ok());
        Ok(n.and_then(|n| self.person(n)))
    }

    async fn by_login(&self, _: &str) -> Result<Option<Arc<Person>>, DirectoryError> {
        Ok(None)
    }

    fn generation(&self) -> u64 {
        0
    }
}

/// Everyone's telephone.
#[derive(Debug)]
struct Telephones {
    numbers: Numbers,
    clock: Arc<ManualClock>,
    ledger: Arc<Ledger>,
    /// Per number: messages so far, and the code of the last.
    latest: Mutex<BTreeMap<String, (usize, String)>>,
}

impl Telephones {
    fn count(&self, n: u32) -> usize {
        let latest = self.latest.lock().unwrap();
        let known = latest.get(&number(Numbers::Spread, n));
        known.map_or(0, |(count, _)| *count)
    }

    /// The code of a message after the first `before`; `None` if none comes.
    async fn code(&self, n: u32, before: usize) -> Option<String> {
        for _ in 0..2_000 {
            if let Some((count, code)) =
                self.latest.lock().unwrap().get(&number(Numbers::Spread, n))
                && *count > before
            {
                return Some(code.clone());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        None
    }
}

#[async_trait]
impl Sender for Telephones {
    fn name(&self) -> &'static str {
        "telephones"
    }

    async fn send(&self, to: &PhoneNumber, text: &str) -> Result<(), SendError> {
        let code = text.rsplit('#').next().unwrap_or_default().to_owned();
        let company = company_of(self.numbers, to.as_e164());
        self.ledger.message(self.clock.now(), to.as_e164(), company);
        let mut latest = self.latest.lock().unwrap();
        let entry = latest.entry(to.as_e164().to_owned()).or_default();
        *entry = (entry.0 + 1, code);
        Ok(())
    }
}

/// The attacker reads nobody's mail.
#[async_trait]
impl Mailer for Telephones {
    async fn send(&self, _: &EmailAddress, _: &str, _: &str) -> Result<(), SendError> {
        self.ledger.mail();
        Ok(())
    }
}
