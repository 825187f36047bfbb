//! A PostgreSQL database to ask: a bounded pool of connections, and questions with a deadline.
//!
//! Every question is a read-only transaction of its own with a time limit that the server keeps
//! too, and no statement is prepared under a name: so nothing is left behind on a connection, and
//! a pooler between may hand it to anyone.

mod one;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, PoolError, RecyclingMethod};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use one::{Rows, Single};

/// Where a database is, and how long it is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Server, database, credentials; whether TLS is spoken is decided here.
    pub connection: tokio_postgres::Config,
    /// Whose certificates vouch for the server, PEM; there wherever TLS is spoken.
    pub ca: Option<PathBuf>,
    /// Connections at once; default 4.
    pub connections: usize,
    /// For a connection to be had, new or from the pool; default 2 s.
    pub connect_timeout: Duration,
    /// For an answer, on a connection; default 2 s.
    pub query_timeout: Duration,
}

/// Connections to one database.
pub struct Pool {
    pool: deadpool_postgres::Pool,
    connect_timeout: Duration,
    query_timeout: Duration,
    begin: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody answers, or not in time, or not now.
    #[error("{0}")]
    Unavailable(String),
    /// The server lets this role not in, or has no such database.
    #[error("the database says: {0}")]
    Login(String),
    /// The query is wrong.
    #[error("the database says: {0}")]
    Query(String),
}

/// The certificates that vouch for the server cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CaError(String);

impl Pool {
    /// A pool that connects once it is asked.
    ///
    /// # Errors
    ///
    /// [`CaError`] if the certificates that vouch for the server cannot be read.
    pub fn open(settings: &Settings) -> Result<Self, CaError> {
        let mut connection = settings.connection.clone();
        // A peer that is gone without a word is noticed by the system, not only by our deadlines.
        connection.keepalives_idle(Duration::from_secs(30));
        connection.tcp_user_timeout(settings.connect_timeout + settings.query_timeout);
        let manager = Manager::from_config(
            connection,
            MakeRustlsConnect::new(tls(settings)?),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(settings.connections)
            .build()
            .map_err(|error| CaError(error.to_string()))?;
        Ok(Self {
            pool,
            connect_timeout: settings.connect_timeout,
            query_timeout: settings.query_timeout,
            begin: format!(
                "begin read only; set local statement_timeout = {}",
                settings.query_timeout.as_millis()
            ),
        })
    }

    /// What every question begins with; it ends with `commit`.
    pub(crate) fn begin(&self) -> &str {
        &self.begin
    }

    /// Does something on a connection, within the deadlines. A connection on which something
    /// went wrong is not used again.
    pub(crate) async fn on_a_connection<T, E: From<Trouble>>(
        &self,
        work: impl AsyncFnOnce(&Object) -> Result<T, E>,
    ) -> Result<T, E> {
        let unavailable = |why: String| E::from(Trouble::Unavailable(why));
        let client = match timeout(self.connect_timeout, self.pool.get()).await {
            Ok(Ok(client)) => client,
            Ok(Err(PoolError::Backend(error))) => return Err(Trouble::from(error).into()),
            Ok(Err(error)) => return Err(unavailable(error.to_string())),
            Err(_) => return Err(unavailable("no connection in time".to_owned())),
        };
        let done = timeout(self.query_timeout, work(&client))
            .await
            .unwrap_or_else(|_| Err(unavailable("no answer in time".to_owned())));
        if done.is_err() {
            drop(Object::take(client));
        }
        done
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// Whose fault an error is: the login to the database and the query are people's, the rest passes.
impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(server) = error.as_db_error() else {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                text.push_str(&format!(": {next}"));
                cause = next.source();
            }
            return Self::Unavailable(text);
        };
        let text = format!("{} (SQLSTATE {})", server.message(), server.code().code());
        match server.code().code().get(..2) {
            Some("28" | "3D") => Self::Login(text),
            Some("42" | "3F" | "0A") => Self::Query(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// TLS that believes only the configured certificates. Where none are configured the connection
/// speaks no TLS, and believes nobody.
fn tls(settings: &Settings) -> Result<ClientConfig, CaError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.ca {
        let fault = |why: String| CaError(format!("`{}`: {why}", path.display()));
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| fault(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| fault(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(fault("it holds no certificate".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CaError(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What identifiers are in a column; nothing else can name a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdKind {
    Text,
    Number,
    Uuid,
}

impl IdKind {
    /// The kind of a column or parameter of this type.
    pub(crate) fn of(kind: &Type) -> Self {
        match kind.kind() {
            Kind::Domain(base) => Self::of(base),
            _ if [Type::INT2, Type::INT4, Type::INT8].contains(kind) => Self::Number,
            _ if *kind == Type::UUID => Self::Uuid,
            _ => Self::Text,
        }
    }

    /// Whether a text can be such an identifier.
    pub(crate) fn takes(self, text: &str) -> bool {
        match self {
            Self::Text => !text.contains('\0'),
            Self::Number => text.parse::<i64>().is_ok(),
            Self::Uuid => {
                text.len() == 36
                    && text.bytes().enumerate().all(|(at, byte)| match at {
                        8 | 13 | 18 | 23 => byte == b'-',
                        _ => byte.is_ascii_hexdigit(),
                    })
            }
        }
    }
}

/// Whether a type is a kind of text.
pub(crate) fn is_text(kind: &Type) -> bool {
    match kind.kind() {
        Kind::Enum(_) => true,
        Kind::Domain(base) => is_text(base),
        _ => {
            [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME].contains(kind)
                || kind.name() == "citext"
        }
    }
}
