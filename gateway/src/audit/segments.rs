//! The trail's files: one that is written, and one for each day before it, kept for a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::drop_torn_tail;
use crate::clock::Timestamp;

/// The file that is written.
const CURRENT: &str = "audit.jsonl";

/// A day in UTC, as a segment's name has it: `2026-11-24`.
const DAY: usize = "2026-11-24".len();

/// The files of a trail, of which one is open.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    keep: Duration,
    current: File,
    /// The day that the current file is of; `None` while it is empty.
    day: Option<String>,
}

impl Segments {
    /// Opens the current file of a folder, without what a crash tore.
    pub(super) fn open(dir: &Path, keep: Duration) -> io::Result<Self> {
        let current = open_current(dir)?;
        drop_torn_tail(&current)?;
        Ok(Self {
            day: first_day(&dir.join(CURRENT))?,
            dir: dir.to_owned(),
            keep,
            current,
        })
    }

    /// The file to write records of a moment into. The first record of a new day closes the
    /// file of the old one, and those that are past their time go.
    pub(super) fn at(&mut self, moment: Timestamp) -> io::Result<&mut File> {
        let today = day(moment);
        match &self.day {
            // A clock never goes back; a record may have waited over midnight.
            Some(day) if *day >= today => {}
            Some(day) => {
                let closed = self.free_name(day);
                fs::rename(self.dir.join(CURRENT), closed)?;
                self.current = open_current(&self.dir)?;
                self.day = Some(today);
                self.forget(moment);
            }
            None => {
                self.day = Some(today);
                self.forget(moment);
            }
        }
        Ok(&mut self.current)
    }

    /// The file that is written, whatever day it is.
    pub(super) const fn current(&mut self) -> &mut File {
        &mut self.current
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

    /// Removes the files of days that are past their time.
    fn forget(&self, now: Timestamp) {
        let first = day(now.minus(self.keep));
        let closed = match closed(&self.dir) {
            Ok(closed) => closed,
            Err(error) => {
                tracing::error!(%error, "old audit records could not be looked for");
                return;
            }
        };
        for (of, path) in closed.into_iter().filter(|(of, _)| *of < first) {
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(day = of, "audit records are past their time: removed"),
                Err(error) => {
                    tracing::error!(%error, file = %path.display(), "old audit records stay");
                }
            }
        }
    }
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

fn open_current(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(dir.join(CURRENT))
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const A_DAY: Duration = Duration::from_secs(86_400);

    fn write(segments: &mut Segments, days: u32) {
        let moment = Timestamp::from_millis(0).plus(A_DAY * days);
        let file = segments.at(moment).unwrap();
        writeln!(file, "{{\"at\":\"{moment}\"}}").unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let files = newest_first(dir).unwrap();
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        files.iter().map(name).collect()
    }

    #[test]
    fn each_day_has_its_file_until_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut segments = Segments::open(dir.path(), A_DAY * 2).unwrap();
        for day in [0, 0, 1] {
            write(&mut segments, day);
        }
        assert_eq!(names(dir.path()), ["audit.jsonl", "audit-1970-01-01.jsonl"]);
        // A restart goes on in the file of its day.
        let mut segments = Segments::open(dir.path(), A_DAY * 2).unwrap();
        write(&mut segments, 1);
        write(&mut segments, 2);
        assert_eq!(
            names(dir.path()),
            [
                "audit.jsonl",
                "audit-1970-01-02.jsonl",
                "audit-1970-01-01.jsonl"
            ]
        );
        let second = fs::read_to_string(dir.path().join("audit-1970-01-02.jsonl")).unwrap();
        assert_eq!(second.lines().count(), 2);
        write(&mut segments, 4);
        assert_eq!(names(dir.path()), ["audit.jsonl", "audit-1970-01-03.jsonl"]);
    }

    #[test]
    fn a_day_that_comes_twice_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("audit-1970-01-01.jsonl"), "{}\n").unwrap();
        fs::write(dir.path().join("audit-notes.jsonl"), "not ours").unwrap();
        let mut segments = Segments::open(dir.path(), A_DAY * 30).unwrap();
        write(&mut segments, 0);
        write(&mut segments, 1);
        assert_eq!(
            names(dir.path())[..3],
            [
                "audit.jsonl",
                "audit-1970-01-01-2.jsonl",
                "audit-1970-01-01.jsonl"
            ]
        );
        assert!(dir.path().join("audit-notes.jsonl").exists());
    }
}
