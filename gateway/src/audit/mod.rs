//! The audit trail: what happened, one JSON record a line, written by a thread of its own.
//!
//! Records go through a bounded queue. Those that must not be lost (logins, writes, commands) wait
//! until they are on disk; the rest are written in batches. JSON strings escape every control
//! character, so that no input can begin a line of its own.

mod chain;
mod search;
mod segments;
mod tail;
mod verify;
mod writer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::config::Keeping;
use crate::secret::Key;

pub use chain::{HEADS_KEY, PublicKey};
pub use search::find;
use segments::Segments;
pub use tail::{Chosen, Follower};
pub use verify::{Broken, Verified, verify};
use writer::Writer;

/// How many records may wait for the writer.
const QUEUE: usize = 8192;

/// One thing that happened.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// When.
    #[serde(skip)]
    pub moment: Timestamp,
    /// The same for people, in UTC.
    pub at: String,
    /// What, in dotted words: `login.code`, `decision`, `session.revoke`, `reload.policy` …
    pub event: &'static str,
    /// How it ended: `ok`, `allow`, `deny`, `wrong_code` …
    pub result: String,
    /// User.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// Client address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The request that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Method and normalised path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The route that it took: its place and `match`, such as `routes.toml:30 GET /projects`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Resources judged, such as `Project::1`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Deciding rule as `file:line`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Digest of the policy set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Anything more, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Up to which record older ones are past their time, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<u64>,
}

impl Record {
    /// A record of an event at a moment.
    #[must_use]
    pub fn new(at: Timestamp, event: &'static str, result: impl Into<String>) -> Self {
        Self {
            moment: at,
            at: at.rfc3339(),
            event,
            result: result.into(),
            ..Self::default()
        }
    }
}

/// Why a record could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("the audit trail cannot be written")]
pub struct AuditError;

/// The way into the trail. When the last one goes, what waits is written, and a head vouches for it.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    /// `None` once the trail is closed.
    queue: Option<SyncSender<Entry>>,
    writer: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
}

struct Entry {
    /// A moment and the record's fields, as JSON; `None` asks only how far the writer is.
    record: Option<(Timestamp, Vec<u8>)>,
    durable: Option<oneshot::Sender<()>>,
}

impl Audit {
    /// Opens the trail in a folder, which is made if missing, and starts its writer. Records of
    /// days that are over by more than the time to keep are removed. Heads are signed with `key`,
    /// derived with the label [`HEADS_KEY`].
    ///
    /// # Errors
    ///
    /// What the system says of the folder or file.
    pub fn open(dir: &Path, keeping: Keeping, key: &Key) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let segments = Segments::open(dir, keeping.keep, keeping.largest)?;
        let (queue, entries) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(segments, key, Arc::clone(&lost))?;
        let writer = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&entries))?;
        Ok(Self(Arc::new(Desk {
            queue: Some(queue),
            writer: Some(writer),
            lost,
        })))
    }

    /// Queues a record that need not be on disk before its request goes on. It wakes nobody.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if the writer is gone or so far behind that its queue is full.
    pub fn note(&self, record: &Record) -> Result<(), AuditError> {
        let queued = record.fields().and_then(|fields| {
            let entry = Entry {
                record: Some((record.moment, fields)),
                durable: None,
            };
            let queue = self.0.queue.as_ref().ok_or(AuditError)?;
            queue.try_send(entry).map_err(|_| AuditError)
        });
        queued.inspect_err(|_| {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Keeps a record, and returns when it is on disk.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if it could not be written; then what it records must not take effect.
    pub async fn keep(&self, record: Record) -> Result<(), AuditError> {
        let fields = record.fields()?;
        self.pass(Some((record.moment, fields))).await
    }

    /// Returns when everything that was queued before is written: the time that this takes is how
    /// far the writer is behind.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if the writer is gone, or what waited with this could not be written.
    pub async fn catch_up(&self) -> Result<(), AuditError> {
        self.pass(None).await
    }

    /// How many records could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    async fn pass(&self, record: Option<(Timestamp, Vec<u8>)>) -> Result<(), AuditError> {
        let (durable, done) = oneshot::channel();
        let mut entry = Entry {
            record,
            durable: Some(durable),
        };
        let queue = self.0.queue.as_ref().ok_or(AuditError)?;
        loop {
            match queue.try_send(entry) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Err(AuditError),
                Err(TrySendError::Full(back)) => entry = back,
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        self.0.call();
        done.await.map_err(|_| AuditError)
    }
}

impl Record {
    /// What is written of it, as a JSON object.
    fn fields(&self) -> Result<Vec<u8>, AuditError> {
        let mut fields = Vec::with_capacity(512);
        serde_json::to_writer(&mut fields, self).map_err(|_| AuditError)?;
        Ok(fields)
    }
}

impl Desk {
    /// The writer waits a little for more, unless it is called.
    fn call(&self) {
        if let Some(writer) = &self.writer {
            writer.thread().unpark();
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.queue = None;
        self.call();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Cuts off what follows the last whole line: a write that a crash or a full disk tore was never
/// acknowledged, and must not be glued to the record after it.
fn drop_torn_tail(mut file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut good = length;
    let mut block = [0; 4096];
    while good > 0 {
        let start = good.saturating_sub(block.len() as u64);
        let size = usize::try_from(good - start).unwrap_or(block.len());
        let part = block.get_mut(..size).unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(end) = part.iter().rposition(|&b| b == b'\n') {
            good = start + end as u64 + 1;
            break;
        }
        good = start;
    }
    if good < length {
        file.set_len(good)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
