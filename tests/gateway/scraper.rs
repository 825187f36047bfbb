//! A real Prometheus with the shipped configuration, over a gateway of a test's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::house::{copy_folder, free_port, repository};

/// The shipped folder.
pub(crate) fn shipped() -> PathBuf {
    repository().join("deploy/prometheus")
}

/// A copy of it, in which a file may be changed.
pub(crate) fn changed(file: &str, change: impl FnOnce(String) -> String) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&shipped(), dir.path());
    let path = dir.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let other = change(text.clone());
    assert_ne!(text, other, "the change changes something");
    std::fs::write(path, other).unwrap();
    dir
}

/// Runs `promtool`.
pub(crate) fn promtool(line: &[&str], file: PathBuf) -> Output {
    let mut command = Command::new("promtool");
    let output = command.args(line).arg(file).output();
    output.expect("promtool of Debian's `prometheus`, which tests/run.sh installs")
}

/// It scrapes every second, and evaluates the rules as often.
pub(crate) struct Prometheus {
    server: Child,
    port: u16,
    _dir: TempDir,
}

impl Prometheus {
    pub(crate) async fn scraping(target: SocketAddr) -> Self {
        let dir = changed("prometheus.yml", |text| {
            assert!(text.contains("\"127.0.0.1:9090\""));
            text.replace("\"127.0.0.1:9090\"", &format!("\"{target}\""))
                .replace("interval: 15s", "interval: 1s")
        });
        let port = free_port();
        let server = Command::new("prometheus")
            .arg(format!(
                "--config.file={}/prometheus.yml",
                dir.path().display()
            ))
            .arg(format!("--storage.tsdb.path={}/data", dir.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn()
            .expect("Debian's `prometheus`, which tests/run.sh installs");
        let prometheus = Self {
            server,
            port,
            _dir: dir,
        };
        for _ in 0..300 {
            let url = format!("http://127.0.0.1:{port}/-/ready");
            if reqwest::get(url)
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                return prometheus;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("Prometheus did not become ready");
    }

    /// `data` of the answer to an API call.
    pub(crate) async fn api(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let answer = reqwest::Client::new().get(url).query(query).send().await;
        let answer: Value = answer.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        answer["data"].clone()
    }

    /// Whether an expression has a value that is a number.
    pub(crate) async fn has_data(&self, expression: &str) -> bool {
        let data = self.api("query", &[("query", expression)]).await;
        let is_number = |value: &Value| value.as_str().is_some_and(|value| value != "NaN");
        match data["resultType"].as_str().unwrap() {
            "scalar" => is_number(&data["result"][1]),
            _ => {
                let found = data["result"].as_array().unwrap();
                found.iter().any(|one| is_number(&one["value"][1]))
            }
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
