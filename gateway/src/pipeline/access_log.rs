//! The access log: lines are put together where the request ends, in a buffer that few share, and
//! written by a thread of its own now and then. A request wakes nobody.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// How long lines wait for the next ones, at most.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many bytes may wait in one buffer; beyond, lines are dropped and counted.
const CAPACITY: usize = 4 * 1024 * 1024;

/// At how many bytes the writer is called before its time.
const PLENTY: usize = 256 * 1024;

/// How many buffers there are, so that workers seldom meet at one.
const BUFFERS: usize = 16;

/// One line of the access log: never a query, a cookie or an e-mail address.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    #[serde(serialize_with = "shown")]
    pub(super) at: crate::clock::Timestamp,
    #[serde(serialize_with = "shown")]
    pub(super) request_id: crate::client::RequestId,
    pub(super) client: std::net::IpAddr,
    pub(super) method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<&'a str>,
    pub(super) protocol: &'a str,
    pub(super) status: u16,
    pub(super) route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) company: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<&'a str>,
    pub(super) own_us: u64,
    pub(super) upstream_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
}

fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The access log. What waits is written when the last handle goes.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    waiting: Arc<Waiting>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Waiting {
    buffers: [Mutex<Vec<u8>>; BUFFERS],
    /// Whether the writer sleeps until it is called.
    idle: AtomicBool,
    over: AtomicBool,
}

impl AccessLog {
    /// Appends to a file, or writes to standard output without one.
    ///
    /// # Errors
    ///
    /// What the system says of the file or the thread.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match path {
            None => Box::new(io::stdout()),
            Some(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                Box::new(OpenOptions::new().create(true).append(true).open(path)?)
            }
        };
        Self::to(out)
    }

    fn to(out: Box<dyn Write + Send>) -> io::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let theirs = Arc::clone(&waiting);
        let writer = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || theirs.write_all(out))?;
        Ok(Self(Arc::new(Desk {
            waiting,
            writer: Some(writer),
        })))
    }

    /// Puts a line beside those that wait; `false` if the writer is too far behind.
    pub(super) fn write(&self, line: &Line<'_>) -> bool {
        let waiting = &self.0.waiting;
        let mut buffer = waiting.own();
        if buffer.len() >= CAPACITY {
            return false;
        }
        let before = buffer.len();
        if serde_json::to_writer(&mut *buffer, line).is_err() {
            buffer.truncate(before);
            return false;
        }
        buffer.push(b'\n');
        let called = before < PLENTY && buffer.len() >= PLENTY;
        drop(buffer);
        // In this order with the lock: the writer looks once more after it has said that it is idle.
        if called
            || (waiting.idle.load(Ordering::SeqCst) && waiting.idle.swap(false, Ordering::SeqCst))
        {
            self.0.call();
        }
        true
    }
}

impl Desk {
    fn call(&self) {
        if let Some(writer) = &self.writer {
            writer.thread().unpark();
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.waiting.over.store(true, Ordering::SeqCst);
        self.call();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Waiting {
    /// The buffer of the thread that asks.
    fn own(&self) -> MutexGuard<'_, Vec<u8>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        let own = OWN.with(|own| *own);
        let [first, ..] = &self.buffers;
        lock(self.buffers.get(own % BUFFERS).unwrap_or(first))
    }

    fn write_all(&self, mut out: Box<dyn Write + Send>) {
        let mut lines = Vec::new();
        loop {
            // Read before the last look, so that nothing that came before is left.
            let over = self.over.load(Ordering::SeqCst);
            let mut any = false;
            for buffer in &self.buffers {
                mem::swap(&mut lines, &mut *lock(buffer));
                any |= !lines.is_empty();
                let written = out.write_all(&lines).and_then(|()| out.flush());
                if let Err(error) = written {
                    tracing::error!(%error, "the access log cannot be written");
                }
                lines.clear();
            }
            if over {
                return;
            }
            if any {
                thread::park_timeout(PATIENCE);
                continue;
            }
            self.idle.store(true, Ordering::SeqCst);
            let nothing = self.buffers.iter().all(|buffer| lock(buffer).is_empty());
            if nothing && !self.over.load(Ordering::SeqCst) {
                thread::park();
            }
            self.idle.store(false, Ordering::SeqCst);
        }
    }
}

fn lock(buffer: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::client::RequestId;
    use crate::clock::Timestamp;

    fn line(path: &str) -> Line<'_> {
        Line {
            at: Timestamp::from_millis(1_795_515_607_120),
            request_id: RequestId::generate(),
            client: Ipv4Addr::LOCALHOST.into(),
            method: "GET",
            path: Some(path),
            protocol: "HTTP/1.1",
            status: 200,
            route: "GET /projects",
            user: None,
            company: None,
            rule: None,
            upstream: None,
            own_us: 1,
            upstream_us: 2,
            reason: None,
        }
    }

    #[test]
    fn lines_of_many_threads_are_all_written_whole_once_the_log_goes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = AccessLog::open(Some(file.path())).unwrap();
        let threads: Vec<_> = (0..20)
            .map(|thread| {
                let log = log.clone();
                thread::spawn(move || {
                    for number in 0..500 {
                        assert!(log.write(&line(&format!("/{thread}/{number}"))));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        drop(log);
        let text = std::fs::read_to_string(file.path()).unwrap();
        let mut paths: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["path"].as_str().unwrap().to_owned())
            .collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 10_000);
    }

    #[test]
    fn a_line_is_written_soon_also_after_a_long_silence() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = AccessLog::open(Some(file.path())).unwrap();
        for number in 1..=3 {
            // By now the writer is idle.
            thread::sleep(PATIENCE * 3);
            assert!(log.write(&line("/")));
            let patience = std::time::Instant::now() + Duration::from_secs(5);
            while std::fs::read_to_string(file.path())
                .unwrap()
                .lines()
                .count()
                < number
            {
                assert!(
                    std::time::Instant::now() < patience,
                    "line {number} is not written"
                );
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn a_line_cannot_begin_another() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = AccessLog::open(Some(file.path())).unwrap();
        assert!(log.write(&line("/\n{\"at\":\"forged\"}")));
        drop(log);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["at"], "2026-11-24T10:20:07.12Z");
        assert_eq!(told["client"], "127.0.0.1");
    }
}
