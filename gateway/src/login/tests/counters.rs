//! One person has one set of counters, whatever way is taken to them and however they are spelt.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use super::world::{Browser, Changes, KARI, OLA, World, another, shipped};

const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

async fn strict() -> World {
    World::with(Changes {
        login: Some(shipped()),
        ..Changes::default()
    })
    .await
}

/// How often, of many at once, something was done that brings a message.
async fn at_once(browsers: Vec<(Browser, &'static str)>) -> usize {
    let mut tasks = JoinSet::new();
    for (mut browser, path) in browsers {
        let form = browser.headers[0].1.starts_with("text/html");
        tasks.spawn(async move {
            if form {
                browser.post(path, &[("email", KARI)]).await.status
            } else {
                let asked = json!({ "email": KARI });
                browser.post_json(path, &asked).await.status
            }
        });
    }
    let mut sent = 0;
    while let Some(status) = tasks.join_next().await {
        match status.unwrap() {
            StatusCode::SEE_OTHER | StatusCode::ACCEPTED => sent += 1,
            status => assert_eq!(status, TOO_MANY),
        }
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forms_calls_and_resends_at_once_share_the_budgets_of_messages() {
    let world = strict().await;
    let (mut page, mut call) = (world.browser(), world.program());
    let asked = page.post("/.portvakt/login", &[("email", KARI)]).await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    world.clock.advance(Duration::from_secs(60));
    let asked = json!({ "email": KARI });
    let asked = call.post_json("/.portvakt/login", &asked).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    world.clock.advance(Duration::from_secs(60));
    // The third of a quarter of an hour, by whichever way comes first.
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push((page.clone(), "/.portvakt/resend"));
        all.push((call.clone(), "/.portvakt/resend"));
        all.push((world.browser(), "/.portvakt/login"));
        all.push((world.program(), "/.portvakt/login"));
    }
    assert_eq!(at_once(all).await, 1);
    world.message(3).await;
    world.clock.advance(Duration::from_secs(60));
    let more = vec![
        (page, "/.portvakt/resend"),
        (call, "/.portvakt/resend"),
        (world.browser(), "/.portvakt/login"),
    ];
    assert_eq!(at_once(more).await, 0);
    assert_eq!(world.outbox.messages().len(), 3);
}

#[tokio::test]
async fn forms_and_calls_share_the_budget_of_guesses() {
    let world = World::new().await;
    let mut browsers = Vec::new();
    for n in 1..=3 {
        let mut browser = world.browser();
        browser.post("/.portvakt/login", &[("email", KARI)]).await;
        let wrong = another(&world.code(n).await);
        browsers.push((browser, wrong));
    }
    let mut compared = 0;
    for (n, (browser, wrong)) in browsers.iter_mut().enumerate() {
        for _ in 0..3 {
            // The same browser, once by its form and once by a call.
            let by_form = browser.post("/.portvakt/code", &[("code", wrong)]).await;
            let mut call = browser.clone();
            call.headers[0].1 = "application/json".to_owned();
            let guess = json!({ "code": wrong });
            let by_call = call.post_json("/.portvakt/code", &guess).await;
            compared += usize::from(by_form.text.contains("That is not the code"));
            compared += usize::from(by_call.text.contains("wrong_code"));
        }
        let counted = world.counted("code", "wrong_code");
        assert_eq!(counted, [3, 5, 5][n], "challenge {n}");
    }
    assert!(compared <= 5, "{compared}");
}

#[tokio::test]
async fn the_device_cookie_of_another_account_is_no_known_device() {
    let world = strict().await;
    let mut ola = world.program();
    let asked = json!({ "email": OLA });
    ola.post_json("/.portvakt/login", &asked).await;
    let code = json!({ "code": world.code(1).await });
    ola.post_json("/.portvakt/code", &code).await;
    let device = ola.cookies["__Host-portvakt-device"].clone();
    // A stranger has spent the message that Kari's unknown lane has for this minute.
    let asked = json!({ "email": KARI });
    let spent = world.program().post_json("/.portvakt/login", &asked).await;
    assert_eq!(spent.status, StatusCode::ACCEPTED);
    let mut thief = world.program();
    thief
        .cookies
        .insert("__Host-portvakt-device".to_owned(), device);
    let refused = thief.post_json("/.portvakt/login", &asked).await;
    assert_eq!(refused.status, TOO_MANY, "another lane than the stranger's");
    // For Ola it is what it was.
    let asked = json!({ "email": OLA });
    let known = thief.post_json("/.portvakt/login", &asked).await;
    assert_eq!(known.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_code_is_worth_nothing_with_the_challenge_of_another() {
    let world = World::new().await;
    let (mut kari, mut ola) = (world.program(), world.program());
    let mut codes = Vec::new();
    for (browser, email) in [(&mut kari, KARI), (&mut ola, OLA)] {
        let asked = json!({ "email": email });
        browser.post_json("/.portvakt/login", &asked).await;
        codes.push(world.code(codes.len() + 1).await);
    }
    if codes[0] == codes[1] {
        return; // One time in ten thousand.
    }
    const CHALLENGE: &str = "__Host-portvakt-challenge";
    let (own, other) = (
        kari.cookies[CHALLENGE].clone(),
        ola.cookies[CHALLENGE].clone(),
    );
    // Kari's code in Ola's challenge, and the other way round: compared, charged, wrong.
    for (browser, cookie, code) in [(&mut kari, other, &codes[0]), (&mut ola, own, &codes[1])] {
        let kept = browser.cookies.insert(CHALLENGE.to_owned(), cookie);
        let code = json!({ "code": code });
        let wrong = browser.post_json("/.portvakt/code", &code).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!(wrong.json()["error"], "wrong_code");
        browser.cookies.insert(CHALLENGE.to_owned(), kept.unwrap());
    }
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn unicode_forms_and_case_of_an_address_share_one_counter() {
    let people = super::world::PEOPLE.replace("kari@fjord", "k\u{e5}ri@bl\u{e5}b\u{e6}r");
    let world = World::with(Changes {
        login: Some(shipped()),
        people: Some(people),
        ..Changes::default()
    })
    .await;
    let ask = async |email: &str| {
        let asked = json!({ "email": email });
        let mut program = world.program();
        program.post_json("/.portvakt/login", &asked).await.status
    };
    let first = ask("k\u{e5}ri@bl\u{e5}b\u{e6}r.example").await;
    assert_eq!(first, StatusCode::ACCEPTED);
    world.message(1).await;
    for spelt in [
        // Decomposed, capitals, the domain as DNS has it, other dots, blanks.
        "ka\u{30a}ri@bla\u{30a}b\u{e6}r.example",
        "Ka\u{30a}RI@BL\u{c5}B\u{c6}R.EXAMPLE",
        "k\u{e5}ri@xn--blbr-roah.example",
        "k\u{e5}ri@XN--BLBR-ROAH.example",
        "k\u{e5}ri@bl\u{e5}b\u{e6}r\u{3002}example",
        "\u{a0} k\u{e5}ri@bl\u{e5}b\u{e6}r.example \t",
    ] {
        let again = ask(spelt).await;
        let refused = again == TOO_MANY || again == StatusCode::UNPROCESSABLE_ENTITY;
        assert!(refused, "{spelt}: {again}");
    }
    assert_eq!(world.outbox.messages().len(), 1);
}
