//! Ring 3: the fleet's budget, the shield, and the link that passes it.

use super::*;
use crate::principal::UserId;
use crate::store::{Gate, LinkHash, Opening, Shield};

const FLEET: Fleet = Fleet {
    burst: 20,
    refill_per_day: 4,
};
/// Plenty, so that only the fleet's budget bounds.
const WIDE: [Window; 1] = [window(1_000_000, DAY)];

/// A challenge of an account of its own.
fn ask(number: u16, user: Option<UserId>, now: Timestamp) -> NewChallenge {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    NewChallenge {
        id: BearerHash(bytes),
        account: AccountKey(bytes),
        user,
        ..asked(0, now)
    }
}

async fn open_at(store: &SharedStore, now: Timestamp, new: &NewChallenge) {
    let opened = store.open_challenge(now, new.clone(), LIVE, &WIDE).await;
    assert_eq!(opened.unwrap(), Opening::Opened);
}

async fn guess(store: &SharedStore, now: Timestamp, new: &NewChallenge) -> Attempt {
    let attempt = store.charge_attempt(now, new.id, ATTEMPTS, &WIDE, FLEET);
    attempt.await.unwrap()
}

/// Guesses at new accounts until the shield stops it; returns how many were made.
async fn exhaust(store: &SharedStore, now: Timestamp, first: u16) -> u32 {
    let mut made = 0;
    for number in first.. {
        let new = ask(number, Some("u-kari".into()), now);
        open_at(store, now, &new).await;
        match guess(store, now, &new).await {
            Attempt::Charged(_) => made += 1,
            Attempt::Shielded => break,
            other => panic!("{other:?}"),
        }
    }
    made
}

async fn state(store: &SharedStore, now: Timestamp) -> Shield {
    store.shield(now, FLEET).await.unwrap()
}

pub(in crate::store) async fn ten_thousand_guesses_at_many_accounts_cannot_outrun_the_fleets_budget(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    let news: Vec<_> = (0..200)
        .map(|n| ask(n, Some("u-kari".into()), at(0)))
        .collect();
    for new in &news {
        open_at(&store, at(0), new).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..50 {
        for new in &news {
            let (store, id) = (rig.store(), new.id);
            tasks.spawn(async move {
                let attempt = store.charge_attempt(at(round), id, ATTEMPTS, &WIDE, FLEET);
                matches!(attempt.await.unwrap(), Attempt::Charged(_))
            });
        }
    }
    let charged = tasks.join_all().await.into_iter().filter(|made| *made);
    assert_eq!(charged.count(), 20);
    assert!(state(&store, at(50)).await.raised.is_some());
}

pub(in crate::store) async fn a_success_gives_back_all_that_its_challenge_drew(rig: &mut impl Rig) {
    let store = rig.store();
    open(&store, at(0), asked(1, at(0))).await;
    for left in [19, 18, 17] {
        let charged = store
            .charge_attempt(at(1), id(1), ATTEMPTS, &WIDE, FLEET)
            .await;
        assert!(matches!(charged.unwrap(), Attempt::Charged(_)));
        assert_eq!(state(&store, at(1)).await.left, left);
    }
    let done = completion(id(1), at(1), 100);
    assert!(store.complete_challenge(at(2), done).await.unwrap());
    assert_eq!(state(&store, at(2)).await.left, 20);
}

pub(in crate::store) async fn the_shield_outlasts_a_restart_and_lowers_itself_at_half(
    rig: &mut impl Rig,
) {
    assert_eq!(exhaust(&rig.store(), at(0), 0).await, 20);
    rig.restart().await;
    let store = rig.store();
    let down = |left| Shield {
        raised: None,
        by_hand: false,
        left,
    };
    // A unit comes back every six hours; ten are half.
    let half = at(0).plus(HOUR * 60);
    let short = half.minus(Duration::from_millis(1));
    let raised = state(&store, short).await;
    assert_eq!((raised.raised, raised.left), (Some(at(0)), 9));
    let new = ask(100, Some("u-kari".into()), short);
    open_at(&store, short, &new).await;
    assert_eq!(guess(&store, short, &new).await, Attempt::Shielded);
    assert_eq!(state(&store, half).await, down(10));
    // It is not raised again before all of that is spent.
    assert_eq!(exhaust(&store, half, 200).await, 10);
    assert_eq!(state(&store, half).await.raised, Some(half));
}

pub(in crate::store) async fn attempts_at_nobody_draw_nothing_and_are_stopped_alike(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    for number in 0..50 {
        let nobody = ask(number, None, at(0));
        open_at(&store, at(0), &nobody).await;
        let attempt = guess(&store, at(0), &nobody).await;
        assert!(matches!(attempt, Attempt::Charged(_)));
    }
    assert_eq!(state(&store, at(0)).await.left, 20);
    exhaust(&store, at(0), 100).await;
    let nobody = ask(0, None, at(0));
    assert_eq!(guess(&store, at(0), &nobody).await, Attempt::Shielded);
}

pub(in crate::store) async fn a_known_device_notices_nothing_of_the_shield(rig: &mut impl Rig) {
    let store = rig.store();
    exhaust(&store, at(0), 0).await;
    let known = NewChallenge {
        lane: Lane::Known(id(200)),
        ..ask(500, Some("u-kari".into()), at(0))
    };
    open_at(&store, at(0), &known).await;
    for _ in 0..ATTEMPTS {
        let attempt = guess(&store, at(0), &known).await;
        assert!(matches!(attempt, Attempt::Charged(_)));
    }
}

pub(in crate::store) async fn a_link_is_followed_once_by_its_own_challenge_and_passes_the_shield(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    let link = LinkHash([7; 32]);
    let ten = Duration::from_secs(600);
    let awaiting = |number| NewChallenge {
        link: Some(link),
        expires: at(0).plus(ten),
        ..ask(number, Some("u-kari".into()), at(0))
    };
    store.raise_shield(at(0), FLEET).await.unwrap();
    let (new, other) = (awaiting(1), ask(2, Some("u-kari".into()), at(0)));
    open_at(&store, at(0), &new).await;
    open_at(&store, at(0), &other).await;
    let lifetime = Duration::from_secs(300);
    let follow = async |id, link, now| {
        let followed = store.follow_link(now, id, link, code(9), lifetime);
        followed.await.unwrap()
    };
    // Until it is followed there is no code: nothing to guess and nothing to renew.
    assert_eq!(guess(&store, at(1), &new).await, Attempt::Over);
    let renewed = store.renew_challenge(at(1), new.id, code(8), lifetime);
    assert_eq!(renewed.await.unwrap(), None);
    assert_eq!(follow(new.id, LinkHash([8; 32]), at(1)).await, None);
    assert_eq!(follow(other.id, link, at(1)).await, None);
    assert_eq!(guess(&store, at(200), &other).await, Attempt::Shielded);

    let followed = follow(new.id, link, at(599)).await.unwrap();
    assert_eq!((followed.gate, followed.code), (Gate::Followed, code(9)));
    assert_eq!(followed.expires, at(599).plus(lifetime));
    assert_eq!(follow(new.id, link, at(599)).await, None);
    let charged = guess(&store, at(600), &new).await;
    assert!(matches!(charged, Attempt::Charged(_)));

    let late = awaiting(3);
    open_at(&store, at(0), &late).await;
    assert_eq!(follow(late.id, link, at(600)).await, None);
}

pub(in crate::store) async fn what_is_raised_by_hand_is_lowered_by_hand(rig: &mut impl Rig) {
    let store = rig.store();
    store.raise_shield(at(5), FLEET).await.unwrap();
    let much_later = at(0).plus(DAY * 30);
    let raised = Shield {
        raised: Some(at(5)),
        by_hand: true,
        left: 20,
    };
    assert_eq!(state(&store, much_later).await, raised);
    store.lower_shield(much_later, FLEET).await.unwrap();
    assert_eq!(state(&store, much_later).await.raised, None);

    // Lowering gives what it would have waited for, and no more.
    exhaust(&store, much_later, 0).await;
    store.lower_shield(much_later, FLEET).await.unwrap();
    let lowered = state(&store, much_later).await;
    assert_eq!((lowered.raised, lowered.left), (None, 10));
    store.lower_shield(much_later, FLEET).await.unwrap();
    assert_eq!(state(&store, much_later).await.left, 10);
}
