//! Sessions, devices, sealed values, learned facts, and time.

use super::*;
use crate::store::{LearnedFacts, Whose};

/// Logs a session in by a challenge of its own; `number` names both.
async fn log_in(store: &SharedStore, number: u8, record: SessionRecord) {
    let new = NewChallenge {
        account: account(number),
        user: Some(record.user.clone()),
        ..asked(number, at(0))
    };
    open(store, at(0), new).await;
    let done = Completion {
        record,
        ..completion(id(number), at(0), number)
    };
    assert!(store.complete_challenge(at(0), done).await.unwrap());
}

pub(in crate::store) async fn a_session_ends_at_its_limit(rig: &mut impl Rig) {
    let store = rig.store();
    log_in(&store, 1, session("s-1", "u-kari", "fjord")).await;
    let limit = at(0).plus(DAY);
    let just_before = limit.minus(Duration::from_millis(1));
    let kept = store.session(just_before, id(1)).await.unwrap();
    assert_eq!(kept, Some(session("s-1", "u-kari", "fjord")));
    assert_eq!(store.session(limit, id(1)).await.unwrap(), None);
    for which in [Whose::All, Whose::User("u-kari".into(), None)] {
        assert_eq!(store.sessions(limit, &which).await.unwrap(), []);
    }
    store.mark_time(limit).await.unwrap();
    assert_eq!(store.session(at(0), id(1)).await.unwrap(), None, "swept");
}

pub(in crate::store) async fn using_a_session_is_recorded_and_revives_nothing(rig: &mut impl Rig) {
    let store = rig.store();
    log_in(&store, 1, session("s-1", "u-kari", "fjord")).await;
    let seen = [(id(1), at(60)), (id(9), at(60))];
    store.touch_sessions(&seen).await.unwrap();
    store.touch_sessions(&[(id(1), at(30))]).await.unwrap();
    let kept = store.session(at(61), id(1)).await.unwrap().unwrap();
    assert_eq!(kept.last_seen, at(60), "an earlier use does not go back");
    assert_eq!(store.session(at(61), id(9)).await.unwrap(), None);

    store.revoke(&Whose::Bearer(id(1))).await.unwrap();
    store.touch_sessions(&[(id(1), at(90))]).await.unwrap();
    assert_eq!(store.session(at(91), id(1)).await.unwrap(), None);
}

pub(in crate::store) async fn revoking_covers_whom_it_names(rig: &mut impl Rig) {
    let everyone = [
        (1, "s-1", "u-kari", "fjord"),
        (2, "s-2", "u-kari", "fjord"),
        (3, "s-3", "u-ola", "fjord"),
        (4, "s-4", "u-nils", "tinde"),
        // Names that merely begin alike, and a handle that is another user's too.
        (5, "s-5", "u-kari2", "fjord2"),
        (6, "s-1", "u-ola", "fjord"),
    ];
    let covered: [(Whose, &[u8]); 8] = [
        (Whose::Bearer(id(3)), &[3]),
        (Whose::Bearer(id(99)), &[]),
        (Whose::Handle("u-kari".into(), "s-1".to_owned()), &[1]),
        (Whose::Handle("u-nils".into(), "s-1".to_owned()), &[]),
        (Whose::User("u-kari".into(), None), &[1, 2]),
        (Whose::User("u-kari".into(), Some("s-2".to_owned())), &[1]),
        (Whose::Company("fjord".into()), &[1, 2, 3, 6]),
        (Whose::All, &[1, 2, 3, 4, 5, 6]),
    ];
    let store = rig.store();
    for (which, expected) in covered {
        store.revoke(&Whose::All).await.unwrap();
        for (number, handle, user, company) in everyone {
            log_in(&store, number, session(handle, user, company)).await;
        }
        let listed = store.sessions(at(1), &which).await.unwrap();
        let mut listed: Vec<_> = listed.into_iter().map(|(id, _)| id).collect();
        let mut ended = store.revoke(&which).await.unwrap();
        listed.sort();
        ended.sort();
        let expected: Vec<_> = expected.iter().copied().map(id).collect();
        assert_eq!((&listed, &ended), (&expected, &expected), "{which:?}");
        for (number, ..) in everyone {
            let left = store.session(at(1), id(number)).await.unwrap();
            assert_eq!(left.is_none(), expected.contains(&id(number)), "{which:?}");
        }
        let left = store.sessions(at(1), &Whose::All).await.unwrap();
        assert_eq!(left.len(), everyone.len() - expected.len(), "{which:?}");
        store.unlock(account(1)).await.unwrap();
    }
}

pub(in crate::store) async fn a_login_ends_the_session_that_the_browser_had(rig: &mut impl Rig) {
    let store = rig.store();
    log_in(&store, 1, session("s-1", "u-ola", "fjord")).await;
    open(&store, at(0), asked(2, at(0))).await;
    let login = Completion {
        replaces: Some(id(1)),
        ..completion(id(2), at(0), 2)
    };
    assert!(store.complete_challenge(at(1), login).await.unwrap());
    assert_eq!(store.session(at(1), id(1)).await.unwrap(), None);
    assert!(store.session(at(1), id(2)).await.unwrap().is_some());
    let olas = Whose::User("u-ola".into(), None);
    assert_eq!(store.sessions(at(1), &olas).await.unwrap(), []);
}

pub(in crate::store) async fn the_device_unused_the_longest_goes(rig: &mut impl Rig) {
    let store = rig.store();
    let log_in_from = async |number: u8, lane, last_seen| {
        let new = NewChallenge {
            lane,
            ..asked(number, at(0))
        };
        open(&store, at(0), new).await;
        let handle = format!("d-{number}");
        let login = Completion {
            device: Some((id(number), device(&handle, last_seen))),
            devices: 2,
            ..completion(id(number), at(0), number)
        };
        assert!(store.complete_challenge(at(0), login).await.unwrap());
        let mut known = store.devices(at(0), account(1)).await.unwrap();
        known.sort_by_key(|(id, _)| *id);
        known.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(log_in_from(1, Lane::Unknown, at(10)).await, [id(1)]);
    assert_eq!(log_in_from(2, Lane::Unknown, at(5)).await, [id(1), id(2)]);
    assert_eq!(log_in_from(3, Lane::Unknown, at(7)).await, [id(1), id(3)]);
    // A rotated cookie takes its old one's place.
    let rotated = log_in_from(4, Lane::Known(id(1)), at(11)).await;
    assert_eq!(rotated, [id(3), id(4)]);
    assert_eq!(store.device(at(0), id(1)).await.unwrap(), None);
    let kept = store.device(at(0), id(4)).await.unwrap();
    assert_eq!(kept, Some(device("d-4", at(11))));

    let forgotten = at(0).plus(DAY * 180);
    assert_eq!(store.device(forgotten, id(4)).await.unwrap(), None);
    assert_eq!(store.devices(forgotten, account(1)).await.unwrap(), []);
    store.mark_time(forgotten).await.unwrap();
    assert_eq!(store.devices(at(0), account(1)).await.unwrap(), [], "swept");
}

pub(in crate::store) async fn a_sealed_value_is_put_only_over_what_was_expected(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    let put = async |expected: Option<&[u8]>, value: &[u8]| {
        store.put_sealed("keyring", expected, value).await.unwrap()
    };
    assert_eq!(store.sealed("keyring").await.unwrap(), None);
    assert!(!put(Some(b"one"), b"two").await);
    assert!(put(None, b"one").await);
    assert!(!put(None, b"two").await);
    assert!(!put(Some(b"on"), b"two").await);
    assert_eq!(store.sealed("keyring").await.unwrap().unwrap(), b"one");
    assert!(put(Some(b"one"), b"").await);
    assert!(!put(None, b"two").await, "an empty value is a value");
    assert_eq!(store.sealed("keyring").await.unwrap().unwrap(), b"");
    assert_eq!(store.sealed("other").await.unwrap(), None);
}

pub(in crate::store) async fn learned_facts_are_never_overwritten(rig: &mut impl Rig) {
    let store = rig.store();
    let facts = |owner: &str| LearnedFacts {
        company: "fjord".into(),
        owner: Some(owner.into()),
        at: at(0),
    };
    let known = "Project::1";
    assert_eq!(store.learned_facts(known).await.unwrap(), None);
    assert!(store.learn_facts(known, facts("u-kari")).await.unwrap());
    assert!(!store.learn_facts(known, facts("u-ola")).await.unwrap());
    let kept = store.learned_facts(known).await.unwrap();
    assert_eq!(kept, Some(facts("u-kari")));
    assert_eq!(store.learned_facts("Project::12").await.unwrap(), None);
    store.forget_facts(known).await.unwrap();
    assert_eq!(store.learned_facts(known).await.unwrap(), None);
    assert!(store.learn_facts(known, facts("u-ola")).await.unwrap());
}

pub(in crate::store) async fn the_latest_moment_only_rises(rig: &mut impl Rig) {
    let store = rig.store();
    assert_eq!(store.high_water().await.unwrap(), Timestamp::default());
    store.mark_time(at(10)).await.unwrap();
    store.mark_time(at(5)).await.unwrap();
    assert_eq!(store.high_water().await.unwrap(), at(10));
    open(&store, at(20), asked(1, at(20))).await;
    assert_eq!(store.high_water().await.unwrap(), at(20));
    charge(&store, at(30), id(1)).await;
    assert_eq!(store.high_water().await.unwrap(), at(30));
    let lifetime = Duration::from_secs(300);
    let renewed = store
        .renew_challenge(at(40), id(1), code(2), lifetime)
        .await;
    assert!(renewed.unwrap().is_some());
    assert_eq!(store.high_water().await.unwrap(), at(40));
    let done = completion(id(1), at(30), 100);
    assert!(store.complete_challenge(at(50), done).await.unwrap());
    drop(store);
    rig.restart().await;
    assert_eq!(rig.store().high_water().await.unwrap(), at(50));
}

pub(in crate::store) async fn a_ready_store_says_so(rig: &mut impl Rig) {
    rig.store().ready().await.unwrap();
    rig.restart().await;
    rig.store().ready().await.unwrap();
}

pub(in crate::store) async fn everything_survives_a_restart(rig: &mut impl Rig) {
    let facts = LearnedFacts {
        company: "tinde".into(),
        owner: None,
        at: at(3),
    };
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    let login = Completion {
        device: Some((id(200), device("d-1", at(1)))),
        ..completion(id(1), at(0), 100)
    };
    assert!(store.complete_challenge(at(1), login).await.unwrap());
    open(&store, at(1), asked(2, at(1))).await;
    let before = store.challenge(at(2), id(2)).await.unwrap();
    assert!(store.put_sealed("keyring", None, b"sealed").await.unwrap());
    assert!(
        store
            .learn_facts("Project::3", facts.clone())
            .await
            .unwrap()
    );
    drop(store);

    rig.restart().await;
    let store = rig.store();
    let kept = store.session(at(2), id(100)).await.unwrap();
    assert_eq!(kept, Some(session("s-kari", "u-kari", "fjord")));
    let kept = store.device(at(2), id(200)).await.unwrap();
    assert_eq!(kept, Some(device("d-1", at(1))));
    assert_eq!(store.challenge(at(2), id(2)).await.unwrap(), before);
    assert_eq!(store.challenge(at(2), id(1)).await.unwrap(), None, "used");
    assert_eq!(store.sealed("keyring").await.unwrap().unwrap(), b"sealed");
    assert_eq!(
        store.learned_facts("Project::3").await.unwrap(),
        Some(facts)
    );
}
