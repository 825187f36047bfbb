//! A database in PostgreSQL: where it is, whom it is believed to be, and how long it is waited for.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use tokio_postgres::config::{Config as Connection, Host, SslMode};

use super::super::secret_ref::SecretRef;
use super::super::written::{At, Hidden};
use super::Resolver;
use crate::postgres::Settings;

/// Where platforms such as Heroku put a database's URL.
const PLATFORM_URL: &str = "DATABASE_URL";

/// A database as written in a table of the configuration.
pub(super) struct Database<'w> {
    /// The table, for messages.
    pub(super) table: &'static str,
    pub(super) url: Option<&'w Hidden>,
    pub(super) ca: Option<&'w At<String>>,
    pub(super) connections: Option<&'w At<u64>>,
    pub(super) connect_timeout: Option<&'w At<String>>,
    pub(super) query_timeout: Option<&'w At<String>>,
}

impl Resolver<'_> {
    /// Where a database is; `whole` is where the table says that there is one.
    pub(super) fn database(&mut self, written: &Database<'_>, whole: Range<usize>) -> Settings {
        let key = |name: &str| format!("{}.{name}", written.table);
        let second = Duration::from_secs(1);
        let patience = Duration::from_millis(50)..=second * 30;
        let connect_timeout = self.duration(
            &key("connect_timeout"),
            written.connect_timeout,
            patience.clone(),
            second * 2,
        );
        let ca = written.ca.map(|at| {
            let path = self.path(&key("ca"), Some(at), "");
            if !(self.around.is_file)(&path) {
                let message = format!("there is no file `{}`", path.display());
                self.fault(at.span(), message, ROOTS);
            }
            path
        });
        let mut connection = self.connection(written, whole, ca.is_some());
        connection.connect_timeout(connect_timeout);
        if connection.get_application_name().is_none() {
            connection.application_name("portvakt");
        }
        Settings {
            connection,
            ca,
            connections: self.count(&key("connections"), written.connections, 1..=64, 4),
            connect_timeout,
            query_timeout: self.duration(
                &key("query_timeout"),
                written.query_timeout,
                patience,
                second * 2,
            ),
        }
    }

    /// The platform's, where one is set and can be spoken to as it stands. Whoever needs another
    /// writes so; whoever needs none must not be bothered.
    pub(super) fn platform_database(&self) -> Option<Settings> {
        let url = (self.around.env)(PLATFORM_URL)?;
        let mut connection = read_url(&url, Err(String::new())).ok()?;
        let wait = Duration::from_secs(2);
        connection.connect_timeout(wait);
        connection.application_name("portvakt");
        Some(Settings {
            connection,
            ca: None,
            connections: 4,
            connect_timeout: wait,
            query_timeout: wait,
        })
    }

    /// The server, the database and how to log in to it; no message shows the URL.
    fn connection(
        &mut self,
        written: &Database<'_>,
        whole: Range<usize>,
        has_roots: bool,
    ) -> Connection {
        let nowhere = Connection::new();
        let key = |name: &str| format!("{}.{name}", written.table);
        let (reference, span) = match written.url {
            Some(at) => match SecretRef::parse(at.expose()) {
                Ok(reference) => (reference, at.span()),
                Err(literal) => {
                    self.fault(
                        at.span(),
                        format!("`{}`: {literal}", key("url")),
                        "a database's URL holds its password: `env:DATABASE_URL`, or `file:PATH`",
                    );
                    return nowhere;
                }
            },
            None if self.taken.contains(&key("url")) => return nowhere,
            None => (SecretRef::Env(PLATFORM_URL.to_owned()), whole),
        };
        let url = match reference.read(self.around.env) {
            Ok(url) => url,
            Err(error) => {
                self.fault(
                    span,
                    format!("`{}`: {error}", key("url")),
                    "`url` names where the database's URL is; without it, that is `env:DATABASE_URL`",
                );
                return nowhere;
            }
        };
        match read_url(
            url.expose_text().unwrap_or_default(),
            has_roots.then_some(()).ok_or(key("ca")),
        ) {
            Ok(connection) => connection,
            Err((message, help)) => {
                self.fault(span, format!("`{}`: {message}", key("url")), help);
                nowhere
            }
        }
    }
}

const ROOTS: &str = "a PEM file of the certificates that vouch for the server: your provider's, \
                     or the system's, such as `/etc/ssl/certs/ca-certificates.crt`";

/// Reads a URL. Whoever can be reached over a network is spoken to over TLS only, and then the
/// server must prove who it is, whatever weaker `sslmode` of libpq was written.
fn read_url(url: &str, roots: Result<(), String>) -> Result<Connection, (String, &'static str)> {
    const FORM: &str = "such as `postgres://user:password@host:5432/database`";
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(("it does not begin with `postgres://`".to_owned(), FORM));
    }
    let (url, mode) = take_ssl_mode(url);
    let mut connection: Connection = url.parse().map_err(|error| (whole(&error), FORM))?;
    if connection.get_hosts().is_empty() && connection.get_hostaddrs().is_empty() {
        return Err(("it names no host".to_owned(), FORM));
    }
    let local = is_local(&connection);
    let encrypted = match mode.as_deref() {
        Some("require" | "verify-ca" | "verify-full") => true,
        None => !local,
        Some("disable" | "allow" | "prefer") if local => false,
        Some("disable" | "allow" | "prefer") => {
            return Err((
                "its `sslmode` lets passwords and people's data cross the network unencrypted"
                    .to_owned(),
                "leave `sslmode` out, or write `sslmode=verify-full`: only a database on this machine may do without TLS",
            ));
        }
        Some(_) => {
            return Err((
                "its `sslmode` is unknown".to_owned(),
                "`verify-full`, or `disable` for a database on this machine",
            ));
        }
    };
    if let (true, Err(key)) = (encrypted, roots) {
        let message = format!(
            "its server is spoken to over TLS, and `{key}` does not say whose certificates are believed"
        );
        return Err((message, ROOTS));
    }
    connection.ssl_mode(if encrypted {
        SslMode::Require
    } else {
        SslMode::Disable
    });
    Ok(connection)
}

/// `sslmode` has more values in libpq than its reader here knows, so it is read apart.
fn take_ssl_mode(url: &str) -> (String, Option<String>) {
    let Some((head, parameters)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut mode = None;
    let mut kept = Vec::new();
    for parameter in parameters.split('&') {
        match parameter.strip_prefix("sslmode=") {
            Some(value) => mode = Some(value.to_owned()),
            None => kept.push(parameter),
        }
    }
    (format!("{head}?{}", kept.join("&")), mode)
}

/// Whether every way to the server stays on this machine.
fn is_local(connection: &Connection) -> bool {
    let named_here = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .trim_matches(['[', ']'])
                    .parse()
                    .is_ok_and(|address: IpAddr| address.is_loopback())
        }
        Host::Unix(_) => true,
    };
    connection.get_hosts().iter().all(named_here)
        && connection.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// An error with its causes; those of a URL's reader name keys, never values.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
