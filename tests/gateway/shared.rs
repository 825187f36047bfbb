//! Several gateways on one Redis.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::commands::{closes, open_socket_of};
use crate::house::{House, KARI, NILS, OLA};
use crate::redis::{Redis, beside, browser_of, command, house, two, until};

/// The status of a program's request with a cookie written by hand.
async fn status_of(house: &House, cookie: &str, path: &str) -> StatusCode {
    let stranger = house.browser();
    let request = stranger.get(house.url(path)).header("cookie", cookie);
    request
        .header("accept", "application/json")
        .send()
        .await
        .unwrap()
        .status()
}

async fn log_out(house: &House, cookie: &str) {
    let answer = house
        .browser()
        .post(house.url("/.portvakt/logout"))
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .header("cookie", cookie)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

#[tokio::test]
async fn a_session_of_one_gateway_is_one_of_the_other() {
    let redis = Redis::start().await;
    let first = house(&redis.url()).await;
    let (done, said) = command(&first, &["state", "init"]).await;
    assert!(done, "{said}");
    assert!(said.contains("holds an epoch now"), "{said}");
    let second = beside(&first, &redis.url(), "").await;
    let kari = browser_of(&first, &second);
    first.log_in(&kari, KARI).await;
    for house in [&second, &first] {
        let answer = house.get(&kari, "/projects/1").await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let told: Value = second
        .get(&kari, "/.portvakt/account")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(told["sessions"].as_array().unwrap().len(), 1, "{told}");
}

#[tokio::test]
async fn a_redis_is_prepared_once_and_before_that_nobody_logs_in() {
    let redis = Redis::start().await;
    let first = house(&redis.url()).await;
    let stranger = first.browser();
    let login = serde_json::json!({ "email": OLA });
    let refused = first.post_json(&stranger, "/.portvakt/login", &login).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let ready = first.admin("/readyz").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().await.unwrap().contains("state init"));
    until("a metric tells of the epoch", async || {
        let metrics = first.admin("/metrics").await.text().await.unwrap();
        metrics.contains("portvakt_store_epoch_missing 1")
            && metrics.contains("portvakt_store_up 0")
    })
    .await;

    let (done, said) = command(&first, &["state", "init"]).await;
    assert!(done, "{said}");
    let (done, said) = command(&first, &["state", "init"]).await;
    assert!(!done && said.contains("already"), "{said}");
    // A young Redis is no lost one.
    let (_, said) = command(&first, &["shield", "status"]).await;
    assert!(said.contains("the shield is down"), "{said}");
    until("ready", async || {
        first.admin("/readyz").await.status() == StatusCode::OK
    })
    .await;
    first.logged_in(OLA).await;
    let metrics = first.admin("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("portvakt_store_up 1"), "{metrics}");
    assert!(metrics.contains("portvakt_store_epoch_missing 0"));
}

#[tokio::test]
async fn a_redis_that_begins_to_evict_charges_nothing() {
    let redis = Redis::start().await;
    let first = house(&redis.url()).await;
    assert!(command(&first, &["state", "init"]).await.0);
    redis
        .say(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await;
    until("it is noticed", async || {
        let ready = first.admin("/readyz").await;
        ready.status() == StatusCode::SERVICE_UNAVAILABLE
            && ready.text().await.unwrap().contains("noeviction")
    })
    .await;
    let login = serde_json::json!({ "email": OLA });
    let refused = first
        .post_json(&first.browser(), "/.portvakt/login", &login)
        .await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    redis
        .say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await;
    until("it is well again", async || {
        first.admin("/readyz").await.status() == StatusCode::OK
    })
    .await;
    first.logged_in(OLA).await;
}

#[tokio::test]
async fn what_one_gateway_ends_is_over_at_the_other_with_its_streams() {
    let redis = Redis::start().await;
    let (first, second) = two(&redis.url(), "").await;
    let suspended = ["user", "suspend", KARI];
    let revoked = ["session", "revoke", "--user", KARI];
    for how in [&[][..], &revoked[..], &suspended[..]] {
        let cookie = first.session_cookie(KARI).await;
        let socket = open_socket_of(&second, &cookie, "1").await;
        let path = "/projects/1/download?bytes=1000000000000";
        let download = second.browser().get(second.url(path));
        let download = download.header("cookie", &cookie).send().await.unwrap();
        let mut bytes = download.bytes_stream();
        bytes.next().await.unwrap().unwrap();
        assert_eq!(
            status_of(&second, &cookie, "/projects/1").await,
            StatusCode::OK
        );
        match how {
            [] => log_out(&first, &cookie).await,
            words => {
                let (done, said) = command(&first, words).await;
                assert!(done, "{said}");
            }
        }
        let over = status_of(&second, &cookie, "/projects/1").await;
        assert_eq!(over, StatusCode::UNAUTHORIZED, "{how:?}");
        assert!(closes(socket).await, "{how:?}");
        let broken = tokio::time::timeout(Duration::from_secs(1), async {
            while let Some(Ok(_)) = bytes.next().await {}
        });
        broken.await.expect("the download breaks off");
    }
    // Whom one gateway has suspended gets no code from the other.
    let kari = second.browser();
    let before = second.outbox().await.len();
    second.ask_for_code(&kari, KARI).await;
    second.logged_in(OLA).await;
    assert_eq!(second.outbox().await.len(), before + 1, "only Ola's");
    assert!(command(&second, &["user", "resume", KARI]).await.0);
    first.logged_in(KARI).await;
}

#[tokio::test]
async fn a_request_with_a_session_in_memory_asks_redis_nothing() {
    let redis = Redis::start().await;
    let (first, second) = two(&redis.url(), "").await;
    let kari = browser_of(&first, &second);
    first.log_in(&kari, KARI).await;
    for house in [&first, &second] {
        assert_eq!(
            house.get(&kari, "/projects/1").await.status(),
            StatusCode::OK
        );
    }
    // Housekeeping: the time, the shield, the count of sessions, the heartbeats and the keys.
    let own = ["get", "zcount", "config|get"];
    let asked = [
        "hgetall", "hget", "evalsha", "eval", "publish", "set", "pexpire", "smembers",
    ];
    let house_keeping = async || {
        let before = redis.calls(&asked).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        redis.calls(&asked).await - before
    };
    let idle = house_keeping().await;
    let before = (redis.calls(&asked).await, redis.calls(&own).await);
    let begun = Instant::now();
    for _ in 0..100 {
        for house in [&first, &second] {
            assert_eq!(
                house.get(&kari, "/projects/1").await.status(),
                StatusCode::OK
            );
        }
    }
    tokio::time::sleep(Duration::from_secs(6).saturating_sub(begun.elapsed())).await;
    let busy = redis.calls(&asked).await - before.0;
    let beats = redis.calls(&own).await - before.1;
    println!(
        "in 6 s without a request: {idle} calls; with 200 requests: {busy}, and {beats} heartbeats and the like"
    );
    assert!(busy <= idle + 12, "{busy} calls, {idle} of them anyway");
}

#[tokio::test]
async fn a_session_that_is_used_at_one_gateway_is_idle_at_none() {
    let redis = Redis::start().await;
    let (first, second) = {
        let first = House::open_with(short(&redis.url()), None).await;
        assert!(command(&first, &["state", "init"]).await.0);
        (first, House::open_with(short(&redis.url()), None).await)
    };
    let cookie = first.session_cookie(KARI).await;
    let mut socket = open_socket_of(&second, &cookie, "1").await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        assert_eq!(
            status_of(&first, &cookie, "/projects/1").await,
            StatusCode::OK
        );
        let quiet = tokio::time::timeout(Duration::from_millis(700), socket.next()).await;
        assert!(quiet.is_err(), "it closed after {:?}", begun.elapsed());
    }
    assert_eq!(
        status_of(&second, &cookie, "/projects/1").await,
        StatusCode::OK
    );
    // And where nobody uses it, it ends at both.
    let closed = tokio::time::timeout(Duration::from_secs(25), async {
        while let Some(Ok(_)) = socket.next().await {}
    });
    closed.await.expect("the idle limit holds");
    for house in [&second, &first] {
        let over = status_of(house, &cookie, "/projects/1").await;
        assert_eq!(over, StatusCode::UNAUTHORIZED);
    }
}

/// A session that is idle after a few seconds.
fn short(url: &str) -> impl FnOnce(&mut String) {
    let change = crate::redis::on(url, "");
    move |config: &mut String| {
        change(config);
        config.push_str("\n[session]\nidle = \"15s\"\n");
    }
}

/// How often a gateway had to ask the application for facts.
async fn asked_for_facts(house: &House) -> u64 {
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    let name = "portvakt_facts_lookups_total{result=\"miss\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn facts_that_one_gateways_request_may_change_are_asked_for_at_the_other() {
    let redis = Redis::start().await;
    let (first, second) = two(&redis.url(), "").await;
    let kari = browser_of(&first, &second);
    first.log_in(&kari, KARI).await;
    let read = async || second.get(&kari, "/projects/1").await.status();
    assert_eq!(read().await, StatusCode::OK);
    let before = asked_for_facts(&second).await;
    assert_eq!(read().await, StatusCode::OK);
    assert_eq!(asked_for_facts(&second).await, before, "they are known");
    let url = first.url("/projects/1");
    let written = kari.patch(url).json(&json!({ "name": "Bridge" })).send();
    assert_eq!(written.await.unwrap().status(), StatusCode::OK);
    assert_eq!(read().await, StatusCode::OK);
    let after = asked_for_facts(&second).await;
    assert!(after > before, "they were believed still");
    assert_eq!(read().await, StatusCode::OK);
    assert_eq!(
        asked_for_facts(&second).await,
        after,
        "they are known again"
    );
    // What one learned, the other knows; and forgets when it is deleted.
    let made = kari
        .post(first.url("/projects"))
        .json(&json!({ "name": "Quay" }))
        .send();
    let made: Value = made.await.unwrap().json().await.unwrap();
    let path = format!(
        "/projects/{}",
        made["id"]
            .as_str()
            .map_or_else(|| made["id"].to_string(), str::to_owned)
    );
    assert_eq!(second.get(&kari, &path).await.status(), StatusCode::OK);
    let gone = kari.delete(first.url(&path)).send().await.unwrap();
    assert!(gone.status().is_success(), "{}", gone.status());
    let asked = second.service.received().len();
    assert_eq!(
        second.get(&kari, &path).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        second.service.received().len(),
        asked,
        "its own service was never asked"
    );
}

#[tokio::test]
async fn keys_and_shield_are_everyones() {
    let redis = Redis::start().await;
    let (first, second) = two(&redis.url(), "").await;
    let kids = async |house: &House| {
        let jwks = house.get(&house.browser(), "/.portvakt/jwks.json").await;
        jwks.json::<Value>().await.unwrap()
    };
    assert_eq!(kids(&first).await, kids(&second).await);
    let before = kids(&first).await;
    assert!(command(&first, &["keys", "rotate"]).await.0);
    assert_ne!(kids(&first).await, before);
    let took = until("the other has the keys", async || {
        kids(&first).await == kids(&second).await
    })
    .await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(command(&first, &["shield", "raise"]).await.0);
    let (_, said) = command(&second, &["shield", "status"]).await;
    assert!(said.contains("raised by hand"), "{said}");
}

/// Logs in at one gateway, opens a WebSocket at the other, logs out at the first: how long until a
/// request is refused there, how often the very next one was, and how long until the socket closes.
async fn revoked(
    (first, second): (&House, &House),
    (email, project): (&str, &str),
    rounds: usize,
) -> Vec<(Duration, Duration, bool)> {
    let browser = first.browser();
    let path = format!("/projects/{project}");
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let cookie = session_of(first, &browser, email).await;
        let mut socket = open_socket_of(second, &cookie, project).await;
        assert_eq!(status_of(second, &cookie, &path).await, StatusCode::OK);
        let asking = second.browser();
        let ask = async || {
            let request = asking.get(second.url(&path)).header("cookie", &cookie);
            let request = request.header("accept", "application/json");
            request.send().await.unwrap().status()
        };
        assert_eq!(ask().await, StatusCode::OK);
        let begun = Instant::now();
        let closing = tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() {
                    break;
                }
            }
            begun.elapsed()
        });
        log_out(first, &cookie).await;
        let ended = Instant::now();
        let mut tries = 1;
        while ask().await != StatusCode::UNAUTHORIZED {
            assert!(ended.elapsed() < Duration::from_secs(1), "it goes on");
            tries += 1;
        }
        let closed = tokio::time::timeout(Duration::from_secs(1), closing);
        let closed = closed.await.expect("the socket closes").unwrap();
        taken.push((ended.elapsed(), closed, tries == 1));
    }
    taken
}

/// The cookie of a new login in a browser that may know its device.
async fn session_of(house: &House, browser: &Client, email: &str) -> String {
    let phone = match email {
        KARI => "+4790000001",
        OLA => "+4790000002",
        _ => "+4790000003",
    };
    let sent = async || {
        let messages = house.outbox().await;
        messages.iter().filter(|one| one["to"] == phone).count()
    };
    let before = sent().await;
    house.ask_for_code(browser, email).await;
    until("a new code was sent", async || sent().await > before).await;
    let code = house.latest_code(email).await;
    let answer = house.give_code(browser, &code).await;
    let cookies = answer.headers().get_all("set-cookie").iter();
    let mut cookies = cookies.map(|cookie| cookie.to_str().unwrap());
    let session = cookies.find(|cookie| cookie.starts_with("__Host-portvakt="));
    let session = session.unwrap_or_else(|| panic!("{}", answer.status()));
    session.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn two_hundred_revocations_bind_at_the_other_gateway_at_once() {
    let redis = Redis::start().await;
    let (first, second) = two(&redis.url(), "").await;
    let houses = (&first, &second);
    let (kari, ola, nils) = tokio::join!(
        revoked(houses, (KARI, "1"), 67),
        revoked(houses, (OLA, "2"), 67),
        revoked(houses, (NILS, "3"), 66),
    );
    let taken = [kari, ola, nils].concat();
    let (mut refused, mut closed): (Vec<_>, Vec<_>) = taken
        .iter()
        .map(|(refused, closed, _)| (*refused, *closed))
        .unzip();
    refused.sort();
    closed.sort();
    let next = taken.iter().filter(|(_, _, next)| *next).count();
    let middle = taken.len() / 2;
    println!(
        "{} revocations; the very next request refused: {next}; refused after (median, maximum): \
         {:?}, {:?}; WebSocket closed after: {:?}, {:?}",
        taken.len(),
        refused[middle],
        refused.last().unwrap(),
        closed[middle],
        closed.last().unwrap(),
    );
    assert_eq!(taken.len(), 200);
    // The news is pushed, and on a machine under load may be overtaken by a request; then the
    // heartbeat bounds it, which is what the next lines hold it to.
    assert!(next >= 190, "{next} of 200 next requests were refused");
    assert!(*refused.last().unwrap() < Duration::from_secs(1));
    assert!(*closed.last().unwrap() < Duration::from_secs(1));
}
