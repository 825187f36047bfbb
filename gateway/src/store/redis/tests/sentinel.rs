//! The contract on a master that a sentinel names.

use super::*;

struct SentinelRig {
    _master: Server,
    sentinel: Child,
    _folder: tempfile::TempDir,
    port: u16,
    store: Arc<Redis>,
}

impl SentinelRig {
    async fn new() -> Self {
        let (own, port) = (free_port().to_string(), free_port());
        let master = Server::start_with(&["--port", &own, "--bind", "127.0.0.1"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sentinel.conf");
        let dir = folder.path().display();
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\nsentinel monitor portvakt 127.0.0.1 {own} 1\n"
        );
        std::fs::write(&file, text).unwrap();
        let sentinel = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the sentinel listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let store = Arc::new(Redis::open(&place(port)).await.unwrap());
        assert_eq!(store.init(NOW, false).await.unwrap(), Prepared::Young);
        Self {
            _master: master,
            sentinel,
            _folder: folder,
            port,
            store,
        }
    }
}

fn place(port: u16) -> RedisStore {
    settings(RedisPlace::Sentinels {
        urls: vec![Secret::new(format!("redis://127.0.0.1:{port}"))],
        master: "portvakt".to_owned(),
    })
}

impl Drop for SentinelRig {
    fn drop(&mut self) {
        let _ = self.sentinel.kill();
        let _ = self.sentinel.wait();
    }
}

#[async_trait]
impl Rig for SentinelRig {
    fn store(&self) -> SharedStore {
        Arc::<Redis>::clone(&self.store)
    }

    async fn restart(&mut self) {
        self.store = Arc::new(Redis::open(&place(self.port)).await.unwrap());
    }
}

contract::hold_to_contract!(SentinelRig::new().await);
