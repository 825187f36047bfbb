//! The strategies, each played on a town of its own.

use std::sync::Arc;

use futures_util::StreamExt;
use http::StatusCode;
use tokio::task::JoinSet;

use crate::ledger::{Fleet, Row};
use crate::town::{ADDRESSES, Challenge, Numbers, PEOPLE, Town};

/// How much is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Accounts that a spray goes over on its first day.
    pub(crate) sprayed: u32,
    /// Accounts that it goes over on each day after.
    pub(crate) daily: u32,
    /// Days of a long attack; more than the 30 of the longest window.
    pub(crate) days: u32,
    /// Guesses of a race.
    pub(crate) race: u32,
}

/// What a strategy came to.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// Things done at once.
const AT_ONCE: usize = 64;

const HOUR: u64 = 3_600;

/// One account, by every guess that is to be had, from ever new addresses.
pub(crate) async fn guess_one_account(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    let mut from = 0;
    for _ in 0..scale.days * 12 {
        from += 1;
        town.try_three(1, from).await;
        town.pass(2 * HOUR).await;
    }
    outcome("guessing one account", &town, Fleet::OneTarget)
}

/// A hundred thousand accounts from ten thousand addresses, day after day.
pub(crate) async fn spray(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    let mut next = 0;
    for day in 0..scale.days {
        let accounts = if day == 0 { scale.sprayed } else { scale.daily };
        let hourly = accounts.div_ceil(20);
        for _ in 0..20 {
            let whom: Vec<u32> = (next..next + hourly).collect();
            next += hourly;
            let town = &town;
            all(whom, async move |n| {
                town.try_three(n % PEOPLE, n % ADDRESSES).await;
            })
            .await;
            town.pass(HOUR).await;
        }
        town.pass(4 * HOUR).await;
    }
    let mut outcome = outcome("spraying everyone", &town, Fleet::Everyone);
    let told = usize::try_from(next).unwrap_or(usize::MAX);
    outcome.rows.insert(0, Row::told("accounts tried", told));
    outcome
}

/// A new code before each challenge runs out of guesses, hoping that it begins anew.
pub(crate) async fn resend_to_reset(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    for day in 0..scale.days {
        let reply = town.ask(1, day, "").await;
        if let Some(challenge) = town.challenge(1, &reply) {
            for _ in 0..6 {
                town.guess(&challenge, day, "0000").await;
                town.guess(&challenge, day, "1111").await;
                town.pass(61).await;
                town.resend(&challenge, day).await;
                town.resend(&challenge, day).await;
            }
        }
        town.pass(24 * HOUR - 366).await;
    }
    outcome("resending to reset", &town, Fleet::OneTarget)
}

/// As many challenges as one account can be asked for, guessed in all of them at once.
pub(crate) async fn many_challenges(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    for day in 0..scale.days {
        let opened: Vec<Option<Challenge>> = gather(0..100, async |n| {
            let reply = town.ask(1, day * 100 + n, "").await;
            town.challenge(1, &reply)
        })
        .await;
        let opened: Vec<Challenge> = opened.into_iter().flatten().collect();
        all(opened, async |challenge| {
            for guess in ["0000", "1111", "1234"] {
                town.guess(&challenge, day, guess).await;
            }
        })
        .await;
        town.pass(24 * HOUR).await;
    }
    outcome("opening many challenges", &town, Fleet::OneTarget)
}

/// Thousands of guesses at one challenge in the same moment.
pub(crate) async fn race_one(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    for day in 0..scale.days {
        let reply = town.ask(1, day, "").await;
        if let Some(challenge) = town.challenge(1, &reply) {
            let guesses = if day == 0 { scale.race } else { 100 };
            let guesses = (0..guesses).map(|n| (challenge.clone(), n)).collect();
            race(&town, guesses).await;
        }
        town.pass(24 * HOUR).await;
    }
    outcome("racing one challenge", &town, Fleet::OneTarget)
}

/// Many challenges of many accounts, all guessed at in the same moment: a budget that is looked
/// at and only then charged would be outrun.
pub(crate) async fn race_many(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    for day in 0..scale.days {
        let accounts = if day == 0 { 500 } else { 50 };
        let first = day * 500;
        let opened: Vec<Option<Challenge>> = gather(first..first + accounts, async |n| {
            let n = n % PEOPLE;
            let reply = town.ask(n, n % ADDRESSES, "").await;
            town.challenge(n, &reply)
        })
        .await;
        let opened = opened.into_iter().flatten();
        let guesses: Vec<(Challenge, u32)> = opened
            .flat_map(|challenge| (0..8).map(move |n| (challenge.clone(), n)))
            .collect();
        race(&town, guesses).await;
        town.pass(24 * HOUR).await;
    }
    outcome("racing many challenges", &town, Fleet::Everyone)
}

/// The gateway goes down and comes back after every guess, on the state that it left.
pub(crate) async fn restart_in_between(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    for day in 0..scale.days {
        for attempt in 0..3 {
            let from = day * 3 + attempt;
            let reply = town.ask(1, from, "").await;
            if let Some(challenge) = town.challenge(1, &reply) {
                for guess in ["0000", "1111", "1234", "4321"] {
                    town.guess(&challenge, from, guess).await;
                    town.restart().await;
                }
            } else {
                town.restart().await;
            }
            town.pass(8 * HOUR).await;
        }
    }
    outcome("restarting in between", &town, Fleet::OneTarget)
}

/// Everything at once against one person, while everyone is sprayed so that the shield goes up;
/// the person logs in all the time, from the device that they had before.
pub(crate) async fn lock_out(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    let owner = 77;
    let first = town.owner_logs_in(owner, "").await;
    let mut device = first.expect("the owner logs in before the attack");
    let (mut tried, mut entered, mut from) = (0, 0, 0);
    for round in 0..scale.days * 8 {
        for _ in 0..3 {
            from += 1;
            town.try_three(owner, from).await;
            let reply = town.ask(owner, from, "").await;
            if let Some(challenge) = town.challenge(owner, &reply) {
                town.resend(&challenge, from).await;
            }
        }
        let others = 1_000 + round * 100;
        let (town, amount) = (&town, if round < 4 { 100 } else { 5 });
        all(others..others + amount, async move |n| {
            town.try_three(n % PEOPLE, n % ADDRESSES).await;
        })
        .await;
        tried += 1;
        if let Some(next) = town.owner_logs_in(owner, &device).await {
            device = next;
            entered += 1;
        }
        town.pass(3 * HOUR).await;
    }
    let mut rows = vec![Row::is("logins from the known device", entered, tried)];
    rows.extend(town.ledger.rows(Fleet::Everyone, town.days()));
    rows.push(Row::told("messages sent", town.ledger.messages()));
    Outcome {
        name: "locking out a known device",
        rows,
    }
}

/// Codes for thousands of numbers of one prefix, from thousands of addresses.
pub(crate) async fn pump_a_prefix(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::OnePrefix).await;
    let hours = if scale.days > 40 { 24 } else { 6 };
    for hour in 0..hours {
        for quarter in 0..4 {
            let first = (hour * 4 + quarter) * 100;
            let town = &town;
            all(first..first + 100, async move |n| {
                let reply = town.ask(n % 10_000, n % ADDRESSES, "").await;
                if let Some(challenge) = town.challenge(n, &reply) {
                    town.resend(&challenge, n % ADDRESSES).await;
                }
            })
            .await;
            town.pass(900).await;
        }
    }
    settle(&town).await;
    Outcome {
        name: "pumping messages to a prefix",
        rows: town.ledger.message_rows(),
    }
}

/// Codes for everyone, from one address.
pub(crate) async fn pump_from_one_address(scale: Scale) -> Outcome {
    let town = Town::found(Numbers::Spread).await;
    let hours = if scale.days > 40 { 24 } else { 6 };
    let mut hourly = 0;
    let mut refused = 0;
    for hour in 0..hours {
        let before = town.ledger.messages();
        for n in hour * 100..hour * 100 + 100 {
            let reply = town.ask(n, 5, "").await;
            refused += usize::from(reply.status == StatusCode::TOO_MANY_REQUESTS);
        }
        settle(&town).await;
        hourly = hourly.max(town.ledger.messages() - before);
        town.pass(HOUR).await;
    }
    let mut rows = vec![
        Row::held("messages from one address an hour", hourly, 30),
        Row::told("requests refused", refused),
    ];
    rows.extend(town.ledger.message_rows());
    Outcome {
        name: "pumping messages from one address",
        rows,
    }
}

fn outcome(name: &'static str, town: &Town, fleet: Fleet) -> Outcome {
    let mut rows = town.ledger.rows(fleet, town.days());
    rows.extend(town.ledger.message_rows());
    Outcome { name, rows }
}

/// Waits until messages that were posted have gone out.
async fn settle(town: &Arc<Town>) {
    let mut before = usize::MAX;
    while before != town.ledger.messages() {
        before = town.ledger.messages();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Guesses everything in the same moment, on every core that there is.
async fn race(town: &Arc<Town>, guesses: Vec<(Challenge, u32)>) {
    let mut tasks = JoinSet::new();
    for (challenge, n) in guesses {
        let town = Arc::clone(town);
        tasks.spawn(async move {
            let code = format!("{:04}", n % 10_000);
            town.guess(&challenge, challenge.person % ADDRESSES, &code)
                .await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Does something to all, many at once.
async fn all<T>(of: impl IntoIterator<Item = T>, act: impl AsyncFn(T)) {
    let act = &act;
    futures_util::stream::iter(of)
        .for_each_concurrent(AT_ONCE, move |item| act(item))
        .await;
}

/// Does something to all, many at once, and returns what came of it.
async fn gather<T, R>(of: impl IntoIterator<Item = T>, act: impl AsyncFn(T) -> R) -> Vec<R> {
    let act = &act;
    futures_util::stream::iter(of)
        .map(move |item| act(item))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}
