use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::super::testing::House;
use super::super::{Session, SessionError};
use super::{is_told, user};
use crate::principal::CompanyId;
use crate::store::Whose;

#[tokio::test]
async fn revoking_ends_every_holder_at_once_and_the_next_request() {
    let house = House::new();
    let (one, other) = (house.log_in("kari"), house.log_in("ola"));
    let held = house.sessions.find(&one).await.unwrap().unwrap();
    let stream = tokio::spawn({
        let held = held.clone();
        async move { held.ended().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(
        house
            .sessions
            .revoke(&Whose::Bearer(one.hash()))
            .await
            .unwrap(),
        1
    );
    assert!(!held.is_live());
    timeout(Duration::from_secs(5), stream)
        .await
        .unwrap()
        .unwrap();
    assert!(!house.opens(&one).await);
    assert!(house.opens(&other).await);
    assert_eq!(
        house
            .sessions
            .revoke(&Whose::Bearer(one.hash()))
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn revoking_covers_exactly_those_that_were_named() {
    let handle = |session: &Session| session.handle().to_owned();
    for named in ["handle", "user", "others", "company", "all"] {
        let house = House::new();
        let ids = ["kari", "kari", "ola", "nils"].map(|user| house.log_in(user));
        let mut sessions = Vec::new();
        for id in &ids {
            sessions.push(house.sessions.find(id).await.unwrap().unwrap());
        }
        let (which, live) = match named {
            "handle" => (
                Whose::Handle(user("kari"), handle(&sessions[0])),
                [false, true, true, true],
            ),
            "user" => (Whose::User(user("kari"), None), [false, false, true, true]),
            "others" => (
                Whose::User(user("kari"), Some(handle(&sessions[0]))),
                [true, false, true, true],
            ),
            "company" => (
                Whose::Company(CompanyId::from("fjord")),
                [false, false, false, true],
            ),
            _ => (Whose::All, [false; 4]),
        };
        let ended = house.sessions.revoke(&which).await.unwrap();
        assert_eq!(ended, live.iter().filter(|live| !**live).count(), "{named}");
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(sessions[n].is_live(), live[n], "{named} {n}");
            assert_eq!(house.opens(id).await, live[n], "{named} {n}");
        }
    }
}

#[tokio::test]
async fn a_handle_ends_nothing_of_another_user() {
    let house = House::new();
    let id = house.log_in("kari");
    let session = house.sessions.find(&id).await.unwrap().unwrap();
    let which = Whose::Handle(user("ola"), session.handle().to_owned());
    assert_eq!(house.sessions.revoke(&which).await.unwrap(), 0);
    assert!(house.opens(&id).await);
}

#[tokio::test]
async fn a_find_that_read_the_store_before_a_revocation_does_not_bring_the_session_back() {
    let house = House::new();
    let id = house.log_in("kari");
    let gate = house.store.close_gate();
    let (sessions, cookie) = (house.sessions.clone(), id.clone());
    let find = tokio::spawn(async move { sessions.find(&cookie).await });
    gate.reached().await;
    assert_eq!(house.sessions.revoke(&Whose::All).await.unwrap(), 1);
    gate.open();
    assert!(find.await.unwrap().unwrap().is_none());
    assert!(!house.opens(&id).await);
    assert_eq!(house.sessions.cache.len(), 0);
    assert_eq!(house.sessions.registry.len(), 0);
}

#[tokio::test]
async fn a_find_that_is_asking_the_directory_during_a_revocation_does_not_bring_the_session_back() {
    let house = House::new();
    let id = house.log_in("kari");
    let gate = house.directory.close_gate();
    let (sessions, cookie) = (house.sessions.clone(), id.clone());
    let find = tokio::spawn(async move { sessions.find(&cookie).await });
    gate.reached().await;
    assert_eq!(house.sessions.revoke(&Whose::All).await.unwrap(), 1);
    gate.open();
    assert!(find.await.unwrap().unwrap().is_none());
    assert_eq!(house.sessions.cache.len(), 0);
    assert_eq!(house.sessions.registry.len(), 0);
}

#[tokio::test]
async fn a_find_that_read_the_store_before_a_replacement_does_not_bring_the_session_back() {
    let house = House::new();
    let id = house.log_in("kari");
    let gate = house.store.close_gate();
    let (sessions, cookie) = (house.sessions.clone(), id.clone());
    let find = tokio::spawn(async move { sessions.find(&cookie).await });
    gate.reached().await;
    house.store.sessions.lock().unwrap().clear();
    house.sessions.forget_replaced(id.hash());
    gate.open();
    assert!(find.await.unwrap().unwrap().is_none());
    assert!(!house.opens(&id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_found_in_parallel_outlives_a_revocation_that_has_returned() {
    for _ in 0..200 {
        let house = House::new();
        let id = house.log_in("kari");
        let revoked = Arc::new(AtomicBool::new(false));
        let finders: Vec<_> = (0..4)
            .map(|_| {
                let (sessions, id) = (house.sessions.clone(), id.clone());
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
        assert_eq!(house.sessions.revoke(&Whose::All).await.unwrap(), 1);
        revoked.store(true, Ordering::SeqCst);
        for held in join_all(finders).await {
            assert!(held.unwrap().iter().all(|session| !session.is_live()));
        }
    }
}

#[tokio::test]
async fn a_revocation_goes_through_although_its_caller_left() {
    let house = House::new();
    let id = house.log_in("kari");
    let held = house.sessions.find(&id).await.unwrap().unwrap();
    let which = Whose::Bearer(id.hash());
    let mut call = Box::pin(house.sessions.revoke(&which));
    assert!((&mut call).now_or_never().is_none());
    drop(call);
    assert!(is_told(&held).await);
    assert!(!house.store.holds(&id));
}

#[tokio::test]
async fn a_revocation_of_uncertain_end_leaves_nothing_in_memory_to_be_believed() {
    let house = House::new();
    let (id, other) = (house.log_in("kari"), house.log_in("nils"));
    let held = house.sessions.find(&id).await.unwrap().unwrap();
    let others = house.sessions.find(&other).await.unwrap().unwrap();
    let company = Whose::Company(CompanyId::from("fjord"));

    house.store.revokes_and_fails.store(true, Ordering::SeqCst);
    assert!(house.sessions.revoke(&company).await.is_err());
    assert!(!held.is_live());
    assert!(!house.opens(&id).await);
    assert!(others.is_live());
}

#[tokio::test]
async fn a_revocation_of_uncertain_end_ends_nothing_for_good_that_it_did_not_cover() {
    let house = House::new();
    let id = house.log_in("nils");
    let gate = house.store.close_gate();
    let (sessions, cookie) = (house.sessions.clone(), id.clone());
    let find = tokio::spawn(async move { sessions.find(&cookie).await });
    gate.reached().await;
    house.store.revokes_and_fails.store(true, Ordering::SeqCst);
    let company = Whose::Company(CompanyId::from("fjord"));
    assert!(house.sessions.revoke(&company).await.is_err());
    gate.open();
    // Nobody could tell whose it was while it was being looked up.
    assert!(find.await.unwrap().unwrap().is_none());
    assert!(house.opens(&id).await);
}

#[tokio::test]
async fn a_revocation_that_failed_is_no_revocation() {
    let house = House::new();
    let id = house.log_in("kari");
    assert!(house.opens(&id).await);
    house.store.down.store(true, Ordering::SeqCst);
    let refused = house.sessions.revoke(&Whose::All).await;
    assert!(matches!(refused, Err(SessionError::Store(_))));
    house.store.down.store(false, Ordering::SeqCst);
    assert!(
        house.opens(&id).await,
        "the store still holds it, and is the truth"
    );
}

#[tokio::test]
async fn what_an_open_stream_alone_holds_is_revoked_too() {
    let house = House::caching(1);
    let id = house.log_in("kari");
    let stream = house.sessions.find(&id).await.unwrap().unwrap();
    for _ in 0..100 {
        assert!(house.opens(&house.log_in("ola")).await);
    }
    assert!(house.sessions.cache.get(&id.hash()).is_none(), "pushed out");
    house.sessions.flush().await.unwrap();
    house
        .sessions
        .revoke(&Whose::User(user("kari"), None))
        .await
        .unwrap();
    assert!(!stream.is_live());
}
