//! Other people's applications, as they are: started on a port of their own, with a tap before them
//! that writes down which requests arrive, and the gateway on the example's own files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::house::{House, WIDE_SENDS, free_port, repository};

/// An application with a gateway before it.
pub(crate) struct Example {
    pub(crate) house: House,
    arrived: Arc<Mutex<Vec<String>>>,
    _application: Child,
}

impl Example {
    /// Starts `command`, which listens on the port that it is given, and a gateway on the files in
    /// `examples/NAME`, where the application is at `written`.
    pub(crate) async fn open(
        name: &str,
        written: &str,
        command: impl FnOnce(u16) -> Command,
    ) -> Self {
        let port = free_port();
        let application = command(port)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        wait_for(port).await;
        let (tap, arrived) = tap(port).await;
        let file = repository()
            .join("examples")
            .join(name)
            .join("portvakt.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let change = |config: &mut String| *config = moved(&text, config, name, written, tap);
        let house = House::open_with(change, None).await;
        Self {
            house,
            arrived,
            _application: application,
        }
    }

    /// The request lines, without version, of what was forwarded since this was last asked; the
    /// gateway's own look-ups are not among them.
    pub(crate) fn forwarded(&self) -> Vec<String> {
        std::mem::take(&mut *self.arrived.lock().unwrap())
    }
}

/// A folder that `tests/run.sh` fills.
pub(crate) fn installed(path: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), PathBuf::from);
    let path = match path.strip_prefix("target/") {
        Some(below) => target.join(below),
        None => repository().join(path),
    };
    assert!(
        path.exists(),
        "`{}` is not there: tests/run.sh installs it",
        path.display()
    );
    path
}

/// The example's own configuration, with the folders and ports of a test.
fn moved(text: &str, sample: &str, name: &str, written: &str, tap: SocketAddr) -> String {
    let between = |before: &str, after: &str| {
        let (_, rest) = sample.split_once(before).unwrap();
        rest.split_once(after).unwrap().0.to_owned()
    };
    let port = between("public_url = \"https://localhost:", "\"");
    let dir = between("chain = \"", "/certs/localhost.pem");
    let policies = repository().join("examples").join(name).join("policies");
    let mut text = text.to_owned();
    for (from, to) in [
        ("localhost:8443", format!("localhost:{port}")),
        ("127.0.0.1:8443", format!("127.0.0.1:{port}")),
        ("127.0.0.1:9090", "127.0.0.1:0".to_owned()),
        ("certs/dev/", format!("{dir}/certs/")),
        (&format!("state/{name}/"), format!("{dir}/state/")),
        ("config/directory.toml", format!("{dir}/directory.toml")),
        (
            &format!("examples/{name}/policies"),
            policies.display().to_string(),
        ),
        (written, tap.to_string()),
    ] {
        assert!(text.contains(from), "the example has no `{from}`");
        text = text.replace(from, &to);
    }
    text + WIDE_SENDS
}

async fn wait_for(port: u16) {
    for _ in 0..400 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the application did not start");
}

/// Passes bytes on, and writes down every forwarded request that goes by.
async fn tap(port: u16) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&arrived);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                continue;
            };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                let mut heads = Heads::default();
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    let lines = heads.read(&buffer[..read]);
                    log.lock().unwrap().extend(lines);
                    if to_server.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
                let _ = to_server.shutdown().await;
            });
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
        }
    });
    (address, arrived)
}

/// What goes over one connection, cut into requests.
#[derive(Default)]
struct Heads {
    unread: Vec<u8>,
    body: usize,
}

impl Heads {
    /// The request lines of the heads that end in these bytes, if they were forwarded: a look-up
    /// has no `X-Request-Id`.
    fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        self.unread.extend_from_slice(bytes);
        let mut lines = Vec::new();
        loop {
            let skipped = self.body.min(self.unread.len());
            self.unread.drain(..skipped);
            self.body -= skipped;
            let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end.filter(|_| self.body == 0) else {
                return lines;
            };
            let head: Vec<u8> = self.unread.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            assert!(
                !head.to_ascii_lowercase().contains("transfer-encoding"),
                "{head}"
            );
            let field = |name: &str| {
                let mut fields = head.lines().filter_map(|line| line.split_once(": "));
                fields
                    .find(|(own, _)| own.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value)
            };
            self.body = field("content-length").map_or(0, |length| length.parse().unwrap());
            if field("x-request-id").is_some() {
                let line = head.lines().next().unwrap();
                lines.push(line.strip_suffix(" HTTP/1.1").unwrap().to_owned());
            }
        }
    }
}

/// A copy of a file that the application may change.
pub(crate) fn copied(file: &str, folder: &Path) -> PathBuf {
    let to = folder.join(Path::new(file).file_name().unwrap());
    std::fs::copy(repository().join(file), &to).unwrap();
    to
}
