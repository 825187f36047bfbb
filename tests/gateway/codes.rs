//! What four digits can carry: guesses in parallel, restarts in between, and the account's budget.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use portvakt::clock::{Clock, ManualClock, SharedClock, Timestamp};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::house::{House, KARI, OLA};

/// What came of many guesses at once: how often each `error` (or success) was answered.
async fn guess_in_parallel(
    house: &House,
    browser: &Client,
    code: &str,
    times: usize,
) -> Vec<(StatusCode, Value)> {
    let guesses = (0..times).map(|_| async {
        let answer = house.give_code(browser, code).await;
        (
            answer.status(),
            answer.json::<Value>().await.unwrap_or_default(),
        )
    });
    futures_util::stream::iter(guesses)
        .buffer_unordered(100)
        .collect()
        .await
}

fn wrong(code: &str) -> &'static str {
    if code == "0000" { "0001" } else { "0000" }
}

fn evaluated(answers: &[(StatusCode, Value)]) -> usize {
    answers
        .iter()
        .filter(|(_, body)| body["error"] == "wrong_code")
        .count()
}

#[tokio::test]
async fn ten_thousand_parallel_guesses_are_three() {
    let house = House::open_with(fast_answers, None).await;
    // A jar of its own for every answer would lose the challenge: the cookie is sent by hand.
    let browser = challenge(&house, KARI).await;
    let code = house.latest_code(KARI).await;
    let answers = guess_in_parallel(&house, &browser, wrong(&code), 10_000).await;
    assert_eq!(answers.len(), 10_000);
    assert_eq!(evaluated(&answers), 3, "evaluated guesses");
    let over = answers
        .iter()
        .filter(|(status, body)| *status == 401 && body["error"] == "challenge_over");
    assert_eq!(over.count(), 9_997);
    // The right code comes too late.
    assert_eq!(
        house.give_code(&browser, &code).await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_hundred_parallel_right_codes_are_one_session() {
    let house = House::open_with(fast_answers, None).await;
    let browser = challenge(&house, KARI).await;
    let code = house.latest_code(KARI).await;
    let answers = guess_in_parallel(&house, &browser, &code, 100).await;
    let sessions = answers
        .iter()
        .filter(|(status, _)| *status == StatusCode::OK)
        .count();
    assert_eq!(sessions, 1);
}

#[tokio::test]
async fn a_restart_changes_no_counter() {
    let mut house = House::open_with(fast_answers, None).await;
    let browser = challenge(&house, KARI).await;
    let code = house.latest_code(KARI).await;
    for left in [2, 1] {
        let answer: Value = house
            .give_code(&browser, wrong(&code))
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(answer["attempts_left"], left);
        house.restart().await;
    }
    let last: Value = house
        .give_code(&browser, wrong(&code))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(last["attempts_left"], 0);
    house.restart().await;
    let over: Value = house.give_code(&browser, &code).await.json().await.unwrap();
    assert_eq!(over["error"], "challenge_over");
}

#[tokio::test]
async fn sessions_survive_a_restart() {
    let mut house = House::open().await;
    let kari = house.logged_in(KARI).await;
    house.restart().await;
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_accounts_budget_holds_over_challenges_and_restarts_and_opens_with_time() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_000)));
    let mut house = House::open_with(fast_answers, Some(Arc::clone(&clock) as SharedClock)).await;
    let mut evaluated = 0;
    'spend: loop {
        let browser = house.browser();
        for address in [OLA, "  OLA@Fjord.Example "] {
            let asked = house
                .post_json(&browser, "/.portvakt/login", &json!({ "email": address }))
                .await;
            if asked.status() == StatusCode::TOO_MANY_REQUESTS {
                let wait: u64 = asked.headers()[RETRY_AFTER]
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!((1..=86_400).contains(&wait), "{wait}");
                break 'spend;
            }
        }
        let code = house.latest_code(OLA).await;
        for _ in 0..3 {
            let answer: Value = house
                .give_code(&browser, wrong(&code))
                .await
                .json()
                .await
                .unwrap();
            evaluated += usize::from(answer["error"] == "wrong_code");
        }
        assert!(evaluated <= 5, "{evaluated} guesses in a day");
        house.restart().await;
    }
    assert_eq!(evaluated, 5);

    // An address that nobody has is answered alike.
    let mut unknown = 0;
    loop {
        let browser = house.browser();
        let asked = house
            .post_json(
                &browser,
                "/.portvakt/login",
                &json!({ "email": "x@y.example" }),
            )
            .await;
        if asked.status() == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        for _ in 0..3 {
            let answer: Value = house
                .give_code(&browser, "1234")
                .await
                .json()
                .await
                .unwrap();
            unknown += usize::from(answer["error"] == "wrong_code");
        }
        assert!(unknown <= 5);
    }
    assert_eq!(unknown, 5);

    clock.advance(Duration::from_secs(24 * 3600 + 1));
    assert!(clock.now() > Timestamp::from_millis(1_795_515_607_000));
    house.logged_in(OLA).await;
}

#[tokio::test]
async fn what_is_no_code_is_refused_and_not_charged() {
    let house = House::open_with(fast_answers, None).await;
    let browser = challenge(&house, KARI).await;
    for code in [
        json!(""),
        json!("123"),
        json!("12345"),
        json!("12a4"),
        json!("１２３４"),
        json!(" 123"),
        json!(1234),
        json!(null),
        json!(["1234"]),
        json!({}),
        json!("-123"),
        json!("1234\u{0}"),
    ] {
        let answer = house
            .post_json(&browser, "/.portvakt/code", &json!({ "code": code }))
            .await;
        assert!(
            answer.status().is_client_error(),
            "{code}: {}",
            answer.status()
        );
    }
    let code = house.latest_code(KARI).await;
    let first: Value = house
        .give_code(&browser, wrong(&code))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(first["attempts_left"], 2, "nothing was charged before");
    assert_eq!(
        house.give_code(&browser, &code).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_code_is_good_once_for_five_minutes_and_only_in_its_browser() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_000)));
    let house = House::open_with(fast_answers, Some(Arc::clone(&clock) as SharedClock)).await;
    let (first, other) = (house.browser(), house.browser());
    house.ask_for_code(&first, KARI).await;
    let code = house.latest_code(KARI).await;
    let answer: Value = house.give_code(&other, &code).await.json().await.unwrap();
    assert_eq!(answer["error"], "challenge_over");
    clock.advance(Duration::from_secs(299));
    assert_eq!(
        house.give_code(&first, &code).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        house.give_code(&first, &code).await.status(),
        StatusCode::UNAUTHORIZED
    );

    house.ask_for_code(&other, OLA).await;
    let code = house.latest_code(OLA).await;
    clock.advance(Duration::from_secs(300));
    assert_eq!(
        house.give_code(&other, &code).await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn sessions_end_idle_and_absolutely_by_the_servers_clock() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_000)));
    let house = House::open_with(fast_answers, Some(Arc::clone(&clock) as SharedClock)).await;
    let (idle, busy) = (house.logged_in(KARI).await, house.logged_in(OLA).await);
    clock.advance(Duration::from_secs(3599));
    assert_eq!(
        house.get(&busy, "/projects/1").await.status(),
        StatusCode::OK
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        house.get(&idle, "/projects/1").await.status(),
        StatusCode::UNAUTHORIZED
    );
    for _ in 0..24 {
        clock.advance(Duration::from_secs(3590));
        house.get(&busy, "/projects/1").await;
    }
    assert_eq!(
        house.get(&busy, "/projects/1").await.status(),
        StatusCode::UNAUTHORIZED
    );
}

/// A browser that has asked for a code, and keeps sending its first challenge whatever comes back.
async fn challenge(house: &House, email: &str) -> Client {
    let asking = house.browser_over(|builder| builder.cookie_store(false));
    let asked = house
        .post_json(&asking, "/.portvakt/login", &json!({ "email": email }))
        .await;
    assert_eq!(asked.status(), StatusCode::ACCEPTED);
    let cookies: Vec<String> = asked
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|cookie| {
            cookie
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    let mut fields = reqwest::header::HeaderMap::new();
    fields.insert("cookie", cookies.join("; ").parse().unwrap());
    house.browser_over(|builder| builder.cookie_store(false).default_headers(fields))
}

/// Answers leave on a short tick, so that thousands of guesses take seconds.
fn fast_answers(config: &mut String) {
    config.push_str("\n[login]\nanswer_tick = \"1ms\"\n");
}
