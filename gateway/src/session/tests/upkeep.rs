use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::testing::{HOUR, House, MILLISECOND, START};
use super::user;
use crate::store::Whose;

#[tokio::test]
async fn flushing_writes_the_sessions_used_since_the_last_time() {
    let house = House::new();
    let (used, unused) = (house.log_in("kari"), house.log_in("ola"));
    house.clock.advance(HOUR / 2);
    assert!(house.opens(&used).await);
    house.sessions.flush().await.unwrap();
    assert_eq!(house.store.last_seen(&used), START.plus(HOUR / 2));
    assert_eq!(house.store.last_seen(&unused), START);
    assert_eq!(house.store.touched.load(Ordering::SeqCst), 1);
    house.sessions.flush().await.unwrap();
    assert_eq!(
        house.store.touched.load(Ordering::SeqCst),
        1,
        "nothing new to write"
    );
}

#[tokio::test]
async fn what_could_not_be_flushed_is_flushed_the_next_time() {
    let house = House::new();
    let id = house.log_in("kari");
    house.clock.advance(HOUR / 2);
    assert!(house.opens(&id).await);
    house.store.down.store(true, Ordering::SeqCst);
    assert!(house.sessions.flush().await.is_err());
    house.store.down.store(false, Ordering::SeqCst);
    house.sessions.flush().await.unwrap();
    assert_eq!(house.store.last_seen(&id), START.plus(HOUR / 2));
}

#[tokio::test]
async fn many_sessions_are_flushed_whole() {
    let house = House::new();
    let ids: Vec<_> = (0..5_000).map(|_| house.log_in("kari")).collect();
    house.clock.advance(HOUR / 2);
    for id in &ids {
        assert!(house.opens(id).await);
    }
    house.sessions.flush().await.unwrap();
    let seen = START.plus(HOUR / 2);
    assert!(ids.iter().all(|id| house.store.last_seen(id) == seen));
}

#[tokio::test]
async fn a_session_pushed_out_of_memory_keeps_its_last_use() {
    let house = House::caching(1);
    let id = house.log_in("kari");
    house.clock.advance(HOUR / 2);
    assert!(house.opens(&id).await);
    for _ in 0..100 {
        assert!(house.opens(&house.log_in("ola")).await);
    }
    assert!(house.sessions.cache.get(&id.hash()).is_none(), "pushed out");
    house.sessions.flush().await.unwrap();
    assert_eq!(house.store.last_seen(&id), START.plus(HOUR / 2));
    assert!(house.sessions.registry.len() <= house.sessions.cache.len());
    house.clock.advance(HOUR - MILLISECOND);
    assert!(house.opens(&id).await);
}

#[tokio::test]
async fn flushing_lets_go_of_what_is_over() {
    let house = House::new();
    let held = house
        .sessions
        .find(&house.log_in("kari"))
        .await
        .unwrap()
        .unwrap();
    house.clock.advance(HOUR);
    house.sessions.flush().await.unwrap();
    assert_eq!(house.sessions.cache.len(), 0);
    assert_eq!(house.sessions.registry.len(), 0);
    assert!(!held.is_live());
}

#[tokio::test]
async fn the_list_shows_live_sessions_the_one_used_last_first() {
    let house = House::new();
    let [first, second, third] = [(); 3].map(|()| house.log_in("kari"));
    house.log_in("ola");
    house.clock.advance(HOUR / 2);
    assert!(house.opens(&second).await);
    house.clock.advance(MILLISECOND);
    assert!(house.opens(&first).await);
    house.clock.advance(HOUR / 2);
    let listed = house.sessions.list(&user("kari")).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|record| record.last_seen).collect();
    let half = START.plus(HOUR / 2);
    assert_eq!(
        seen,
        [half.plus(MILLISECOND), half],
        "an idle one is not listed"
    );
    assert_eq!(house.sessions.all(&Whose::All).await.unwrap().len(), 2);
    assert!(!house.opens(&third).await);
}

#[tokio::test]
async fn the_metric_follows_the_store() {
    let house = House::new();
    let id = house.log_in("kari");
    house.log_in("nils");
    house.sessions.flush().await.unwrap();
    assert_eq!(house.metrics.sessions_live.get(), 2);
    house
        .sessions
        .revoke(&Whose::Bearer(id.hash()))
        .await
        .unwrap();
    house.clock.advance(Duration::from_secs(5));
    house.sessions.flush().await.unwrap();
    assert_eq!(house.metrics.sessions_live.get(), 1);
}
