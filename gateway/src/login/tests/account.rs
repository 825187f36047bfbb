//! What people see and end of their own.

use http::{StatusCode, header};
use serde_json::json;

use super::world::{KARI, NOBODY, OLA, World, another};

#[tokio::test]
async fn people_see_their_own_sessions_and_devices_and_end_the_others() {
    let world = World::new().await;
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let mut here = world.browser();
    here.headers.push(("user-agent", firefox.to_owned()));
    here.log_in(&world, KARI, 1).await;
    let mut there = world.browser();
    there.log_in(&world, KARI, 2).await;
    let mut ola = world.browser();
    ola.log_in(&world, OLA, 3).await;

    let page = here.get("/.portvakt/account").await;
    assert_eq!(page.status, StatusCode::OK);
    for shown in [
        "Kari Nordmann",
        KARI,
        "Fjord AS",
        "Firefox, Linux",
        "this one",
    ] {
        assert!(page.text.contains(shown), "{shown}");
    }
    assert!(!page.text.contains("Ola"));

    let mut program = here.clone();
    program.headers[0].1 = "application/json".to_owned();
    let account = program.get("/.portvakt/account").await.json();
    let sessions = account["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let current: Vec<_> = sessions.iter().filter(|s| s["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["client"], "Firefox, Linux");
    assert_eq!(current[0]["created"], "2026-11-24T10:20:07.123Z");
    let mut names: Vec<_> = current[0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["client", "created", "current", "id", "last_seen"]);
    assert_eq!(account["devices"].as_array().unwrap().len(), 2);

    let others = "/.portvakt/account/sessions/others/revoke";
    let ended = here.post(others, &[]).await;
    assert_eq!(ended.location(), "/.portvakt/account");
    let gone = there.get("/.portvakt/account").await;
    assert_eq!(gone.status, StatusCode::SEE_OTHER);
    assert_eq!(here.get("/.portvakt/account").await.status, StatusCode::OK);
    assert_eq!(ola.get("/.portvakt/account").await.status, StatusCode::OK);
    let again = program.post_json(others, &json!({})).await;
    assert_eq!(again.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn one_session_is_ended_by_its_handle_and_nobody_elses() {
    let world = World::new().await;
    let mut kari = world.browser();
    kari.log_in(&world, KARI, 1).await;
    kari.headers[0].1 = "application/json".to_owned();
    let mut ola = world.browser();
    ola.log_in(&world, OLA, 2).await;
    ola.headers[0].1 = "application/json".to_owned();
    let account = kari.get("/.portvakt/account").await.json();
    let handle = account["sessions"][0]["id"].as_str().unwrap().to_owned();
    let device = account["devices"][0]["id"].as_str().unwrap().to_owned();
    let revoke = format!("/.portvakt/account/sessions/{handle}/revoke");
    let forget = format!("/.portvakt/account/devices/{device}/forget");

    for path in [
        revoke.as_str(),
        &forget,
        "/.portvakt/account/sessions/none/revoke",
    ] {
        let answer = ola.post_json(path, &json!({})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        let answer = world.program().post_json(path, &json!({})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let forgotten = kari.post_json(&forget, &json!({})).await;
    assert_eq!(forgotten.status, StatusCode::NO_CONTENT);
    let account = kari.get("/.portvakt/account").await.json();
    assert_eq!(account["devices"], json!([]));

    let ended = kari.post_json(&revoke, &json!({})).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(ended.cookies()["__Host-portvakt"], "");
    assert!(ended.headers.contains_key("clear-site-data"));
    assert_eq!(world.sessions().await, 1);
    let events: Vec<_> = world
        .records()
        .await
        .iter()
        .map(|r| r["event"].clone())
        .collect();
    let endings: Vec<_> = events.iter().rev().take(2).collect();
    assert_eq!(endings, ["session.revoke", "device.forget"]);
}

#[tokio::test]
async fn a_login_after_failures_is_told_by_sms_and_once_on_the_account_page() {
    let world = World::new().await;
    let mut owner = world.browser();
    owner.log_in(&world, KARI, 1).await;
    let page = owner.get("/.portvakt/account").await;
    assert!(!page.text.contains("failed attempt"), "there was none");

    // Two of a stranger at Kari's address, one at an address that nobody has.
    for (email, tries) in [(KARI, 2), (NOBODY, 1)] {
        let mut stranger = world.browser();
        stranger.post("/.portvakt/login", &[("email", email)]).await;
        let wrong = another(&world.code(2).await);
        for _ in 0..tries {
            stranger.post("/.portvakt/code", &[("code", &wrong)]).await;
        }
    }
    let mut ola = world.browser();
    ola.log_in(&world, OLA, 3).await;
    let page = owner.get("/.portvakt/account").await;
    assert!(!page.text.contains("failed attempt"), "not before a login");

    owner
        .headers
        .push(("accept-language", "nb, en;q=0.5".to_owned()));
    owner.log_in(&world, KARI, 4).await;
    let told = world.message(5).await;
    assert_eq!(
        told,
        "projects.example.com: 2 mislykkede forsøk før innloggingen nå. Hvis det ikke var deg, \
         si fra til administratoren."
    );
    let mut english = owner.clone();
    english.headers.truncate(1);
    assert!(!ola.get("/.portvakt/account").await.text.contains("failed"));
    let page = english.get("/.portvakt/account").await;
    assert!(
        page.text
            .contains("2 failed attempts before your latest login.")
    );
    let page = english.get("/.portvakt/account").await;
    assert!(!page.text.contains("failed attempt"), "told once");
    owner.log_in(&world, KARI, 6).await;
    assert_eq!(world.outbox.messages().len(), 6, "nothing new to tell");
    let records = world.records().await;
    let told: Vec<_> = records
        .iter()
        .filter(|record| record["event"] == "login.failures_told")
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["user"], "u-kari");
    assert_eq!(told[0]["detail"], "2 failed before this login");
}

#[tokio::test]
async fn pages_speak_the_readers_language() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser
        .headers
        .push(("accept-language", "nb-NO,nb;q=0.9,en;q=0.5".to_owned()));
    let page = browser.get("/.portvakt/login").await;
    assert!(page.text.contains("<html lang=\"nb\">") && page.text.contains("E-postadresse"));
    let page = browser.get("/.portvakt/none").await;
    assert!(page.text.contains("Her er det ingenting"));
}

#[tokio::test]
async fn keys_and_assets_are_everyones() {
    let world = World::new().await;
    let mut browser = world.browser();
    let keys = browser.get("/.portvakt/jwks.json").await.json();
    for key in keys["keys"].as_array().unwrap() {
        assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-256")));
        assert!(key.get("d").is_none());
    }
    let page = browser.get("/.portvakt/login").await;
    for reference in page.text.split("href=\"").skip(1) {
        let path = reference.split('"').next().unwrap();
        let asset = browser.get(path).await;
        assert_eq!(asset.status, StatusCode::OK, "{path}");
        assert!(
            asset.headers[header::CACHE_CONTROL]
                .to_str()
                .unwrap()
                .starts_with("public")
        );
    }
}
