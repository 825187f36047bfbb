//! A real Redis for a test, on a port of its own, gone at the end; and houses that share it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{House, free_port};

/// The key that all instances share.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A server.
pub(crate) struct Redis {
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further settings.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self {
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            process: None,
        };
        redis.resume().await;
        redis
    }

    /// Starts the process on the data that is there.
    pub(crate) async fn resume(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.dir.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("`redis-server` runs; tests/run.sh installs it");
        self.process = Some(process);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "it is slow");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the process at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Says something on a connection of its own, and returns what comes back, as it comes.
    pub(crate) async fn say(&self, words: &[&str]) -> String {
        say(self.port, words).await
    }

    /// How often commands of these names were called so far.
    pub(crate) async fn calls(&self, commands: &[&str]) -> u64 {
        let told = self.say(&["INFO", "commandstats"]).await;
        let calls = told.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let count: u64 = rest.split(',').next()?.parse().ok()?;
            commands.contains(&name).then_some(count)
        });
        calls.sum()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Says something to the Redis on a port.
pub(crate) async fn say(port: u16, words: &[&str]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut line = format!("*{}\r\n", words.len());
    for word in words {
        line.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer));
        let n = read.await.expect("redis answers").unwrap();
        answer.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&answer);
        // One answer is all that comes; a long one tells its length first.
        let whole = match text
            .strip_prefix('$')
            .and_then(|rest| rest.split_once("\r\n"))
        {
            Some((length, body)) => length.parse::<i64>().unwrap() <= body.len() as i64 - 2,
            None => text.ends_with("\r\n"),
        };
        if n == 0 || whole {
            return text.into_owned();
        }
    }
}

/// `[store]` on a Redis, for the configuration of a house.
pub(crate) fn on(url: &str, more: &str) -> impl FnOnce(&mut String) {
    let store = format!("[store]\nkind = \"redis\"\n{more}\n");
    let url = url.to_owned();
    move |config: &mut String| {
        let (before, rest) = config.split_once("[store]").unwrap();
        let (own, after) = rest.split_once("\n\n").unwrap();
        let (_, path) = own.split_once("path = \"").unwrap();
        let folder = Path::new(path.split('"').next().unwrap()).parent().unwrap();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("redis.url"), url).unwrap();
        std::fs::write(folder.join("master.key"), KEY).unwrap();
        let folder = folder.display();
        *config = format!(
            "{before}{store}url = \"file:{folder}/redis.url\"\n\n\
             [keys]\nmaster = \"file:{folder}/master.key\"\n\n{after}"
        );
    }
}

/// Two houses on a Redis that is prepared, before the same application.
pub(crate) async fn two(url: &str, more: &str) -> (House, House) {
    let first = House::open_with(on(url, more), None).await;
    let (done, said) = command(&first, &["state", "init"]).await;
    assert!(done, "{said}");
    let second = beside(&first, url, more).await;
    (first, second)
}

/// A house on this Redis.
pub(crate) async fn house(url: &str) -> House {
    House::open_with(on(url, ""), None).await
}

/// Another before the same application.
pub(crate) async fn beside(first: &House, url: &str, more: &str) -> House {
    let upstream = first.upstream;
    let change = on(url, more);
    let with_upstream = move |config: &mut String| {
        change(config);
        let (before, rest) = config.split_once("addresses = [").unwrap();
        let (_, after) = rest.split_once(']').unwrap();
        *config = format!("{before}addresses = [\"http://{upstream}\"]{after}");
    };
    House::open_with(with_upstream, None).await
}

/// A browser that knows both: its cookies are those of `localhost`, whatever the port.
pub(crate) fn browser_of(first: &House, second: &House) -> Client {
    let other = second.root_certificate();
    first.browser_over(|builder| {
        builder.add_root_certificate(reqwest::Certificate::from_pem(&other).unwrap())
    })
}

/// `portvakt …` on a house's configuration: whether it went well, and what it said.
pub(crate) async fn command(house: &House, words: &[&str]) -> (bool, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(words)
        .arg("--config")
        .arg(house.config_file())
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    mut is_so: impl FnMut() -> F,
) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}
