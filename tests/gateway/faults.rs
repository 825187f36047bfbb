//! What becomes of requests when the shared store fails: nothing is let through that it would have
//! refused, and nobody has to help it up again, but for a Redis that was emptied.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::commands::open_socket_of;
use crate::faulty::{Fault, Wire};
use crate::house::{House, KARI, OLA};
use crate::redis::{Redis, browser_of, command, on, say, two, until};
use crate::sentinel::Watched;

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

async fn read(house: &House, browser: &Client) -> StatusCode {
    house.get(browser, "/projects/1").await.status()
}

async fn write(house: &House, browser: &Client) -> StatusCode {
    let url = house.url("/projects/1");
    let sent = browser.patch(url).json(&json!({ "name": "x" })).send();
    sent.await.unwrap().status()
}

async fn asks_for_code(house: &House) -> StatusCode {
    let login = json!({ "email": OLA });
    let stranger = house.browser();
    let answer = house.post_json(&stranger, "/.portvakt/login", &login);
    answer.await.status()
}

async fn is_ready(house: &House) -> bool {
    house.admin("/readyz").await.status() == StatusCode::OK
}

/// A house on a Redis behind a wire.
async fn wired(redis: &Redis, more: &str) -> (House, Wire) {
    let wire = Wire::to(redis.port).await;
    let house = House::open_with(on(&wire.url(), more), None).await;
    assert!(command(&house, &["state", "init"]).await.0);
    (house, wire)
}

async fn logged_in(house: &House) -> (Client, String) {
    let browser = house.logged_in(KARI).await;
    (browser, house.session_cookie(KARI).await)
}

/// Everything is refused while it lasts, streams end, and all is well again by itself.
async fn goes_and_comes_back(fault: Fault) {
    let redis = Redis::start().await;
    let (house, wire) = wired(&redis, "").await;
    let (kari, cookie) = logged_in(&house).await;
    let mut socket = open_socket_of(&house, &cookie, "1").await;
    assert_eq!(read(&house, &kari).await, StatusCode::OK);
    assert_eq!(write(&house, &kari).await, StatusCode::OK);

    wire.now(fault);
    let begun = Instant::now();
    let closing = tokio::spawn(async move {
        while let Some(Ok(_)) = socket.next().await {}
        begun.elapsed()
    });
    // What changes something is refused as soon as one heartbeat is late, what reads within a second.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(write(&house, &kari).await, UNAVAILABLE);
    assert_eq!(asks_for_code(&house).await, UNAVAILABLE);
    tokio::time::sleep(Duration::from_millis(1_050).saturating_sub(begun.elapsed())).await;
    let refused = house.get(&kari, "/projects/1").await;
    assert_eq!(refused.status(), UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let closed = tokio::time::timeout(Duration::from_secs(2), closing);
    let closed = closed.await.expect("no stream stays open").unwrap();
    assert!(!is_ready(&house).await);
    until("the metric tells", async || {
        let metrics = house.admin("/metrics").await.text().await.unwrap();
        metrics.contains("portvakt_store_up 0")
    })
    .await;

    // A session that is ended meanwhile does not come back.
    let session = redis.say(&["KEYS", "portvakt:session:*"]).await;
    assert!(session.contains("session:"), "{session}");
    wire.now(Fault::Nothing);
    let back = until("it is well again", async || {
        read(&house, &kari).await == StatusCode::OK
            && write(&house, &kari).await == StatusCode::OK
            && is_ready(&house).await
    })
    .await;
    house.logged_in(OLA).await;
    println!("{fault:?}: the WebSocket closed after {closed:?}; well again after {back:?}");
}

#[tokio::test]
async fn a_redis_that_is_cut_off_refuses_and_comes_back() {
    goes_and_comes_back(Fault::Cut).await;
}

#[tokio::test]
async fn a_redis_that_resets_refuses_and_comes_back() {
    goes_and_comes_back(Fault::Reset).await;
}

#[tokio::test]
async fn a_redis_that_is_half_open_refuses_and_comes_back() {
    goes_and_comes_back(Fault::HalfOpen).await;
}

#[tokio::test]
async fn a_redis_that_is_slow_refuses_logins_and_writes() {
    let redis = Redis::start().await;
    let (house, wire) = wired(&redis, "").await;
    let (kari, _) = logged_in(&house).await;
    assert_eq!(read(&house, &kari).await, StatusCode::OK);
    wire.now(Fault::Slow(Duration::from_millis(120)));
    tokio::time::sleep(Duration::from_millis(600)).await;
    for _ in 0..3 {
        assert_eq!(write(&house, &kari).await, UNAVAILABLE);
        assert_eq!(asks_for_code(&house).await, UNAVAILABLE);
        // It is told in time of what others end: what is in memory serves reads.
        assert_eq!(read(&house, &kari).await, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(!is_ready(&house).await);
    wire.now(Fault::Slow(Duration::from_millis(1_500)));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(read(&house, &kari).await, UNAVAILABLE);
    wire.now(Fault::Nothing);
    until("it is well again", async || {
        read(&house, &kari).await == StatusCode::OK && write(&house, &kari).await == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn what_is_ended_while_a_gateway_hears_nothing_is_over_there() {
    let redis = Redis::start().await;
    let (first, wire) = wired(&redis, "").await;
    let second = crate::redis::beside(&first, &redis.url(), "").await;
    let kari = browser_of(&first, &second);
    first.log_in(&kari, KARI).await;
    for house in [&first, &second] {
        assert_eq!(read(house, &kari).await, StatusCode::OK);
    }
    wire.now(Fault::HalfOpen);
    assert!(command(&second, &["user", "suspend", KARI]).await.0);
    assert_eq!(read(&second, &kari).await, StatusCode::UNAUTHORIZED);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(read(&first, &kari).await, UNAVAILABLE, "nobody can tell");
    wire.now(Fault::Nothing);
    until("it can be told", async || {
        read(&first, &kari).await != UNAVAILABLE
    })
    .await;
    assert_eq!(read(&first, &kari).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn grace_is_for_what_only_reads_and_has_an_end() {
    let redis = Redis::start().await;
    let (house, wire) = wired(&redis, "grace = \"4s\"").await;
    let (kari, cookie) = logged_in(&house).await;
    assert_eq!(read(&house, &kari).await, StatusCode::OK);
    wire.now(Fault::Cut);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(
            read(&house, &kari).await,
            StatusCode::OK,
            "{:?}",
            begun.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        if begun.elapsed() > Duration::from_millis(400) {
            assert_eq!(write(&house, &kari).await, UNAVAILABLE);
        }
    }
    let upgrade = format!(
        "GET /projects/1/live HTTP/1.1\r\nHost: localhost:{}\r\nCookie: {cookie}\r\n\
         Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        house.port
    );
    assert_eq!(
        crate::house::status(&house.raw(upgrade.as_bytes()).await),
        503
    );
    // Someone who is not in memory is nobody.
    let stranger = house.browser();
    let unknown = stranger
        .get(house.url("/projects/1"))
        .header("accept", "application/json");
    let unknown = unknown.header("cookie", format!("__Host-portvakt={}", "A".repeat(43)));
    assert_ne!(unknown.send().await.unwrap().status(), StatusCode::OK);
    tokio::time::sleep(Duration::from_millis(4_500).saturating_sub(begun.elapsed())).await;
    assert_eq!(read(&house, &kari).await, UNAVAILABLE);
}

#[tokio::test]
async fn a_redis_that_was_flushed_knows_nobody_until_it_is_prepared_again() {
    let redis = Redis::start().await;
    let (first, second) = two(&redis.url(), "").await;
    let kari = browser_of(&first, &second);
    first.log_in(&kari, KARI).await;
    let cookie = first.session_cookie(KARI).await;
    let mut socket = open_socket_of(&second, &cookie, "1").await;
    assert_eq!(read(&second, &kari).await, StatusCode::OK);
    let waiting = first.browser();
    first.ask_for_code(&waiting, OLA).await;
    let code = first.latest_code(OLA).await;

    redis.say(&["FLUSHALL"]).await;
    let closed = tokio::time::timeout(Duration::from_secs(1), async {
        while let Some(Ok(_)) = socket.next().await {}
    });
    closed.await.expect("streams end");
    for house in [&first, &second] {
        assert_eq!(read(house, &kari).await, StatusCode::UNAUTHORIZED);
        assert_eq!(asks_for_code(house).await, UNAVAILABLE);
        let ready = house.admin("/readyz").await.text().await.unwrap();
        assert!(ready.contains("state init"), "{ready}");
    }
    assert_eq!(first.give_code(&waiting, &code).await.status(), UNAVAILABLE);
    until("the metric tells", async || {
        let metrics = second.admin("/metrics").await.text().await.unwrap();
        metrics.contains("portvakt_store_epoch_missing 1")
    })
    .await;

    let (done, said) = command(&first, &["state", "init"]).await;
    assert!(done && said.contains("shield is raised"), "{said}");
    for house in [&first, &second] {
        until("ready", async || is_ready(house).await).await;
        let (_, said) = command(house, &["shield", "status"]).await;
        assert!(said.contains("raised by hand"), "{said}");
        assert_eq!(read(house, &kari).await, StatusCode::UNAUTHORIZED);
    }
    // A challenge from before is void.
    let late = first.give_code(&waiting, &code).await;
    assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
    assert!(command(&second, &["shield", "lower"]).await.0);
    first.log_in(&kari, KARI).await;
    assert_eq!(read(&second, &kari).await, StatusCode::OK);
    let trail = std::fs::read_to_string(first.dir.path().join("state/audit/audit.jsonl")).unwrap();
    assert!(trail.contains("store.no_epoch") && trail.contains("store.well"));
}

#[tokio::test]
async fn a_redis_without_memory_charges_nothing_and_still_revokes() {
    let redis = Redis::start().await;
    let (first, second) = two(&redis.url(), "").await;
    let kari = browser_of(&first, &second);
    first.log_in(&kari, KARI).await;
    assert_eq!(read(&second, &kari).await, StatusCode::OK);
    redis.say(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for house in [&first, &second] {
        assert_eq!(asks_for_code(house).await, UNAVAILABLE);
        assert_eq!(read(house, &kari).await, StatusCode::OK);
        assert!(!is_ready(house).await);
    }
    let out = first
        .post_json(&kari, "/.portvakt/logout", &json!({}))
        .await;
    assert!(out.status().is_success(), "{}", out.status());
    redis.say(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until("ready", async || is_ready(&first).await).await;
    first.logged_in(OLA).await;
}

#[tokio::test]
async fn after_a_fail_over_sessions_live_on_and_challenges_are_void() {
    let mut watched = Watched::start().await;
    let (first, second) = two(&watched.url(), "sentinel = \"portvakt\"").await;
    let kari = browser_of(&first, &second);
    first.log_in(&kari, KARI).await;
    assert_eq!(read(&second, &kari).await, StatusCode::OK);
    let waiting = first.browser();
    first.ask_for_code(&waiting, OLA).await;
    let code = first.latest_code(OLA).await;
    let wrong = if code == "0000" { "1111" } else { "0000" };
    assert_eq!(
        first.give_code(&waiting, wrong).await.status(),
        StatusCode::UNAUTHORIZED
    );
    watched.replicated().await;

    watched.master.kill();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(read(&second, &kari).await, UNAVAILABLE);
    let back = until("the replica has taken over", async || {
        read(&first, &kari).await == StatusCode::OK && read(&second, &kari).await == StatusCode::OK
    })
    .await;
    println!("well again {back:?} after the second without a master");
    until("both listen to it", async || {
        is_ready(&first).await && is_ready(&second).await
    })
    .await;
    // Nobody knows whether the new master has counted every guess.
    let late = first.give_code(&waiting, &code).await;
    assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
    // The account's failed guess was not forgotten.
    let account = say(watched.replica.port, &["KEYS", "*lane:*"]).await;
    assert!(account.contains("lane:"), "{account}");
    let cookie = first.session_cookie(KARI).await;
    let socket = open_socket_of(&second, &cookie, "1").await;
    assert!(command(&first, &["session", "revoke", "--all"]).await.0);
    assert!(crate::commands::closes(socket).await);
    assert_eq!(read(&second, &kari).await, StatusCode::UNAUTHORIZED);
}
