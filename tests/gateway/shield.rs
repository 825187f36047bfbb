//! The shield as people meet it: in a real Chromium, with a mail server that is not ours.

use fantoccini::{Client, Locator};
use reqwest::StatusCode;
use serde_json::Value;

use crate::browser::{Driven, fill, path, submit};
use crate::house::{House, KARI, OLA};
use crate::mail::Server;
use crate::pages::{GO_ON, Looking, SEND, present, status};
use crate::ran::portvakt;
use crate::streams::before;

#[tokio::test]
async fn a_raised_shield_in_english() {
    story("en").await;
}

#[tokio::test]
async fn a_raised_shield_in_norwegian() {
    story("nb").await;
}

async fn story(language: &'static str) {
    let mut post = Server::start("starttls").await;
    let mail = post.configured();
    let house = House::open_with(|config| config.push_str(&mail), None).await;

    // Kari logs in while all is quiet; from then on her browser is known.
    let known = speaking(language).await;
    log_in(&house, &known.browser, KARI).await;
    let raised = portvakt(&house, "shield raise").await;
    assert_eq!(raised.code, 0, "{raised:?}");

    // Ola comes with a new device. No code, but a mail.
    let device = speaking(language).await;
    let ola = &device.browser;
    let looking = Looking::new(ola, language);
    ask(&house, ola, OLA).await;
    assert_eq!(path(ola).await, "/.portvakt/code");
    assert!(!present(ola, "#code").await);
    looking.at("link-sent").await;
    let mail = post.mail().await;
    assert_eq!(mail["to"], serde_json::json!([OLA]));
    assert_eq!(
        (&mail["tls"], &mail["authenticated"]),
        (&true.into(), &true.into())
    );
    let link = link_in(&mail);
    assert!(link.starts_with(&house.url("/.portvakt/link?token=")));

    // A program that looks at mails opens the link, and uses nothing up.
    let scanned = house.browser().get(&link).send().await.unwrap();
    assert_eq!(scanned.status(), StatusCode::OK);

    // Another browser has no button to press, and one that has asked for itself presses in vain.
    let stranger = speaking(language).await;
    let other = &stranger.browser;
    let looking_there = Looking::new(other, language);
    other.goto(&link).await.unwrap();
    assert!(!present(other, GO_ON).await);
    looking_there.at("link-other-browser").await;
    ask(&house, other, OLA).await;
    let strangers = link_in(&post.mail().await);
    assert_ne!(strangers, link);
    other.goto(&link).await.unwrap();
    submit(other, GO_ON).await;
    assert_eq!(status(other).await, 401);
    looking_there.at("link-over").await;
    stranger.close().await;

    // Looking at it again and again sends nothing; pressing the button sends the code.
    for _ in 0..2 {
        ola.goto(&link).await.unwrap();
    }
    looking.at("link").await;
    assert_eq!(codes_to_ola(&house).await, 0);
    submit(ola, GO_ON).await;
    assert_eq!(path(ola).await, "/.portvakt/code");
    let code = house.latest_code(OLA).await;
    assert_eq!(codes_to_ola(&house).await, 1);
    // The link is used up: there is no second code for it.
    let form = ola.current_url().await.unwrap();
    ola.goto(&link).await.unwrap();
    submit(ola, GO_ON).await;
    assert_eq!(status(ola).await, 401);
    assert_eq!(codes_to_ola(&house).await, 1);
    ola.goto(form.as_str()).await.unwrap();
    fill(ola, "#code", &code).await;
    submit(ola, GO_ON).await;
    assert_eq!(path(ola).await, "/projects/1");
    device.close().await;

    // Kari's browser notices nothing.
    let kari = &known.browser;
    kari.delete_cookie("__Host-portvakt").await.unwrap();
    log_in(&house, kari, KARI).await;
    known.close().await;
}

#[tokio::test]
async fn where_the_shield_refuses_new_devices_their_page_says_so() {
    let refuse = "\n[login]\nshield = \"refuse\"\n";
    let house = House::open_with(|config| config.push_str(refuse), None).await;
    assert_eq!(portvakt(&house, "shield raise").await.code, 0);
    for language in ["en", "nb"] {
        let driven = speaking(language).await;
        ask(&house, &driven.browser, OLA).await;
        assert_eq!(status(&driven.browser).await, 503);
        let looking = Looking::new(&driven.browser, language);
        looking.at("new-device-refused").await;
        driven.close().await;
    }
}

/// Refusals that no link leads to.
#[tokio::test]
async fn pages_of_odd_refusals_are_accessible_and_fit() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = before(silent.local_addr().unwrap()).await;
    for language in ["en", "nb"] {
        let driven = speaking(language).await;
        let browser = &driven.browser;
        let looking = Looking::new(browser, language);
        browser.goto(&house.url("/open/x")).await.unwrap();
        assert_eq!(status(browser).await, 504);
        looking.at("refusal-504").await;
        let elsewhere = house.url("/projects").replace("localhost", "127.0.0.1");
        browser.goto(&elsewhere).await.unwrap();
        assert_eq!(status(browser).await, 421);
        looking.at("refusal-421").await;
        browser.goto(&house.url("/.portvakt/login")).await.unwrap();
        let long = "const field = document.querySelector('#email'); \
                    field.form.noValidate = true; field.value = 'a'.repeat(20000)";
        browser.execute(long, vec![]).await.unwrap();
        submit(browser, SEND).await;
        assert_eq!(status(browser).await, 413);
        looking.at("refusal-413").await;
        driven.close().await;
    }
}

async fn speaking(language: &str) -> Driven {
    let tongue = [
        format!("--lang={language}"),
        format!("--accept-lang={language}"),
    ];
    let arguments: Vec<&str> = tongue.iter().map(String::as_str).collect();
    Driven::open(&arguments).await
}

/// Types an address into the form that the way to a project leads to.
async fn ask(house: &House, browser: &Client, email: &str) {
    let start = "/.portvakt/login?next=%2Fprojects%2F1";
    browser.goto(&house.url(start)).await.unwrap();
    fill(browser, "#email", email).await;
    submit(browser, SEND).await;
}

async fn log_in(house: &House, browser: &Client, email: &str) {
    ask(house, browser, email).await;
    browser
        .wait()
        .for_element(Locator::Css("#code"))
        .await
        .unwrap();
    let code = house.latest_code(email).await;
    fill(browser, "#code", &code).await;
    submit(browser, GO_ON).await;
    assert_eq!(path(browser).await, "/projects/1");
}

fn link_in(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    let line = text.lines().find(|line| line.contains("/link?token="));
    line.unwrap().trim().to_owned()
}

async fn codes_to_ola(house: &House) -> usize {
    let sent = house.outbox().await;
    sent.iter()
        .filter(|message| message["to"] == "+4790000002")
        .count()
}
