//! Suspensions, failures before a login, and what stands against an account.

use super::*;
use crate::store::{LaneStanding, Standing};

pub(in crate::store) async fn a_suspension_lasts_until_it_is_taken_back(rig: &mut impl Rig) {
    let store = rig.store();
    assert_eq!(store.suspended().await.unwrap(), []);
    assert!(!store.resume(&"u-kari".into()).await.unwrap());
    assert!(store.suspend(&"u-kari".into()).await.unwrap());
    assert!(!store.suspend(&"u-kari".into()).await.unwrap());
    assert!(store.suspend(&"u-ola".into()).await.unwrap());
    drop(store);
    rig.restart().await;
    let store = rig.store();
    let mut suspended = store.suspended().await.unwrap();
    suspended.sort();
    assert_eq!(suspended, ["u-kari".into(), "u-ola".into()]);
    assert!(store.resume(&"u-kari".into()).await.unwrap());
    assert!(!store.resume(&"u-kari".into()).await.unwrap());
    assert_eq!(store.suspended().await.unwrap(), ["u-ola".into()]);
}

pub(in crate::store) async fn failures_are_counted_until_a_login_and_told_once(rig: &mut impl Rig) {
    let store = rig.store();
    let failed = async |store: &SharedStore| {
        let standing = store.standing(at(9), account(1)).await.unwrap();
        (standing.failed_since_login, standing.failed_before_login)
    };
    open(&store, at(0), asked(1, at(0))).await;
    charge(&store, at(1), id(1)).await;
    charge(&store, at(2), id(1)).await;
    assert_eq!(failed(&store).await, (2, 0));
    // An unlock forgets what was spent, not what happened.
    store.unlock(account(1)).await.unwrap();
    drop(store);
    rig.restart().await;
    let store = rig.store();
    assert_eq!(failed(&store).await, (2, 0));
    assert_eq!(store.take_failures(account(1)).await.unwrap(), 0);

    let log_in = async |number: u8| {
        open(&store, at(3), asked(number, at(3))).await;
        charge(&store, at(4), id(number)).await;
        let done = completion(id(number), at(4), number);
        assert!(store.complete_challenge(at(5), done).await.unwrap());
    };
    log_in(2).await;
    assert_eq!(failed(&store).await, (0, 2), "the login's own did not fail");
    assert_eq!(store.take_failures(account(2)).await.unwrap(), 0);
    assert_eq!(store.take_failures(account(1)).await.unwrap(), 2);
    assert_eq!(store.take_failures(account(1)).await.unwrap(), 0);
    log_in(3).await;
    assert_eq!(failed(&store).await, (0, 0));
}

pub(in crate::store) async fn failures_of_nobodys_address_are_nobodys(rig: &mut impl Rig) {
    let store = rig.store();
    for number in [1, 2] {
        let stranger = NewChallenge {
            user: None,
            account: account(number),
            ..asked(number, at(0))
        };
        open(&store, at(0), stranger).await;
        charge(&store, at(1), id(number)).await;
        let standing = store.standing(at(1), account(number)).await.unwrap();
        assert_eq!(standing.failed_since_login, 0);
        assert_eq!(standing.lanes.len(), 1);
    }
}

pub(in crate::store) async fn what_stands_against_an_account_is_told_by_lane(rig: &mut impl Rig) {
    let store = rig.store();
    let known = Lane::Known(id(50));
    open(&store, at(0), asked(1, at(0))).await;
    open(&store, at(60), asked(2, at(60))).await;
    let from_home = NewChallenge {
        lane: known,
        ..asked(3, at(60))
    };
    open(&store, at(60), from_home).await;
    charge(&store, at(61), id(2)).await;
    charge(&store, at(62), id(3)).await;
    charge(&store, at(63), id(3)).await;
    let standing = store.standing(at(301), account(1)).await.unwrap();
    let [unknown, home] = &standing.lanes[..] else {
        panic!("{standing:?}");
    };
    let told = |lane: &LaneStanding| {
        let live: Vec<_> = lane.live.iter().map(|l| (l.code, l.attempts)).collect();
        (lane.lane, lane.charges.clone(), live)
    };
    // The first challenge has expired by then.
    let expected = (Lane::Unknown, vec![at(61)], vec![(code(2), 1)]);
    assert_eq!(told(unknown), expected);
    let expected = (known, vec![at(62), at(63)], vec![(code(3), 2)]);
    assert_eq!(told(home), expected);
    assert_eq!(standing.failed_since_login, 3);
    let others = store.standing(at(301), account(2)).await.unwrap();
    assert_eq!(others, Standing::default());
}
