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
    moment: Timestamp,
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
        let tip = segments.tip()?;
        Ok(Self {
            segments,
            signer,
            tip,
            moment: Timestamp::default(),
            vouched: tip.seq,
            since: None,
            lost,
        })
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
                    self.vouch();
                    return;
                }
            }
            let aged = self.since.is_some_and(|since| since.elapsed() >= HEAD_AGE);
            if aged || self.tip.seq - self.vouched >= HEAD_RECORDS {
                self.vouch();
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
        for (moment, fields) in &batch.records {
            self.tip.extend(fields, &mut lines);
            self.moment = *moment;
        }
        let written = self.segments.write(self.moment, &lines).and_then(|()| {
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
        if !batch.records.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Begins the file of another day where a moment is of one, and forgets what is past its time.
    fn turn(&mut self, moment: Timestamp) -> io::Result<()> {
        if !self.segments.turns(moment) {
            return Ok(());
        }
        self.vouch();
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
        written
    }

    /// Lets a head vouch for all that is written. Without one nothing is lost but certainty.
    fn vouch(&mut self) {
        self.since = None;
        if self.tip.seq == self.vouched {
            return;
        }
        let head = self.signer.head(self.tip, self.moment);
        // A head never tells of what a crash could take.
        let synced = self.segments.current.sync_data();
        match synced.and_then(|()| self.segments.vouch(&head)) {
            Ok(()) => self.vouched = self.tip.seq,
            Err(error) => tracing::error!(%error, "no head vouches for the last audit records"),
        }
    }
}
