//! The trail's files: one that is written, and one for each day before it, kept for a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::chain::{self, Head, Link, Tip};
use super::drop_torn_tail;
use crate::clock::Timestamp;

/// The file that is written.
const CURRENT: &str = "audit.jsonl";

/// A day in UTC, as a segment's name has it: `2026-11-24`.
const DAY: usize = "2026-11-24".len();

/// The files of a trail, of which one is open, and its heads beside it.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    keep: Duration,
    largest: u64,
    pub(super) current: File,
    heads: File,
    /// The length of the current file.
    length: u64,
    /// The day that the current file is of; `None` while it is empty.
    day: Option<String>,
}

impl Segments {
    /// Opens the current file of a folder, without what a crash tore. A file of `largest` bytes is
    /// closed before its day is over.
    pub(super) fn open(dir: &Path, keep: Duration, largest: u64) -> io::Result<Self> {
        let current = open_for_more(&dir.join(CURRENT))?;
        drop_torn_tail(&current)?;
        let heads = open_for_more(&heads_of(&dir.join(CURRENT)))?;
        drop_torn_tail(&heads)?;
        Ok(Self {
            day: first_day(&dir.join(CURRENT))?,
            length: current.metadata()?.len(),
            dir: dir.to_owned(),
            keep,
            largest,
            current,
            heads,
        })
    }

    /// How far the chain in the files has come, and the moment of its last record.
    pub(super) fn tip(&self) -> io::Result<(Tip, String)> {
        for path in newest_first(&self.dir)? {
            let Some(line) = last_line(&path)? else {
                continue;
            };
            let hash = chain::hash(&line);
            let link: Option<Link> = serde_json::from_slice(&line).ok();
            let Some(Link { seq, at, .. }) = link else {
                tracing::error!(file = %path.display(), "the audit trail's last record is damaged: see `portvakt audit verify`");
                return Ok((Tip { seq: 0, hash }, String::new()));
            };
            return Ok((Tip { seq, hash }, at));
        }
        Ok((Tip::START, String::new()))
    }

    /// The record that the last head vouches for.
    pub(super) fn vouched(&self) -> io::Result<u64> {
        for path in newest_first(&self.dir)? {
            if let Some(line) = last_line(&heads_of(&path))? {
                let head: Option<Head> = serde_json::from_slice(&line).ok();
                return Ok(head.map_or(0, |head| head.seq));
            }
        }
        Ok(0)
    }

    /// Whether a record of a moment begins another file.
    pub(super) fn turns(&self, moment: Timestamp) -> bool {
        // A clock never goes back; a record may have waited over midnight.
        let over = self.day.as_ref().is_some_and(|own| *own < day(moment));
        over || (self.length >= self.largest && self.day.is_some())
    }

    /// Closes the file of the old day and begins one.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        let Some(day) = self.day.take() else {
            return Ok(());
        };
        let (current, closed) = (self.dir.join(CURRENT), self.free_name(&day));
        fs::rename(heads_of(&current), heads_of(&closed))?;
        fs::rename(&current, closed)?;
        self.current = open_for_more(&current)?;
        self.heads = open_for_more(&heads_of(&current))?;
        self.length = 0;
        Ok(())
    }

    /// Writes lines of a moment, all of them or none.
    pub(super) fn write(&mut self, moment: Timestamp, lines: &[u8]) -> io::Result<()> {
        match self.current.write_all(lines) {
            Ok(()) => {
                self.length += lines.len() as u64;
                self.day.get_or_insert_with(|| day(moment));
                Ok(())
            }
            Err(error) => {
                self.current.set_len(self.length)?;
                Err(error)
            }
        }
    }

    /// Takes back what was written since the file had a length: it is not on disk.
    pub(super) fn take_back(&mut self, length: u64) -> io::Result<()> {
        self.current.set_len(length)?;
        self.length = length;
        Ok(())
    }

    /// The length of the file that is written.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Writes a head, to stay.
    pub(super) fn vouch(&mut self, head: &Head) -> io::Result<()> {
        let mut line = serde_json::to_vec(head)?;
        line.push(b'\n');
        let written = self
            .heads
            .write_all(&line)
            .and_then(|()| self.heads.sync_data());
        if written.is_err() {
            drop_torn_tail(&self.heads)?;
        }
        written
    }

    /// The closed files that are past their time at a moment, the oldest first.
    pub(super) fn past(&self, now: Timestamp) -> io::Result<Vec<PathBuf>> {
        let first = day(now.minus(self.keep));
        let closed = closed(&self.dir)?.into_iter();
        Ok(closed
            .filter(|(of, _)| *of < first)
            .map(|(_, path)| path)
            .collect())
    }

    /// Removes a closed file with its heads.
    pub(super) fn forget(path: &Path) {
        match fs::remove_file(path) {
            Ok(()) => {
                tracing::info!(file = %path.display(), "audit records are past their time: removed")
            }
            Err(error) => {
                tracing::error!(%error, file = %path.display(), "old audit records stay");
                return;
            }
        }
        let _ = fs::remove_file(heads_of(path));
    }

    /// A name for the closed file of a day. There may be one of it already, if the system's
    /// clock was put back before a start.
    fn free_name(&self, day: &str) -> PathBuf {
        let mut path = self.dir.join(format!("audit-{day}.jsonl"));
        let mut number = 2;
        while path.exists() {
            path = self.dir.join(format!("audit-{day}-{number}.jsonl"));
            number += 1;
        }
        path
    }
}

/// The file of the heads beside a file of records.
pub(super) fn heads_of(records: &Path) -> PathBuf {
    records.with_extension("heads")
}

/// The number of a file's last record, where there is one.
pub(super) fn last_seq(path: &Path) -> io::Result<Option<u64>> {
    let line = last_line(path)?;
    let link: Option<Link> = line.and_then(|line| serde_json::from_slice(&line).ok());
    Ok(link.map(|link| link.seq))
}

/// The last whole line of a file, without its end.
fn last_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    // A device has no end to look at.
    if !metadata.is_file() {
        return Ok(None);
    }
    let length = metadata.len();
    let mut reach = 4096;
    loop {
        let start = length.saturating_sub(reach);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
            if start == 0 {
                return Ok(None);
            }
            reach *= 4;
            continue;
        };
        tail.truncate(end);
        match tail.iter().rposition(|byte| *byte == b'\n') {
            Some(before) => return Ok(Some(tail.split_off(before + 1))),
            None if start == 0 => return Ok(Some(tail)),
            None => reach *= 4,
        }
    }
}

/// Every file of the trail in a folder, the oldest first.
pub(super) fn oldest_first(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = newest_first(dir)?;
    files.reverse();
    Ok(files)
}

/// Every file of the trail in a folder, the newest first.
pub(super) fn newest_first(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = closed(dir)?.into_iter().map(|(_, path)| path).collect();
    files.push(dir.join(CURRENT));
    files.reverse();
    Ok(files)
}

/// The closed files with their days, the oldest first.
fn closed(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let middle = text.strip_prefix("audit-");
        let Some(middle) = middle.and_then(|text| text.strip_suffix(".jsonl")) else {
            continue;
        };
        let Some((day, number)) = middle.split_at_checked(DAY) else {
            continue;
        };
        let number = match number {
            "" => Some(1),
            more => more.strip_prefix('-').and_then(|n| n.parse::<u32>().ok()),
        };
        if let Some(number) = number {
            files.push((day.to_owned(), number, dir.join(&name)));
        }
    }
    files.sort();
    Ok(files
        .into_iter()
        .map(|(day, _, path)| (day, path))
        .collect())
}

fn open_for_more(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The day of a file's first record.
fn first_day(path: &Path) -> io::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Moment {
        at: String,
    }
    if !path.metadata()?.is_file() {
        return Ok(None);
    }
    let mut line = String::new();
    BufReader::new(File::open(path)?).read_line(&mut line)?;
    let first = serde_json::from_str(&line).ok();
    Ok(first.and_then(|Moment { at }| Some(at.get(..DAY)?.to_owned())))
}

fn day(moment: Timestamp) -> String {
    let mut text = moment.rfc3339();
    text.truncate(DAY);
    text
}
