//! The databases that the directory and facts are asked of: opened, and their queries looked at.

use std::sync::Arc;

use super::{AppError, other};
use crate::clock::SharedClock;
use crate::config::fault::Fault;
use crate::config::{self, Config};
use crate::directory::SharedDirectory;
use crate::directory::file::FileDirectory;
use crate::directory::postgres::PostgresDirectory;
use crate::pipeline::FactsDatabase;
use crate::policy::PolicySet;
use crate::postgres::Trouble;

/// The directory that is configured. A database that does not answer is waited for by the
/// requests that need it; a query that cannot be a directory keeps the gateway from starting.
pub(super) async fn open_directory(
    config: &Config,
    people: Option<FileDirectory>,
    clock: &SharedClock,
) -> Result<SharedDirectory, AppError> {
    if let Some(people) = people {
        return Ok(Arc::new(people));
    }
    let config::Directory::Postgres(settings) = &config.directory else {
        return Err(other("the directory's file was not read"));
    };
    let directory = PostgresDirectory::open(settings, Arc::clone(clock))
        .map_err(|fault| AppError::Faults(vec![fault]))?;
    match directory.examine().await {
        Err(faults) if faults.iter().all(Fault::is_warning) => {
            for fault in faults {
                tracing::warn!("{}", fault.one_line());
            }
        }
        examined => examined.map_err(AppError::Faults)?,
    }
    Ok(Arc::new(directory))
}

/// The database that facts are asked of, with the policy set's queries looked at.
pub(super) async fn open_facts(
    config: &Config,
    set: &PolicySet,
) -> Result<Option<FactsDatabase>, AppError> {
    let faults = examine_queries(config, set).await;
    if faults.iter().any(|fault| !fault.is_warning()) {
        return Err(AppError::Faults(faults));
    }
    for fault in faults {
        tracing::warn!("{}", fault.one_line());
    }
    open(config).map_err(|fault| AppError::Faults(vec![fault]))
}

fn open(config: &Config) -> Result<Option<FactsDatabase>, Fault> {
    let Some(settings) = &config.policy.database else {
        return Ok(None);
    };
    FactsDatabase::open(settings).map(Some).map_err(|error| {
        Fault::new(format!("`policy.postgres.ca`: {error}"))
            .help("a PEM file of certificates that vouch for the database's server")
    })
}

/// Asks the database what the policy set's queries yield, without running them: every fault, or
/// one warning if it cannot be asked now.
pub(crate) async fn examine_queries(config: &Config, set: &PolicySet) -> Vec<Fault> {
    const HELP: &str = "`[policy.postgres]` says which, or `DATABASE_URL`; one on another machine \
                        needs `ca` as well";
    let queries: Vec<_> = set.queries().collect();
    if queries.is_empty() {
        return Vec::new();
    }
    let database = match open(config) {
        Ok(Some(database)) => database,
        Ok(None) => {
            let unasked = |query: &crate::policy::SetQuery<'_>| {
                query
                    .fault("no database is configured that could be asked")
                    .help(HELP)
            };
            return queries.iter().map(unasked).collect();
        }
        Err(fault) => return vec![fault],
    };
    let mut faults = Vec::new();
    for query in &queries {
        match database.examine(query.text()).await {
            Ok(columns) => faults.extend(query.check(&columns).err()),
            Err(Trouble::Unavailable(why)) => {
                let message = format!("the facts' database cannot be asked: {why}");
                let help = "so whether the queries of facts run was not looked at; while it is \
                            so, what they decide over is refused";
                faults.push(Fault::new(message).help(help).warning());
                break;
            }
            Err(trouble @ Trouble::Login(_)) => {
                let message = format!("`policy.postgres.url`: {trouble}");
                faults.push(Fault::new(message).help(HELP));
                break;
            }
            Err(trouble @ Trouble::Query(_)) => faults.push(query.fault(&trouble.to_string())),
        }
    }
    faults
}
