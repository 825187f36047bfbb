//! Once against the running binary, over sockets and in real time: a race, a lock-out, a restart.

use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::house::{House, KARI, NILS, OLA, free_port};
use crate::ledger::Row;
use crate::strategies::Outcome;

/// A gateway in a process of its own.
pub(crate) struct Running {
    pub(crate) house: House,
    pub(crate) process: Child,
}

impl Running {
    /// Starts the binary on a house of its own, before which everyone has an address of their own.
    pub(crate) async fn start(change: impl FnOnce(&mut String)) -> Self {
        let admin = free_port();
        let mut house = House::open_with(
            |config| {
                *config = config
                    .replace("127.0.0.1:0", &format!("127.0.0.1:{admin}"))
                    .replace(
                        "tls = \"default\"",
                        "tls = \"default\"\ntrusted_proxies = [\"127.0.0.1/32\"]",
                    );
                change(config);
            },
            None,
        )
        .await;
        house.gateway.take().unwrap().stop().await;
        let process = spawn(&house);
        let running = Self { house, process };
        running.answers().await;
        running
    }

    /// `kill -9`, and up again on the same state.
    pub(crate) async fn kill_and_start(&mut self) {
        self.process.kill().await.unwrap();
        self.process = spawn(&self.house);
        self.answers().await;
    }

    async fn answers(&self) {
        let browser = self.house.browser();
        let url = self.house.url("/.portvakt/jwks.json");
        for _ in 0..600 {
            if browser.get(&url).send().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the gateway does not answer");
    }
}

fn spawn(house: &House) -> Child {
    Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(["run", "--config"])
        .arg(house.config_file())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Plays all three; takes a little more than the minute that lies between two codes.
pub(crate) async fn in_real_time() -> Outcome {
    let mut running = Running::start(|_| {}).await;
    let mut rows = Vec::new();
    // Kari has logged in from her own device before any of it.
    let kari = running.house.logged_in(KARI).await;

    let raced = challenge(&running.house, OLA).await;
    let wrong = another(&running.house, OLA).await;
    let guesses = (0..500).map(|_| guess(&running.house, &raced, wrong));
    let answers: Vec<String> = futures_util::stream::iter(guesses)
        .buffer_unordered(100)
        .collect()
        .await;
    let compared = answers
        .iter()
        .filter(|error| *error == "wrong_code")
        .count();
    rows.push(Row::is("guesses of 500 at once", compared, 3));

    // Two guesses, a kill, and only one more after it.
    let interrupted = challenge(&running.house, NILS).await;
    let wrong = another(&running.house, NILS).await;
    let mut compared = 0;
    for round in 0..4 {
        let answer = guess(&running.house, &interrupted, wrong).await;
        compared += usize::from(answer == "wrong_code");
        if round == 1 {
            running.kill_and_start().await;
        }
    }
    rows.push(Row::is("guesses of one challenge over a kill", compared, 3));

    // A stranger spends Kari's unknown lane: three guesses, a minute, two more.
    let mut compared = 0;
    for round in 0..2 {
        if round > 0 {
            tokio::time::sleep(Duration::from_secs(61)).await;
        }
        let own = challenge(&running.house, KARI).await;
        let wrong = another(&running.house, KARI).await;
        for _ in 0..3 {
            compared += usize::from(guess(&running.house, &own, wrong).await == "wrong_code");
        }
    }
    rows.push(Row::is("guesses of a stranger in a day", compared, 5));
    running.kill_and_start().await;
    let stranger = running.house.browser();
    let body = json!({ "email": KARI });
    let asked = running
        .house
        .post_json(&stranger, "/.portvakt/login", &body)
        .await;
    let refused = usize::from(asked.status() == StatusCode::TOO_MANY_REQUESTS);
    rows.push(Row::is("strangers refused after a kill", refused, 1));
    running.house.log_in(&kari, KARI).await;
    rows.push(Row::is("logins from the known device", 1, 1));
    Outcome {
        name: "the running binary in real time",
        rows,
    }
}

/// A browser that has asked for a code, and keeps its challenge whatever comes back.
async fn challenge(house: &House, email: &str) -> Client {
    let asking = house.browser_over(|builder| builder.cookie_store(false));
    let body = json!({ "email": email });
    let asked = house.post_json(&asking, "/.portvakt/login", &body).await;
    assert_eq!(asked.status(), StatusCode::ACCEPTED, "{email}");
    let cookie = asked.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let mut fields = reqwest::header::HeaderMap::new();
    fields.insert("cookie", cookie.parse().unwrap());
    house.browser_over(|builder| builder.cookie_store(false).default_headers(fields))
}

/// What came of a guess: the error's kind, or nothing for a success.
async fn guess(house: &House, browser: &Client, code: &str) -> String {
    let answer = house.give_code(browser, code).await;
    let body: Value = answer.json().await.unwrap_or_default();
    body["error"].as_str().unwrap_or_default().to_owned()
}

async fn another(house: &House, email: &str) -> &'static str {
    if house.latest_code(email).await == "0000" {
        "1111"
    } else {
        "0000"
    }
}
