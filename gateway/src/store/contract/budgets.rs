//! Ring 2: what an account's lanes have to spend.

use super::*;
use crate::store::Opening;

pub(in crate::store) async fn a_restart_changes_no_counter(rig: &mut impl Rig) {
    open(&rig.store(), at(0), asked(1, at(0))).await;
    charge(&rig.store(), at(1), id(1)).await;
    charge(&rig.store(), at(2), id(1)).await;
    rig.restart().await;
    let kept = rig.store().challenge(at(3), id(1)).await.unwrap().unwrap();
    assert_eq!((kept.attempts, kept.code), (2, code(1)));
    charge(&rig.store(), at(3), id(1)).await;
    rig.restart().await;
    let store = rig.store();
    let fourth = store
        .charge_attempt(at(4), id(1), ATTEMPTS, &UNKNOWN, Fleet::default())
        .await;
    assert_eq!(fourth.unwrap(), Attempt::Over);
    assert_eq!(spend(&store, at(4), 50, &asked(50, at(4))).await, 2);
    drop(store);
    rig.restart().await;
    assert_eq!(spend(&rig.store(), at(4), 60, &asked(60, at(4))).await, 0);
}

pub(in crate::store) async fn a_success_gives_back_exactly_one(rig: &mut impl Rig) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    charge(&store, at(1), id(1)).await;
    charge(&store, at(1), id(1)).await;
    charge(&store, at(1), id(1)).await;
    let done = completion(id(1), at(1), 100);
    assert!(store.complete_challenge(at(2), done).await.unwrap());
    // Three were charged in the same moment, one came back: two failures stand against five.
    assert_eq!(spend(&store, at(3), 50, &asked(50, at(3))).await, 3);
}

pub(in crate::store) async fn windows_slide_exactly(rig: &mut impl Rig) {
    let store = rig.store();
    // One comparison an hour, five times, each by a challenge of its own.
    for hour in 0..5 {
        let now = at(0).plus(HOUR * u32::from(hour));
        open(&store, now, asked(hour, now)).await;
        charge(&store, now, id(hour)).await;
    }
    let sixth = at(0).plus(HOUR * 5);
    let frees = at(0).plus(DAY);
    let spent = Opening::Spent { until: frees };
    assert_eq!(opening(&store, sixth, 50).await, spent);
    let short = frees.minus(Duration::from_millis(1));
    assert_eq!(opening(&store, short, 50).await, spent);

    // The first leaves the window to the millisecond, and leaves room for one only.
    assert_eq!(opening(&store, frees, 50).await, Opening::Opened);
    charge(&store, frees, id(50)).await;
    let until = at(0).plus(HOUR + DAY);
    let next = store
        .charge_attempt(frees, id(50), ATTEMPTS, &UNKNOWN, Fleet::default())
        .await;
    assert_eq!(next.unwrap(), Attempt::Spent { until });
    let kept = store.challenge(frees, id(50)).await.unwrap().unwrap();
    assert_eq!(kept.attempts, 1, "a refused charge charges nothing");
}

pub(in crate::store) async fn a_long_window_outlasts_a_short_one(rig: &mut impl Rig) {
    let store = rig.store();
    let mut spent_in_all = 0;
    for day in 0..4 {
        let now = at(0).plus(DAY * u32::from(day));
        spent_in_all += spend(&store, now, 10 * day, &asked(0, now)).await;
    }
    assert_eq!(spent_in_all, 20);
    // The day's window is free again; the thirty days' is full until its first five leave.
    let until = at(0).plus(DAY * 30);
    let fifth_day = at(0).plus(DAY * 4);
    assert_eq!(
        opening(&store, fifth_day, 100).await,
        Opening::Spent { until }
    );
    assert_eq!(spend(&store, until, 110, &asked(0, until)).await, 5);
}

pub(in crate::store) async fn a_spent_lane_opens_nothing(rig: &mut impl Rig) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    assert_eq!(spend(&store, at(0), 50, &asked(50, at(0))).await, 5);
    let until = at(0).plus(DAY);
    assert_eq!(opening(&store, at(1), 2).await, Opening::Spent { until });
    assert_eq!(store.challenge(at(1), id(2)).await.unwrap(), None);
}

pub(in crate::store) async fn lanes_and_accounts_do_not_share(rig: &mut impl Rig) {
    let store = rig.store();
    let on = |account, lane| NewChallenge {
        account,
        lane,
        ..asked(0, at(0))
    };
    let lanes = [
        (account(1), Lane::Unknown, 5),
        (account(1), Lane::Known(id(200)), 10),
        (account(1), Lane::Known(id(201)), 10),
        (account(2), Lane::Unknown, 5),
        (account(2), Lane::Known(id(200)), 10),
    ];
    for (place, (account, lane, budget)) in (0..).zip(lanes) {
        let spent = spend(&store, at(0), 20 * place, &on(account, lane)).await;
        assert_eq!(spent, budget, "{lane:?}");
    }
}

pub(in crate::store) async fn addresses_without_a_user_are_counted_alike(rig: &mut impl Rig) {
    let nobody = NewChallenge {
        user: None,
        ..asked(0, at(0))
    };
    assert_eq!(spend(&rig.store(), at(0), 0, &nobody).await, 5);
    rig.restart().await;
    assert_eq!(spend(&rig.store(), at(1), 20, &nobody).await, 0);
    let day_later = NewChallenge {
        expires: at(0).plus(DAY + HOUR),
        ..nobody
    };
    let now = at(0).plus(DAY);
    assert_eq!(spend(&rig.store(), now, 40, &day_later).await, 5);
}

pub(in crate::store) async fn a_rotated_device_keeps_its_counter(rig: &mut impl Rig) {
    let store = rig.store();
    // The device fails four times, and then succeeds by a second challenge.
    let from = |device, number| NewChallenge {
        lane: Lane::Known(id(device)),
        ..asked(number, at(0))
    };
    for number in [1, 2] {
        open(&store, at(0), from(200, number)).await;
        charge(&store, at(0), id(number)).await;
        charge(&store, at(0), id(number)).await;
    }
    charge(&store, at(1), id(2)).await;
    let login = Completion {
        device: Some((id(201), device("d-1", at(2)))),
        ..completion(id(2), at(1), 100)
    };
    assert!(store.complete_challenge(at(2), login).await.unwrap());
    assert_eq!(spend(&store, at(3), 20, &from(201, 0)).await, 10 - 4);
}

pub(in crate::store) async fn unlocking_forgets_every_lane(rig: &mut impl Rig) {
    let store = rig.store();
    let known = NewChallenge {
        lane: Lane::Known(id(200)),
        ..asked(0, at(0))
    };
    let other = NewChallenge {
        account: account(2),
        ..asked(0, at(0))
    };
    spend(&store, at(0), 0, &asked(0, at(0))).await;
    spend(&store, at(0), 20, &known).await;
    spend(&store, at(0), 40, &other).await;
    assert!(store.challenge(at(1), id(1)).await.unwrap().is_some());

    store.unlock(account(1)).await.unwrap();
    assert_eq!(store.challenge(at(1), id(1)).await.unwrap(), None);
    assert_eq!(spend(&store, at(1), 60, &asked(0, at(1))).await, 5);
    assert_eq!(spend(&store, at(1), 80, &known).await, 10);
    assert_eq!(spend(&store, at(1), 100, &other).await, 0);
}

async fn opening(store: &SharedStore, now: Timestamp, number: u8) -> Opening {
    let new = asked(number, now);
    store
        .open_challenge(now, new, LIVE, &UNKNOWN)
        .await
        .unwrap()
}
