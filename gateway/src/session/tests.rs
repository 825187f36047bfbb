mod embedded;
mod revocation;
mod suspension;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::testing::{HOUR, House, MILLISECOND, START, principal};
use super::{Session, SessionError};
use crate::clock::Clock;
use crate::principal::UserId;
use crate::secret::BearerId;
use crate::store::{SessionRecord, Whose};

fn user(id: &str) -> UserId {
    UserId::from(id)
}

/// Whether the session's holders are told that it is over.
async fn is_told(session: &Session) -> bool {
    timeout(Duration::from_millis(20), session.ended())
        .await
        .is_ok()
}

#[tokio::test]
async fn a_session_is_found_and_then_served_from_memory() {
    let house = House::new();
    let id = house.log_in("kari");
    let session = house.sessions.find(&id).await.unwrap().unwrap();
    assert_eq!(session.principal().id, user("kari"));
    assert_eq!(session.created(), START);
    assert_eq!(session.expires(), START.plus(HOUR * 24));
    assert_eq!(session.idle_expires(), START.plus(HOUR));
    for _ in 0..10 {
        let again = house.sessions.find(&id).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&again, &session));
    }
    assert_eq!(house.store.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unknown_cookie_costs_one_read_and_leaves_no_trace() {
    let house = House::new();
    for read in 1..=3 {
        assert!(!house.opens(&BearerId::generate()).await);
        assert_eq!(house.store.reads.load(Ordering::SeqCst), read);
        assert_eq!(house.sessions.registry.len(), 0);
        assert_eq!(house.sessions.cache.len(), 0);
    }
}

#[tokio::test]
async fn what_was_not_there_is_found_once_it_is() {
    let house = House::new();
    let (id, record) = house.sessions.prepare(&principal("kari", "fjord"), "curl");
    assert!(!house.opens(&id).await);
    house
        .store
        .sessions
        .lock()
        .unwrap()
        .insert(id.hash(), record);
    assert!(house.opens(&id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_parallel_finds_read_the_store_once_and_agree() {
    let house = House::new();
    let id = house.log_in("kari");
    let gate = house.store.close_gate();
    let finds: Vec<_> = (0..100)
        .map(|_| {
            let (sessions, id) = (house.sessions.clone(), id.clone());
            tokio::spawn(async move { sessions.find(&id).await.unwrap().unwrap() })
        })
        .collect();
    gate.reached().await;
    gate.open();
    let found: Vec<_> = join_all(finds)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(found.iter().all(|session| Arc::ptr_eq(session, &found[0])));
    assert_eq!(house.store.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_look_up_that_is_given_up_leaves_no_trace_and_blocks_nobody() {
    let house = House::new();
    let id = house.log_in("kari");
    let gate = house.store.close_gate();
    let (sessions, given_up) = (house.sessions.clone(), id.clone());
    let task = tokio::spawn(async move { sessions.find(&given_up).await });
    gate.reached().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(house.sessions.registry.len(), 0);
    gate.open();
    assert!(house.opens(&id).await);
}

#[tokio::test]
async fn the_idle_limit_ends_a_session_to_the_millisecond() {
    let house = House::new();
    let id = house.log_in("kari");
    assert!(house.opens(&id).await);
    for _ in 0..3 {
        house.clock.advance(HOUR - MILLISECOND);
        assert!(house.opens(&id).await, "each use starts the hour anew");
    }
    let held = house.sessions.find(&id).await.unwrap().unwrap();
    house.clock.advance(HOUR);
    assert!(!held.is_live());
    assert!(!house.opens(&id).await);
    assert!(!house.store.holds(&id), "an idle session is ended for good");
    assert!(is_told(&held).await);
}

#[tokio::test]
async fn the_idle_limit_holds_for_what_the_store_alone_knows() {
    for (idle, live) in [(HOUR - MILLISECOND, true), (HOUR, false)] {
        let house = House::new();
        let id = house.log_in("kari");
        house.clock.advance(idle);
        assert_eq!(house.opens(&id).await, live);
    }
}

#[tokio::test]
async fn the_absolute_limit_ends_a_busy_session_to_the_millisecond() {
    let house = House::new();
    let id = house.log_in("kari");
    for _ in 0..47 {
        house.clock.advance(HOUR / 2);
        assert!(house.opens(&id).await);
    }
    house.clock.advance(HOUR / 2 - MILLISECOND);
    let held = house.sessions.find(&id).await.unwrap().unwrap();
    assert!(!is_told(&held).await);
    house.clock.advance(MILLISECOND);
    assert!(!held.is_live());
    assert!(!house.opens(&id).await);
    assert!(is_told(&held).await);
}

#[tokio::test]
async fn a_session_that_runs_out_while_it_is_looked_up_is_not_found() {
    let house = House::new();
    let id = house.log_in("kari");
    house.clock.advance(HOUR * 24 - MILLISECOND);
    let now = house.clock.now();
    house
        .store
        .sessions
        .lock()
        .unwrap()
        .get_mut(&id.hash())
        .unwrap()
        .last_seen = now;
    let gate = house.directory.close_gate();
    let (sessions, cookie) = (house.sessions.clone(), id.clone());
    let find = tokio::spawn(async move { sessions.find(&cookie).await });
    gate.reached().await;
    house.clock.advance(MILLISECOND);
    gate.open();
    assert!(find.await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn an_absolute_limit_made_shorter_holds_for_sessions_begun_before() {
    let house = House::new();
    let id = house.log_in("kari");
    let edit = |change: fn(&mut SessionRecord)| {
        change(
            house
                .store
                .sessions
                .lock()
                .unwrap()
                .get_mut(&id.hash())
                .unwrap(),
        );
    };
    edit(|record| record.expires = record.created.plus(HOUR * 48));
    let session = house.sessions.find(&id).await.unwrap().unwrap();
    assert_eq!(session.expires(), START.plus(HOUR * 24));
    house.clock.advance(HOUR * 24);
    edit(|record| record.last_seen = record.created.plus(HOUR * 24));
    assert!(house.sessions.list(&user("kari")).await.unwrap().is_empty());
    assert!(!house.opens(&id).await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_learns_of_its_limit_without_any_request() {
    let house = House::new();
    let session = house
        .sessions
        .find(&house.log_in("kari"))
        .await
        .unwrap()
        .unwrap();
    let stream = tokio::spawn(async move { session.ended().await });
    tokio::time::sleep(HOUR - MILLISECOND).await;
    house.clock.advance(HOUR - MILLISECOND);
    tokio::time::sleep(Duration::ZERO).await;
    assert!(!stream.is_finished());
    house.clock.advance(MILLISECOND);
    tokio::time::sleep(MILLISECOND * 2).await;
    assert!(stream.is_finished());
}

#[tokio::test]
async fn a_streams_traffic_counts_as_use_while_it_is_live() {
    let house = House::new();
    let id = house.log_in("kari");
    let session = house.sessions.find(&id).await.unwrap().unwrap();
    house.clock.advance(HOUR - MILLISECOND);
    session.touch();
    house.clock.advance(HOUR - MILLISECOND);
    assert!(session.is_live());
    house.clock.advance(MILLISECOND);
    session.touch();
    assert!(!session.is_live(), "nothing revives what is over");
}

#[tokio::test]
async fn a_user_who_is_gone_suspended_or_moved_has_no_session_at_the_next_request() {
    for what in ["gone", "suspended", "moved"] {
        let house = House::new();
        let (id, other) = (house.log_in("kari"), house.log_in("ola"));
        let held = house.sessions.find(&id).await.unwrap().unwrap();
        let before = house.directory.get("kari");
        match what {
            "gone" => house.directory.remove("kari"),
            "suspended" => house.directory.change("kari", |kari| kari.suspended = true),
            _ => house.directory.put(principal("kari", "tinde")),
        }
        assert!(!house.opens(&id).await, "{what}");
        assert!(!held.is_live(), "{what}");
        assert!(house.opens(&other).await, "{what}");
        house.directory.put((*before).clone());
        assert!(
            !house.opens(&id).await,
            "{what}: an ended session stays ended"
        );
    }
}

#[tokio::test]
async fn open_streams_of_a_suspended_user_end_without_a_request() {
    let house = House::new();
    let stream = house
        .sessions
        .find(&house.log_in("kari"))
        .await
        .unwrap()
        .unwrap();
    let other = house
        .sessions
        .find(&house.log_in("ola"))
        .await
        .unwrap()
        .unwrap();
    house.sessions.recheck().await.unwrap();
    assert!(stream.is_live());
    house.directory.change("kari", |kari| kari.suspended = true);
    house.sessions.recheck().await.unwrap();
    assert!(is_told(&stream).await);
    assert!(other.is_live());
}

#[tokio::test]
async fn a_changed_user_gets_a_fresh_principal_in_the_same_session() {
    let house = House::new();
    let id = house.log_in("kari");
    let before = house.sessions.find(&id).await.unwrap().unwrap();
    house
        .directory
        .change("kari", |kari| kari.name = "Kari Fjell".into());
    let after = house.sessions.find(&id).await.unwrap().unwrap();
    assert_eq!(&*before.principal().name, "KARI");
    assert_eq!(&*after.principal().name, "Kari Fjell");
    assert_eq!(before.handle(), after.handle());
    assert!(before.is_live());
    assert_eq!(house.store.reads.load(Ordering::SeqCst), 1);
    house
        .sessions
        .revoke(&Whose::Bearer(id.hash()))
        .await
        .unwrap();
    assert!(!before.is_live() && !after.is_live());
}

#[tokio::test]
async fn a_change_of_someone_else_keeps_the_session_as_it_is() {
    let house = House::new();
    let id = house.log_in("kari");
    let before = house.sessions.find(&id).await.unwrap().unwrap();
    house.directory.change("ola", |ola| ola.name = "Ola".into());
    let after = house.sessions.find(&id).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&before, &after));
}

#[tokio::test]
async fn when_nobody_answers_nobody_is_let_in() {
    let house = House::new();
    let (known, unknown) = (house.log_in("kari"), house.log_in("ola"));
    assert!(house.opens(&known).await);

    house.store.down.store(true, Ordering::SeqCst);
    let found = house.sessions.find(&unknown).await;
    assert!(matches!(found, Err(SessionError::Store(_))));
    house.store.down.store(false, Ordering::SeqCst);

    house
        .directory
        .change("nils", |nils| nils.name = "Nils".into());
    house.directory.down.store(true, Ordering::SeqCst);
    for id in [&known, &unknown] {
        let found = house.sessions.find(id).await;
        assert!(matches!(found, Err(SessionError::Directory(_))));
    }
    house.directory.down.store(false, Ordering::SeqCst);
    assert!(house.opens(&known).await && house.opens(&unknown).await);
}

#[tokio::test]
async fn no_two_sessions_share_an_identifier_or_a_handle() {
    let house = House::new();
    let kari = principal("kari", "fjord");
    let (one, first) = house.sessions.prepare(&kari, "Firefox");
    let (other, second) = house.sessions.prepare(&kari, "Firefox");
    assert_ne!(one.hash(), other.hash());
    assert_ne!(first.handle, second.handle);
    assert_eq!(first.handle.len(), 32);
}

#[tokio::test]
async fn nothing_secret_shows_in_debug() {
    let house = House::new();
    let id = house.log_in("kari");
    let session = house.sessions.find(&id).await.unwrap().unwrap();
    let shown = format!("{session:?} {:?}", house.sessions);
    assert!(shown.contains(session.handle()));
    for hidden in [
        id.to_cookie_value(),
        format!("{:?}", id.hash()),
        "fjord.example".to_owned(),
    ] {
        assert!(!shown.contains(&hidden), "{shown}");
    }
}
