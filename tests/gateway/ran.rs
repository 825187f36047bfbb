//! Commands given as ops give them: the program itself, against the gateway's admin socket.

use serde_json::Value;
use tokio::process::Command;

use crate::house::House;

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// Runs `portvakt`, a line of words, on the house's configuration.
pub(crate) async fn portvakt(house: &House, line: &str) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(line.split_whitespace())
        .arg("--config")
        .arg(house.config_file())
        .output()
        .await
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command that must succeed, and reads its JSON.
pub(crate) async fn asked(house: &House, line: &str) -> Value {
    let ran = portvakt(house, &format!("{line} --json")).await;
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
    ran.json()
}

/// The records of commands, in order, as `event result`.
pub(crate) fn records(house: &House) -> Vec<String> {
    let trail = house.dir.path().join("state/audit/audit.jsonl");
    let text = std::fs::read_to_string(trail).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record["event"].as_str().unwrap().starts_with("admin."))
        .map(|record| {
            assert!(record["client"].as_str().unwrap().starts_with("uid "));
            format!(
                "{} {}",
                record["event"].as_str().unwrap(),
                record["result"].as_str().unwrap()
            )
        })
        .collect()
}
