//! The shield: what an attack on everyone costs, and what those who are known notice of it.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::world::{Browser, Changes, KARI, NOBODY, OLA, SUSPENDED, World, another, shipped};
use crate::config::{Fleet, Login, Shield};

/// A budget that an attack in a test empties soon.
const FLEET: Fleet = Fleet {
    burst: 10,
    refill_per_day: 24,
};

fn small() -> Login {
    let mut login = shipped();
    login.fleet = FLEET;
    // Nothing but the fleet's budget is to bound the attack.
    let wide = crate::config::Window {
        limit: 10_000,
        per: Duration::from_secs(3600),
    };
    login.sends.unknown_device = vec![wide];
    login.sends.address = vec![wide];
    login.sends.address_codes = vec![wide];
    login.sends.prefix = vec![wide];
    login.unknown_device = vec![wide];
    login
}

async fn world() -> World {
    World::with(Changes {
        login: Some(small()),
        ..Changes::default()
    })
    .await
}

async fn raised(world: &World) {
    let now = crate::clock::Clock::now(&*world.clock);
    world.store.raise_shield(now, FLEET).await.unwrap();
}

/// Guesses at an account until the login asks for a link; returns how many were evaluated.
async fn attack(world: &World, email: &str) -> usize {
    let mut evaluated = 0;
    for _ in 0..20 {
        let mut program = world.program();
        let sent = world.outbox.messages().len();
        let asked = program
            .post_json("/.portvakt/login", &json!({ "email": email }))
            .await;
        if asked.json().get("link").is_some() {
            // The mail is on its way: whoever counts messages next must not meet it.
            world.message(sent + 1).await;
            break;
        }
        let wrong = json!({ "code": another(&world.code(sent + 1).await) });
        for _ in 0..4 {
            let answer = program.post_json("/.portvakt/code", &wrong).await;
            evaluated += usize::from(answer.json()["error"] == "wrong_code");
        }
    }
    evaluated
}

/// The link in the latest of `count` messages in all, as a path.
async fn link(world: &World, count: usize) -> String {
    let text = world.message(count).await;
    let start = text.find("https://").unwrap();
    let url = text[start..].split_whitespace().next().unwrap();
    let path = url
        .strip_prefix("https://projects.example.com:8443")
        .unwrap();
    path.to_owned()
}

fn token(path: &str) -> &str {
    path.split_once("token=").unwrap().1
}

async fn ask(browser: &mut Browser, email: &str) -> StatusCode {
    browser
        .post("/.portvakt/login", &[("email", email)])
        .await
        .status
}

#[tokio::test]
async fn an_attack_raises_the_shield_and_it_lowers_itself_at_half() {
    let world = world().await;
    world.login.watch().await.unwrap();
    assert_eq!(world.metrics.fleet_left.get(), 10);
    assert_eq!(attack(&world, KARI).await, 10);
    assert_eq!(world.metrics.shield_raised.get(), 1);
    assert_eq!(world.metrics.fleet_left.get(), 0);
    world.clock.advance(Duration::from_secs(5 * 3600 - 1));
    world.login.watch().await.unwrap();
    assert_eq!(world.metrics.shield_raised.get(), 1);
    world.clock.advance(Duration::from_secs(1));
    world.login.watch().await.unwrap();
    assert_eq!(world.metrics.shield_raised.get(), 0);
    let events: Vec<Value> = world.records().await;
    let told: Vec<&Value> = events
        .iter()
        .map(|record| &record["event"])
        .filter(|event| event.as_str().unwrap().starts_with("shield."))
        .collect();
    assert_eq!(told, ["shield.raised", "shield.lowered"]);
    assert_eq!(attack(&world, KARI).await, 5);
}

#[tokio::test]
async fn who_logs_in_gives_back_what_they_mistyped() {
    let world = world().await;
    for n in 1..=20 {
        let mut program = world.program();
        program
            .post_json("/.portvakt/login", &json!({ "email": KARI }))
            .await;
        // After each login comes a message that tells of the attempt before it.
        let code = world.code(2 * n - 1).await;
        for typed in [another(&code), code] {
            program
                .post_json("/.portvakt/code", &json!({ "code": typed }))
                .await;
        }
        world.message(2 * n).await;
    }
    assert_eq!(world.sessions().await, 20);
    world.login.watch().await.unwrap();
    assert_eq!(world.metrics.shield_raised.get(), 0);
    assert_eq!(world.metrics.fleet_left.get(), 10);
}

#[tokio::test]
async fn a_link_opens_the_way_to_the_code_once_and_in_its_own_browser() {
    let world = world().await;
    raised(&world).await;
    let mut browser = world.browser();
    let fields = [("email", KARI), ("next", "/projects/1")];
    let asked = browser.post("/.portvakt/login", &fields).await;
    assert_eq!(asked.location(), "/.portvakt/code");
    let page = browser.get("/.portvakt/code").await;
    assert!(page.text.contains("Look at your mail") && page.text.contains(KARI));
    let path = link(&world, 1).await;
    assert_eq!(world.outbox.messages()[0].to, KARI);
    let fields = [("token", token(&path))];

    // Neither a code nor another one is to be had yet, and opening the link uses nothing up.
    for path in ["/.portvakt/code", "/.portvakt/resend"] {
        let early = browser.post(path, &[("code", "0000")]).await;
        assert_eq!(early.status, StatusCode::UNAUTHORIZED);
    }
    for _ in 0..3 {
        let mut scanner = world.browser();
        let opened = scanner.get(&path).await;
        assert!(opened.text.contains("in which you asked for it"));
        let pressed = scanner.post("/.portvakt/link", &fields).await;
        assert_eq!(pressed.status, StatusCode::UNAUTHORIZED);
        let opened = browser.get(&path).await;
        assert!(opened.text.contains("Send me the code"));
    }
    let mut other = world.browser();
    assert_eq!(ask(&mut other, OLA).await, StatusCode::SEE_OTHER);
    world.message(2).await;
    let theirs = other.post("/.portvakt/link", &fields).await;
    assert_eq!(theirs.status, StatusCode::UNAUTHORIZED);

    let pressed = browser.post("/.portvakt/link", &fields).await;
    assert_eq!(pressed.location(), "/.portvakt/code");
    let again = browser.post("/.portvakt/link", &fields).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert!(again.text.contains("That link can no longer be used."));
    let code = world.code(3).await;
    let done = browser.post("/.portvakt/code", &[("code", &code)]).await;
    assert_eq!(done.location(), "/projects/1");
    // Now it is known, and notices nothing.
    browser.log_in(&world, KARI, 4).await;
}

#[tokio::test]
async fn a_link_works_for_ten_minutes() {
    let world = world().await;
    raised(&world).await;
    for (seconds, status) in [(599, StatusCode::ACCEPTED), (600, StatusCode::UNAUTHORIZED)] {
        let sent = world.outbox.messages().len();
        let mut program = world.program();
        let asked = program
            .post_json("/.portvakt/login", &json!({ "email": KARI }))
            .await;
        assert_eq!(asked.json(), json!({ "link": { "expires_in": 600 } }));
        let path = link(&world, sent + 1).await;
        world.clock.advance(Duration::from_secs(seconds));
        let body = json!({ "token": token(&path) });
        let followed = program.post_json("/.portvakt/link", &body).await;
        assert_eq!(followed.status, status, "{}", followed.text);
        if status == StatusCode::ACCEPTED {
            world.message(sent + 2).await;
        } else {
            assert_eq!(followed.json()["error"], "link_over");
        }
    }
}

#[tokio::test]
async fn under_the_shield_nobody_and_somebody_are_answered_alike() {
    let mut seen = Vec::new();
    for email in [KARI, NOBODY, SUSPENDED] {
        let world = world().await;
        raised(&world).await;
        let mut program = world.program();
        let mut answers = Vec::new();
        answers.push(
            program
                .post_json("/.portvakt/login", &json!({ "email": email }))
                .await,
        );
        answers.push(program.get("/.portvakt/code").await);
        let made_up = json!({ "token": "AAAAAAAAAAAAAAAAAAAAAA" });
        for (path, body) in [
            ("/.portvakt/link", made_up),
            ("/.portvakt/link", json!({})),
            ("/.portvakt/code", json!({ "code": "0000" })),
            ("/.portvakt/resend", json!({})),
        ] {
            answers.push(program.post_json(path, &body).await);
        }
        let mut page = world.browser();
        page.cookies = program.cookies.clone();
        answers.push(page.get("/.portvakt/code").await);
        let shapes: Vec<_> = answers.iter().map(|a| a.shape(email)).collect();
        seen.push(shapes);
        if email != KARI {
            assert!(world.outbox.messages().is_empty(), "{email}");
        }
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[tokio::test]
async fn codes_asked_for_before_the_shield_are_over_when_it_is_raised() {
    for email in [KARI, NOBODY] {
        let world = world().await;
        let mut program = world.program();
        program
            .post_json("/.portvakt/login", &json!({ "email": email }))
            .await;
        raised(&world).await;
        let guess = json!({ "code": "0000" });
        let answer = program.post_json("/.portvakt/code", &guess).await;
        assert_eq!(answer.json()["error"], "challenge_over", "{email}");
    }
}

#[tokio::test]
async fn without_a_mail_server_or_by_choice_unknown_devices_are_refused_alike() {
    for (no_mail_server, shield) in [(true, Shield::Link), (false, Shield::Refuse)] {
        let mut login = small();
        login.shield = shield;
        let world = World::with(Changes {
            login: Some(login),
            no_mail_server,
            ..Changes::default()
        })
        .await;
        let mut owner = world.browser();
        owner.log_in(&world, KARI, 1).await;
        raised(&world).await;
        let mut texts = Vec::new();
        for email in [KARI, NOBODY] {
            let page = world
                .browser()
                .post("/.portvakt/login", &[("email", email)])
                .await;
            assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(page.text.contains("New devices cannot log in just now"));
            texts.push(page.text);
        }
        assert_eq!(texts[0], texts[1]);
        world.clock.advance(Duration::from_secs(60));
        owner.log_in(&world, KARI, 2).await;
    }
}

#[tokio::test]
async fn mails_have_budgets_of_their_own() {
    let mut login = shipped();
    login.fleet = FLEET;
    let world = World::with(Changes {
        login: Some(login),
        ..Changes::default()
    })
    .await;
    raised(&world).await;
    for email in [KARI, NOBODY] {
        assert_eq!(
            ask(&mut world.browser(), email).await,
            StatusCode::SEE_OTHER
        );
        let again = ask(&mut world.browser(), email).await;
        assert_eq!(again, StatusCode::TOO_MANY_REQUESTS);
    }
    world.message(1).await;
    // A made-up link costs the account none of its messages.
    let mut browser = world.browser();
    world.clock.advance(Duration::from_secs(60));
    ask(&mut browser, KARI).await;
    let path = link(&world, 2).await;
    for _ in 0..10 {
        let fields = [("token", "AAAAAAAAAAAAAAAAAAAAAA")];
        browser.post("/.portvakt/link", &fields).await;
    }
    let pressed = browser
        .post("/.portvakt/link", &[("token", token(&path))])
        .await;
    assert_eq!(pressed.status, StatusCode::SEE_OTHER);
    world.message(3).await;
}

#[tokio::test]
async fn few_codes_typed_in_are_told_once() {
    let world = world().await;
    for n in 0..201 {
        world
            .program()
            .post_json("/.portvakt/login", &json!({ "email": KARI }))
            .await;
        world.message(n + 1).await;
    }
    world.clock.advance(Duration::from_secs(300));
    for _ in 0..3 {
        world.login.watch().await.unwrap();
    }
    assert!(world.metrics.verification_rate.get() < 0.01);
    let records = world.records().await;
    let told = records
        .iter()
        .filter(|r| r["event"] == "login.verification_rate");
    assert_eq!(told.count(), 1);
}
