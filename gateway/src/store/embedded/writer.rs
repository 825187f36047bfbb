//! The one thread that writes: whatever is queued when it looks goes into one transaction, and
//! is answered when that transaction is on the disk.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::tables::Tables;
use crate::store::{StoreError, StoreResult};

/// Operations that wait at most, and so also the most that one transaction takes.
const QUEUE: usize = 1024;

/// The queue before the writing thread, and the thread. Dropping it ends the thread, once all
/// that was queued is written, and with it the hold on the file.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; after a failure it waits `retry` before it opens the file anew.
    pub(super) fn start(
        shared: Arc<Shared>,
        most_strangers: u64,
        retry: Duration,
    ) -> StoreResult<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = Thread {
            shared,
            most_strangers,
            retry,
            failed: None,
        };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || thread.serve(jobs))
            .map_err(|error| StoreError::Unavailable(format!("no thread for writing: {error}")))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Has `work` done in a transaction and waits until that is on the disk. `work` is run again
    /// from the start if another operation of its transaction had to be taken out.
    pub(super) async fn write<T, F>(&self, work: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tables<'_>) -> StoreResult<T> + Send + 'static,
    {
        let stopped = || StoreError::Unavailable("its writing thread has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Operation {
            work,
            outcome: None,
            reply,
        });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writing thread had panicked");
        }
    }
}

/// An operation that waits for its answer.
trait Job: Send {
    fn run(&mut self, tables: &mut Tables<'_>) -> Ran;
    /// Whether it ran and refused: it takes no further part.
    fn refused(&self) -> bool;
    /// Answers as it ran, or with `failure` if its transaction came to nothing.
    fn answer(self: Box<Self>, failure: Option<&str>);
}

/// How an operation's run went.
enum Ran {
    /// It stands, if the transaction does.
    Done,
    /// It failed by itself; the transaction may hold half of it.
    Refused,
    /// The file failed.
    Failed(StoreError),
}

struct Operation<T, F> {
    work: F,
    outcome: Option<StoreResult<T>>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<T, F> Job for Operation<T, F>
where
    T: Send,
    F: FnMut(&mut Tables<'_>) -> StoreResult<T> + Send,
{
    fn run(&mut self, tables: &mut Tables<'_>) -> Ran {
        let (outcome, ran) = match (self.work)(tables) {
            Err(failed @ StoreError::Unavailable(_)) => return Ran::Failed(failed),
            Err(refused) => (Err(refused), Ran::Refused),
            Ok(done) => (Ok(done), Ran::Done),
        };
        self.outcome = Some(outcome);
        ran
    }

    fn refused(&self) -> bool {
        matches!(self.outcome, Some(Err(_)))
    }

    fn answer(self: Box<Self>, failure: Option<&str>) {
        let outcome = match (failure, self.outcome) {
            (None, Some(outcome)) => outcome,
            (Some(failure), _) => Err(StoreError::Unavailable(failure.to_owned())),
            (None, None) => Err(StoreError::Unavailable("it was not done".to_owned())),
        };
        // Nobody listens any more when the caller was cancelled; what was written stays written.
        drop(self.reply.send(outcome));
    }
}

struct Thread {
    shared: Arc<Shared>,
    most_strangers: u64,
    retry: Duration,
    failed: Option<Instant>,
}

impl Thread {
    fn serve(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < QUEUE
                && let Ok(next) = jobs.try_recv()
            {
                batch.push(next);
            }
            let written = self
                .reopen_if_failed()
                .and_then(|()| self.commit(&mut batch));
            let failure = written.err().map(|error| match error {
                StoreError::Unavailable(why) | StoreError::Damaged(why) => why,
            });
            for job in batch {
                job.answer(failure.as_deref());
            }
        }
    }

    /// After a failed write redb takes no further ones: the file is opened anew, which also
    /// repairs it. So a disk that was full is used again once it is not.
    fn reopen_if_failed(&mut self) -> StoreResult<()> {
        let Some(failed) = self.failed else {
            return Ok(());
        };
        if failed.elapsed() < self.retry {
            return Err(StoreError::Unavailable("its last write failed".to_owned()));
        }
        self.failed = Some(Instant::now());
        let mut database = self
            .shared
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // The old one holds the lock on the file until it is dropped.
        *database = None;
        *database = Some((self.shared.opener)()?);
        self.failed = None;
        tracing::info!("the store was opened anew after a failed write");
        Ok(())
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> StoreResult<()> {
        let database = self
            .shared
            .database
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let committed = match database.as_ref() {
            Some(database) => apply(database, batch, self.most_strangers),
            None => Err(StoreError::Unavailable("it is not open".to_owned())),
        };
        drop(database);
        match &committed {
            Ok(()) => self.shared.count_commit(),
            Err(error) => {
                tracing::error!(%error, "a write to the store failed");
                self.failed = Some(Instant::now());
            }
        }
        committed
    }
}

/// Applies the batch in one transaction and commits it. An operation that fails by itself leaves
/// no trace: the transaction is begun again without it.
fn apply(database: &Database, batch: &mut [Box<dyn Job>], most_strangers: u64) -> StoreResult<()> {
    loop {
        let mut tx = database.begin_write()?;
        // Two flushes instead of one: whoever can choose what is written and also stop the
        // process cannot make a half-written commit look whole (redb's note on one phase).
        tx.set_two_phase_commit(true);
        let mut tables = Tables::open(&tx, most_strangers)?;
        let mut whole = true;
        for job in batch.iter_mut().filter(|job| !job.refused()) {
            match job.run(&mut tables) {
                Ran::Done => {}
                Ran::Refused => {
                    whole = false;
                    break;
                }
                Ran::Failed(error) => return Err(error),
            }
        }
        drop(tables);
        if whole {
            return Ok(tx.commit()?);
        }
        tx.abort()?;
    }
}
