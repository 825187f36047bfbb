//! Reading the trail as it grows, and choosing from it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::segments::{newest_first, oldest_first};

/// Which records are wanted; what is not given is not asked about.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Identifier of the user.
    pub user: Option<String>,
    /// Identifier of the company.
    pub company: Option<String>,
    /// How it ended: `allow`, `deny`, `ok`, `wrong_code` …
    pub verdict: Option<String>,
    /// A resource that was judged, such as `Project::7`, or its type alone.
    pub resource: Option<String>,
    /// What happened, or the beginning of it, such as `login`.
    pub event: Option<String>,
    /// The earliest moment, RFC 3339.
    pub since: Option<String>,
}

impl Chosen {
    /// Whether a record is wanted.
    #[must_use]
    pub fn takes(&self, record: &Value) -> bool {
        let field = |name: &str| record.get(name).and_then(Value::as_str);
        let is = |name: &str, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| field(name) == Some(wanted))
        };
        let event = self.event.as_deref().is_none_or(|wanted| {
            let own = field("event").unwrap_or_default();
            own.strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let resource = self.resource.as_deref().is_none_or(|wanted| {
            let all = record.get("resources").and_then(Value::as_array);
            all.into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .any(|one| {
                    one.strip_prefix(wanted)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                })
        });
        // Moments of one form and zone are in the order of their texts, to the second.
        let since = self
            .since
            .as_deref()
            .is_none_or(|since| field("at").is_some_and(|at| at.get(..19) >= since.get(..19)));
        is("user", &self.user)
            && is("company", &self.company)
            && is("result", &self.verdict)
            && event
            && resource
            && since
    }
}

/// Reads a trail from some record on, and whatever is added later.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    /// Files still to be read, the next one last.
    ahead: Vec<PathBuf>,
    open: Option<(BufReader<File>, u64)>,
    /// What was read of a line that is not whole yet.
    part: Vec<u8>,
}

impl Follower {
    /// From the beginning of the trail.
    ///
    /// # Errors
    ///
    /// What the system says of the folder.
    pub fn from_the_beginning(dir: &Path) -> io::Result<Self> {
        Self::over(dir, newest_first(dir)?)
    }

    /// From the beginning of the first file whose day is not before this one (`2026-11-24`).
    ///
    /// # Errors
    ///
    /// What the system says of the folder.
    pub fn from_day(dir: &Path, day: &str) -> io::Result<Self> {
        let mut files = oldest_first(dir)?;
        // A file of a day may hold the first moments of the next.
        let past = files.iter().take_while(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let of = name.as_deref().and_then(|name| name.strip_prefix("audit-"));
            of.and_then(|of| of.get(..10)).is_some_and(|of| of < day)
        });
        let past = past.count().saturating_sub(1);
        files.drain(..past);
        files.reverse();
        Self::over(dir, files)
    }

    fn over(dir: &Path, ahead: Vec<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            ahead,
            open: None,
            part: Vec::new(),
        })
    }

    /// The next record; `None` if there is none yet. A line that is no JSON is passed over: `verify`
    /// finds it.
    ///
    /// # Errors
    ///
    /// What the system says of the files.
    pub fn read(&mut self) -> io::Result<Option<Value>> {
        loop {
            let Some((reader, _)) = &mut self.open else {
                let Some(path) = self.ahead.pop() else {
                    return Ok(None);
                };
                match File::open(&path) {
                    Ok(file) => {
                        let inode = file.metadata()?.ino();
                        self.open = Some((BufReader::new(file), inode));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            reader.read_until(b'\n', &mut self.part)?;
            if self.part.ends_with(b"\n") {
                let record = serde_json::from_slice(&self.part).ok();
                self.part.clear();
                match record {
                    Some(record) => return Ok(Some(record)),
                    None => continue,
                }
            }
            if !self.is_over()? {
                return Ok(None);
            }
            self.open = None;
            self.part.clear();
        }
    }

    /// Whether the file that is read will not grow any more: there are later ones, or another has
    /// taken its place.
    fn is_over(&mut self) -> io::Result<bool> {
        if !self.ahead.is_empty() {
            return Ok(true);
        }
        let Some((reader, inode)) = &mut self.open else {
            return Ok(false);
        };
        let mut later = Vec::new();
        for path in newest_first(&self.dir)? {
            match path.metadata() {
                Ok(found) if found.ino() == *inode => break,
                Ok(_) => later.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if later.is_empty() {
            return Ok(false);
        }
        // What was written between the last look and the turn of the files.
        let read = reader.stream_position()?;
        let length = reader.get_ref().metadata()?.len();
        if length > read {
            reader.seek(SeekFrom::Start(read))?;
            return Ok(false);
        }
        self.ahead = later;
        Ok(true)
    }
}
