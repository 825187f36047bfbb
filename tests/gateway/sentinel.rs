//! A master, its replica, and a sentinel that lets the replica take over.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::house::free_port;
use crate::redis::{Redis, say, until};

/// What a sentinel watches.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    port: u16,
    sentinel: Child,
    _dir: TempDir,
}

impl Watched {
    pub(crate) async fn start() -> Self {
        let master = Redis::start().await;
        let of = master.port.to_string();
        let sync = [
            "--repl-diskless-sync-delay",
            "0",
            "--replicaof",
            "127.0.0.1",
            &of,
        ];
        let replica = Redis::start_with(&sync).await;
        until("the replica is in step", async || {
            replica.say(&["ROLE"]).await.contains("connected")
        })
        .await;
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = dir.path().join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor portvakt 127.0.0.1 {of} 1\n\
             sentinel down-after-milliseconds portvakt 500\n\
             sentinel failover-timeout portvakt 3000\n",
            dir.path().display()
        );
        std::fs::write(&file, settings).unwrap();
        let sentinel = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the sentinel listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
        until("the sentinel knows the replica", async || {
            let told = say(port, &["SENTINEL", "REPLICAS", "portvakt"]).await;
            told.contains(&replica.port.to_string())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        Self {
            master,
            replica,
            port,
            sentinel,
            _dir: dir,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits until the replica has all that the master has.
    pub(crate) async fn replicated(&self) {
        until("the replica has everything", async || {
            let answer = self.master.say(&["WAIT", "1", "1000"]).await;
            answer.starts_with(":1")
        })
        .await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.sentinel.kill();
        let _ = self.sentinel.wait();
    }
}
