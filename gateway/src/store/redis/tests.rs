//! Held to the contract against a real `redis-server`, one for each test.

mod cluster;
mod sentinel;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::*;
use crate::config::RedisPlace;
use crate::secret::Secret;
use crate::store::SharedStore;
use crate::store::contract::{self, Rig};

const NOW: Timestamp = Timestamp::from_millis(1_795_515_607_123);

/// A server of our own on a socket in a folder of its own; it ends with the test.
struct Server {
    folder: tempfile::TempDir,
    process: Child,
}

impl Server {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(folder.path())
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .expect("`redis-server` runs; tests/run.sh installs it");
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "it is slow");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { folder, process }
    }

    fn settings(&self) -> RedisStore {
        let socket = self.folder.path().join("redis.sock");
        settings(RedisPlace::One(Secret::new(format!(
            "redis+unix://{}",
            socket.display()
        ))))
    }
}

fn settings(place: RedisPlace) -> RedisStore {
    RedisStore {
        place,
        prefix: "portvakt:".to_owned(),
        // Ten thousand calls at once wait for each other.
        deadline: Duration::from_secs(20),
        grace: Duration::ZERO,
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Says something to the server on a port.
fn say<T: FromRedisValue>(port: u16, words: &[&str]) -> T {
    let client = ::redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut way = client.get_connection().unwrap();
    let mut command = ::redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query(&mut way).unwrap()
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct RedisRig {
    server: Server,
    store: Arc<Redis>,
}

impl RedisRig {
    async fn new() -> Self {
        let server = Server::start();
        let store = Redis::open(&server.settings()).await.unwrap();
        assert_eq!(store.init(NOW, false).await.unwrap(), Prepared::Young);
        Self {
            server,
            store: Arc::new(store),
        }
    }
}

#[async_trait]
impl Rig for RedisRig {
    fn store(&self) -> SharedStore {
        Arc::<Redis>::clone(&self.store)
    }

    async fn restart(&mut self) {
        self.store = Arc::new(Redis::open(&self.server.settings()).await.unwrap());
    }
}

contract::hold_to_contract!(RedisRig::new().await);

#[tokio::test]
async fn a_flushed_redis_charges_and_opens_nothing() {
    let rig = RedisRig::new().await;
    let now = NOW;
    let flush = redis::cmd("FLUSHALL");
    rig.store.link.ask::<()>(&flush).await.unwrap();
    let refused = rig.store.charge_budgets(now, &[], &[]).await.unwrap_err();
    assert!(refused.to_string().contains("state init"), "{refused}");
    assert!(rig.store.ready().await.is_err());
    assert_eq!(rig.store.init(NOW, false).await.unwrap(), Prepared::Young);
    let again = rig.store.init(NOW, true).await.unwrap();
    assert_eq!(again, Prepared::Already, "once");
    rig.store.charge_budgets(now, &[], &[]).await.unwrap();
}

#[tokio::test]
async fn a_redis_that_may_forget_is_refused() {
    let server = Server::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let refused = Redis::open(&server.settings()).await.unwrap_err();
    assert!(refused.to_string().contains("noeviction"), "{refused}");
}

#[tokio::test]
async fn a_redis_that_is_gone_is_unavailable_at_once_and_comes_back_by_itself() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.deadline = Duration::from_millis(100);
    let store = Redis::open(&settings).await.unwrap();
    store.init(NOW, false).await.unwrap();
    let pid = server.process.id().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &pid]).status().unwrap();
    signal("-STOP");
    let asked = Instant::now();
    assert!(store.ready().await.is_err());
    assert!(asked.elapsed() < Duration::from_millis(400));
    let asked = Instant::now();
    assert!(store.ready().await.is_err(), "the breaker is open");
    assert!(asked.elapsed() < Duration::from_millis(50));
    signal("-CONT");
    let resumed = Instant::now();
    while store.ready().await.is_err() {
        assert!(resumed.elapsed() < Duration::from_secs(5), "it stays away");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
