//! The audit trail: what happened, one JSON record a line, written by a thread of its own.
//!
//! Records go through a bounded queue. Those that must not be lost (logins, writes, commands) wait
//! until they are on disk; the rest are written in batches. JSON strings escape every control
//! character, so that no input can begin a line of its own.

mod search;
mod segments;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, Thread};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;

use crate::clock::Timestamp;

pub use search::find;
use segments::Segments;

/// How many records may wait for the writer.
const QUEUE: usize = 8192;

/// How long a record that nobody waits for waits for the next ones.
const PATIENCE: Duration = Duration::from_millis(20);

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

/// The way into the trail.
#[derive(Clone, Debug)]
pub struct Audit {
    queue: SyncSender<Entry>,
    writer: Thread,
    lost: Arc<AtomicU64>,
}

struct Entry {
    /// `None` asks only how far the writer is.
    record: Option<Record>,
    durable: Option<oneshot::Sender<()>>,
}

impl Audit {
    /// Opens the trail in a folder, which is made if missing, and starts its writer. Records of
    /// days that are over by more than `keep` are removed.
    ///
    /// # Errors
    ///
    /// What the system says of the folder or file.
    pub fn open(dir: &Path, keep: Duration) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let segments = Segments::open(dir, keep)?;
        let (queue, entries) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let writer = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_all(segments, &entries, &counted))?;
        Ok(Self {
            queue,
            writer: writer.thread().clone(),
            lost,
        })
    }

    /// Queues a record that need not be on disk before its request goes on.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if the writer is gone or so far behind that its queue is full.
    pub fn note(&self, record: Record) -> Result<(), AuditError> {
        self.queue
            .try_send(Entry {
                record: Some(record),
                durable: None,
            })
            .map_err(|_| {
                self.lost.fetch_add(1, Ordering::Relaxed);
                AuditError
            })
    }

    /// Keeps a record, and returns when it is on disk.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if it could not be written; then what it records must not take effect.
    pub async fn keep(&self, record: Record) -> Result<(), AuditError> {
        self.pass(Some(record)).await
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
        self.lost.load(Ordering::Relaxed)
    }

    async fn pass(&self, record: Option<Record>) -> Result<(), AuditError> {
        let (durable, done) = oneshot::channel();
        let mut entry = Entry {
            record,
            durable: Some(durable),
        };
        loop {
            match self.queue.try_send(entry) {
                Ok(()) => {
                    self.writer.unpark();
                    break;
                }
                Err(TrySendError::Disconnected(_)) => return Err(AuditError),
                Err(TrySendError::Full(back)) => entry = back,
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        done.await.map_err(|_| AuditError)
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

/// Writes what is queued in batches: one flush and one sync for all that waited together.
fn write_all(mut segments: Segments, entries: &Receiver<Entry>, lost: &AtomicU64) {
    let mut lines = Vec::new();
    let mut waiting = Vec::new();
    while let Ok(first) = entries.recv() {
        if first.durable.is_none() {
            // Whoever needs a record on disk calls; the others' come together.
            thread::park_timeout(PATIENCE);
        }
        let mut moment = None;
        let batch = std::iter::once(first).chain(entries.try_iter().take(QUEUE));
        let mut records = 0;
        for entry in batch {
            if let Some(record) = &entry.record {
                moment.get_or_insert(record.moment);
                if serde_json::to_writer(&mut lines, record).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                lines.push(b'\n');
                records += 1;
            }
            waiting.extend(entry.durable);
        }
        let file = match moment {
            Some(moment) => segments.at(moment),
            None => Ok(segments.current()),
        };
        let written = file.and_then(|file| write(file, &lines, !waiting.is_empty()));
        match written {
            Ok(()) => waiting.drain(..).for_each(|durable| {
                let _ = durable.send(());
            }),
            Err(error) => {
                tracing::error!(%error, "audit records could not be written");
                lost.fetch_add(records, Ordering::Relaxed);
                // Dropping the senders tells those who wait.
                waiting.clear();
            }
        }
        lines.clear();
    }
}

/// All of the lines, or none of them.
fn write(file: &mut File, lines: &[u8], durably: bool) -> io::Result<()> {
    let written = file
        .write_all(lines)
        .and_then(|()| if durably { file.sync_data() } else { Ok(()) });
    if written.is_err() {
        drop_torn_tail(file)?;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kept_record_is_one_line_on_disk_whatever_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path(), Duration::MAX).unwrap();
        let mut record = Record::new(Timestamp::from_millis(0), "login.email", "ok");
        record.detail = Some("a\nb\u{2028}\"c".to_owned());
        audit.keep(record).await.unwrap();
        let text = std::fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["detail"], "a\nb\u{2028}\"c");
    }

    #[tokio::test]
    async fn whoever_catches_up_finds_all_that_was_noted_before() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path(), Duration::MAX).unwrap();
        for _ in 0..100 {
            audit
                .note(Record::new(Timestamp::from_millis(0), "decision", "allow"))
                .unwrap();
        }
        audit.catch_up().await.unwrap();
        let text = std::fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 100);
        assert_eq!(audit.lost(), 0);
    }

    #[test]
    fn records_that_no_disk_takes_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        // As a disk without room: every write fails.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut segments = Segments::open(dir.path(), Duration::MAX).unwrap();
        *segments.current() = full;
        let (queue, entries) = sync_channel(2);
        let mut told = Vec::new();
        for _ in 0..2 {
            let (durable, done) = oneshot::channel();
            let record = Record::new(Timestamp::from_millis(0), "login.code", "ok");
            let entry = Entry {
                record: Some(record),
                durable: Some(durable),
            };
            queue
                .send(entry)
                .unwrap_or_else(|_| panic!("the queue has room"));
            told.push(done);
        }
        drop(queue);
        let lost = AtomicU64::new(0);
        write_all(segments, &entries, &lost);
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert!(told.into_iter().all(|done| done.blocking_recv().is_err()));
    }

    #[tokio::test]
    async fn a_torn_tail_is_cut_off_before_the_next_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        for (before, kept) in [
            ("", 0),
            ("{\"torn\":", 0),
            ("{}\n{\"torn\":", 1),
            (&format!("{{}}\n{}", "x".repeat(9000)), 1),
        ] {
            std::fs::write(&path, before).unwrap();
            let audit = Audit::open(dir.path(), Duration::MAX).unwrap();
            audit
                .keep(Record::new(Timestamp::from_millis(0), "a", "ok"))
                .await
                .unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), kept + 1, "{text}");
            assert!(
                text.lines()
                    .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
            );
        }
    }
}
