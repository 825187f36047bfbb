//! Going through a trail from end to end: the chain, and the heads that vouch for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::chain::{Hash, Head, Link, NOTHING, PublicKey, hash};
use super::segments::{heads_of, oldest_first};
use crate::clock::Timestamp;

/// What a trail showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// The number of the first; more than 1 where older ones are past their time.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// How many heads vouch for them.
    pub heads: u64,
    /// The last record that a head vouches for; what came after could have been cut off unseen.
    pub vouched: u64,
}

/// The first thing that is wrong with a trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
    /// The record's number, as far as it is known.
    pub seq: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if let Some(seq) = self.seq {
            write!(f, "record {seq}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Goes through the trail in a folder. The inner result is what it showed.
///
/// # Errors
///
/// What the system says of the files.
pub fn verify(dir: &Path, key: &PublicKey) -> io::Result<Result<Verified, Box<Broken>>> {
    let files = oldest_first(dir)?;
    let found = walk(&files, key)?;
    // Where a gateway closed a file meanwhile, what was read was no trail.
    if found.is_err() && oldest_first(dir)? != files {
        return walk(&oldest_first(dir)?, key);
    }
    Ok(found)
}

fn walk(files: &[PathBuf], key: &PublicKey) -> io::Result<Result<Verified, Box<Broken>>> {
    let mut walk = Walk {
        key,
        seen: Verified {
            records: 0,
            first: 0,
            last: 0,
            heads: 0,
            vouched: 0,
        },
        before: None,
        forgotten: 0,
        begins: None,
        alone: None,
        at: String::new(),
    };
    let mut files = files.iter().filter(|file| file.is_file()).peekable();
    while let Some(file) = files.next() {
        if let Err(broken) = walk.segment(file)? {
            return Ok(Err(broken));
        }
        if let Err(broken) = walk.is_vouched_for(files.peek().is_some()) {
            return Ok(Err(broken));
        }
    }
    Ok(walk.beginning().map(|()| walk.seen))
}

struct Walk<'a> {
    key: &'a PublicKey,
    seen: Verified,
    /// The hash of the record before.
    before: Option<Hash>,
    /// Up to where the trail itself says that records are past their time.
    forgotten: u64,
    /// The file that the trail begins with.
    begins: Option<PathBuf>,
    /// The first record that no head vouches for yet, and its moment.
    alone: Option<(Box<Broken>, String)>,
    /// The moment of the last record.
    at: String,
}

/// How long records stand without a head at most, with some patience.
const LONGEST_ALONE: Duration = Duration::from_secs(60);

type Step = Result<(), Box<Broken>>;

/// Heads by their records' numbers, each with its line.
type Told = Result<Vec<(u64, Head)>, Box<Broken>>;

impl Walk<'_> {
    fn segment(&mut self, file: &Path) -> io::Result<Step> {
        let beside = heads_of(file);
        let heads = match self.heads(&beside)? {
            Ok(heads) => heads,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut told = heads.into_iter().peekable();
        let mut reader = BufReader::with_capacity(1 << 16, File::open(file)?);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            let at = |seq, reason: String| {
                Box::new(Broken {
                    file: file.to_owned(),
                    line: number,
                    seq,
                    reason,
                })
            };
            // An end without a line end is a write that a crash tore: it was never acknowledged.
            let Some(text) = line.strip_suffix(b"\n") else {
                break;
            };
            let link = match link(text) {
                Some(link) => link,
                None => {
                    let expected = (self.seen.records > 0).then(|| self.seen.last + 1);
                    return Ok(Err(at(
                        expected,
                        "this is no record of the chain".to_owned(),
                    )));
                }
            };
            if let Err(reason) = self.follow(&link) {
                return Ok(Err(at(Some(link.seq), reason)));
            }
            let own = hash(text);
            self.begins.get_or_insert_with(|| file.to_owned());
            self.forgotten = self.forgotten.max(link.through.unwrap_or(0));
            while let Some((_, head)) = told.next_if(|(_, head)| head.seq <= link.seq) {
                if head.seq != link.seq || head.hash != HEXLOWER.encode(&own) {
                    let reason = "it is not what its signed head has seen".to_owned();
                    return Ok(Err(at(Some(link.seq), reason)));
                }
                self.seen.vouched = self.seen.vouched.max(head.seq);
                self.seen.heads += 1;
            }
            self.before = Some(own);
            if self.seen.vouched == link.seq {
                self.alone = None;
            } else if self.alone.is_none() {
                let alone = at(Some(link.seq), "no signed head vouches for it".to_owned());
                self.alone = Some((alone, link.at.clone()));
            }
            self.at = link.at;
        }
        Ok(match told.next() {
            None => Ok(()),
            Some((line, head)) => Err(Box::new(Broken {
                file: beside,
                line,
                seq: Some(head.seq),
                reason: format!(
                    "a signed head has seen this record, but the trail ends with record {}: its end was cut off",
                    self.seen.last
                ),
            })),
        })
    }

    /// Whether heads vouch for what is written: for all of a closed file, and for all but the last
    /// moments of the one that is written.
    fn is_vouched_for(&self, closed: bool) -> Step {
        let Some((broken, since)) = &self.alone else {
            return Ok(());
        };
        let moments = Timestamp::parse(since).zip(Timestamp::parse(&self.at));
        let recent = moments.is_some_and(|(first, last)| last.since(first) <= LONGEST_ALONE);
        match recent && !closed {
            true => Ok(()),
            false => Err(broken.clone()),
        }
    }

    /// Whether the trail begins where it should: with record 1, or where it says so itself.
    fn beginning(&self) -> Step {
        let first = self.seen.first;
        match &self.begins {
            Some(file) if first > 1 && self.forgotten < first - 1 => Err(Box::new(Broken {
                file: file.clone(),
                line: 1,
                seq: Some(first),
                reason: format!(
                    "records before it are missing, and no record says that they were past their time; the trail says so up to {}",
                    self.forgotten
                ),
            })),
            _ => Ok(()),
        }
    }

    /// Whether a record is the next one.
    fn follow(&mut self, link: &Link) -> Result<(), String> {
        let prev = HEXLOWER.decode(link.prev.as_bytes()).unwrap_or_default();
        match self.before {
            None => {
                if link.seq == 1 && prev != NOTHING {
                    return Err("the first record must have nothing before it".to_owned());
                }
                // Older ones are past their time.
                self.seen.first = link.seq;
            }
            Some(_) if link.seq != self.seen.last + 1 => {
                return Err(format!(
                    "record {} should stand here: records were removed, inserted or moved",
                    self.seen.last + 1
                ));
            }
            Some(before) if prev != before => {
                return Err(format!(
                    "it does not follow on record {}, which was changed, or this one was put in",
                    self.seen.last
                ));
            }
            Some(_) => {}
        }
        self.seen.last = link.seq;
        self.seen.records += 1;
        Ok(())
    }

    /// The heads beside a segment.
    fn heads(&self, file: &Path) -> io::Result<Told> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Vec::new())),
            Err(error) => return Err(error),
        };
        let mut heads = BTreeMap::new();
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let whole = text.get(..whole).unwrap_or_default();
        for (line, text) in (1..).zip(whole.split_inclusive(|byte| *byte == b'\n')) {
            let head: Option<Head> = serde_json::from_slice(text).ok();
            let trusted = head.filter(|head| head.is_signed_by(self.key));
            let Some(head) = trusted else {
                return Ok(Err(Box::new(Broken {
                    file: file.to_owned(),
                    line,
                    seq: None,
                    reason: format!("this head is not signed by the key {}", self.key),
                })));
            };
            heads.insert(head.seq, (line, head));
        }
        Ok(Ok(heads.into_values().collect()))
    }
}

/// What a line begins with, where it is a record.
fn link(line: &[u8]) -> Option<Link> {
    // The rest need not be understood to be hashed, but must be JSON.
    let link: Link = serde_json::from_slice(line).ok()?;
    let begins = format!("{{\"seq\":{},\"prev\":\"{}\",", link.seq, link.prev);
    line.starts_with(begins.as_bytes()).then_some(link)
}
