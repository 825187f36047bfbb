//! The file itself: made for its owner only, verified as it is opened.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

use super::tables::{Tables, store_error};
use crate::store::{StoreError, StoreResult};

/// Bytes of the file that are kept in memory.
const CACHE: usize = 16 << 20;
/// What another process's hold on the file is called.
const HELD: &str = "another process has it open";

/// Opens the file at `path`, or makes it with its folder.
pub(super) fn open(path: &Path) -> StoreResult<Database> {
    try_open(path)?.ok_or_else(|| held(path))
}

/// The same; `None` if another process has it open.
pub(super) fn try_open(path: &Path) -> StoreResult<Option<Database>> {
    let unavailable =
        |error: io::Error| StoreError::Unavailable(format!("`{}`: {error}", path.display()));
    let file = create(path).map_err(unavailable)?;
    let backend = FileBackend::new(file).map_err(store_error)?;
    match open_backend(backend) {
        Err(StoreError::Unavailable(why)) if why == HELD => Ok(None),
        Err(StoreError::Unavailable(why)) => Err(StoreError::Unavailable(format!(
            "`{}`: {why}",
            path.display()
        ))),
        Err(StoreError::Damaged(why)) => {
            Err(StoreError::Damaged(format!("`{}`: {why}", path.display())))
        }
        Ok(database) => Ok(Some(database)),
    }
}

/// What is said of a file that another process has open.
pub(super) fn held(path: &Path) -> StoreError {
    StoreError::Unavailable(format!("`{}`: {HELD}", path.display()))
}

/// Opens what a backend holds; an empty one becomes a new store.
pub(super) fn open_backend(backend: impl StorageBackend) -> StoreResult<Database> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Builder::new()
            .set_cache_size(CACHE)
            // Otherwise a file that was changed behind redb's back may panic later.
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)
    }));
    let database = match opened {
        Ok(Ok(database)) => database,
        Ok(Err(error)) => return Err(refusal(error)),
        Err(_) => return Err(StoreError::Damaged("it cannot be made sense of".to_owned())),
    };
    let tx = database.begin_write()?;
    let mut tables = Tables::open(&tx, 0)?;
    tables.claim()?;
    drop(tables);
    tx.commit()?;
    Ok(database)
}

fn create(path: &Path) -> io::Result<File> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    // So that a new file is still there after a power cut.
    File::open(folder)?.sync_all()?;
    Ok(file)
}

fn refusal(error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::Unavailable(HELD.to_owned())
        }
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Damaged(format!("it is no store, or a torn one: {error}"))
        }
        other @ (DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted) => {
            StoreError::Damaged(other.to_string())
        }
        other => store_error(other),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Embedded;

    #[tokio::test]
    async fn who_waits_in_turn_gets_the_file_when_it_is_let_go_of_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let first = Embedded::open(&path).unwrap();
        let patience = Duration::from_millis(50);
        let early = Embedded::open_in_turn(&path, patience, || {}).await;
        let why = early.unwrap_err().to_string();
        assert!(why.ends_with("another process has it open"), "{why}");

        let (told, waits) = tokio::sync::oneshot::channel();
        let patience = Duration::from_secs(30);
        let second = Embedded::open_in_turn(&path, patience, || told.send(()).unwrap());
        let first = async {
            waits.await.unwrap();
            drop(first);
        };
        let (second, ()) = tokio::join!(second, first);
        second.unwrap();
    }
}
