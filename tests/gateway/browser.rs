//! The whole story in a real Chromium, driven through chromedriver, as three people.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::house::{House, KARI, NILS, OLA, free_port};

/// A driver with one browser; both end with the test.
pub(crate) struct Driven {
    pub(crate) browser: Client,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Driven {
    pub(crate) async fn open(arguments: &[&str]) -> Self {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed: tests/run.sh does that");
        let profile = tempfile::tempdir().unwrap();
        let mut all = vec![
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        all.extend(arguments.iter().map(ToString::to_string));
        let capabilities = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "args": all },
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!()
        };
        let capabilities: Capabilities = capabilities;
        let mut last = String::new();
        for _ in 0..120 {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            match builder
                .capabilities(capabilities.clone())
                .connect(&format!("http://127.0.0.1:{port}"))
                .await
            {
                Ok(browser) => {
                    return Self {
                        browser,
                        _driver: driver,
                        _profile: profile,
                    };
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("no browser: {last}");
    }

    pub(crate) async fn close(self) {
        self.browser.close().await.unwrap();
    }
}

/// Types the address and then the code from the outbox.
async fn log_in(house: &House, browser: &Client, email: &str, start: &str) {
    browser.goto(&house.url(start)).await.unwrap();
    assert!(
        path(browser).await.starts_with("/.portvakt/login"),
        "{}",
        path(browser).await
    );
    fill(browser, "#email", email).await;
    submit(browser, "form:last-of-type button[type=submit]").await;
    assert!(
        path(browser).await.starts_with("/.portvakt/code"),
        "{}",
        path(browser).await
    );
    let code = house.latest_code(email).await;
    fill(browser, "#code", &code).await;
    submit(browser, "form button[type=submit]").await;
    assert_eq!(path(browser).await, start, "lands where it was going");
}

pub(crate) async fn fill(browser: &Client, field: &str, text: &str) {
    let field = browser
        .wait()
        .for_element(Locator::Css(field))
        .await
        .unwrap();
    field.clear().await.unwrap();
    field.send_keys(text).await.unwrap();
}

/// Presses a button and waits until the page that it leads to is there.
pub(crate) async fn submit(browser: &Client, button: &str) {
    let page = browser.find(Locator::Css("html")).await.unwrap();
    browser
        .find(Locator::Css(button))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    for _ in 0..400 {
        if page.tag_name().await.is_err() {
            browser
                .wait()
                .for_element(Locator::Css("h1"))
                .await
                .unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the page stayed");
}

pub(crate) async fn path(browser: &Client) -> String {
    browser.current_url().await.unwrap().path().to_owned()
}

async fn text(browser: &Client) -> String {
    browser
        .find(Locator::Css("body"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn three_people_go_through_the_whole_of_it() {
    let house = House::open().await;

    // Kari writes her own project.
    let kari = Driven::open(&[]).await;
    log_in(&house, &kari.browser, KARI, "/projects/1").await;
    fill(&kari.browser, "#name", "Quay by the fjord").await;
    submit(&kari.browser, "#save").await;
    assert_eq!(path(&kari.browser).await, "/projects/1");
    assert!(text(&kari.browser).await.contains("Quay by the fjord"));
    kari.close().await;

    // Ola opens it, is refused with the page that offers a copy, copies, and writes the copy.
    let ola = Driven::open(&[]).await;
    log_in(&house, &ola.browser, OLA, "/projects/1").await;
    assert!(text(&ola.browser).await.contains("Quay by the fjord"));
    fill(&ola.browser, "#name", "Ola was here").await;
    submit(&ola.browser, "#save").await;
    let refused = text(&ola.browser).await;
    assert!(
        refused.contains("Kari Nordmann"),
        "says whose it is: {refused}"
    );
    submit(&ola.browser, "form[action='/projects/1/copy'] button").await;
    let copy = path(&ola.browser).await;
    assert!(
        copy.starts_with("/projects/") && copy != "/projects/1",
        "lands on the copy: {copy}"
    );
    fill(&ola.browser, "#name", "Ola's quay").await;
    submit(&ola.browser, "#save").await;
    assert_eq!(path(&ola.browser).await, copy);
    assert!(text(&ola.browser).await.contains("Ola's quay"));
    ola.browser.goto(&house.url("/projects/1")).await.unwrap();
    assert!(!text(&ola.browser).await.contains("Ola was here"));
    ola.close().await;

    // Nils is of another company: nothing is there for him.
    let nils = Driven::open(&[]).await;
    log_in(&house, &nils.browser, NILS, "/projects/3").await;
    for foreign in [copy.as_str(), "/projects/1"] {
        nils.browser.goto(&house.url(foreign)).await.unwrap();
        let told = text(&nils.browser).await;
        assert!(!told.contains("quay"), "{told}");
        let status = nils
            .browser
            .execute(
                "return performance.getEntriesByType('navigation')[0].responseStatus",
                vec![],
            )
            .await
            .unwrap();
        assert_eq!(status, 404);
    }
    nils.close().await;
}
