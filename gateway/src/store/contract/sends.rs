//! Budgets of messages and calls: several at once, all or none.

use super::*;
use crate::store::{BudgetKey, Charge, Charging, Opening};

const MINUTE: Duration = Duration::from_secs(60);

fn budget(whose: u8, what: u8, windows: &[Window]) -> Charge {
    Charge {
        key: BudgetKey {
            whose: [whose; 32],
            what,
        },
        windows: windows.to_vec(),
        invented: false,
    }
}

/// How many of `most` drafts are charged in the same moment.
async fn drawn(store: &SharedStore, now: Timestamp, charge: &Charge, most: u32) -> u32 {
    let mut count = 0;
    for _ in 0..most {
        let asked = std::slice::from_ref(charge);
        if store.charge_budgets(now, asked, &[]).await.unwrap() == Charging::Charged {
            count += 1;
        }
    }
    count
}

pub(in crate::store) async fn a_message_is_charged_to_all_its_budgets_or_to_none(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    let wide = budget(1, 0, &[window(10, HOUR)]);
    let narrow = budget(2, 0, &[window(2, HOUR)]);
    let both = [wide.clone(), narrow.clone()];
    for _ in 0..2 {
        let charged = store.charge_budgets(at(0), &both, &[]).await.unwrap();
        assert_eq!(charged, Charging::Charged);
    }
    for _ in 0..20 {
        let until = at(0).plus(HOUR);
        let spent = store.charge_budgets(at(1), &both, &[]).await.unwrap();
        assert_eq!(spent, Charging::Spent { until });
    }
    assert_eq!(drawn(&store, at(1), &wide, 20).await, 8);
}

pub(in crate::store) async fn what_we_hold_back_still_counts_for_the_one_who_asked(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    let asked = budget(1, 0, &[window(4, HOUR)]);
    let ours = [
        budget(2, 0, &[window(10, HOUR)]),
        budget(3, 0, &[window(1, HOUR)]),
    ];
    let charge = async || {
        let asked = std::slice::from_ref(&asked);
        store.charge_budgets(at(0), asked, &ours).await.unwrap()
    };
    assert_eq!(charge().await, Charging::Charged);
    for _ in 0..3 {
        assert_eq!(charge().await, Charging::Held(1));
    }
    let until = at(0).plus(HOUR);
    assert_eq!(charge().await, Charging::Spent { until });
    assert_eq!(drawn(&store, at(0), &ours[0], 20).await, 9);
}

pub(in crate::store) async fn every_window_of_a_budget_holds(rig: &mut impl Rig) {
    let store = rig.store();
    let lane = [window(1, MINUTE), window(3, MINUTE * 15), window(5, DAY)];
    let lane = budget(1, 0, &lane);
    let mut sent = Vec::new();
    let mut now = at(0);
    while now < at(0).plus(DAY + MINUTE * 16) {
        let asked = std::slice::from_ref(&lane);
        match store.charge_budgets(now, asked, &[]).await.unwrap() {
            Charging::Spent { until } => now = until,
            _ => sent.push(now),
        }
    }
    let minutes: Vec<u64> = sent
        .iter()
        .map(|sent| sent.since(at(0)).as_secs() / 60)
        .collect();
    // Three a minute apart, two more when those leave the quarter, and so on a day later.
    assert_eq!(minutes, [0, 1, 2, 15, 16, 1440, 1441, 1442, 1455]);
}

pub(in crate::store) async fn a_large_budget_never_gives_more_than_it_holds(rig: &mut impl Rig) {
    let store = rig.store();
    let cap = budget(1, 0, &[window(500, HOUR)]);
    assert_eq!(drawn(&store, at(0), &cap, 300).await, 300);
    let later = at(0).plus(MINUTE * 30);
    assert_eq!(drawn(&store, later, &cap, 300).await, 200);
    let short = at(0).plus(HOUR - Duration::from_millis(1));
    assert_eq!(drawn(&store, short, &cap, 10).await, 0);
    // A step later at most, what was drawn first has left.
    let freed = at(0).plus(HOUR + MINUTE);
    assert_eq!(drawn(&store, freed, &cap, 400).await, 300);
}

pub(in crate::store) async fn drafts_at_once_do_not_outrun_a_budget(rig: &mut impl Rig) {
    let budget = budget(1, 0, &[window(30, HOUR)]);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (store, charge) = (rig.store(), budget.clone());
        tasks.spawn(async move { store.charge_budgets(at(0), &[charge], &[]).await.unwrap() });
    }
    let results = tasks.join_all().await;
    let charged = results.iter().filter(|r| **r == Charging::Charged);
    assert_eq!(charged.count(), 30);
}

pub(in crate::store) async fn budgets_survive_a_restart(rig: &mut impl Rig) {
    let (exact, coarse) = (
        budget(1, 0, &[window(5, DAY)]),
        budget(2, 0, &[window(500, DAY)]),
    );
    assert_eq!(drawn(&rig.store(), at(0), &exact, 4).await, 4);
    assert_eq!(drawn(&rig.store(), at(0), &coarse, 400).await, 400);
    rig.restart().await;
    assert_eq!(drawn(&rig.store(), at(1), &exact, 9).await, 1);
    assert_eq!(drawn(&rig.store(), at(1), &coarse, 200).await, 100);
}

pub(in crate::store) async fn what_was_drawn_can_be_looked_at(rig: &mut impl Rig) {
    let store = rig.store();
    let budget = budget(1, 0, &[window(3, DAY)]);
    assert_eq!(store.drafts(budget.key).await.unwrap(), []);
    for (moment, most) in [(0, 1), (7, 2)] {
        assert_eq!(drawn(&store, at(moment), &budget, most).await, most);
    }
    let seen = store.drafts(budget.key).await.unwrap();
    assert_eq!(seen, [(at(0), 1), (at(7), 2)]);
    assert_eq!(store.drafts(budget.key).await.unwrap(), seen);
}

pub(in crate::store) async fn unlocking_frees_the_accounts_messages_and_nobody_elses(
    rig: &mut impl Rig,
) {
    let store = rig.store();
    let budgets = [
        budget(1, 0, &[window(1, DAY)]),
        budget(1, 255, &[window(1, DAY)]),
    ];
    let other = budget(2, 0, &[window(1, DAY)]);
    for budget in budgets.iter().chain([&other]) {
        assert_eq!(drawn(&store, at(0), budget, 2).await, 1);
    }
    store.unlock(account(1)).await.unwrap();
    for budget in &budgets {
        assert_eq!(drawn(&store, at(1), budget, 2).await, 1);
    }
    assert_eq!(drawn(&store, at(1), &other, 2).await, 0);
    // A budget that was forgotten is no obstacle to sweeping.
    store.mark_time(at(0).plus(DAY * 2)).await.unwrap();
    let opening = store.open_challenge(at(2), asked(1, at(2)), LIVE, &UNKNOWN);
    assert_eq!(opening.await.unwrap(), Opening::Opened);
}
