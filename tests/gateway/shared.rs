//! Several gateways on one Redis.

use reqwest::StatusCode;
use serde_json::Value;

use crate::house::{KARI, OLA};
use crate::redis::{Redis, beside, browser_of, command, house, until};

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
