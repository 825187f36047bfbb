//! The database: a bounded pool of connections, and questions with a deadline.
//!
//! Every question is a read-only transaction of its own with a time limit that the server keeps
//! too, and no statement is prepared under a name: so nothing is left behind on a connection, and
//! a pooler between may hand it to anyone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use futures_util::future::try_join3;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::rows::Found;
use super::shape::Shape;
use crate::config::Postgres;
use crate::config::fault::Fault;

pub(super) struct Database {
    pool: Pool,
    query: String,
    connect_timeout: Duration,
    query_timeout: Duration,
    begin: String,
    /// Found out at the first question, and again after one that went wrong.
    shape: ArcSwapOption<Shape>,
}

/// What people are looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Email,
    Id,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody answers, or not in time, or not now.
    #[error("{0}")]
    Unavailable(String),
    /// What people wrote is wrong.
    #[error("{}", .0.first().map_or("", Fault::message))]
    Faults(Vec<Fault>),
}

impl Trouble {
    /// What `portvakt check` shows: that a database does not answer now is a warning.
    pub(super) fn faults(self) -> Vec<Fault> {
        match self {
            Self::Faults(faults) => faults,
            Self::Unavailable(why) => {
                let message = format!("the directory's database cannot be asked: {why}");
                let help = "so whether `directory.query` yields what it should was not looked at; \
                            while it is so, nobody can log in";
                vec![Fault::new(message).help(help).warning()]
            }
        }
    }
}

impl Database {
    pub(super) fn new(config: &Postgres) -> Result<Self, Fault> {
        let mut connection = config.connection.clone();
        // A peer that is gone without a word is noticed by the system, not only by our deadlines.
        connection.keepalives_idle(Duration::from_secs(30));
        connection.tcp_user_timeout(config.connect_timeout + config.query_timeout);
        let manager = Manager::from_config(
            connection,
            MakeRustlsConnect::new(tls(config)?),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .build()
            .map_err(|error| Fault::new(error.to_string()))?;
        Ok(Self {
            pool,
            query: config.query.clone(),
            connect_timeout: config.connect_timeout,
            query_timeout: config.query_timeout,
            begin: format!(
                "begin read only; set local statement_timeout = {}",
                config.query_timeout.as_millis()
            ),
            shape: ArcSwapOption::empty(),
        })
    }

    /// Finds out what the query yields.
    pub(super) async fn examine(&self) -> Result<Arc<Shape>, Trouble> {
        self.on_a_connection(async |client| self.shape(client).await)
            .await
    }

    /// The rows of the people with these addresses (in all their spellings) or identifiers.
    pub(super) async fn people(
        &self,
        by: By,
        mut values: Vec<String>,
    ) -> Result<Vec<Found>, Trouble> {
        self.on_a_connection(async |client| {
            let shape = match self.shape.load_full() {
                Some(shape) => shape,
                None => self.shape(client).await?,
            };
            let statement = match by {
                By::Email => &shape.by_email,
                By::Id => &shape.by_id,
            };
            if by == By::Id {
                values.retain(|value| shape.id.takes(value));
            }
            // Sent in this order without waiting in between.
            let (_, rows, _) = try_join3(
                client.batch_execute(&self.begin),
                client.query_typed(statement, &[(&values, Type::TEXT_ARRAY)]),
                client.batch_execute("commit"),
            )
            .await
            .map_err(trouble)?;
            rows.iter()
                .map(Found::read)
                .collect::<Result<_, _>>()
                .map_err(trouble)
        })
        .await
    }

    async fn shape(&self, client: &Object) -> Result<Arc<Shape>, Trouble> {
        let statement = format!("select * from (\n{}\n) u", self.query);
        let statement = client.prepare(&statement).await.map_err(trouble)?;
        let shape = Shape::new(&self.query, statement.columns()).map_err(Trouble::Faults)?;
        let shape = Arc::new(shape);
        self.shape.store(Some(Arc::clone(&shape)));
        Ok(shape)
    }

    /// Does something on a connection, within the deadlines. A connection on which something
    /// went wrong is not used again, and what is known of the query is found out anew.
    async fn on_a_connection<T>(
        &self,
        work: impl AsyncFnOnce(&Object) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let client = match timeout(self.connect_timeout, self.pool.get()).await {
            Ok(Ok(client)) => client,
            Ok(Err(deadpool_postgres::PoolError::Backend(error))) => return Err(trouble(error)),
            Ok(Err(error)) => return Err(Trouble::Unavailable(error.to_string())),
            Err(_) => return Err(Trouble::Unavailable("no connection in time".to_owned())),
        };
        let done = timeout(self.query_timeout, work(&client))
            .await
            .unwrap_or_else(|_| Err(Trouble::Unavailable("no answer in time".to_owned())));
        if done.is_err() {
            self.shape.store(None);
            drop(Object::take(client));
        }
        done
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// Whose fault an error is: the login to the database and the query are people's, the rest passes.
fn trouble(error: tokio_postgres::Error) -> Trouble {
    let Some(server) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text.push_str(&format!(": {next}"));
            cause = next.source();
        }
        return Trouble::Unavailable(text);
    };
    let text = format!("{} (SQLSTATE {})", server.message(), server.code().code());
    let (subject, help) = match server.code().code().get(..2) {
        Some("28" | "3D") => (
            "directory.url",
            "the role, its password and the database must be those of the server",
        ),
        Some("42" | "3F" | "0A") => (
            "directory.query",
            "it must run as it stands, as the role in `directory.url`: try it with `psql`",
        ),
        _ => return Trouble::Unavailable(text),
    };
    Trouble::Faults(vec![
        Fault::new(format!("`{subject}`: the database says: {text}")).help(help),
    ])
}

/// TLS that believes only the configured certificates. Where none are configured the connection
/// speaks no TLS, and believes nobody.
fn tls(config: &Postgres) -> Result<ClientConfig, Fault> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca {
        let fault = |why: String| {
            Fault::new(format!("`directory.ca`: `{}`: {why}", path.display()))
                .help("a PEM file of certificates that vouch for the database's server")
        };
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
        .map_err(|error| Fault::new(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
