//! `kill -9` at random moments of many logins: what was answered stays so.
//!
//! The real binary runs, is killed, and starts again on the same state. A wrong code that was
//! answered stays charged, a session that was answered lives on, the store opens every time, and the
//! audit trail has every login that was answered and is unbroken over all lives.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::Rng;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::house::{House, free_port};
use crate::ran::portvakt;

/// Kills in a short run; `PORTVAKT_KILLS` says how many for a long one.
const KILLS: usize = 25;

/// People who log in at once.
const AT_ONCE: usize = 4;

/// Comparisons per challenge.
const ATTEMPTS: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_a_charged_attempt_or_an_answered_session() {
    let kills = kills();
    let admin = free_port();
    let mut house = House::open_with(
        |config| {
            *config = config
                .replace("127.0.0.1:0", &format!("127.0.0.1:{admin}"))
                // Everyone comes from an address of their own.
                .replace(
                    "tls = \"default\"",
                    "tls = \"default\"\ntrusted_proxies = [\"127.0.0.1/32\"]",
                );
            config.push_str(LOGIN);
        },
        None,
    )
    .await;
    house.gateway.take().unwrap().stop().await;
    let people = kills * 8 + 100;
    std::fs::write(house.dir.path().join("directory.toml"), directory(people)).unwrap();

    let mut gateway = start(&house);
    let town = Arc::new(Town {
        client: house.browser_over(|builder| builder.cookie_store(false)),
        login: house.url("/.portvakt/"),
        outbox: format!("http://127.0.0.1:{admin}/outbox"),
        people,
        next: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        told: Mutex::default(),
    });
    town.opens(&mut gateway).await;
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| tokio::spawn(Arc::clone(&town).log_people_in()))
        .collect();
    for kill in 0..kills {
        // A kill falls somewhere after the next few answers.
        let (answers, wait) = {
            let mut rng = rand::rng();
            (rng.random_range(1..15), rng.random_range(0..25))
        };
        town.progress(answers).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        gateway.kill().await.unwrap();
        gateway = start(&house);
        town.opens(&mut gateway).await;
        town.sessions_live(5).await;
        if (kill + 1) % 100 == 0 {
            println!("{} kills: {}", kill + 1, town.summary());
        }
    }
    town.over.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    town.sessions_live(usize::MAX).await;
    println!("{kills} kills: {}", town.summary());
    gateway.kill().await.unwrap();
    let verified = portvakt(&house, "audit verify").await;
    println!("{}", verified.out.trim());
    assert_eq!(verified.code, 0, "{verified:?}");
    let logins = portvakt(
        &house,
        "audit tail --json -n 1000000 --event login.code --verdict ok",
    )
    .await;
    for (_, user) in &town.told.lock().unwrap().sessions {
        let own = format!("\"user\":\"{user}\"");
        assert!(
            logins.out.contains(&own),
            "the login of {user} was answered and is not on record"
        );
    }
    let told = town.told.lock().unwrap();
    assert!(told.sessions.len() > kills / 2, "{}", town_words(&told));
    assert!(told.wrong > kills, "{}", town_words(&told));
    assert!(told.across > 0 || kills < 20, "{}", town_words(&told));
}

/// Answers leave at once, so that a kill meets the work and not the wait after it; and what so many
/// lost logins cost in all is not the question here.
const LOGIN: &str = "\n[login]\nanswer_tick = \"1ms\"\n[login.fleet]\nburst = 100000\n";

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is no configuration of the gateway"
)]
fn kills() -> usize {
    std::env::var("PORTVAKT_KILLS").map_or(KILLS, |text| text.parse().unwrap())
}

/// Many people, whose numbers lie apart.
fn directory(people: usize) -> String {
    let mut text = "[[company]]\nid = \"town\"\nname = \"Town\"\n".to_owned();
    for n in 0..people {
        text.push_str(&format!(
            "[[user]]\nid = \"u-{n}\"\nemail = \"u{n}@town.example\"\nphone = \"{}\"\n\
             name = \"Person {n}\"\ncompany = \"town\"\n",
            phone(n)
        ));
    }
    text
}

fn phone(n: usize) -> String {
    format!("+479{n:04}000")
}

fn start(house: &House) -> Child {
    Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(["run", "--config"])
        .arg(house.config_file())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(house.dir.path().join("stderr")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The people, and what they were told.
struct Town {
    client: Client,
    login: String,
    outbox: String,
    people: usize,
    next: AtomicUsize,
    over: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// Cookies of answered sessions, with whose they are.
    sessions: Vec<(String, String)>,
    /// Wrong codes that were answered.
    wrong: usize,
    /// Those of them whose challenge had an answered guess before a kill and one after it.
    across: usize,
    /// Guesses whose answer a kill took.
    lost: usize,
    kills: usize,
}

fn town_words(told: &Told) -> String {
    format!(
        "{} sessions and {} wrong codes answered ({} in challenges that outlived a kill), {} answers lost",
        told.sessions.len(),
        told.wrong,
        told.across,
        told.lost
    )
}

/// An answer; `None` if the gateway was killed before it came.
type Answer = Option<(StatusCode, BTreeMap<String, String>, Value)>;

impl Town {
    /// Waits until the gateway answers; it must not have ended by itself.
    async fn opens(&self, gateway: &mut Child) {
        for _ in 0..1_200 {
            if let Some(status) = gateway.try_wait().unwrap() {
                panic!("the gateway did not start on what the kill left: {status}");
            }
            if self.get("jwks.json", "").await.is_some() {
                self.told.lock().unwrap().kills += 1;
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the gateway does not answer");
    }

    async fn progress(&self, answers: usize) {
        let so_far = || {
            let told = self.told.lock().unwrap();
            told.sessions.len() + told.wrong
        };
        let begun = so_far();
        for _ in 0..4_000 {
            if so_far() >= begun + answers {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nobody logs in any more");
    }

    async fn log_people_in(self: Arc<Self>) {
        while !self.over.load(Ordering::SeqCst) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            if n >= self.people {
                return;
            }
            self.up().await;
            self.log_in(n).await;
        }
    }

    async fn up(&self) {
        while self.get("jwks.json", "").await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One login: an address, up to two wrong codes, the right one. Goes on after a kill, as long
    /// as the challenge lives.
    async fn log_in(&self, n: usize) {
        let email = json!({ "email": format!("u{n}@town.example") });
        let Some((status, cookies, _)) = self.post(n, "login", "", &email).await else {
            return;
        };
        assert_eq!(status, StatusCode::ACCEPTED, "u{n}");
        let name = "__Host-portvakt-challenge";
        let challenge = format!("{name}={}", cookies[name]);
        let code = self.code(n).await;
        let wrong = match code.as_deref() {
            Some("0000") => "0001",
            _ => "0000",
        };
        let guesses = rand::rng().random_range(0..3);
        let (mut answered, mut lost, mut first) = (0, 0, None);
        for _ in 0..guesses {
            let guess = json!({ "code": wrong });
            let answer = self.patiently(n, "code", &challenge, &guess).await;
            let (Some((status, _, body)), missed) = answer else {
                return;
            };
            lost += missed;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "u{n}: {body}");
            if body["error"] == "challenge_over" {
                assert!(answered + lost >= ATTEMPTS, "u{n}: a challenge was lost");
                return;
            }
            let left = body["attempts_left"].as_u64().unwrap();
            let most = ATTEMPTS - answered - 1;
            let least = most.saturating_sub(lost);
            assert!(
                (least..=most).contains(&left),
                "u{n}: {left} left after {answered} answered and {lost} lost"
            );
            answered += 1;
            let mut told = self.told.lock().unwrap();
            told.wrong += 1;
            let kills = told.kills;
            told.across += usize::from(first.is_some_and(|first| first < kills));
            first.get_or_insert(kills);
        }
        let Some(code) = code else {
            return;
        };
        // Asked once: a kill may take the answer, and then nobody holds the session.
        let right = json!({ "code": code });
        let Some((status, cookies, body)) = self.post(n, "code", &challenge, &right).await else {
            return;
        };
        if status == StatusCode::OK {
            let cookie = format!("__Host-portvakt={}", cookies["__Host-portvakt"]);
            let mut told = self.told.lock().unwrap();
            told.sessions.push((cookie, format!("u-{n}")));
        } else {
            let spent = body["error"] == "challenge_over" && answered + lost >= ATTEMPTS;
            assert!(
                spent,
                "u{n}: the right code after {answered}, {lost}: {body}"
            );
        }
    }

    /// Posts until an answer comes; with how many were lost before.
    async fn patiently(&self, n: usize, path: &str, cookie: &str, body: &Value) -> (Answer, u64) {
        for lost in 0..20 {
            if let Some(answer) = self.post(n, path, cookie, body).await {
                return (Some(answer), lost);
            }
            self.told.lock().unwrap().lost += 1;
            self.up().await;
        }
        (None, 20)
    }

    async fn post(&self, n: usize, path: &str, cookie: &str, body: &Value) -> Answer {
        let address = format!("10.{}.{}.7", n / 250, n % 250);
        let request = self
            .client
            .post(format!("{}{path}", self.login))
            .header("accept", "application/json")
            .header("cookie", cookie)
            .header("x-forwarded-for", address)
            .json(body);
        read(request).await
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = self
            .client
            .get(format!("{}{path}", self.login))
            .header("accept", "application/json")
            .header("cookie", cookie);
        read(request).await
    }

    /// The code that was sent to someone, unless a kill took it.
    async fn code(&self, n: usize) -> Option<String> {
        let phone = phone(n);
        for _ in 0..100 {
            let messages: Vec<Value> = match self.client.get(&self.outbox).send().await {
                Ok(answer) => answer.json().await.ok()?,
                Err(_) => return None,
            };
            let own = messages.iter().rev().find(|m| m["to"] == phone.as_str());
            if let Some(text) = own.and_then(|own| own["text"].as_str()) {
                return text.rsplit('#').next().map(str::to_owned);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    /// Sessions that were answered, the last ones or all of them, are live.
    async fn sessions_live(&self, most: usize) {
        let sessions = {
            let told = self.told.lock().unwrap();
            let all = &told.sessions;
            all[all.len().saturating_sub(most)..].to_vec()
        };
        for (cookie, user) in sessions {
            let (status, _, body) = self.get("whoami", &cookie).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{user}: {body}");
            assert_eq!(body["user"]["id"], user.as_str());
        }
    }

    fn summary(&self) -> String {
        town_words(&self.told.lock().unwrap())
    }
}

async fn read(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.ok()?;
    let status = answer.status();
    let cookies = answer.headers().get_all("set-cookie").iter();
    let cookies = cookies
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let body = answer.json().await.ok()?;
    Some((status, cookies, body))
}
