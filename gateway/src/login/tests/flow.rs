//! What goes well: the whole login, as a person and as a program.

use http::StatusCode;
use serde_json::json;

use super::world::{KARI, KARIS_PHONE, OLA, World, another};
use crate::pages::Language;
use crate::secret::BearerId;

#[tokio::test]
async fn a_person_logs_in_with_address_and_code() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = browser.get("/.portvakt/login?next=/projects/1").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("<html lang=\"en\">"));
    assert!(page.text.contains("name=\"next\" value=\"/projects/1\""));
    assert!(page.text.contains("<label for=\"email\">"));

    let fields = [("email", " Kari@Fjord.example "), ("next", "/projects/1")];
    let sent = browser.post("/.portvakt/login", &fields).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    assert_eq!(sent.location(), "/.portvakt/code");

    let form = browser.get(sent.location()).await;
    assert_eq!(form.status, StatusCode::OK);
    assert!(form.text.contains(KARI) && form.text.contains("autocomplete=\"one-time-code\""));

    let code = world.code(1).await;
    assert_eq!(world.outbox.messages()[0].to, KARIS_PHONE);
    let done = browser.post("/.portvakt/code", &[("code", &code)]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert_eq!(done.location(), "/projects/1");
    let cookies = done.cookies();
    assert!(BearerId::parse(&cookies["__Host-portvakt"]).is_some());
    assert!(BearerId::parse(&cookies["__Host-portvakt-device"]).is_some());
    assert_eq!(cookies["__Host-portvakt-challenge"], "");

    let who = browser.get("/.portvakt/whoami").await.json();
    assert_eq!(who["user"]["id"], "u-kari");
    assert_eq!(world.sessions().await, 1);
    assert_eq!(world.counted("email", "ok"), 1);
    assert_eq!(world.counted("code", "ok"), 1);
    let sent = world
        .metrics
        .codes_sent
        .with_label_values(&["outbox", "sent"]);
    assert_eq!(sent.get(), 1);

    let again = browser.get("/.portvakt/login").await;
    assert!(again.text.contains("You are logged in as Kari Nordmann."));
}

#[tokio::test]
async fn a_program_logs_in_with_json() {
    let world = World::new().await;
    let mut program = world.program();
    let email = json!({ "email": KARI, "next": "/projects/1?a=b" });
    let sent = program.post_json("/.portvakt/login", &email).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    assert_eq!(
        sent.json(),
        json!({ "challenge": { "expires_in": 300, "digits": 4 } })
    );
    assert_eq!(
        sent.headers["set-cookie"]
            .to_str()
            .unwrap()
            .split_once(';')
            .unwrap()
            .1,
        " Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=300"
    );

    let open = program.get("/.portvakt/code").await.json();
    assert_eq!(open["challenge"]["attempts_left"], 3);

    let code = world.code(1).await;
    let guess = json!({ "code": another(&code) });
    let wrong = program.post_json("/.portvakt/code", &guess).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        wrong.headers["www-authenticate"],
        "Portvakt login=\"/.portvakt/login\""
    );
    assert_eq!(
        wrong.json(),
        json!({
            "type": "urn:portvakt:problem:wrong_code",
            "title": "This is not the code",
            "status": 401,
            "error": "wrong_code",
            "attempts_left": 2,
            "request_id": "0b".repeat(16),
        })
    );

    let done = program
        .post_json("/.portvakt/code", &json!({ "code": code }))
        .await;
    assert_eq!(done.status, StatusCode::OK);
    assert_eq!(
        done.json(),
        json!({
            "user": { "id": "u-kari", "email": KARI, "name": "Kari Nordmann" },
            "company": { "id": "fjord", "name": "Fjord AS" },
            "next": "/projects/1?a=b",
        })
    );
    let who = program.get("/.portvakt/whoami").await.json();
    assert_eq!(
        who,
        json!({
            "user": { "id": "u-kari", "email": KARI, "name": "Kari Nordmann" },
            "company": { "id": "fjord", "name": "Fjord AS" },
            "session": {
                "created": "2026-11-24T10:20:07.123Z",
                "expires": "2026-11-25T10:20:07.123Z",
                "idle_expires": "2026-11-24T11:20:07.123Z",
            },
        })
    );
}

#[tokio::test]
async fn a_message_is_for_a_person_and_bound_to_our_site() {
    let world = World::new().await;
    for (count, (accept, language)) in [("en", Language::English), ("nb", Language::Norwegian)]
        .into_iter()
        .enumerate()
    {
        let mut browser = world.browser();
        browser.headers.push(("accept-language", accept.to_owned()));
        browser.post("/.portvakt/login", &[("email", KARI)]).await;
        let text = world.message(count + 1).await;
        let (line, bound) = text.split_once('\n').unwrap();
        let (site, code) = bound.split_once(" #").unwrap();
        assert_eq!(site, "@projects.example.com");
        assert!(code.len() == 4 && code.bytes().all(|b| b.is_ascii_digit()));
        assert_eq!(
            line,
            crate::pages::message(language, "projects.example.com", code)
        );
    }
}

#[tokio::test]
async fn a_new_code_takes_the_place_of_the_old_and_resets_nothing() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.post("/.portvakt/login", &[("email", KARI)]).await;
    let first = world.code(1).await;
    browser
        .post("/.portvakt/code", &[("code", &another(&first))])
        .await;
    let (mut second, mut messages) = (first.clone(), 1);
    while second == first {
        let sent = browser.post("/.portvakt/resend", &[]).await;
        assert_eq!(sent.location(), "/.portvakt/code?sent=again");
        let page = browser.get(sent.location()).await;
        assert!(page.text.contains("A new code is on its way."));
        messages += 1;
        second = world.code(messages).await;
    }
    let old = browser.post("/.portvakt/code", &[("code", &first)]).await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
    assert!(old.text.contains("You have 1 try left."));
    let new = browser.post("/.portvakt/code", &[("code", &second)]).await;
    assert_eq!(new.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_login_ends_the_session_before_it_and_rotates_the_device() {
    let world = World::new().await;
    let mut browser = world.browser();
    let first = browser.log_in(&world, KARI, 1).await.cookies();
    let mut old = browser.clone();
    assert_eq!(old.get("/.portvakt/whoami").await.status, StatusCode::OK);
    let second = browser.log_in(&world, KARI, 2).await.cookies();
    for name in ["__Host-portvakt", "__Host-portvakt-device"] {
        assert_ne!(first[name], second[name], "{name}");
    }
    assert_eq!(
        old.get("/.portvakt/account").await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        browser.get("/.portvakt/whoami").await.status,
        StatusCode::OK
    );
    assert_eq!(world.sessions().await, 1);

    let account = {
        browser.headers[0].1 = "application/json".to_owned();
        browser.get("/.portvakt/account").await.json()
    };
    assert_eq!(account["devices"].as_array().unwrap().len(), 1);
    let now = crate::clock::Clock::now(&*world.clock);
    let old_device = BearerId::parse(&first["__Host-portvakt-device"]).unwrap();
    assert_eq!(
        world.store.device(now, old_device.hash()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_browser_that_two_people_use_knows_both() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.log_in(&world, KARI, 1).await;
    browser.log_in(&world, OLA, 2).await;
    let device = browser.cookies["__Host-portvakt-device"].clone();
    assert_eq!(device.split('.').count(), 2);
    browser.log_in(&world, KARI, 3).await;
    assert_eq!(
        browser.cookies["__Host-portvakt-device"].split('.').count(),
        2
    );
    // Kari's device is still the one that she logged in with first, under a new cookie.
    browser.headers[0].1 = "application/json".to_owned();
    let devices = browser.get("/.portvakt/account").await.json()["devices"].clone();
    assert_eq!(devices.as_array().unwrap().len(), 1);
    assert_eq!(devices[0]["current"], true);
}

#[tokio::test]
async fn a_login_for_another_page_lands_there_and_nowhere_else() {
    let world = World::new().await;
    let mut browser = world.browser();
    for (count, (next, lands)) in [
        ("/projects/2", "/projects/2"),
        ("//evil.example", "/"),
        ("/%2f/evil.example", "/"),
    ]
    .into_iter()
    .enumerate()
    {
        let fields = [("email", KARI), ("next", next)];
        browser.post("/.portvakt/login", &fields).await;
        let code = world.code(count + 1).await;
        // What the form claims now is not believed.
        let fields = [("code", code.as_str()), ("next", "https://evil.example")];
        let done = browser.post("/.portvakt/code", &fields).await;
        assert_eq!(done.location(), lands, "{next}");
    }
}

#[tokio::test]
async fn logout_ends_the_session_and_may_be_repeated() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.log_in(&world, KARI, 1).await;
    let session = browser.cookies["__Host-portvakt"].clone();
    let out = browser.post("/.portvakt/logout", &[]).await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert_eq!(out.location(), "/.portvakt/login");
    assert_eq!(out.headers["clear-site-data"], "\"cache\"");
    assert_eq!(out.cookies()["__Host-portvakt"], "");
    assert_eq!(world.sessions().await, 0);
    browser
        .cookies
        .insert("__Host-portvakt".to_owned(), session);
    let mut program = world.program();
    program.cookies = browser.cookies.clone();
    assert_eq!(
        program.get("/.portvakt/whoami").await.status,
        StatusCode::UNAUTHORIZED
    );
    let again = program.post_json("/.portvakt/logout", &json!({})).await;
    assert_eq!(again.status, StatusCode::NO_CONTENT);
    let events: Vec<_> = world
        .records()
        .await
        .iter()
        .map(|r| r["event"].clone())
        .collect();
    assert_eq!(events, ["login.email", "login.code", "logout"]);
}

#[tokio::test]
async fn every_step_is_recorded_with_who_and_where_but_never_the_code() {
    let world = World::new().await;
    let mut browser = world.browser();
    let mut seen = String::new();
    seen += &browser
        .post("/.portvakt/login", &[("email", KARI)])
        .await
        .text;
    let code = world.code(1).await;
    if code == "2026" {
        return; // The year stands in every record.
    }
    for guess in [another(&code).as_str(), "12345", &code] {
        seen += &browser.get("/.portvakt/code").await.text;
        let answer = browser.post("/.portvakt/code", &[("code", guess)]).await;
        seen += &format!("{:?} {}", answer.headers, answer.text);
    }
    seen += &browser.get("/.portvakt/whoami").await.text;
    seen += &world.metrics.text().unwrap();
    let records = world.records().await;
    for record in &records {
        seen += &record.to_string();
    }
    let words = seen.split(|c: char| !c.is_alphanumeric());
    assert_eq!(words.filter(|word| *word == code).count(), 0);

    let steps: Vec<_> = records
        .iter()
        .map(|r| {
            assert_eq!(r["user"], "u-kari");
            assert_eq!(r["client"], "127.0.0.1");
            assert_eq!(r["request_id"], "0b".repeat(16));
            (r["event"].as_str().unwrap(), r["result"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        steps,
        [
            ("login.email", "sent"),
            ("login.code", "wrong_code"),
            ("login.code", "malformed_code"),
            ("login.code", "ok"),
            ("login.failures_told", "sms"),
        ]
    );
}
