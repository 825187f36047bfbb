//! The trail's writer: a thread that writes what is queued in batches, one sync for all that waited
//! together, and vouches for it with heads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::chain::{Signer, Tip};
use super::segments::{Segments, last_seq};
use super::{Entry, QUEUE, Record};
use crate::clock::Timestamp;
use crate::secret::Key;

/// How long a record that nobody waits for waits for the next ones.
const PATIENCE: Duration = Duration::from_millis(20);

/// After how many records a head vouches for them.
const HEAD_RECORDS: u64 = 1_000;

/// After how long, if there are fewer.
const HEAD_AGE: Duration = Duration::from_secs(10);

/// Writes a trail.
#[derive(Debug)]
pub(super) struct Writer {
    segments: Segments,
    signer: Signer,
    tip: Tip,
    /// The moment of the last record.
    at: String,
    /// The record that the last head vouches for.
    vouched: u64,
    /// Since when there are records that none does.
    since: Option<Instant>,
    lost: Arc<AtomicU64>,
}

/// What is written together.
#[derive(Default)]
struct Batch {
    records: Vec<(Timestamp, Vec<u8>)>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn new(segments: Segments, key: &Key, lost: Arc<AtomicU64>) -> io::Result<Self> {
        let signer = Signer::new(key);
        let signer = signer.ok_or_else(|| io::Error::other("no key to sign the audit trail"))?;
        let (tip, at) = segments.tip()?;
        let mut writer = Self {
            vouched: segments.vouched()?,
            segments,
            signer,
            tip,
            at,
            since: None,
            lost,
        };
        // For what a crash left without a head.
        writer.vouch()?;
        Ok(writer)
    }

    /// Writes until nobody is left who could queue anything.
    pub(super) fn run(mut self, entries: &Receiver<Entry>) {
        loop {
            let first = match self.since {
                None => entries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => entries.recv_timeout(HEAD_AGE.saturating_sub(since.elapsed())),
            };
            match first {
                Ok(first) => {
                    if first.durable.is_none() {
                        // Whoever needs a record on disk calls; the others' come together.
                        thread::park_timeout(PATIENCE);
                    }
                    let mut batch = Batch::default();
                    let more = entries.try_iter().take(QUEUE);
                    for entry in std::iter::once(first).chain(more) {
                        batch.records.extend(entry.record);
                        batch.waiting.extend(entry.durable);
                    }
                    self.put(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.vouch_or_tell();
                    return;
                }
            }
            let aged = self.since.is_some_and(|since| since.elapsed() >= HEAD_AGE);
            if aged || self.tip.seq - self.vouched >= HEAD_RECORDS {
                self.vouch_or_tell();
            }
        }
    }

    fn put(&mut self, batch: Batch) {
        let count = batch.records.len() as u64;
        match self.write(&batch) {
            Ok(()) => batch.waiting.into_iter().for_each(|durable| {
                let _ = durable.send(());
            }),
            Err(error) => {
                tracing::error!(%error, "audit records could not be written");
                self.lost.fetch_add(count, Ordering::Relaxed);
                // Dropping the senders tells those who wait.
            }
        }
    }

    /// All of the batch, or none of it. Nobody was told of what is taken back.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        if let Some((moment, _)) = batch.records.first() {
            self.turn(*moment)?;
        }
        let (tip, length) = (self.tip, self.segments.length());
        let mut lines = Vec::new();
        for (_, fields) in &batch.records {
            self.tip.extend(fields, &mut lines);
        }
        let last = batch.records.last().map(|(moment, _)| *moment);
        let written = self
            .segments
            .write(last.unwrap_or_default(), &lines)
            .and_then(|()| {
                if batch.waiting.is_empty() {
                    return Ok(());
                }
                self.segments.current.sync_data()
            });
        if let Err(error) = written {
            self.tip = tip;
            self.segments.take_back(length)?;
            return Err(error);
        }
        if let Some(last) = last {
            self.at = last.rfc3339();
            self.since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Begins the file of another day where a moment is of one, and forgets what is past its time.
    fn turn(&mut self, moment: Timestamp) -> io::Result<()> {
        if !self.segments.turns(moment) {
            return Ok(());
        }
        // No file is closed without a head that vouches for all of it.
        self.vouch()?;
        self.segments.turn()?;
        for path in self.segments.past(moment)? {
            // On record before it is done.
            let through = last_seq(&path)?.unwrap_or(0);
            self.forgotten(moment, through)?;
            Segments::forget(&path);
        }
        Ok(())
    }

    fn forgotten(&mut self, moment: Timestamp, through: u64) -> io::Result<()> {
        let record = Record {
            through: Some(through),
            detail: Some(format!("records up to {through} are past their time")),
            ..Record::new(moment, "audit.forget", "ok")
        };
        let fields = record.fields().map_err(io::Error::other)?;
        let (tip, length) = (self.tip, self.segments.length());
        let mut line = Vec::new();
        self.tip.extend(&fields, &mut line);
        let written = self.segments.write(moment, &line);
        let written = written.and_then(|()| self.segments.current.sync_data());
        if written.is_err() {
            self.tip = tip;
            self.segments.take_back(length)?;
        }
        written?;
        self.at = moment.rfc3339();
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Lets a head vouch for all that is written.
    fn vouch(&mut self) -> io::Result<()> {
        self.since = None;
        if self.tip.seq <= self.vouched {
            return Ok(());
        }
        let head = self.signer.head(self.tip, self.at.clone());
        // A head never tells of what a crash could take.
        self.segments.current.sync_data()?;
        self.segments.vouch(&head)?;
        self.vouched = self.tip.seq;
        Ok(())
    }

    fn vouch_or_tell(&mut self) {
        if let Err(error) = self.vouch() {
            tracing::error!(%error, "no head vouches for the last audit records");
        }
    }
}
