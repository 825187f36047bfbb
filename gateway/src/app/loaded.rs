//! What is read before anything starts: people, policies, certificates.

use std::sync::Arc;

use super::in_force::{self, Ready};
use super::{AppError, reload};
use crate::config::{self, Config};
use crate::directory::file::FileDirectory;
use crate::listener;

/// What must be without fault before anything starts.
pub(super) struct Loaded {
    /// Who exists, where that is a file.
    pub(super) people: Option<FileDirectory>,
    pub(super) policy: Ready,
    pub(super) certificates: Vec<(String, Arc<listener::tls::Certificates>)>,
}

impl Loaded {
    pub(super) fn read(config: &Config) -> Result<Self, AppError> {
        let mut faults = Vec::new();
        let people = match &config.directory {
            config::Directory::File { path } => FileDirectory::load(path)
                .map_err(|more| faults.extend(more))
                .ok(),
            config::Directory::Postgres(_) => None,
        };
        let policy = in_force::read(config, None)
            .map_err(|more| faults.extend(more))
            .ok();
        let certificates = reload::read_certificates(config)
            .map_err(|more| faults.extend(more))
            .ok();
        match (policy, certificates) {
            (Some(policy), Some(pairs)) if faults.is_empty() => Ok(Self {
                people,
                policy,
                certificates: pairs
                    .iter()
                    .filter_map(|(name, pairs)| {
                        let (first, others) = pairs.split_first()?;
                        Some((
                            name.clone(),
                            Arc::new(listener::tls::Certificates::new(first, others)),
                        ))
                    })
                    .collect(),
            }),
            _ => Err(AppError::Faults(faults)),
        }
    }
}
