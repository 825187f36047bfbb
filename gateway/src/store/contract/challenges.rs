//! Ring 1: how often a challenge is compared, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::store::Whose;

pub(in crate::store) async fn ten_thousand_parallel_guesses_get_three_comparisons(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    let guesses: Vec<_> = (0..10_000)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store
                    .charge_attempt(at(1), id(1), ATTEMPTS, &UNKNOWN, Fleet::default())
                    .await
            })
        })
        .collect();
    let (mut charged, mut over) = (0, 0);
    for guess in guesses {
        match guess.await.unwrap().unwrap() {
            Attempt::Charged(_) => charged += 1,
            Attempt::Over => over += 1,
            other => panic!("three of five cannot be spent: {other:?}"),
        }
    }
    assert_eq!((charged, over), (3, 9_997));
    let left = store.challenge(at(1), id(1)).await.unwrap().unwrap();
    assert_eq!(left.attempts, 3);
}

pub(in crate::store) async fn a_hundred_parallel_completions_make_one_session(rig: &mut impl Rig) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    charge(&store, at(1), id(1)).await;
    let submits: Vec<_> = (100..200)
        .map(|number| {
            let store = Arc::clone(&store);
            let done = completion(id(1), at(1), number);
            tokio::spawn(async move { store.complete_challenge(at(2), done).await })
        })
        .collect();
    let mut completed = 0;
    for submit in submits {
        completed += usize::from(submit.await.unwrap().unwrap());
    }
    assert_eq!(completed, 1);
    assert_eq!(store.sessions(at(2), &Whose::All).await.unwrap().len(), 1);
    assert_eq!(store.challenge(at(2), id(1)).await.unwrap(), None);
}

pub(in crate::store) async fn a_renewal_resets_no_counter_and_kills_the_old_code(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    charge(&store, at(1), id(1)).await;
    charge(&store, at(2), id(1)).await;

    let lifetime = Duration::from_secs(300);
    let renewed = store
        .renew_challenge(at(200), id(1), code(9), lifetime)
        .await;
    let renewed = renewed.unwrap().unwrap();
    assert_eq!((renewed.code, renewed.attempts), (code(9), 2));
    assert_eq!((renewed.created, renewed.expires), (at(200), at(500)));

    // It now lives beyond the first code's end, and has one comparison left, with the new code.
    let third = charge(&store, at(400), id(1)).await;
    assert_eq!((third.code, third.attempts), (code(9), 3));
    let fourth = store
        .charge_attempt(at(400), id(1), ATTEMPTS, &UNKNOWN, Fleet::default())
        .await;
    assert_eq!(fourth.unwrap(), Attempt::Over);

    // What it charged stays charged: two of the lane's five are left.
    assert_eq!(spend(&store, at(401), 50, &asked(50, at(401))).await, 2);
    let none = store
        .renew_challenge(at(500), id(1), code(8), lifetime)
        .await;
    assert_eq!(none.unwrap(), None, "it has expired");
    let none = store
        .renew_challenge(at(0), id(77), code(8), lifetime)
        .await;
    assert_eq!(none.unwrap(), None, "there is none");
}

pub(in crate::store) async fn a_renewed_challenge_outlives_its_first_code(rig: &mut impl Rig) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    let lifetime = Duration::from_secs(300);
    let renewed = store.renew_challenge(at(200), id(1), code(9), lifetime);
    assert!(renewed.await.unwrap().is_some());
    store.mark_time(at(400)).await.unwrap();
    assert_eq!(charge(&store, at(400), id(1)).await.code, code(9));
    store.mark_time(at(500)).await.unwrap();
    assert_eq!(store.challenge(at(0), id(1)).await.unwrap(), None, "swept");
}

pub(in crate::store) async fn opening_beyond_the_living_drops_the_oldest(rig: &mut impl Rig) {
    let store = rig.store();
    for number in 1..=4 {
        open(&store, at(number.into()), asked(number, at(number.into()))).await;
    }
    let mut living = Vec::new();
    for number in 1..=4 {
        if store.challenge(at(5), id(number)).await.unwrap().is_some() {
            living.push(number);
        }
    }
    assert_eq!(living, [2, 3, 4]);
    let gone = store
        .charge_attempt(at(5), id(1), ATTEMPTS, &UNKNOWN, Fleet::default())
        .await;
    assert_eq!(gone.unwrap(), Attempt::Over);

    // One that was used is not among the living: it makes room.
    charge(&store, at(5), id(4)).await;
    let done = completion(id(4), at(5), 100);
    assert!(store.complete_challenge(at(5), done).await.unwrap());
    open(&store, at(6), asked(6, at(6))).await;
    assert!(store.challenge(at(6), id(2)).await.unwrap().is_some());

    // Nor is one that has expired.
    open(&store, at(302), asked(5, at(302))).await;
    assert!(store.challenge(at(302), id(3)).await.unwrap().is_some());
}

pub(in crate::store) async fn a_known_device_has_one_living_challenge(rig: &mut impl Rig) {
    let store = rig.store();
    let known = |number| NewChallenge {
        lane: Lane::Known(id(200)),
        ..asked(number, at(0))
    };
    open(&store, at(0), asked(1, at(0))).await;
    open(&store, at(0), known(2)).await;
    open(&store, at(0), known(3)).await;
    assert_eq!(store.challenge(at(1), id(2)).await.unwrap(), None);
    assert!(store.challenge(at(1), id(3)).await.unwrap().is_some());
    // The unknown lane's is another's business.
    assert!(store.challenge(at(1), id(1)).await.unwrap().is_some());
}

pub(in crate::store) async fn an_expired_challenge_is_gone(rig: &mut impl Rig) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    charge(&store, at(299), id(1)).await;
    assert_eq!(store.challenge(at(300), id(1)).await.unwrap(), None);
    let late = store
        .charge_attempt(at(300), id(1), ATTEMPTS, &UNKNOWN, Fleet::default())
        .await;
    assert_eq!(late.unwrap(), Attempt::Over);
    let late = completion(id(1), at(299), 100);
    assert!(!store.complete_challenge(at(300), late).await.unwrap());
    store.mark_time(at(300)).await.unwrap();
    assert_eq!(store.challenge(at(0), id(1)).await.unwrap(), None, "swept");
}

pub(in crate::store) async fn a_challenge_opens_its_own_user_only(rig: &mut impl Rig) {
    let store = rig.store();
    let nobody = NewChallenge {
        user: None,
        ..asked(2, at(0))
    };
    open(&store, at(0), asked(1, at(0))).await;
    open(&store, at(0), nobody).await;
    let ola = Completion {
        record: session("s-ola", "u-ola", "fjord"),
        ..completion(id(1), at(1), 100)
    };
    assert!(!store.complete_challenge(at(1), ola).await.unwrap());
    let kari = completion(id(2), at(1), 100);
    assert!(!store.complete_challenge(at(1), kari).await.unwrap());
    assert_eq!(store.sessions(at(1), &Whose::All).await.unwrap(), []);
}

pub(in crate::store) async fn a_completion_that_fails_has_no_effect(rig: &mut impl Rig) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    charge(&store, at(1), id(1)).await;
    let first = completion(id(1), at(1), 100);
    assert!(store.complete_challenge(at(2), first).await.unwrap());

    let again = Completion {
        replaces: Some(id(100)),
        device: Some((id(200), device("d-1", at(3)))),
        ..completion(id(1), at(1), 101)
    };
    assert!(!store.complete_challenge(at(3), again).await.unwrap());
    assert!(store.session(at(3), id(100)).await.unwrap().is_some());
    assert_eq!(store.session(at(3), id(101)).await.unwrap(), None);
    assert_eq!(store.device(at(3), id(200)).await.unwrap(), None);
}

pub(in crate::store) async fn a_forgotten_device_takes_its_challenge_along(rig: &mut impl Rig) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    charge(&store, at(0), id(1)).await;
    let login = Completion {
        device: Some((id(200), device("d-1", at(1)))),
        ..completion(id(1), at(0), 100)
    };
    assert!(store.complete_challenge(at(1), login).await.unwrap());
    let known = NewChallenge {
        lane: Lane::Known(id(200)),
        ..asked(2, at(1))
    };
    open(&store, at(1), known).await;

    assert!(!store.forget_device(account(2), "d-1").await.unwrap());
    assert!(store.forget_device(account(1), "d-1").await.unwrap());
    assert!(!store.forget_device(account(1), "d-1").await.unwrap());
    assert_eq!(store.device(at(2), id(200)).await.unwrap(), None);
    assert_eq!(store.challenge(at(2), id(2)).await.unwrap(), None);
}
