//! A whole house for a test: the sample service, and the gateway before it, on ports of their own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portvakt::app::{self, Running};
use portvakt::cli::certs;
use portvakt::clock::SharedClock;
use portvakt::config;
use reqwest::header::{ACCEPT, CONTENT_TYPE, SET_COOKIE};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The people of the sample directory.
pub(crate) const KARI: &str = "kari@fjord.example";
pub(crate) const OLA: &str = "ola@fjord.example";
pub(crate) const NILS: &str = "nils@tinde.example";

/// The gateway before the sample service.
pub(crate) struct House {
    pub(crate) gateway: Option<Running>,
    pub(crate) service: demo::service::Service,
    pub(crate) upstream: SocketAddr,
    running_service: Option<demo::service::Running>,
    pub(crate) port: u16,
    pub(crate) admin: SocketAddr,
    pub(crate) dir: TempDir,
    config: String,
    clock: Option<SharedClock>,
}

impl House {
    /// With the shipped policies and people.
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}, None).await
    }

    /// With changes to the configuration's text, and perhaps a clock in the test's hand.
    pub(crate) async fn open_with(
        change: impl FnOnce(&mut String),
        clock: Option<SharedClock>,
    ) -> Self {
        Self::open_on(change, &[], clock).await
    }

    /// With some of the shipped policy files replaced, by name.
    pub(crate) async fn open_on(
        change: impl FnOnce(&mut String),
        policies: &[(&str, &str)],
        clock: Option<SharedClock>,
    ) -> Self {
        provider();
        let dir = tempfile::tempdir().unwrap();
        let service = demo::service::start(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let port = free_port();
        let hosts = ["localhost", "127.0.0.1"];
        certs::make_dev(&dir.path().join("certs"), &hosts, now()).unwrap();
        copy_folder(&repository().join("policies"), &dir.path().join("policies"));
        if policies.iter().any(|(name, _)| *name == "routes.toml") {
            // The shipped examples speak of the shipped routes.
            std::fs::remove_dir_all(dir.path().join("policies/tests")).unwrap();
        }
        for (name, text) in policies {
            std::fs::write(dir.path().join("policies").join(name), text).unwrap();
        }
        std::fs::copy(
            repository().join("config/directory.toml"),
            dir.path().join("directory.toml"),
        )
        .unwrap();
        let upstream = service.address;
        let mut config = sample_config(dir.path(), port, upstream);
        config.push_str(WIDE_SENDS);
        change(&mut config);
        let mut house = Self {
            gateway: None,
            service: service.service.clone(),
            upstream,
            running_service: Some(service),
            port,
            admin: ([127, 0, 0, 1], 0).into(),
            dir,
            config,
            clock,
        };
        house.start().await;
        house
    }

    /// Starts the gateway on the state that is there.
    pub(crate) async fn start(&mut self) {
        let path = self.dir.path().join("portvakt.toml");
        std::fs::write(&path, &self.config).unwrap();
        let (resolved, _) = config::load(&path, &|_| None).unwrap_or_else(|faults| {
            panic!("{}", faults.iter().map(|f| f.report()).collect::<String>())
        });
        let running = app::start(resolved, self.clock.clone()).await;
        let running = running.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        self.admin = running.admin;
        self.gateway = Some(running);
    }

    /// Stops the gateway and starts it again on the same state.
    pub(crate) async fn restart(&mut self) {
        self.gateway.take().unwrap().stop().await;
        self.start().await;
    }

    /// The application goes away.
    pub(crate) async fn stop_service(&mut self) {
        self.running_service.take().unwrap().shutdown().await;
    }

    /// The configuration's file, for a gateway in a process of its own.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.path().join("portvakt.toml")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.dir.path().join("policies")
    }

    pub(crate) fn root_certificate(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("certs/ca.pem")).unwrap()
    }

    /// A browser of one's own: a cookie jar, no redirects followed.
    pub(crate) fn browser(&self) -> Client {
        self.browser_over(|builder| builder)
    }

    pub(crate) fn browser_over(
        &self,
        change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Client {
        let builder = Client::builder()
            .add_root_certificate(reqwest::Certificate::from_pem(&self.root_certificate()).unwrap())
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60));
        change(builder).build().unwrap()
    }

    /// Someone who has gone through both steps.
    pub(crate) async fn logged_in(&self, email: &str) -> Client {
        let browser = self.browser();
        self.log_in(&browser, email).await;
        browser
    }

    pub(crate) async fn log_in(&self, browser: &Client, email: &str) {
        self.ask_for_code(browser, email).await;
        let code = self.latest_code(email).await;
        let answer = self.give_code(browser, &code).await;
        assert_eq!(
            answer.status(),
            StatusCode::OK,
            "{}",
            answer.text().await.unwrap()
        );
    }

    pub(crate) async fn ask_for_code(&self, browser: &Client, email: &str) {
        let answer = self
            .post_json(browser, "/.portvakt/login", &json!({ "email": email }))
            .await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }

    pub(crate) async fn give_code(&self, browser: &Client, code: &str) -> Response {
        self.post_json(browser, "/.portvakt/code", &json!({ "code": code }))
            .await
    }

    pub(crate) async fn post_json(&self, browser: &Client, path: &str, body: &Value) -> Response {
        browser
            .post(self.url(path))
            .header(ACCEPT, "application/json")
            .json(body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, browser: &Client, path: &str) -> Response {
        browser
            .get(self.url(path))
            .header(ACCEPT, "application/json")
            .send()
            .await
            .unwrap()
    }

    /// All messages "sent" so far.
    pub(crate) async fn outbox(&self) -> Vec<Value> {
        self.admin("/outbox").await.json().await.unwrap()
    }

    pub(crate) async fn admin(&self, path: &str) -> Response {
        reqwest::get(format!("http://{}{path}", self.admin))
            .await
            .unwrap()
    }

    /// The code of the newest message to a person; waits until it is there.
    pub(crate) async fn latest_code(&self, email: &str) -> String {
        let phone = match email {
            KARI => "+4790000001",
            OLA => "+4790000002",
            NILS => "+4790000003",
            _ => panic!("nobody's address: {email}"),
        };
        for _ in 0..200 {
            let messages = self.outbox().await;
            if let Some(text) = messages.iter().rev().find(|m| m["to"] == phone) {
                return text["text"]
                    .as_str()
                    .unwrap()
                    .rsplit('#')
                    .next()
                    .unwrap()
                    .to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no message to {email}");
    }

    /// Sends bytes as they are over TLS and HTTP/1.1, and returns all that comes back until the
    /// connection closes or stays silent.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.tls(&[b"http/1.1"]).await;
        // A refusal may come, and the connection close, before all is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while let Ok(Ok(n)) =
            tokio::time::timeout(Duration::from_millis(400), stream.read(&mut buffer)).await
        {
            if n == 0 {
                break;
            }
            answer.extend_from_slice(&buffer[..n]);
        }
        answer
    }

    /// A TLS connection with the given protocols offered.
    pub(crate) async fn tls(
        &self,
        alpn: &[&[u8]],
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }

    pub(crate) fn roots(&self) -> rustls::RootCertStore {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&self.root_certificate()).unwrap())
            .unwrap();
        roots
    }

    /// The session cookie of a new login, for requests written by hand.
    pub(crate) async fn session_cookie(&self, email: &str) -> String {
        let browser = self.browser();
        self.ask_for_code(&browser, email).await;
        let code = self.latest_code(email).await;
        let answer = self.give_code(&browser, &code).await;
        let cookies = answer.headers().get_all(SET_COOKIE).iter();
        let session = cookies
            .map(|c| c.to_str().unwrap())
            .find(|c| c.starts_with("__Host-portvakt="));
        session
            .expect("a session cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    }
}

/// Budgets of messages and submissions that nobody reaches, so that a test about something else
/// may log the same people in as often, and as fast, as it likes. A test about the budgets takes
/// this text out of its configuration again, and has those that are shipped.
pub(crate) const WIDE_SENDS: &str = r#"
[login.sends]
unknown_device = [{ limit = 100000, per = "1h" }]
known_device = [{ limit = 100000, per = "1h" }]
address = [{ limit = 100000, per = "1h" }]
address_codes = [{ limit = 100000, per = "1h" }]
prefix = [{ limit = 100000, per = "1h" }]
company = [{ limit = 100000, per = "1h" }]
all = [{ limit = 100000, per = "1h" }]
"#;

/// The configuration of a test: the sample's, with the test's own folders and ports.
fn sample_config(dir: &Path, port: u16, service: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        r#"public_url = "https://localhost:{port}"
workers = 2

[[listener]]
bind = "127.0.0.1:{port}"
tls = "default"

[tls.default]
certificates = [{{ chain = "{dir}/certs/localhost.pem", key = "file:{dir}/certs/localhost.key" }}]

[store]
kind = "embedded"
path = "{dir}/state/portvakt.redb"

[directory]
kind = "file"
path = "{dir}/directory.toml"

[sms]
kind = "outbox"

[[upstream]]
name = "projects"
addresses = ["http://{service}"]

[policy]
dir = "{dir}/policies"

[admin]
bind = "127.0.0.1:0"
socket = "{dir}/state/admin.sock"

[log]
access = "{dir}/state/access.jsonl"

[audit]
dir = "{dir}/state/audit"
"#
    )
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The provider of both ends' TLS, chosen once per process.
pub(crate) fn provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn now() -> portvakt::clock::Timestamp {
    use portvakt::clock::{Clock, SystemClock, Timestamp};
    SystemClock::starting_at(Timestamp::from_millis(0)).now()
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The status of an answer that came over [`House::raw`].
pub(crate) fn status(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    text.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

/// The type of a JSON answer, without parameters.
pub(crate) fn media_type(answer: &Response) -> String {
    let value = answer
        .headers()
        .get(CONTENT_TYPE)
        .map(|v| v.to_str().unwrap().to_owned());
    value
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}
