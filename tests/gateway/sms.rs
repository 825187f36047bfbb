//! Codes by SMS, over providers that do as they like: what reaches them, what becomes of it, and
//! that the login looks the same whatever they do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portvakt::clock::{ManualClock, SharedClock, Timestamp};
use regex::Regex;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::house::{House, KARI, NILS, OLA, free_port};
use crate::provider::{Does, Provider, created, hmac, refused};

const TOKEN: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";
const SECRET: &str = "a secret of more than 16 bytes";

/// A house that sends by this `[sms]`; `DIR` in it is a folder with the secrets.
pub(crate) async fn house_with(sms: &str, clock: Option<SharedClock>) -> (House, TempDir) {
    let secrets = tempfile::tempdir().unwrap();
    for (name, secret) in [("token", TOKEN), ("secret", SECRET)] {
        std::fs::write(secrets.path().join(name), secret).unwrap();
    }
    let sms = sms.replace("DIR", secrets.path().to_str().unwrap());
    let change = |config: &mut String| {
        *config = config.replace("[sms]\nkind = \"outbox\"\n", &format!("[sms]\n{sms}\n"));
    };
    (House::open_with(change, clock).await, secrets)
}

pub(crate) fn twilio(base: impl std::fmt::Display) -> String {
    format!(
        r#"kind = "twilio"
account_sid = "AC0123456789abcdef0123456789abcdef"
auth_token = "file:DIR/token"
from = "+15017122661"
base_url = "http://{base}"
"#
    )
}

fn webhook(base: impl std::fmt::Display) -> String {
    format!("{{ kind = \"webhook\", url = \"http://{base}/send\", secret = \"file:DIR/secret\" }}")
}

fn hand_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_123)))
}

/// How often a provider's messages ended in a way.
async fn counted(house: &House, provider: &str, result: &str) -> u64 {
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    let start =
        format!("portvakt_codes_sent_total{{provider=\"{provider}\",result=\"{result}\"}} ");
    let mut lines = metrics.lines();
    lines
        .find_map(|line| line.strip_prefix(&start))
        .map_or(0, |count| count.parse().unwrap())
}

/// Waits until it is so often.
async fn counts(house: &House, provider: &str, result: &str, count: u64) {
    for _ in 0..1_500 {
        if counted(house, provider, result).await == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let found = counted(house, provider, result).await;
    panic!("{provider} {result}: {found}, not {count}");
}

#[tokio::test]
async fn twilio_gets_a_message_as_its_documentation_has_it() {
    let provider = Provider::start([], created()).await;
    let (house, _secrets) = house_with(&twilio(provider.address), None).await;
    let browser = house.browser();
    house.ask_for_code(&browser, KARI).await;
    let received = provider.after(1).await.remove(0);

    let (first, _) = received.head.split_once("\r\n").unwrap();
    assert_eq!(
        first,
        "POST /2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages.json HTTP/1.1"
    );
    let expected = [
        "accept: application/json".to_owned(),
        // base64 of the account, a colon, and the token
        "authorization: Basic QUMwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjowZjBmMGYwZjBmMGYwZjBmMGYwZjBmMGYwZjBmMGYwZg==".to_owned(),
        "connection: close".to_owned(),
        format!("content-length: {}", received.body.len()),
        "content-type: application/x-www-form-urlencoded".to_owned(),
        format!("host: {}", provider.address),
        format!("user-agent: portvakt/{}", env!("CARGO_PKG_VERSION")),
    ];
    assert_eq!(received.headers(), expected);

    let form = received.form();
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["To", "From", "Body", "StatusCallback"]);
    assert_eq!(form[0].1, "+4790000001");
    assert_eq!(form[1].1, "+15017122661");
    assert_eq!(form[3].1, house.url("/.portvakt/sms/status"));
    let (_, code) = form[2].1.rsplit_once('#').unwrap();
    assert_eq!(house.give_code(&browser, code).await.status(), 200);
    counts(&house, "twilio", "sent", 1).await;
    // There is no outbox to read codes from.
    assert_eq!(house.admin("/outbox").await.status(), StatusCode::NOT_FOUND);
    nothing_secret_is_on_disk(&house);
}

/// Neither credentials nor numbers are in what the gateway writes.
fn nothing_secret_is_on_disk(house: &House) {
    for entry in std::fs::read_dir(house.dir.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(TOKEN), "{}", path.display());
        assert!(!text.contains(SECRET), "{}", path.display());
    }
}

#[tokio::test]
async fn twilio_knows_us_by_a_key_and_chooses_the_number() {
    let provider = Provider::start([], created()).await;
    let sms = format!(
        r#"kind = "twilio"
account_sid = "AC0123456789abcdef0123456789abcdef"
api_key = "file:DIR/secret"
api_secret = "file:DIR/token"
messaging_service_sid = "MG0123456789abcdef0123456789abcdef"
base_url = "http://{}"
status_callback = false"#,
        provider.address
    );
    let (house, _secrets) = house_with(&sms, None).await;
    house.ask_for_code(&house.browser(), KARI).await;
    let received = provider.after(1).await.remove(0);
    assert_eq!(
        received.header("authorization"),
        // base64 of the key, a colon, and its secret
        "Basic YSBzZWNyZXQgb2YgbW9yZSB0aGFuIDE2IGJ5dGVzOjBmMGYwZjBmMGYwZjBmMGYwZjBmMGYwZjBmMGYwZjBm"
    );
    let form = received.form();
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["To", "MessagingServiceSid", "Body"]);
    assert_eq!(form[1].1, "MG0123456789abcdef0123456789abcdef");
}

#[tokio::test]
async fn a_webhook_gets_json_that_it_can_verify() {
    let certificates = tempfile::tempdir().unwrap();
    crate::house::provider();
    let now = portvakt::clock::Clock::now(&portvakt::clock::SystemClock::starting_at(
        Timestamp::from_millis(0),
    ));
    portvakt::cli::certs::make_dev(certificates.path(), &["localhost"], now).unwrap();
    let taken = Does::Answer("202 Accepted", "", String::new());
    let provider = Provider::start_tls(certificates.path(), taken).await;
    let sms = |ca: &str| {
        format!(
            "kind = \"webhook\"\nurl = \"https://localhost:{}/sms/send\"\nsecret = \"file:DIR/secret\"\n{ca}",
            provider.address.port()
        )
    };
    let ca = format!("ca = \"{}/ca.pem\"", certificates.path().display());
    let clock = hand_clock();
    let (house, _secrets) = house_with(&sms(&ca), Some(clock)).await;
    house.ask_for_code(&house.browser(), KARI).await;
    house.ask_for_code(&house.browser(), OLA).await;
    let received = provider.after(2).await;
    assert!(received[0].head.starts_with("POST /sms/send HTTP/1.1\r\n"));
    assert_eq!(received[0].header("content-type"), "application/json");

    let mut ids = BTreeSet::new();
    for one in &received {
        let body: Value = serde_json::from_str(&one.body).unwrap();
        let names: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(names, ["to", "text", "id"]);
        assert!(body["to"].as_str().unwrap().starts_with("+479000000"));
        assert!(body["text"].as_str().unwrap().contains("@localhost #"));
        ids.insert(body["id"].as_str().unwrap().to_owned());
        let signed = format!("1795515607.{}", one.body);
        let tag = data_encoding::HEXLOWER.encode(&hmac("-sha256", SECRET, &signed));
        assert_eq!(
            one.header("portvakt-signature"),
            format!("t=1795515607,v1={tag}")
        );
    }
    assert_eq!(ids.len(), 2);

    // Without the authority's file, this certificate is a stranger's: nothing is sent.
    let (house, _secrets) = house_with(&sms(""), None).await;
    house.ask_for_code(&house.browser(), KARI).await;
    counts(&house, "webhook", "failed", 1).await;
    assert_eq!(provider.received().len(), 2);
}

/// What a person sees of the first step: status, header names, target and page, without what is
/// random and the address that was typed; and how long it took.
async fn walk(house: &House, email: &str) -> (Vec<String>, Duration) {
    let random = Regex::new(r"[A-Za-z0-9_-]{20,}").unwrap();
    let browser = house.browser();
    let form = page(house, &browser, "/.portvakt/login").await;
    let token = Regex::new(r#"name="csrf" value="([^"]+)""#).unwrap();
    let csrf = token.captures(&form).unwrap()[1].to_owned();
    let started = Instant::now();
    let answer = browser
        .post(house.url("/.portvakt/login"))
        .header("accept", "text/html")
        .form(&[("csrf", csrf.as_str()), ("email", email), ("next", "/")])
        .send()
        .await
        .unwrap();
    let took = started.elapsed();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let names: BTreeSet<String> = answer.headers().keys().map(|n| n.to_string()).collect();
    let first = format!("{} {names:?}", answer.status());
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let code = page(house, &browser, &location).await;
    let code = random
        .replace_all(&code.replace(email, "…"), "…")
        .into_owned();
    (vec![first, location, code], took)
}

async fn page(house: &House, browser: &Client, path: &str) -> String {
    let request = browser.get(house.url(path)).header("accept", "text/html");
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn whatever_the_provider_does_the_login_looks_the_same_and_nobody_gets_two_messages() {
    let malformed = Does::Answer("201 Created", "", "{\"sid\":".to_owned());
    let failed_at_once = |code: u32| {
        let body = format!(r#"{{"sid":"SM0","status":"failed","error_code":{code}}}"#);
        Does::Answer("201 Created", "", body)
    };
    let throttled = Does::Answer(
        "429 Too Many Requests",
        "retry-after: 0\r\n",
        "{}".to_owned(),
    );
    let mut faults = vec![
        (created(), "sent", false),
        (refused("500 Internal Server Error", 20_500), "failed", true),
        (
            Does::Answer("500 Oops", "", "<html>".to_owned()),
            "failed",
            true,
        ),
        (refused("503 Service Unavailable", 20_503), "failed", true),
        (refused("401 Unauthorized", 20_003), "failed", true),
        (refused("400 Bad Request", 21_606), "failed", true),
        (failed_at_once(30_001), "failed", true),
        (throttled, "throttled", true),
        (malformed, "unknown", false),
        (Does::HangUp, "unknown", false),
        (
            Does::Answer("502 Bad Gateway", "", "{}".to_owned()),
            "unknown",
            false,
        ),
        (
            Does::Answer("504 Gateway Timeout", "", "{}".to_owned()),
            "unknown",
            false,
        ),
        (failed_at_once(30_005), "refused", false),
    ];
    for code in [
        21_211, 21_408, 21_610, 21_614, 30_003, 30_004, 30_005, 30_006, 30_007, 30_008,
    ] {
        faults.push((refused("400 Bad Request", code), "refused", false));
    }
    faults.push((Does::Nothing, "unknown", false));

    let script: Vec<Does> = faults.iter().map(|(does, ..)| does.clone()).collect();
    let first = Provider::start(script, created()).await;
    let second = Provider::start([], Does::Answer("200 OK", "", String::new())).await;
    let sms = format!(
        "{}fallback = [{}]",
        twilio(first.address),
        webhook(second.address)
    );
    let clock = hand_clock();
    let (house, _secrets) = house_with(&sms, Some(clock.clone())).await;
    let (unknown, _) = walk(&house, "nobody@else.example").await;
    let mut passed_on = 0;
    for (at, (does, result, passes_on)) in faults.iter().enumerate() {
        // The next day: what an account may be sent is no matter of this test.
        clock.advance(Duration::from_secs(25 * 3_600));
        let before = counted(&house, "twilio", result).await;
        let (seen, took) = walk(&house, KARI).await;
        assert_eq!(seen, unknown, "{does:?}");
        assert!(took < Duration::from_secs(5), "{does:?}: {took:?}");
        assert_eq!(first.after(at + 1).await.len(), at + 1, "{does:?}");
        counts(&house, "twilio", result, before + 1).await;
        passed_on += u64::from(*passes_on);
        counts(&house, "webhook", "sent", passed_on).await;
        assert_eq!(second.received().len() as u64, passed_on, "{does:?}");
    }
    nothing_secret_is_on_disk(&house);
}

#[tokio::test]
async fn a_provider_that_is_down_is_passed_over() {
    let second = Provider::start([], Does::Answer("200 OK", "", String::new())).await;
    let nobody = format!("127.0.0.1:{}", free_port());
    let sms = format!("{}fallback = [{}]", twilio(nobody), webhook(second.address));
    let (house, _secrets) = house_with(&sms, None).await;
    let (unknown, _) = walk(&house, "nobody@else.example").await;
    assert_eq!(walk(&house, KARI).await.0, unknown);
    second.after(1).await;
    counts(&house, "twilio", "failed", 1).await;
    counts(&house, "webhook", "sent", 1).await;
}

#[tokio::test]
async fn a_provider_that_throttles_gets_each_message_once_and_not_before_its_time() {
    let wait = Does::Answer("429 Too Many Requests", "retry-after: 2\r\n", String::new());
    let provider = Provider::start([wait], created()).await;
    let (house, _secrets) = house_with(&twilio(provider.address), None).await;
    let (unknown, _) = walk(&house, "nobody@else.example").await;
    assert_eq!(walk(&house, KARI).await.0, unknown);
    counts(&house, "twilio", "throttled", 1).await;
    let throttled = Instant::now();
    assert_eq!(walk(&house, OLA).await.0, unknown);
    provider.after(2).await;
    assert!(throttled.elapsed() > Duration::from_millis(1_500));
    counts(&house, "twilio", "sent", 2).await;
    let mut to: Vec<String> = provider
        .received()
        .iter()
        .map(|received| received.form()[0].1.clone())
        .collect();
    to[1..].sort();
    assert_eq!(to, ["+4790000001", "+4790000001", "+4790000002"]);
}

#[tokio::test]
async fn a_full_queue_drops_messages_and_shows_only_in_the_metrics() {
    let provider = Provider::start([], Does::Nothing).await;
    let sms = format!("{}queue = 1", twilio(provider.address));
    let (house, _secrets) = house_with(&sms, None).await;
    let (unknown, _) = walk(&house, "nobody@else.example").await;
    assert_eq!(walk(&house, KARI).await.0, unknown);
    provider.after(1).await;
    for email in [OLA, NILS] {
        let (seen, took) = walk(&house, email).await;
        assert_eq!(seen, unknown);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    assert_eq!(counted(&house, "twilio", "dropped").await, 1);
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("\nportvakt_sms_queue 2\n"), "{metrics}");
}
