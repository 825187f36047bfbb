//! The same on the store that a gateway runs on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::super::Sessions;
use super::super::testing::{HOUR, House, START};
use super::user;
use crate::clock::Clock;
use crate::config;
use crate::metrics::Metrics;
use crate::secret::{BearerHash, BearerId, MasterKey};
use crate::session::assertion::Keyring;
use crate::store::embedded::Embedded;
use crate::store::{
    AccountKey, Attempt, CodeHash, Completion, Lane, NewChallenge, Opening, SharedStore, Whose,
};

/// The house's people and clock, on a file.
fn on_disk(house: &House, store: &SharedStore) -> Arc<Sessions> {
    Sessions::new(
        store.clone(),
        house.directory.clone(),
        house.clock.clone(),
        config::Session {
            idle: HOUR,
            absolute: HOUR * 24,
        },
        Metrics::new().unwrap(),
    )
}

/// A login as the store sees it.
async fn log_in(
    house: &House,
    store: &SharedStore,
    sessions: &Sessions,
    replaces: Option<BearerHash>,
) -> BearerId {
    let principal = house.directory.get("kari");
    let challenge = BearerId::generate().hash();
    let now = house.clock.now();
    let budget = [config::Window {
        limit: 1_000,
        per: HOUR,
    }];
    let new = NewChallenge {
        id: challenge,
        account: AccountKey([7; 32]),
        user: Some(principal.id.clone()),
        lane: Lane::Unknown,
        code: CodeHash([1; 32]),
        expires: now.plus(Duration::from_secs(300)),
        next: "/".to_owned(),
        email: principal.email.to_string(),
        link: None,
    };
    let opened = store.open_challenge(now, new, 3, &budget).await.unwrap();
    assert_eq!(opened, Opening::Opened);
    let charged = store
        .charge_attempt(now, challenge, 3, &budget, config::Fleet::default())
        .await
        .unwrap();
    assert!(matches!(charged, Attempt::Charged(_)));
    let (id, record) = sessions.prepare(&principal, "Firefox on Linux");
    let done = Completion {
        challenge,
        charged_at: now,
        session: id.hash(),
        record,
        replaces,
        device: None,
        devices: 10,
    };
    assert!(store.complete_challenge(now, done).await.unwrap());
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_lives_through_a_restart_and_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portvakt.redb");
    let house = House::new();
    let (old, new) = {
        let store: SharedStore = Arc::new(Embedded::open(&path).unwrap());
        let sessions = on_disk(&house, &store);
        let old = log_in(&house, &store, &sessions, None).await;
        let held = sessions.find(&old).await.unwrap().unwrap();
        let new = log_in(&house, &store, &sessions, Some(old.hash())).await;
        sessions.forget_replaced(old.hash());
        assert!(!held.is_live());
        house.clock.advance(HOUR / 2);
        assert!(sessions.find(&new).await.unwrap().is_some());
        sessions.flush().await.unwrap();
        (old, new)
    };
    let store: SharedStore = Arc::new(Embedded::open(&path).unwrap());
    let sessions = on_disk(&house, &store);
    house.clock.advance(HOUR * 3 / 4);
    assert!(sessions.find(&old).await.unwrap().is_none());
    let held = sessions.find(&new).await.unwrap().unwrap();
    let listed = sessions.list(&user("kari")).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].handle, held.handle());
    assert_eq!(held.created(), START);
    assert_eq!(sessions.revoke(&Whose::All).await.unwrap(), 1);
    assert!(!held.is_live());
    assert!(sessions.find(&new).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_found_in_parallel_outlives_a_revocation_that_has_returned() {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(Embedded::open(&dir.path().join("portvakt.redb")).unwrap());
    let house = House::new();
    let sessions = on_disk(&house, &store);
    for _ in 0..20 {
        let id = log_in(&house, &store, &sessions, None).await;
        let revoked = Arc::new(AtomicBool::new(false));
        let finders: Vec<_> = (0..4)
            .map(|_| {
                let (sessions, id) = (sessions.clone(), id.clone());
                let revoked = revoked.clone();
                tokio::spawn(async move {
                    let mut held = Vec::new();
                    loop {
                        let late = revoked.load(Ordering::SeqCst);
                        let found = sessions.find(&id).await.unwrap();
                        assert!(!late || found.is_none());
                        held.extend(found);
                        if late {
                            return held;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(sessions.revoke(&Whose::Bearer(id.hash())).await.unwrap(), 1);
        revoked.store(true, Ordering::SeqCst);
        for held in join_all(finders).await {
            assert!(held.unwrap().iter().all(|session| !session.is_live()));
        }
    }
}

#[tokio::test]
async fn the_assertions_keys_live_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portvakt.redb");
    let house = House::new();
    let sealing = MasterKey::generate().derive("assertion");
    let mut before = None;
    for _ in 0..3 {
        let store: SharedStore = Arc::new(Embedded::open(&path).unwrap());
        let issuer = "https://localhost:8443".to_owned();
        let keyring = Keyring::open(store, sealing.clone(), house.clock.clone(), issuer)
            .await
            .unwrap();
        if let Some(before) = before {
            assert_eq!(keyring.jwks(), before);
        }
        keyring.rotate().await.unwrap();
        before = Some(keyring.jwks());
    }
}
