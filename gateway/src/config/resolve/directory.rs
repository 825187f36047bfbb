//! `[directory]`: a file, or a query over the application's own users table.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use tokio_postgres::config::{Config as Connection, Host, SslMode};

use super::super::secret_ref::SecretRef;
use super::super::values::nearest;
use super::super::written::{self, At, Hidden};
use super::super::{Directory, Postgres};
use super::Resolver;

const KINDS: [&str; 2] = ["file", "postgres"];

/// Where platforms such as Heroku put a database's URL.
const PLATFORM_URL: &str = "DATABASE_URL";

impl Resolver<'_> {
    pub(super) fn directory(&mut self, written: Option<&written::Directory>) -> Directory {
        let Some(written) = written else {
            return self.file(None);
        };
        match written.kind.as_ref().map(|at| at.get().as_str()) {
            Some("postgres") => {
                self.strangers("file", "postgres", [("path", place(&written.path))]);
                Directory::Postgres(Box::new(self.postgres(written)))
            }
            kind => {
                if let (Some(kind), Some(at)) = (kind.filter(|it| *it != "file"), &written.kind) {
                    let help = match nearest(kind, KINDS) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => "this version has `file` and `postgres`".to_owned(),
                    };
                    let message = format!("`directory.kind` is `{kind}`, which is unknown");
                    self.fault(at.span(), message, help);
                    return self.file(written.path.as_ref());
                }
                let others = [
                    ("url", written.url.as_ref().map(Hidden::span)),
                    ("query", place(&written.query)),
                    ("ca", place(&written.ca)),
                    ("max_age", place(&written.max_age)),
                    ("connections", place(&written.connections)),
                    ("connect_timeout", place(&written.connect_timeout)),
                    ("query_timeout", place(&written.query_timeout)),
                ];
                self.strangers("postgres", "file", others);
                if let (Some(kind), None) = (&written.kind, &written.path)
                    && !self.taken.contains("directory.path")
                {
                    self.fault(
                        kind.span(),
                        "`path` is missing in `directory`",
                        "the file of companies and users, such as `config/directory.toml`",
                    );
                }
                self.file(written.path.as_ref())
            }
        }
    }

    fn file(&mut self, path: Option<&At<String>>) -> Directory {
        Directory::File {
            path: self.path("directory.path", path, "config/directory.toml"),
        }
    }

    /// Keys of another kind of directory: who wrote them expects what will not be.
    fn strangers<const N: usize>(
        &mut self,
        theirs: &str,
        ours: &str,
        keys: [(&str, Option<Range<usize>>); N],
    ) {
        for (key, span) in keys {
            if let Some(span) = span {
                self.fault(
                    span,
                    format!("`directory.{key}` is for a directory of kind `{theirs}`"),
                    format!("this one is of kind `{ours}`"),
                );
            }
        }
    }

    fn postgres(&mut self, written: &written::Directory) -> Postgres {
        let kind = written.kind.as_ref().map_or(0..0, At::span);
        let second = Duration::from_secs(1);
        let patience = Duration::from_millis(50)..=second * 30;
        let connect_timeout = self.duration(
            "directory.connect_timeout",
            written.connect_timeout.as_ref(),
            patience.clone(),
            second * 2,
        );
        let ca = written.ca.as_ref().map(|at| {
            let path = self.path("directory.ca", Some(at), "");
            if !(self.around.is_file)(&path) {
                let message = format!("there is no file `{}`", path.display());
                self.fault(at.span(), message, ROOTS);
            }
            path
        });
        let mut connection = self.connection(written, kind.clone(), ca.is_some());
        connection.connect_timeout(connect_timeout);
        if connection.get_application_name().is_none() {
            connection.application_name("portvakt");
        }
        Postgres {
            connection,
            ca,
            query: self.query(written.query.as_ref(), kind),
            max_age: self.duration(
                "directory.max_age",
                written.max_age.as_ref(),
                second..=second * 60,
                second * 10,
            ),
            connections: self.count(
                "directory.connections",
                written.connections.as_ref(),
                1..=64,
                4,
            ),
            connect_timeout,
            query_timeout: self.duration(
                "directory.query_timeout",
                written.query_timeout.as_ref(),
                patience,
                second * 2,
            ),
        }
    }

    /// The server, the database and how to log in to it; no message shows the URL.
    fn connection(
        &mut self,
        written: &written::Directory,
        kind: Range<usize>,
        has_roots: bool,
    ) -> Connection {
        let nowhere = Connection::new();
        let (reference, span) = match &written.url {
            Some(at) => match SecretRef::parse(at.expose()) {
                Ok(reference) => (reference, at.span()),
                Err(literal) => {
                    self.fault(
                        at.span(),
                        format!("`directory.url`: {literal}"),
                        "a database's URL holds its password: `env:DATABASE_URL`, or `file:PATH`",
                    );
                    return nowhere;
                }
            },
            None if self.taken.contains("directory.url") => return nowhere,
            None => (SecretRef::Env(PLATFORM_URL.to_owned()), kind),
        };
        let url = match reference.read(self.around.env) {
            Ok(url) => url,
            Err(error) => {
                self.fault(
                    span,
                    format!("`directory.url`: {error}"),
                    "`url` names where the database's URL is; without it, that is `env:DATABASE_URL`",
                );
                return nowhere;
            }
        };
        match read_url(url.expose_text().unwrap_or_default(), has_roots) {
            Ok(connection) => connection,
            Err((message, help)) => {
                self.fault(span, format!("`directory.url`: {message}"), help);
                nowhere
            }
        }
    }

    /// A query that stands in brackets: without a semicolon, and without parameters of its own.
    fn query(&mut self, written: Option<&At<String>>, kind: Range<usize>) -> String {
        let Some(at) = written else {
            if !self.taken.contains("directory.query") {
                self.fault(kind, "`query` is missing in `directory`", COLUMNS);
            }
            return String::new();
        };
        let text = at.get().trim();
        let text = text.strip_suffix(';').unwrap_or(text).trim_end();
        let first = text.split(|c: char| !c.is_ascii_alphabetic()).next();
        let reads = first.is_some_and(|word| {
            word.eq_ignore_ascii_case("select") || word.eq_ignore_ascii_case("with")
        });
        if !reads {
            let message = "`directory.query` does not begin with `select` or `with`";
            self.fault(at.span(), message, COLUMNS);
        }
        let mut after_dollar = text.split('$').skip(1);
        if after_dollar.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            self.fault(
                at.span(),
                "`directory.query` has a parameter (`$1`)",
                "it yields every user; Portvakt asks it for single ones by `id` and `email`",
            );
        }
        text.to_owned()
    }
}

const COLUMNS: &str = "a query that yields `id`, `email`, `phone`, `name`, `company` and \
                       `company_name` of every user, and perhaps `login`, `roles` and `suspended`";

const ROOTS: &str = "a PEM file of the certificates that vouch for the server: your provider's, \
                     or the system's, such as `/etc/ssl/certs/ca-certificates.crt`";

fn place<T>(written: &Option<At<T>>) -> Option<Range<usize>> {
    written.as_ref().map(At::span)
}

/// Reads a URL. Whoever can be reached over a network is spoken to over TLS only, and then the
/// server must prove who it is, whatever weaker `sslmode` of libpq was written.
fn read_url(url: &str, has_roots: bool) -> Result<Connection, (String, &'static str)> {
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
    if encrypted && !has_roots {
        return Err((
            "its server is spoken to over TLS, and `directory.ca` does not say whose certificates are believed".to_owned(),
            ROOTS,
        ));
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
