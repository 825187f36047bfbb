//! Every page in a real Chromium, in both languages, light and dark, on a phone and on a desk: axe
//! finds no violation, nothing scrolls sideways, and pictures are kept for a person to look at.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, Locator};
use http::Method;
use portvakt::clock::{ManualClock, SharedClock, Timestamp};
use reqwest::Url;
use serde_json::{Value, json};

use crate::browser::{Driven, fill, path, submit};
use crate::house::{House, KARI, NILS, OLA, repository};

pub(crate) const SEND: &str = "form:last-of-type button[type=submit]";
pub(crate) const GO_ON: &str = "form button[type=submit]";

#[tokio::test]
async fn every_page_in_english_is_accessible_and_fits() {
    visit_every_page("en").await;
}

#[tokio::test]
async fn every_page_in_norwegian_is_accessible_and_fits() {
    visit_every_page("nb").await;
}

async fn visit_every_page(language: &'static str) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_000)));
    let shared: SharedClock = clock.clone();
    let safety = |config: &mut String| config.insert_str(0, "safety_page = true\n");
    let mut house = House::open_with(safety, Some(shared)).await;
    let tongue = [
        format!("--lang={language}"),
        format!("--accept-lang={language}"),
    ];
    let arguments: Vec<&str> = tongue.iter().map(String::as_str).collect();
    let driven = Driven::open(&arguments).await;
    let looking = Looking::new(&driven.browser, language);
    let browser = &driven.browser;
    // Codes are sent once a minute at most.
    let minute = || clock.advance(Duration::from_secs(61));
    let go = async |page: &str| browser.goto(&house.url(page)).await.unwrap();

    go("/.portvakt/safety").await;
    looking.at("safety").await;
    go("/projects/1").await;
    looking.at("email").await;
    fill(browser, "#email", "no address").await;
    submit(browser, SEND).await;
    looking.at("email-malformed").await;
    fill(browser, "#email", OLA).await;
    submit(browser, SEND).await;
    looking.at("code").await;
    let code = house.latest_code(OLA).await;
    let wrong = if code == "0000" { "1111" } else { "0000" };
    fill(browser, "#code", wrong).await;
    submit(browser, GO_ON).await;
    looking.at("code-wrong").await;
    minute();
    go("/.portvakt/code").await;
    looking.at("code-resend-now").await;
    submit(browser, ".resend button").await;
    looking.at("code-resent").await;
    fill(browser, "#code", wrong).await;
    submit(browser, GO_ON).await;
    fill(browser, "#code", wrong).await;
    submit(browser, GO_ON).await;
    looking.at("email-last-wrong").await;
    minute();
    go("/.portvakt/login?next=%2Fprojects%2F1").await;
    fill(browser, "#email", OLA).await;
    submit(browser, SEND).await;
    clock.advance(Duration::from_secs(301));
    fill(browser, "#code", wrong).await;
    submit(browser, GO_ON).await;
    looking.at("email-over").await;
    fill(browser, "#email", NILS).await;
    submit(browser, SEND).await;
    fill(browser, "#code", "12 4").await;
    let unguarded = "document.querySelector('#code').removeAttribute('pattern')";
    browser.execute(unguarded, vec![]).await.unwrap();
    submit(browser, GO_ON).await;
    looking.at("code-malformed").await;
    // Wrong codes until the account's lane is spent: the page that waits.
    for _ in 0..9 {
        if present(browser, "#code").await {
            fill(browser, "#code", another(&house, NILS).await).await;
            submit(browser, GO_ON).await;
        } else if present(browser, "#email").await {
            minute();
            fill(browser, "#email", NILS).await;
            submit(browser, SEND).await;
        }
    }
    assert_eq!(status(browser).await, 429, "the lane is spent");
    looking.at("wait").await;

    // Three codes are sent in a quarter of an hour.
    clock.advance(Duration::from_secs(900));
    go("/.portvakt/login?next=%2Fprojects%2F1").await;
    fill(browser, "#email", OLA).await;
    submit(browser, SEND).await;
    let code = house.latest_code(OLA).await;
    fill(browser, "#code", &code).await;
    submit(browser, GO_ON).await;
    assert_eq!(path(browser).await, "/projects/1");
    fill(browser, "#name", "mine").await;
    submit(browser, "#save").await;
    looking.at("copy-first").await;
    submit(browser, ".onward a").await;
    assert_eq!(
        path(browser).await,
        "/projects/1",
        "back to what was looked at"
    );
    let other = house.browser();
    minute();
    house.log_in(&other, OLA).await;
    for (name, page, expected) in [
        ("account", "/.portvakt/account", 200),
        ("email-logged-in", "/.portvakt/login", 200),
        ("refusal-404", "/projects/3", 404),
        ("refusal-400", "/projects/1%2f2", 400),
        ("refusal-405", "/.portvakt/logout", 405),
    ] {
        go(page).await;
        assert_eq!(status(browser).await, expected, "{page}");
        looking.at(name).await;
    }
    go("/.portvakt/account").await;
    browser.delete_cookie("__Host-portvakt-form").await.unwrap();
    submit(browser, ".other button").await;
    assert_eq!(status(browser).await, 403);
    looking.at("refusal-form").await;
    house.stop_service().await;
    clock.advance(Duration::from_secs(61));
    for (name, page, expected) in [
        ("refusal-502", "/projects", 502),
        ("refusal-503", "/projects/2", 503),
    ] {
        browser.goto(&house.url(page)).await.unwrap();
        assert_eq!(status(browser).await, expected, "{page}");
        looking.at(name).await;
    }
    driven.close().await;
}

/// The waiting page as a browser meets it: it comes again by itself, by `GET`, and goes on.
#[tokio::test]
async fn a_waiting_page_follows_the_time_by_itself_and_posts_nothing_again() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_000)));
    let shared: SharedClock = clock.clone();
    let house = House::open_with(|_| {}, Some(shared)).await;
    let other = house.browser();
    for _ in 0..3 {
        let body = json!({ "email": KARI });
        let asked = house.post_json(&other, "/.portvakt/login", &body).await;
        if asked.status() != 202 {
            break;
        }
        let wrong = another(&house, KARI).await;
        for _ in 0..3 {
            house.give_code(&other, wrong).await;
        }
        clock.advance(Duration::from_secs(61));
    }
    // All but twenty seconds of the wait are over.
    let body = json!({ "email": KARI });
    let asked = house.post_json(&other, "/.portvakt/login", &body).await;
    assert_eq!(asked.status(), 429);
    let wait = asked.headers()["retry-after"].to_str().unwrap();
    clock.advance(Duration::from_secs(wait.parse::<u64>().unwrap() - 17));

    let driven = Driven::open(&[]).await;
    let browser = &driven.browser;
    browser
        .goto(&house.url("/.portvakt/login?next=%2Fprojects%2F1"))
        .await
        .unwrap();
    fill(browser, "#email", KARI).await;
    submit(browser, SEND).await;
    assert_eq!(status(browser).await, 429);
    assert_eq!(path(browser).await, "/.portvakt/login");
    clock.advance(Duration::from_secs(15));
    comes_to(browser, "/.portvakt/wait").await;
    assert_eq!(status(browser).await, 200);
    clock.advance(Duration::from_secs(3));
    comes_to(browser, "/.portvakt/login").await;
    assert!(present(browser, "#email").await);
    assert_eq!(status(browser).await, 200);
    let address = browser.current_url().await.unwrap();
    assert_eq!(address.query(), Some("next=%2Fprojects%2F1"));
    driven.close().await;
}

/// The form for the code without a mouse: each thing is reached in the order that it is read in.
#[tokio::test]
async fn the_login_is_driven_by_the_keyboard_in_reading_order() {
    // A new code can be had after a minute.
    let minute = |config: &mut String| {
        let wide = "unknown_device = [{ limit = 100000, per = \"1h\" }]";
        assert!(config.contains(wide));
        *config = config.replace(wide, "unknown_device = [{ limit = 1, per = \"60s\" }]");
    };
    let house = House::open_on(minute, &[], None).await;
    let driven = Driven::open(&["--lang=en", "--accept-lang=en"]).await;
    let browser = &driven.browser;
    browser.goto(&house.url("/projects/1")).await.unwrap();
    let focused = async || {
        let script = "const e = document.activeElement; \
                      return (e.labels && e.labels[0] || e).textContent.trim()";
        browser.execute(script, vec![]).await.unwrap()
    };
    let press = async |key: &str| {
        let active = browser.active_element().await.unwrap();
        active.send_keys(key).await.unwrap();
    };
    assert_eq!(focused().await, "E-mail address");
    press(OLA).await;
    press("\u{e004}").await;
    assert_eq!(focused().await, "Send me a code");
    press("\u{e007}").await;
    comes_to(browser, "/.portvakt/code").await;
    assert_eq!(focused().await, "Four-digit code");
    press("\u{e004}").await;
    assert_eq!(focused().await, "Log in");
    // A button that is not there yet is not reached.
    press("\u{e004}").await;
    assert_eq!(focused().await, "Use another e-mail address");
    let script = "document.getAnimations().forEach(a => a.finish()); \
                  document.querySelector('#code').focus()";
    browser.execute(script, vec![]).await.unwrap();
    press("\u{e004}").await;
    press("\u{e004}").await;
    assert_eq!(focused().await, "Send a new code");
    driven.close().await;
}

/// Waits until the browser has come to a path by itself.
async fn comes_to(browser: &Client, expected: &str) {
    for _ in 0..300 {
        if path(browser).await == expected {
            browser
                .wait()
                .for_element(Locator::Css("h1"))
                .await
                .unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("at {} instead of {expected}", path(browser).await);
}

pub(crate) async fn present(browser: &Client, what: &str) -> bool {
    !browser
        .find_all(Locator::Css(what))
        .await
        .unwrap()
        .is_empty()
}

pub(crate) async fn status(browser: &Client) -> Value {
    let script = "return performance.getEntriesByType('navigation')[0].responseStatus";
    browser.execute(script, vec![]).await.unwrap()
}

/// A code that is not the latest one to a person.
async fn another(house: &House, email: &str) -> &'static str {
    if house.latest_code(email).await == "0000" {
        "1111"
    } else {
        "0000"
    }
}

/// Looks at the page that a browser shows.
pub(crate) struct Looking<'a> {
    browser: &'a Client,
    language: &'static str,
    axe: String,
    out: PathBuf,
}

impl<'a> Looking<'a> {
    pub(crate) fn new(browser: &'a Client, language: &'static str) -> Self {
        let axe = repository().join("tests/axe/node_modules/axe-core/axe.min.js");
        let axe = fs::read_to_string(&axe).unwrap_or_else(|error| {
            panic!("{}: {error}; tests/run.sh installs it", axe.display());
        });
        let out = repository().join("tests/out/pages");
        fs::create_dir_all(&out).unwrap();
        Self {
            browser,
            language,
            axe,
            out,
        }
    }

    pub(crate) async fn at(&self, name: &str) {
        let html = self.browser.find(Locator::Css("html")).await.unwrap();
        let tongue = html.attr("lang").await.unwrap();
        assert_eq!(tongue.as_deref(), Some(self.language), "{name}");
        for scheme in ["light", "dark"] {
            let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
            self.devtools(
                "Emulation.setEmulatedMedia",
                json!({ "features": features }),
            )
            .await;
            for (width, height, device) in [(320, 640, "phone"), (1100, 800, "desk")] {
                let name = format!("{name}-{}-{scheme}-{device}", self.language);
                self.size(width, height).await;
                self.fits(&name).await;
                self.picture(&name).await;
            }
            // Colours change with the scheme; the rest does not change with the width.
            self.violates_nothing(&format!("{name}, {scheme}")).await;
        }
        // Twice as large: as text alone, and as a window of 1280 pixels that is zoomed to 200 %.
        self.size(640, 400).await;
        self.fits(&format!("{name} at 200 %")).await;
        self.browser
            .execute("document.documentElement.style.fontSize = '200%'", vec![])
            .await
            .unwrap();
        self.size(1100, 800).await;
        self.fits(&format!("{name} in large print")).await;
        self.browser
            .execute("document.documentElement.style.fontSize = ''", vec![])
            .await
            .unwrap();
    }

    async fn size(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    async fn fits(&self, name: &str) {
        let script = "const e = document.documentElement; return e.scrollWidth - e.clientWidth";
        let overflow = self.browser.execute(script, vec![]).await.unwrap();
        assert_eq!(overflow, 0, "{name} scrolls sideways");
    }

    async fn picture(&self, name: &str) {
        let picture = self.browser.screenshot().await.unwrap();
        fs::write(self.out.join(format!("{name}.png")), picture).unwrap();
    }

    /// The page forbids scripts, and axe comes past that: the driver runs it, not the page.
    async fn violates_nothing(&self, name: &str) {
        let run = "const done = arguments[arguments.length - 1]; \
            axe.run(document, { resultTypes: ['violations'] }).then( \
                r => done({ passes: r.passes.length, violations: r.violations.map( \
                    v => ({ id: v.id, help: v.help, nodes: v.nodes.map(n => n.html) })) }), \
                e => done({ failed: String(e) }));";
        let script = format!("{}\n{run}", self.axe);
        let found = self.browser.execute_async(&script, vec![]).await.unwrap();
        assert!(found["passes"].as_u64() > Some(10), "{name}: {found}");
        assert_eq!(found["violations"], json!([]), "{name}: {found:#}");
    }

    async fn devtools(&self, command: &'static str, parameters: Value) {
        let command = DevTools {
            command,
            parameters,
        };
        self.browser.issue_cmd(command).await.unwrap();
    }
}

/// A command of the Chrome DevTools protocol, by way of the driver.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base: &Url,
        session: Option<&str>,
    ) -> Result<Url, <Url as std::str::FromStr>::Err> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.parameters });
        (Method::POST, Some(body.to_string()))
    }
}
