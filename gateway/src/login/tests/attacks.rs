//! What an attacker gets: three comparisons, one session, and no word of who has an account.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::wait_for_tick;
use super::world::{Answer, Browser, Changes, KARI, NOBODY, SUSPENDED, World, another};

/// Submits one code many times at once; returns how often each error, or `ok`, came back.
async fn submit_at_once(browser: &Browser, code: &str, times: usize) -> BTreeMap<String, usize> {
    let mut tasks = JoinSet::new();
    for _ in 0..times {
        let (mut browser, guess) = (browser.clone(), json!({ "code": code }));
        tasks.spawn(async move { browser.post_json("/.portvakt/code", &guess).await });
    }
    let mut results = BTreeMap::new();
    while let Some(answer) = tasks.join_next().await {
        let answer = answer.unwrap();
        let result = match answer.status {
            StatusCode::OK => "ok".to_owned(),
            _ => answer.json()["error"].as_str().unwrap().to_owned(),
        };
        *results.entry(result).or_default() += 1;
    }
    results
}

fn counts<const N: usize>(pairs: [(&str, usize); N]) -> BTreeMap<String, usize> {
    pairs.map(|(name, n)| (name.to_owned(), n)).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_guesses_at_once_are_three_comparisons() {
    let world = World::new().await;
    let mut program = world.program();
    let email = json!({ "email": KARI });
    program.post_json("/.portvakt/login", &email).await;
    let code = world.code(1).await;
    let results = submit_at_once(&program, &another(&code), 10_000).await;
    assert_eq!(
        results,
        counts([("wrong_code", 3), ("challenge_over", 9_997)])
    );
    assert_eq!(world.counted("code", "wrong_code"), 3);
    let right = submit_at_once(&program, &code, 1).await;
    assert_eq!(right, counts([("challenge_over", 1)]));
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_right_codes_at_once_are_one_session() {
    let world = World::new().await;
    let mut program = world.program();
    let email = json!({ "email": KARI });
    program.post_json("/.portvakt/login", &email).await;
    let code = world.code(1).await;
    let results = submit_at_once(&program, &code, 100).await;
    assert_eq!(results, counts([("ok", 1), ("challenge_over", 99)]));
    assert_eq!(world.sessions().await, 1);
    let kept = world.records().await;
    let entered = kept
        .iter()
        .filter(|r| r["event"] == "login.code" && r["result"] == "ok");
    assert_eq!(entered.count(), 1);
}

/// Every answer on the way from an address to a spent budget and beyond.
async fn walk(browser: &mut Browser, email: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    // Until the account's five comparisons are spent: three, two, and the refusals.
    for _ in 0..3 {
        answers.push(browser.post("/.portvakt/login", &[("email", email)]).await);
        answers.push(browser.get("/.portvakt/code").await);
        answers.push(browser.post("/.portvakt/resend", &[("email", email)]).await);
        answers.push(browser.get("/.portvakt/code?sent=again").await);
        for guess in ["12345", "", "0000", "0000", "0000", "0000"] {
            let fields = [("code", guess), ("email", email)];
            answers.push(browser.post("/.portvakt/code", &fields).await);
        }
        answers.push(browser.post("/.portvakt/resend", &[("email", email)]).await);
    }
    let budget = answers
        .iter()
        .filter(|a| a.status == StatusCode::TOO_MANY_REQUESTS);
    assert!(budget.count() >= 2, "the budget was spent");
    answers
}

async fn walk_json(program: &mut Browser, email: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..3 {
        let asked = json!({ "email": email });
        answers.push(program.post_json("/.portvakt/login", &asked).await);
        answers.push(program.get("/.portvakt/code").await);
        answers.push(program.post_json("/.portvakt/resend", &json!({})).await);
        for guess in [
            json!("0000"),
            json!(0),
            json!("0000"),
            json!("0000"),
            json!("0000"),
        ] {
            let guess = json!({ "code": guess });
            answers.push(program.post_json("/.portvakt/code", &guess).await);
        }
    }
    answers
}

#[tokio::test]
async fn known_unknown_and_suspended_addresses_get_the_same_answers() {
    let mut pages = Vec::new();
    let mut calls = Vec::new();
    for email in [KARI, NOBODY, SUSPENDED] {
        // The real code may be the guess: then draw again.
        let (world, answers) = loop {
            let world = World::new().await;
            let mut browser = world.browser();
            let answers = walk(&mut browser, email).await;
            if world.sessions().await == 0 {
                break (world, answers);
            }
        };
        let shape = |answer: &Answer| {
            let (status, fields, text) = answer.shape(email);
            (status, fields, without_token(&text))
        };
        pages.push(answers.iter().map(shape).collect::<Vec<_>>());
        if email != KARI {
            assert!(world.outbox.messages().is_empty());
        }
        let answers = loop {
            let world = World::new().await;
            let answers = walk_json(&mut world.program(), email).await;
            if world.sessions().await == 0 {
                break answers;
            }
        };
        let shape = |answer: &Answer| answer.shape(email);
        calls.push(answers.iter().map(shape).collect::<Vec<_>>());
    }
    for other in [1, 2] {
        for (step, (known, other)) in pages[0].iter().zip(&pages[other]).enumerate() {
            assert_eq!(known, other, "page {step}");
        }
        for (step, (known, other)) in calls[0].iter().zip(&calls[other]).enumerate() {
            assert_eq!(known, other, "call {step}");
        }
    }
}

/// The page with its token masked, which is random to everyone.
fn without_token(text: &str) -> String {
    let mut parts = text.split("name=\"csrf\" value=\"");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        let (token, rest) = part.split_once('"').unwrap();
        format!("{text}csrf <{}>{rest}", token.len())
    })
}

#[tokio::test]
async fn a_spent_account_waits_and_is_told_how_long() {
    let world = World::new().await;
    for email in [KARI, NOBODY] {
        let mut program = world.program();
        let asked = json!({ "email": email });
        for _ in 0..2 {
            program.post_json("/.portvakt/login", &asked).await;
            for _ in 0..3 {
                let guess = json!({ "code": "0000" });
                program.post_json("/.portvakt/code", &guess).await;
            }
        }
        world.clock.advance(Duration::from_secs(3_600));
        let asked_again = program.post_json("/.portvakt/login", &asked).await;
        if asked_again.status == StatusCode::ACCEPTED {
            continue; // One time in two thousand, 0000 was the code.
        }
        assert_eq!(asked_again.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(asked_again.headers["retry-after"], (23 * 3_600).to_string());
        assert_eq!(asked_again.json()["error"], "too_many_attempts");
        // However it is spelt.
        let spelt = email.to_uppercase();
        let page = world
            .browser()
            .post("/.portvakt/login", &[("email", &spelt)])
            .await;
        assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(page.text.contains("You can try again in 23 hours."));
        world.clock.advance(Duration::from_secs(23 * 3_600));
        let later = program.post_json("/.portvakt/login", &asked).await;
        assert_eq!(later.status, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn a_stranger_cannot_lock_a_person_out_of_their_own_device() {
    let world = World::new().await;
    let mut owner = world.browser();
    owner.log_in(&world, KARI, 1).await;
    let mut stranger = world.browser();
    let mut sent = 1;
    loop {
        let fields = [("email", KARI)];
        let answer = stranger.post("/.portvakt/login", &fields).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        sent += 1;
        let wrong = another(&world.code(sent).await);
        for _ in 0..3 {
            stranger.post("/.portvakt/code", &[("code", &wrong)]).await;
        }
    }
    owner.log_in(&world, KARI, sent + 1).await;
}

#[tokio::test(start_paused = true)]
async fn answers_leave_on_the_tick() {
    let tick = Duration::from_millis(50);
    for (work, leaves) in [(0, 50), (1, 50), (49, 50), (50, 100), (51, 100), (260, 300)] {
        let arrived = Instant::now();
        sleep(Duration::from_millis(work)).await;
        wait_for_tick(arrived, tick).await;
        assert_eq!(arrived.elapsed(), Duration::from_millis(leaves), "{work}");
    }
    let arrived = Instant::now();
    wait_for_tick(arrived, Duration::ZERO).await;
    assert_eq!(arrived.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn every_answer_of_the_steps_waits_for_the_tick_and_no_other() {
    let tick = Duration::from_millis(50);
    let world = World::with(Changes {
        tick,
        ..Changes::default()
    })
    .await;
    let mut program = world.program();
    for (path, body) in [
        ("/.portvakt/login", json!({ "email": KARI })),
        ("/.portvakt/login", json!({ "email": NOBODY })),
        ("/.portvakt/login", json!({ "email": "kari" })),
        ("/.portvakt/login", json!([])),
        ("/.portvakt/code", json!({ "code": "12345" })),
        ("/.portvakt/code", json!({ "code": "0000" })),
        ("/.portvakt/resend", json!({})),
    ] {
        let asked = Instant::now();
        program.post_json(path, &body).await;
        assert_eq!(asked.elapsed(), tick, "{path} {body}");
    }
    for path in ["login", "code", "whoami"] {
        let asked = Instant::now();
        program.get(&format!("/.portvakt/{path}")).await;
        assert_eq!(asked.elapsed(), Duration::ZERO, "{path}");
    }
}
