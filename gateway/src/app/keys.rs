//! The master key: given by reference, or made at the embedded store's first start.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{AppError, other};
use crate::config::Config;
use crate::secret::MasterKey;

/// The key that was given; otherwise the one beside the embedded store, made if there is none.
pub(super) fn master(config: &Config) -> Result<MasterKey, AppError> {
    match find(config)? {
        Ok(key) => Ok(key),
        Err(file) => make(&file),
    }
}

/// The key of a gateway that has run, for those who only read.
pub(super) fn known_master(config: &Config) -> Result<MasterKey, AppError> {
    find(config)?.map_err(|file| {
        other(format!(
            "there is no master key in `{}`: no gateway has run on this configuration",
            file.display()
        ))
    })
}

/// The key, or the file where it will be once it is made.
fn find(config: &Config) -> Result<Result<MasterKey, PathBuf>, AppError> {
    if let Some(given) = &config.master_key {
        return Ok(Ok(given.clone()));
    }
    let Some(store) = config.store.file() else {
        return Err(other(
            "`keys.master` is missing: with `store.kind = \"redis\"` every instance is given the same key by reference",
        ));
    };
    let file = store.with_file_name("master.key");
    match std::fs::read_to_string(&file) {
        Ok(text) => MasterKey::parse(&text)
            .map(Ok)
            .map_err(|error| other(format!("`{}` is no master key: {error}", file.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Err(file)),
        Err(error) => Err(other(format!("cannot read `{}`: {error}", file.display()))),
    }
}

/// Makes the key, readable by its owner only, and durable before anything depends on it.
fn make(file: &Path) -> Result<MasterKey, AppError> {
    let key = MasterKey::generate();
    let failed = |error| other(format!("cannot write `{}`: {error}", file.display()));
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(failed)?;
    out.write_all(key.to_hex().as_bytes())
        .and_then(|()| out.sync_all())
        .map_err(failed)?;
    Ok(key)
}
