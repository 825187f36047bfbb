//! What the trail says of one request, found from its end: what ops ask about is recent.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

use super::segments::newest_first;

/// How much of the trail is read at once.
const BLOCK: u64 = 1 << 20;

/// The records of a request, the oldest first. Once some are found, one block more is looked
/// through: what is recorded of one request stands close together.
///
/// # Errors
///
/// What the system says of the trail's files.
pub fn find(dir: &Path, request_id: &str) -> io::Result<Vec<Value>> {
    let mut found: Vec<Value> = Vec::new();
    for path in newest_first(dir)? {
        let had = !found.is_empty();
        let mut older = find_in(&path, request_id)?;
        older.append(&mut found);
        found = older;
        // A request may have been answered after its day was over; none takes two days.
        if had {
            break;
        }
    }
    Ok(found)
}

fn find_in(path: &Path, request_id: &str) -> io::Result<Vec<Value>> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    // The beginning of a line whose end was read before.
    let mut carried: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.append(&mut carried);
        let whole = match block.iter().position(|byte| *byte == b'\n') {
            _ if start == 0 => 0,
            Some(at) => at + 1,
            None => block.len(),
        };
        let had = !found.is_empty();
        let lines = block.get(whole..).unwrap_or_default();
        let before = found.len();
        found.extend(
            lines
                .split(|byte| *byte == b'\n')
                .filter_map(|line| record(line, request_id)),
        );
        // Those of this block are older than those found before.
        found.rotate_left(before);
        block.truncate(whole);
        carried = block;
        end = start;
        if had {
            break;
        }
    }
    Ok(found)
}

fn record(line: &[u8], request_id: &str) -> Option<Value> {
    let text = std::str::from_utf8(line).ok()?;
    if !text.contains(request_id) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    (value.get("request_id")?.as_str()? == request_id).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_wherever_they_stand_and_only_those_of_the_request() {
        let dir = tempfile::tempdir().unwrap();
        let line = |id: &str, n: usize| {
            format!(
                "{{\"n\":{n},\"detail\":\"{}\",\"request_id\":\"{id}\"}}\n",
                "x".repeat(900)
            )
        };
        let mut text = line("first", 0);
        for n in 0..5000 {
            text.push_str(&line("other", n));
        }
        text.push_str(&line("last", 1));
        text.push_str("{\"detail\":\"names last, but is none of it\"}\n");
        text.push_str(&line("last", 2));
        std::fs::write(dir.path().join("audit.jsonl"), text).unwrap();
        let numbers = |id: &str| -> Vec<u64> {
            let found = find(dir.path(), id).unwrap();
            found
                .iter()
                .map(|record| record["n"].as_u64().unwrap())
                .collect()
        };
        assert_eq!(numbers("last"), [1, 2]);
        assert_eq!(numbers("first"), [0]);
        assert!(numbers("missing").is_empty());
        let others = numbers("other");
        assert!(others.len() > 1000 && others.is_sorted());
        assert!(find(&dir.path().join("nowhere"), "last").is_err());
        // Of a day that is over, and over midnight.
        let closed = dir.path().join("audit-1970-01-01.jsonl");
        std::fs::write(closed, [line("old", 3), line("first", 4)].concat()).unwrap();
        assert_eq!(numbers("old"), [3]);
        assert_eq!(numbers("first"), [4, 0]);
    }
}
