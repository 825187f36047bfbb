//! What is the file's own: its lock, its mode, its faults, its group commit, its bounds.

use std::ops::Bound;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::InMemoryBackend;
use redb::{BackendError, ReadableTableMetadata, StorageBackend};
use tempfile::TempDir;

use super::tables::{BUDGETS, EXPIRIES, INVENTED, LANES, STRANGERS};
use super::*;
use crate::store::contract::{self, Rig};
use crate::store::{BudgetKey, Lane, SharedStore};

contract::hold_to_contract!(FileRig::fresh());

struct FileRig {
    folder: TempDir,
    store: Option<Arc<Embedded>>,
}

impl FileRig {
    fn fresh() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(&folder.path().join("state.redb")).unwrap();
        Self {
            folder,
            store: Some(Arc::new(store)),
        }
    }
}

#[async_trait]
impl Rig for FileRig {
    fn store(&self) -> SharedStore {
        Arc::<Embedded>::clone(self.store.as_ref().unwrap())
    }

    async fn restart(&mut self) {
        // Whoever still held it would keep the file locked.
        Arc::into_inner(self.store.take().unwrap()).unwrap_or_else(|| panic!("it is still held"));
        let store = Embedded::open(&self.folder.path().join("state.redb")).unwrap();
        self.store = Some(Arc::new(store));
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_795_515_607_123).plus(Duration::from_secs(seconds))
}

fn budget() -> Vec<Window> {
    vec![Window {
        limit: 5,
        per: Duration::from_secs(3600),
    }]
}

fn asked(number: u32, user: Option<&str>) -> NewChallenge {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    NewChallenge {
        id: BearerHash(key),
        account: AccountKey(key),
        user: user.map(Into::into),
        lane: Lane::Unknown,
        code: CodeHash(key),
        expires: at(300),
        next: "/".to_owned(),
        email: "kari@fjord.example".to_owned(),
        link: None,
    }
}

#[test]
fn the_file_and_its_folder_are_the_owners_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/state.redb");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    drop(Embedded::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Embedded::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_file_that_is_open_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let first = Embedded::open(&path).unwrap();
    let error = Embedded::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    assert!(error.to_string().contains("state.redb"), "{error}");
    drop(first);
    Embedded::open(&path).unwrap();
}

#[test]
fn a_file_that_cannot_be_had_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let error = Embedded::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn garbage_and_torn_files_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = Embedded::open(&path).unwrap();
    for number in 0..200 {
        let new = asked(number, Some("u-kari"));
        store
            .open_challenge(at(0), new, 3, &budget())
            .await
            .unwrap();
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();

    let damaged = |what: &str, bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Embedded::open(&path).expect_err(what);
        assert!(matches!(error, StoreError::Damaged(_)), "{what}: {error}");
    };
    damaged("text", &b"this is no database\n".repeat(1000));
    damaged("a short text", b"no");
    damaged("zeros", &vec![0; whole.len()]);
    damaged("half", &whole[..whole.len() / 2]);
    damaged("the head alone", &whole[..4096]);
    let mut overwritten = whole.clone();
    for page in overwritten.chunks_mut(4096).skip(1) {
        page.fill(0xa5);
    }
    damaged("garbage behind a good head", &overwritten);

    std::fs::write(&path, &whole).unwrap();
    Embedded::open(&path).unwrap();
}

#[test]
fn a_newer_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    drop(Embedded::open(&path).unwrap());
    change(&path, |tables| tables.meta.insert("format", 2).map(drop));
    let error = Embedded::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_queued_together_is_committed_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&folder.path().join("state.redb")).unwrap());
    let new = asked(1, Some("u-kari"));
    store
        .open_challenge(at(0), new, 3, &budget())
        .await
        .unwrap();
    let before = store.commits();
    let charges: Vec<_> = (0..1000)
        .map(|_| {
            let (store, id) = (Arc::clone(&store), asked(1, None).id);
            tokio::spawn(async move {
                store
                    .charge_attempt(at(1), id, 3, &budget(), Fleet::default())
                    .await
            })
        })
        .collect();
    for charge in charges {
        charge.await.unwrap().unwrap();
    }
    let commits = store.commits() - before;
    assert!((1..=200).contains(&commits), "{commits} commits");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_error_and_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = Embedded::open(&path).unwrap();
    for number in [1, 2] {
        let new = asked(number, Some("u-kari"));
        store
            .open_challenge(at(0), new, 3, &budget())
            .await
            .unwrap();
    }
    drop(store);
    let bad = asked(1, None).id;
    change(&path, |tables| {
        let newer = b"\x02{}".as_slice();
        tables.sessions.insert(&bad.0, newer)?;
        tables.challenges.insert(&bad.0, newer).map(drop)
    });

    let store = Embedded::open(&path).unwrap();
    let damaged = |error: StoreError| matches!(error, StoreError::Damaged(_));
    assert!(damaged(store.session(at(1), bad).await.unwrap_err()));
    assert!(damaged(store.challenge(at(1), bad).await.unwrap_err()));
    assert!(damaged(store.revoke(&Whose::All).await.unwrap_err()));
    // In one transaction with one that is good.
    let budget = budget();
    let (broken, good) = tokio::join!(
        store.charge_attempt(at(1), bad, 3, &budget, Fleet::default()),
        store.charge_attempt(at(1), asked(2, None).id, 3, &budget, Fleet::default()),
    );
    assert!(damaged(broken.unwrap_err()));
    assert!(matches!(good.unwrap(), Attempt::Charged(challenge) if challenge.attempts == 1));
    // The sweep gets past it.
    store.mark_time(at(7200)).await.unwrap();
    assert_eq!(count(&store, EXPIRIES), 0);
}

#[tokio::test]
async fn an_operation_that_fails_half_way_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&folder.path().join("state.redb")).unwrap();
    let torn = store.writer.write(|tables| {
        tables.see(at(99))?;
        tables.put_sealed("torn", None, b"half")?;
        Err::<(), _>(StoreError::Damaged("half way".to_owned()))
    });
    let (torn, whole) = tokio::join!(torn, store.put_sealed("whole", None, b"all"));
    assert!(matches!(torn, Err(StoreError::Damaged(_))));
    assert!(whole.unwrap());
    assert_eq!(store.sealed("torn").await.unwrap(), None);
    assert_eq!(store.sealed("whole").await.unwrap().unwrap(), b"all");
    assert_eq!(store.high_water().await.unwrap(), Timestamp::default());
}

#[tokio::test]
async fn a_failed_commit_fails_its_whole_batch_and_passes() {
    let failing = Arc::new(AtomicBool::new(false));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let switch = Arc::clone(&failing);
    let opened = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&opened);
    let opener = Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .unwrap();
        file::open_backend(FullDisk {
            file: redb::backends::FileBackend::new(file).unwrap(),
            failing: Arc::clone(&switch),
        })
    });
    let store = Embedded::start(opener, 10, Duration::ZERO).unwrap();
    assert!(store.put_sealed("before", None, b"1").await.unwrap());

    failing.store(true, Ordering::SeqCst);
    let (one, two, ready) = tokio::join!(
        store.put_sealed("one", None, b"1"),
        store.put_sealed("two", None, b"2"),
        store.ready(),
    );
    for error in [one.unwrap_err(), two.unwrap_err(), ready.unwrap_err()] {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    assert!(store.ready().await.is_err(), "the disk is still full");

    failing.store(false, Ordering::SeqCst);
    store.ready().await.unwrap();
    assert_eq!(store.sealed("before").await.unwrap().unwrap(), b"1");
    let reopened = opened.load(Ordering::SeqCst);
    assert!(store.put_sealed("after", None, b"3").await.unwrap());
    assert_eq!(opened.load(Ordering::SeqCst), reopened, "once is enough");
}

#[tokio::test]
async fn made_up_addresses_are_bounded_and_crowd_out_no_user() {
    let opener = Box::new(|| file::open_backend(InMemoryBackend::new()));
    let store = Embedded::start(opener, 10, Duration::ZERO).unwrap();
    let open = async |number: u32, user: Option<&str>| {
        let new = asked(number, user);
        store
            .open_challenge(at(number.into()), new, 3, &budget())
            .await
            .unwrap();
        let now = at(u64::from(number) + 1);
        let id = asked(number, None).id;
        store
            .charge_attempt(now, id, 3, &budget(), Fleet::default())
            .await
            .unwrap()
    };
    open(1, Some("u-kari")).await;
    for number in 2..40 {
        assert!(matches!(open(number, None).await, Attempt::Charged(_)));
    }
    assert_eq!(count(&store, STRANGERS), 10);
    assert_eq!(count(&store, LANES), 11);
    let living = async |number| {
        let id = asked(number, None).id;
        store.challenge(at(50), id).await.unwrap().is_some()
    };
    assert!(living(1).await, "a user's is not evicted");
    assert!(!living(29).await, "the oldest went, with its challenge");
    assert!(living(30).await);
}

#[tokio::test]
async fn nothing_is_left_of_what_was_removed() {
    let opener = Box::new(|| file::open_backend(InMemoryBackend::new()));
    let store = Embedded::start(opener, 10, Duration::ZERO).unwrap();
    let new = asked(1, Some("u-kari"));
    let (id, account) = (new.id, new.account);
    let device = DeviceRecord {
        handle: "d-1".to_owned(),
        account,
        created: at(0),
        last_seen: at(0),
        expires: at(9000),
        client: String::new(),
    };
    let login = Completion {
        challenge: id,
        charged_at: at(0),
        session: id,
        record: SessionRecord {
            handle: "s-1".to_owned(),
            user: "u-kari".into(),
            company: "fjord".into(),
            created: at(0),
            last_seen: at(0),
            expires: at(9000),
            client: String::new(),
        },
        replaces: None,
        device: Some((id, device)),
        devices: 10,
    };
    store
        .open_challenge(at(0), new, 3, &budget())
        .await
        .unwrap();
    store
        .charge_attempt(at(0), id, 3, &budget(), Fleet::default())
        .await
        .unwrap();
    assert!(store.complete_challenge(at(0), login).await.unwrap());
    assert_eq!(store.revoke(&Whose::All).await.unwrap(), [id]);
    assert!(store.forget_device(account, "d-1").await.unwrap());
    assert_eq!(count(&store, BY_USER) + count(&store, BY_COMPANY), 0);
    assert_eq!(count(&store, BY_ACCOUNT) + count(&store, LANES), 0);
    assert_eq!(count(&store, EXPIRIES), 0);
}

#[tokio::test]
async fn what_has_expired_is_swept_in_bounded_pieces() {
    let opener = Box::new(|| file::open_backend(InMemoryBackend::new()));
    let store = Embedded::start(opener, 10_000, Duration::ZERO).unwrap();
    let opened = (0..400).map(|number| {
        let user = (number % 2 == 0).then_some("u-kari");
        let (store, new) = (&store, asked(number, user));
        async move {
            let id = new.id;
            store
                .open_challenge(at(0), new, 3, &budget())
                .await
                .unwrap();
            store
                .charge_attempt(at(0), id, 3, &budget(), Fleet::default())
                .await
                .unwrap()
        }
    });
    futures_util::future::join_all(opened).await;
    assert_eq!(count(&store, EXPIRIES), 800);
    store.mark_time(at(299)).await.unwrap();
    assert_eq!(count(&store, EXPIRIES), 800, "nothing has expired yet");
    store.mark_time(at(7200)).await.unwrap();
    assert_eq!(count(&store, EXPIRIES), 800 - SWEEP as u64);
    store.mark_time(at(7200)).await.unwrap();
    assert_eq!(count(&store, EXPIRIES), 0);
    assert_eq!(count(&store, CHALLENGES), 0);
    assert_eq!(count(&store, LANES), 0);
    assert_eq!(count(&store, STRANGERS), 0);
}

#[tokio::test]
async fn budgets_that_anyone_can_invent_are_bounded_and_all_are_swept() {
    let opener = Box::new(|| file::open_backend(InMemoryBackend::new()));
    let store = Embedded::start(opener, 10, Duration::ZERO).unwrap();
    let minute = Duration::from_secs(60);
    let windows = vec![Window {
        limit: 1,
        per: minute,
    }];
    let charge = |whose, invented| Charge {
        key: BudgetKey {
            whose: [whose; 32],
            what: 3,
        },
        windows: windows.clone(),
        invented,
    };
    let draw = async |seconds, charge: Charge| {
        let drawn = store.charge_budgets(at(seconds), &[charge], &[]).await;
        drawn.unwrap() == Charging::Charged
    };
    assert!(draw(0, charge(200, false)).await);
    for whose in 0..20 {
        assert!(draw(u64::from(whose), charge(whose, true)).await);
    }
    assert_eq!((count(&store, BUDGETS), count(&store, INVENTED)), (11, 10));
    assert!(!draw(20, charge(19, true)).await, "the newest is kept");
    assert!(!draw(20, charge(200, false)).await, "ours is kept");
    assert!(draw(20, charge(9, true)).await, "the oldest went");
    store.mark_time(at(20).plus(minute)).await.unwrap();
    assert_eq!((count(&store, BUDGETS), count(&store, INVENTED)), (0, 0));
    assert_eq!(count(&store, EXPIRIES), 0);
}

fn count<K: redb::Key + 'static, V: redb::Value + 'static>(
    store: &Embedded,
    table: redb::TableDefinition<'static, K, V>,
) -> u64 {
    reading(&store.shared.read().unwrap(), table)
        .unwrap()
        .len()
        .unwrap()
}

/// Changes the file of a store that is not open.
fn change(
    path: &PathBuf,
    change: impl FnOnce(&mut tables::Tables<'_>) -> Result<(), redb::StorageError>,
) {
    let database = Database::open(path).unwrap();
    let tx = database.begin_write().unwrap();
    let mut tables = tables::Tables::open(&tx, 10).unwrap();
    change(&mut tables).unwrap();
    drop(tables);
    tx.commit().unwrap();
}

/// A file whose disk is full while the switch is on.
#[derive(Debug)]
struct FullDisk {
    file: redb::backends::FileBackend,
    failing: Arc<AtomicBool>,
}

impl FullDisk {
    fn check(&self) -> std::io::Result<()> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for FullDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    // The lock is the file's, so that it cannot be opened anew before it is let go.
    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(from, to)
    }

    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(from, to)
    }
}
