//! The application's database, which facts are asked of.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::policy::LookupRows;
use crate::postgres::{CaError, Pool, Settings, Single, Trouble};

/// How many queries are known before all are forgotten: those of policy sets that are gone.
const QUERIES: usize = 1_000;

/// Connections to the database, and what is known of the queries that were asked.
pub struct FactsDatabase {
    pool: Arc<Pool>,
    queries: Mutex<HashMap<Box<str>, Arc<Single>>>,
    /// Where the connections live, whoever asks.
    runtime: Handle,
}

impl FactsDatabase {
    /// A database that is asked once there is something to ask. Its connections live on the
    /// runtime that this is called on.
    ///
    /// # Errors
    ///
    /// [`CaError`] if the certificates that vouch for the server cannot be read.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open(settings: &Settings) -> Result<Self, CaError> {
        Ok(Self {
            pool: Arc::new(Pool::open(settings)?),
            queries: Mutex::default(),
            runtime: Handle::current(),
        })
    }

    /// What a query yields, by name; it is not run.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if the database cannot be asked, or not so.
    pub async fn examine(&self, query: &str) -> Result<Arc<[String]>, Trouble> {
        Single::new(query).examine(&self.pool).await
    }

    /// The rows of a query about a thing.
    pub(super) async fn ask(&self, query: &str, id: &str) -> Result<LookupRows, Trouble> {
        let (query, pool, id) = (self.query(query), Arc::clone(&self.pool), id.to_owned());
        let asked = self
            .runtime
            .spawn(async move { query.ask(&pool, &id).await });
        let rows = asked
            .await
            .unwrap_or_else(|error| Err(Trouble::Unavailable(error.to_string())))?;
        Ok(LookupRows {
            columns: rows.columns,
            rows: rows.rows,
        })
    }

    fn query(&self, text: &str) -> Arc<Single> {
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = queries.get(text) {
            return Arc::clone(known);
        }
        if queries.len() >= QUERIES {
            queries.clear();
        }
        let new = Arc::new(Single::new(text));
        queries.insert(text.into(), Arc::clone(&new));
        new
    }
}

impl fmt::Debug for FactsDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FactsDatabase").finish_non_exhaustive()
    }
}
