//! Mails, to a mail server that is not ours: aiosmtpd, from the virtual environment that
//! `tests/run.sh` makes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use portvakt::cli::certs;
use portvakt::clock::{Clock, SystemClock, Timestamp};
use portvakt::config::{Mail, MailTls};
use portvakt::login::{Mailer, SendError, SmtpMailer};
use portvakt::principal::EmailAddress;
use portvakt::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::house::{provider, repository};

const TEXT: &str = "Følg lenken:\nhttps://projects.example.com/.portvakt/link?x=1&y=2\n";

/// A mail server in a process of its own.
pub(crate) struct Server {
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
    dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(mode: &str) -> Self {
        provider();
        let dir = tempfile::tempdir().unwrap();
        let now = SystemClock::starting_at(Timestamp::from_millis(0)).now();
        certs::make_dev(dir.path(), &["localhost", "127.0.0.1"], now).unwrap();
        let python = python();
        assert!(
            python.is_file(),
            "{} is missing: tests/run.sh makes it",
            python.display()
        );
        let mut process = Command::new(python)
            .arg(repository().join("tests/smtp_server.py"))
            .arg(mode)
            .arg(dir.path().join("localhost.pem"))
            .arg(dir.path().join("localhost.key"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap();
        let port = first.expect("the mail server starts").parse().unwrap();
        Self {
            port,
            lines,
            _process: process,
            dir,
        }
    }

    fn settings(&self, tls: MailTls) -> Mail {
        Mail {
            host: "localhost".to_owned(),
            port: self.port,
            tls,
            from: EmailAddress::parse("no-reply@projects.example.com").unwrap(),
            login: Some(("portvakt".to_owned(), Secret::new("correct horse"))),
            ca: Some(self.dir.path().join("ca.pem")),
        }
    }

    /// The same, as text of a configuration.
    pub(crate) fn configured(&self) -> String {
        let (port, dir) = (self.port, self.dir.path().display());
        std::fs::write(self.dir.path().join("password"), "correct horse").unwrap();
        format!(
            "\n[mail]\nhost = \"localhost\"\nport = {port}\ntls = \"starttls\"\n\
             from = \"no-reply@projects.example.com\"\nuser = \"portvakt\"\n\
             password = \"file:{dir}/password\"\nca = \"{dir}/ca.pem\"\n"
        )
    }

    /// The next mail that arrived.
    pub(crate) async fn mail(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line());
        serde_json::from_str(&line.await.unwrap().unwrap().unwrap()).unwrap()
    }
}

/// In the folder that Cargo builds into: this test is `TARGET/PROFILE/deps/gateway-…`.
pub(crate) fn python() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).map(Path::to_owned).unwrap();
    target.join("test-venv/bin/python")
}

async fn send(settings: &Mail) -> Result<(), SendError> {
    let mailer = SmtpMailer::new(settings).unwrap();
    assert!(!format!("{mailer:?}").contains("correct horse"));
    let to = EmailAddress::parse("Kari@blåbær.example").unwrap();
    mailer.send(&to, "Logg inn på Prosjekter", TEXT).await
}

#[tokio::test]
async fn a_mail_arrives_over_starttls_and_over_tls() {
    for (mode, tls) in [("starttls", MailTls::StartTls), ("tls", MailTls::Tls)] {
        let mut server = Server::start(mode).await;
        send(&server.settings(tls)).await.unwrap();
        let mail = server.mail().await;
        assert_eq!(mail["from"], "no-reply@projects.example.com");
        assert_eq!(mail["to"], json!(["kari@xn--blbr-roah.example"]));
        let text = mail["text"].as_str().unwrap().replace("\r\n", "\n");
        assert_eq!(text.trim_end(), TEXT.trim_end());
        assert_eq!(mail["tls"], true, "{mode}");
        assert_eq!(mail["authenticated"], true, "{mode}");
        let headers = &mail["headers"];
        assert_eq!(headers["subject"], "Logg inn på Prosjekter");
        assert_eq!(headers["from"], "no-reply@projects.example.com");
        assert_eq!(headers["to"], "kari@xn--blbr-roah.example");
        assert_eq!(headers["auto-submitted"], "auto-generated");
        assert!(headers["date"].is_string() && headers["message-id"].is_string());
    }
}

#[tokio::test]
async fn no_mail_leaves_in_the_clear_or_to_a_stranger() {
    // A server that offers no TLS, when TLS was asked for.
    let plain = Server::start("plain").await;
    let refused = send(&plain.settings(MailTls::StartTls)).await;
    assert!(
        matches!(refused, Err(SendError::Unsent { .. })),
        "{refused:?}"
    );

    // A certificate that nobody whom this machine trusts vouches for.
    let server = Server::start("tls").await;
    let settings = Mail {
        ca: None,
        ..server.settings(MailTls::Tls)
    };
    let refused = send(&settings).await;
    assert!(
        matches!(refused, Err(SendError::Unsent { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_wrong_password_and_a_server_that_is_away_are_told_without_secrets() {
    let server = Server::start("starttls").await;
    let settings = Mail {
        login: Some(("portvakt".to_owned(), Secret::new("battery staple"))),
        ..server.settings(MailTls::StartTls)
    };
    let refused = send(&settings).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the message was not sent: the mail server answered 535"
    );

    let settings = Mail {
        port: crate::house::free_port(),
        ..settings
    };
    let away = send(&settings).await.unwrap_err().to_string();
    assert_eq!(
        away,
        "the message was not sent: the mail server cannot be reached, or broke off"
    );
}
