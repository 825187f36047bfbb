//! Suspensions by ops.

use std::sync::Arc;

use super::super::testing::{HOUR, House, principal};
use crate::config;
use crate::directory::{Directory as _, SharedDirectory};
use crate::metrics::Metrics;
use crate::principal::UserId;
use crate::session::{Sessions, Suspensions};
use crate::store::SharedStore;
use crate::store::embedded::Embedded;

/// A house whose directory has the overlay.
async fn with_overlay() -> (House, Arc<Suspensions>, Arc<Sessions>, tempfile::TempDir) {
    let house = House::new();
    let dir = tempfile::tempdir().unwrap();
    let overlay = overlay(&house, &dir).await;
    let limits = config::Session {
        idle: HOUR,
        absolute: HOUR * 24,
    };
    let directory = Arc::clone(&overlay) as SharedDirectory;
    let (store, clock) = (house.store.clone(), house.clock.clone());
    let sessions = Sessions::new(store, directory, clock, limits, Metrics::new().unwrap());
    (house, overlay, sessions, dir)
}

async fn overlay(house: &House, dir: &tempfile::TempDir) -> Arc<Suspensions> {
    let store: SharedStore = Arc::new(Embedded::open(&dir.path().join("s.redb")).unwrap());
    let directory = house.directory.clone();
    Suspensions::open(store, directory).await.unwrap()
}

#[tokio::test]
async fn a_suspension_binds_on_the_next_request_and_ends_open_streams() {
    let (house, overlay, sessions, _dir) = with_overlay().await;
    let (kari, ola) = (house.log_in("kari"), house.log_in("ola"));
    let held = sessions.find(&kari).await.unwrap().unwrap();
    assert!(sessions.find(&ola).await.unwrap().is_some());

    assert!(overlay.suspend(&"kari".into()).await.unwrap());
    assert!(!overlay.suspend(&"kari".into()).await.unwrap());
    sessions.recheck().await.unwrap();
    tokio::time::timeout(HOUR, held.ended()).await.unwrap();
    assert!(sessions.find(&kari).await.unwrap().is_none());
    assert!(sessions.find(&ola).await.unwrap().is_some());

    // What was ended stays so when the suspension is taken back.
    assert!(overlay.resume(&"kari".into()).await.unwrap());
    assert!(sessions.find(&kari).await.unwrap().is_none());
    let again = house.log_in("kari");
    assert!(sessions.find(&again).await.unwrap().is_some());
}

#[tokio::test]
async fn a_suspension_survives_a_restart_and_leaves_the_directory_s_own_alone() {
    let (house, first, _, dir) = with_overlay().await;
    let mut siri = principal("siri", "fjord");
    siri.suspended = true;
    house.directory.put(siri);
    first.suspend(&"kari".into()).await.unwrap();
    let before = first.generation();
    first.resume(&"siri".into()).await.unwrap();
    assert_ne!(first.generation(), before);
    drop(first);
    let again = overlay(&house, &dir).await;
    for (user, suspended) in [("kari", true), ("siri", true), ("ola", false)] {
        let id = UserId::from(user);
        let found = again.by_id(&id).await.unwrap().unwrap();
        assert_eq!(found.principal.suspended, suspended, "{user}");
        assert_eq!(again.covers(&id), user == "kari", "{user}");
    }
}
