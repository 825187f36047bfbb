use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::*;
use crate::secret::MasterKey;

const A_DAY: Duration = Duration::from_secs(86_400);

fn key() -> Key {
    MasterKey::parse(&"7".repeat(64)).unwrap().derive(HEADS_KEY)
}

fn public() -> PublicKey {
    PublicKey::of(&key()).unwrap()
}

fn open(dir: &Path) -> Audit {
    open_with(dir, Keeping::default())
}

fn open_with(dir: &Path, keeping: Keeping) -> Audit {
    Audit::open(dir, keeping, &key()).unwrap()
}

fn record(days: u32) -> Record {
    Record::new(
        Timestamp::from_millis(0).plus(A_DAY * days),
        "decision",
        "allow",
    )
}

fn lines(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let files = segments::newest_first(dir).unwrap();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(name).collect()
}

#[tokio::test]
async fn a_kept_record_is_one_line_on_disk_whatever_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    let mut record = Record::new(Timestamp::from_millis(0), "login.email", "ok");
    record.detail = Some("a\nb\u{2028}\"c".to_owned());
    audit.keep(record).await.unwrap();
    let [line] = lines(dir.path()).try_into().unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["detail"], "a\nb\u{2028}\"c");
    assert_eq!(
        (&value["seq"], value["prev"].as_str().unwrap().len()),
        (&1.into(), 64)
    );
}

#[tokio::test]
async fn whoever_catches_up_finds_all_that_was_noted_before() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    for _ in 0..100 {
        audit.note(&record(0)).unwrap();
    }
    audit.catch_up().await.unwrap();
    assert_eq!(lines(dir.path()).len(), 100);
    assert_eq!(audit.lost(), 0);
}

#[test]
fn records_that_no_disk_takes_are_counted_and_leave_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    // As a disk without room: every write fails.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut segments = Segments::open(dir.path(), Duration::MAX, u64::MAX).unwrap();
    segments.current = full;
    let (queue, entries) = sync_channel(2);
    let mut told = Vec::new();
    for _ in 0..2 {
        let (durable, done) = oneshot::channel();
        let entry = Entry {
            record: Some((Timestamp::from_millis(0), b"{\"a\":1}".to_vec())),
            durable: Some(durable),
        };
        queue
            .send(entry)
            .unwrap_or_else(|_| panic!("the queue has room"));
        told.push(done);
    }
    drop(queue);
    let lost = Arc::new(AtomicU64::new(0));
    Writer::new(segments, &key(), Arc::clone(&lost))
        .unwrap()
        .run(&entries);
    assert_eq!(lost.load(Ordering::Relaxed), 2);
    assert!(told.into_iter().all(|done| done.blocking_recv().is_err()));
    let verified = verify(dir.path(), &public()).unwrap().unwrap();
    assert_eq!(verified.records, 0);
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_the_chain_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    for (number, torn) in ["", "{\"torn\":", "x"].into_iter().enumerate() {
        let torn = if torn == "x" {
            "x".repeat(9000)
        } else {
            torn.to_owned()
        };
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        text.push_str(&torn);
        std::fs::write(&path, text).unwrap();
        // A torn end was never acknowledged, and is no sign of anyone.
        verify(dir.path(), &public()).unwrap().unwrap();
        let audit = open(dir.path());
        audit.keep(record(0)).await.unwrap();
        drop(audit);
        assert_eq!(lines(dir.path()).len(), number + 1);
        let verified = verify(dir.path(), &public()).unwrap().unwrap();
        assert_eq!(
            (verified.last, verified.vouched),
            (number as u64 + 1, number as u64 + 1)
        );
    }
}

#[tokio::test]
async fn each_day_has_its_file_until_its_time_is_over_and_the_trail_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping {
        keep: A_DAY * 2,
        ..Keeping::default()
    };
    for days in [0, 0, 1, 1, 2, 4] {
        // Each after a restart, which goes on in the file of its day.
        let audit = open_with(dir.path(), keeping);
        audit.keep(record(days)).await.unwrap();
    }
    assert_eq!(names(dir.path()), ["audit.jsonl", "audit-1970-01-03.jsonl"]);
    let verified = verify(dir.path(), &public()).unwrap().unwrap();
    // Two days of two records are gone, and each went on record.
    assert_eq!((verified.first, verified.last), (5, 8));
    let told = lines(dir.path());
    assert!(told[0].contains(r#""event":"audit.forget""#) && told[0].contains(r#""through":2"#));
    // Whoever takes one day more is found.
    std::fs::remove_file(dir.path().join("audit-1970-01-03.jsonl")).unwrap();
    let broken = verify(dir.path(), &public()).unwrap().unwrap_err();
    assert!(
        broken.reason.starts_with("records before it are missing"),
        "{broken}"
    );
}

#[tokio::test]
async fn a_file_that_is_large_enough_is_closed_before_its_day_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping {
        largest: 1_000,
        ..Keeping::default()
    };
    let audit = open_with(dir.path(), keeping);
    for _ in 0..30 {
        audit.keep(record(0)).await.unwrap();
    }
    drop(audit);
    assert!(names(dir.path()).len() > 3, "{:?}", names(dir.path()));
    let verified = verify(dir.path(), &public()).unwrap().unwrap();
    assert_eq!((verified.records, verified.vouched), (30, 30));
}

#[tokio::test]
async fn another_key_vouches_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    audit.keep(record(0)).await.unwrap();
    drop(audit);
    let other = MasterKey::generate().derive(HEADS_KEY);
    let broken = verify(dir.path(), &PublicKey::of(&other).unwrap())
        .unwrap()
        .unwrap_err();
    assert!(
        broken.reason.contains("is not signed by the key"),
        "{broken}"
    );
}

#[tokio::test]
async fn a_trail_whose_heads_were_taken_away_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    trail(dir.path(), 90);
    let audit = open(dir.path());
    for days in [0, 1] {
        audit.keep(record(days)).await.unwrap();
    }
    drop(audit);
    verify(dir.path(), &public()).unwrap().unwrap();
    for name in names(dir.path()) {
        let heads = segments::heads_of(&dir.path().join(name));
        let text = std::fs::read(&heads).unwrap();
        std::fs::remove_file(&heads).unwrap();
        let found = verify(dir.path(), &public()).unwrap();
        // One record of the last moments may stand alone.
        let expected = !heads.ends_with("audit.heads");
        assert_eq!(found.is_err(), expected, "{}: {found:?}", heads.display());
        std::fs::write(&heads, text).unwrap();
    }
    // A day and more without a head.
    let copy = tempfile::tempdir().unwrap();
    let audit = open(copy.path());
    audit.keep(record(0)).await.unwrap();
    audit
        .keep(Record::new(
            Timestamp::from_millis(61_000),
            "decision",
            "allow",
        ))
        .await
        .unwrap();
    drop(audit);
    std::fs::remove_file(copy.path().join("audit.heads")).unwrap();
    let broken = verify(copy.path(), &public()).unwrap().unwrap_err();
    assert_eq!(
        (broken.seq, broken.reason.as_str()),
        (Some(1), "no signed head vouches for it")
    );
}

#[tokio::test]
async fn what_a_crash_left_without_a_head_gets_one_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    audit.keep(record(0)).await.unwrap();
    drop(audit);
    std::fs::remove_file(dir.path().join("audit.heads")).unwrap();
    drop(open(dir.path()));
    let verified = verify(dir.path(), &public()).unwrap().unwrap();
    assert_eq!((verified.vouched, verified.heads), (1, 1));
}

/// A trail of so many records, over three files, all vouched for.
fn trail(dir: &Path, records: usize) {
    let keeping = Keeping {
        largest: (records as u64 * 300) / 3,
        ..Keeping::default()
    };
    let audit = open_with(dir, keeping);
    for number in 0..records {
        let mut record = record(0);
        record.user = Some(format!("u-{number}"));
        record.target = Some(format!("GET /projects/{number}"));
        while audit.note(&record).is_err() {
            std::thread::yield_now();
        }
    }
    drop(audit);
}

/// `PORTVAKT_DAMAGES` says how many are tried, at a trail of a hundred times as many records, at most
/// 100,000.
#[test]
fn no_damage_is_missed_and_none_is_invented() {
    use rand::{Rng, SeedableRng};
    let damages = crate::config::environment("PORTVAKT_DAMAGES");
    let damages: usize = damages.map_or(300, |count| count.parse().unwrap());
    let records = (damages * 100).min(100_000).min(3_000.max(damages * 10));
    let dir = tempfile::tempdir().unwrap();
    trail(dir.path(), records);
    let whole = verify(dir.path(), &public()).unwrap().unwrap();
    assert_eq!(
        (whole.records, whole.vouched),
        (records as u64, records as u64)
    );
    let files: Vec<PathBuf> = names(dir.path())
        .iter()
        .map(|name| dir.path().join(name))
        .collect();
    let files: Vec<PathBuf> = files.into_iter().filter(|file| file.exists()).collect();
    let texts: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    let seed = rand::rng().random();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for number in 0..damages {
        let which = random.random_range(0..files.len());
        let (file, text) = (&files[which], &texts[which]);
        let mut damaged = text.clone();
        let all: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let any = random.random_range(0..all.len());
        let kind = number % 6;
        match kind {
            0 => {
                let at = random.random_range(0..damaged.len());
                damaged[at] ^= 1 << random.random_range(0..8);
            }
            1 => {
                damaged.remove(random.random_range(0..text.len()));
            }
            2 => {
                let byte = random.random();
                damaged.insert(random.random_range(0..=text.len()), byte);
            }
            3 => damaged = [&all[..any], &all[any + 1..]].concat().concat(),
            4 => {
                let other = random.random_range(0..all.len());
                let mut moved = all.clone();
                let line = moved.remove(any);
                moved.insert(other, line);
                damaged = moved.concat();
            }
            _ => damaged = all[..any].concat(),
        }
        if damaged == *text {
            continue;
        }
        std::fs::write(file, &damaged).unwrap();
        let found = verify(dir.path(), &public()).unwrap();
        assert!(
            found.is_err(),
            "seed {seed}, damage {number} of kind {kind} in {which} was missed"
        );
        std::fs::write(file, text).unwrap();
        if number % 50 == 0 {
            assert_eq!(
                verify(dir.path(), &public()).unwrap().unwrap(),
                whole,
                "invented"
            );
        }
    }
    assert_eq!(
        verify(dir.path(), &public()).unwrap().unwrap(),
        whole,
        "invented"
    );
}

#[tokio::test]
async fn a_follower_reads_on_over_the_turn_of_the_day() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    audit.keep(record(0)).await.unwrap();
    let mut follower = Follower::from_the_beginning(dir.path()).unwrap();
    let mut next = || {
        follower
            .read()
            .unwrap()
            .map(|record| record["seq"].as_u64().unwrap())
    };
    assert_eq!((next(), next()), (Some(1), None));
    audit.keep(record(0)).await.unwrap();
    audit.keep(record(1)).await.unwrap();
    audit.keep(record(2)).await.unwrap();
    assert_eq!(
        (next(), next(), next(), next()),
        (Some(2), Some(3), Some(4), None)
    );
    let mut late = Follower::from_day(dir.path(), "1970-01-03").unwrap();
    assert_eq!(
        late.read().unwrap().unwrap()["seq"],
        3,
        "a day's file may end after its day"
    );
}

#[test]
fn records_are_chosen_by_whole_words() {
    let record = serde_json::json!({
        "at": "2026-11-24T10:20:07.5Z", "event": "login.code", "result": "ok",
        "user": "u-kari", "resources": ["Project::7"],
    });
    let chosen = |change: fn(&mut Chosen)| {
        let mut chosen = Chosen::default();
        change(&mut chosen);
        chosen.takes(&record)
    };
    assert!(chosen(|_| {}));
    assert!(chosen(|it| it.event = Some("login".into())));
    assert!(!chosen(|it| it.event = Some("log".into())));
    assert!(chosen(|it| it.resource = Some("Project".into())));
    assert!(chosen(|it| it.resource = Some("Project::7".into())));
    assert!(!chosen(|it| it.resource = Some("Project::".into())));
    assert!(!chosen(|it| it.user = Some("u-kar".into())));
    assert!(chosen(|it| it.since = Some("2026-11-24T10:20:07Z".into())));
    assert!(!chosen(|it| it.since = Some("2026-11-24T10:20:08Z".into())));
}
