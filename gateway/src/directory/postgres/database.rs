//! The database: the questions that the directory asks of it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use deadpool_postgres::Object;
use futures_util::future::try_join3;
use tokio_postgres::types::Type;

use super::rows::Found;
use super::shape::Shape;
use crate::config::Postgres;
use crate::config::fault::Fault;
use crate::postgres::{self, Pool};

pub(super) struct Database {
    pool: Pool,
    query: String,
    /// Found out at the first question, and again after one that went wrong.
    shape: ArcSwapOption<Shape>,
}

/// What people are looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Email,
    Id,
    Login,
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
        let pool = Pool::open(&config.database).map_err(|error| {
            Fault::new(format!("`directory.ca`: {error}"))
                .help("a PEM file of certificates that vouch for the database's server")
        })?;
        Ok(Self {
            pool,
            query: config.query.clone(),
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
                By::Login => &shape.by_login,
            };
            if by == By::Id {
                values.retain(|value| shape.id.takes(value));
            }
            // Sent in this order without waiting in between.
            let (_, rows, _) = try_join3(
                client.batch_execute(self.pool.begin()),
                client.query_typed(statement, &[(&values, Type::TEXT_ARRAY)]),
                client.batch_execute("commit"),
            )
            .await?;
            rows.iter()
                .map(Found::read)
                .collect::<Result<_, _>>()
                .map_err(Trouble::from)
        })
        .await
    }

    async fn shape(&self, client: &Object) -> Result<Arc<Shape>, Trouble> {
        let statement = format!("select * from (\n{}\n) u", self.query);
        let statement = client.prepare(&statement).await?;
        let shape = Shape::new(&self.query, statement.columns()).map_err(Trouble::Faults)?;
        let shape = Arc::new(shape);
        self.shape.store(Some(Arc::clone(&shape)));
        Ok(shape)
    }

    /// Does something on a connection, and finds out anew what is known of the query if that goes
    /// wrong.
    async fn on_a_connection<T>(
        &self,
        work: impl AsyncFnOnce(&Object) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let done = self.pool.on_a_connection(work).await;
        if done.is_err() {
            self.shape.store(None);
        }
        done
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl From<postgres::Trouble> for Trouble {
    fn from(trouble: postgres::Trouble) -> Self {
        let (subject, help) = match &trouble {
            postgres::Trouble::Unavailable(why) => return Self::Unavailable(why.clone()),
            postgres::Trouble::Login(_) => (
                "directory.url",
                "the role, its password and the database must be those of the server",
            ),
            postgres::Trouble::Query(_) => (
                "directory.query",
                "it must run as it stands, as the role in `directory.url`: try it with `psql`",
            ),
        };
        Self::Faults(vec![
            Fault::new(format!("`{subject}`: {trouble}")).help(help),
        ])
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        postgres::Trouble::from(error).into()
    }
}
