//! What an attacker got, and the bounds that it is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use portvakt::clock::Timestamp;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Codes that a guess may be.
const CODES: f64 = 10_000.0;

/// Everything that was compared and sent.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    guesses: Vec<Guess>,
    messages: Vec<Message>,
    entered: usize,
    mails: usize,
}

#[derive(Clone, Debug)]
struct Message {
    at: u64,
    to: String,
    company: u32,
}

#[derive(Clone, Copy, Debug)]
struct Guess {
    at: u64,
    person: u32,
    challenge: u64,
    entered: bool,
}

impl Ledger {
    /// A guess on the unknown lane was compared with a code.
    pub(crate) fn evaluated(&self, now: Timestamp, person: u32, challenge: u64, entered: bool) {
        let mut entries = self.0.lock().unwrap();
        entries.entered += usize::from(entered);
        entries.guesses.push(Guess {
            at: now.as_millis(),
            person,
            challenge,
            entered,
        });
    }

    /// A message went to a number of someone's of a company.
    pub(crate) fn message(&self, now: Timestamp, to: &str, company: u32) {
        let mut entries = self.0.lock().unwrap();
        entries.messages.push(Message {
            at: now.as_millis(),
            to: to.to_owned(),
            company,
        });
    }

    /// A mail went out.
    pub(crate) fn mail(&self) {
        self.0.lock().unwrap().mails += 1;
    }

    pub(crate) fn messages(&self) -> usize {
        self.0.lock().unwrap().messages.len()
    }

    /// What holds for every strategy, found and allowed, after so many days.
    pub(crate) fn rows(&self, fleet: Fleet, days: f64) -> Vec<Row> {
        let entries = self.0.lock().unwrap();
        let guesses = &entries.guesses;
        let per = |key: fn(&Guess) -> u64, window| {
            most(guesses.iter().map(|guess| (key(guess), guess.at)), window)
        };
        let account = |guess: &Guess| u64::from(guess.person);
        let mut rows = vec![
            Row::told("guesses evaluated", guesses.len()),
            Row::held("  of one challenge", per(|g| g.challenge, u64::MAX), 3),
            Row::held("  of one account in 24 h", per(account, DAY), 5),
            Row::held("  of one account in 30 days", per(account, 30 * DAY), 20),
            Row::told("  that were right, by luck", entries.entered),
            Row::held("  beyond 500 and 25 a day", overdrawn(guesses), 0),
        ];
        rows.push(match fleet {
            Fleet::OneTarget => {
                Row::chance("takeovers a year, one target", yearly(guesses, days), 0.025)
            }
            Fleet::Everyone => {
                Row::chance("takeovers a year, everyone", yearly(guesses, days), 1.0)
            }
        });
        rows
    }

    /// What holds for messages of the unknown lane.
    pub(crate) fn message_rows(&self) -> Vec<Row> {
        let entries = self.0.lock().unwrap();
        let sent = &entries.messages;
        let to_number = |window| most(sent.iter().map(|m| (m.to.as_str(), m.at)), window);
        let prefix = |m: &Message| m.to[..m.to.len() - 4].to_owned();
        let to_prefix = most(sent.iter().map(|m| (prefix(m), m.at)), HOUR);
        let to_company = |window| most(sent.iter().map(|m| (m.company, m.at)), window);
        let in_all = |window| most(sent.iter().map(|m| ((), m.at)), window);
        vec![
            Row::told("mails sent", entries.mails),
            Row::told("messages sent", sent.len()),
            Row::held("  to one account in 60 s", to_number(MINUTE), 1),
            Row::held("  to one account in 15 min", to_number(15 * MINUTE), 3),
            Row::held("  to one account in 24 h", to_number(DAY), 5),
            Row::held("  to one prefix in an hour", to_prefix, 30),
            // A tenth of each cap is kept for known devices.
            Row::held("  to one company in an hour", to_company(HOUR), 450),
            Row::held("  to one company in 24 h", to_company(DAY), 1_800),
            Row::held("  in all in an hour", in_all(HOUR), 1_800),
            Row::held("  in all in 24 h", in_all(DAY), 9_000),
        ]
    }
}

/// Who is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fleet {
    OneTarget,
    Everyone,
}

/// One line of a report.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: String,
    found: String,
    bound: Option<String>,
    pub(crate) holds: bool,
}

impl Row {
    /// A number without a bound of its own.
    pub(crate) fn told(what: &str, found: usize) -> Self {
        Self {
            what: what.to_owned(),
            found: found.to_string(),
            bound: None,
            holds: true,
        }
    }

    /// A number that must not be larger than its bound.
    pub(crate) fn held(what: &str, found: usize, bound: usize) -> Self {
        Self {
            bound: Some(format!("at most {bound}")),
            holds: found <= bound,
            ..Self::told(what, found)
        }
    }

    /// A number that must be what it should.
    pub(crate) fn is(what: &str, found: usize, bound: usize) -> Self {
        Self {
            bound: Some(format!("exactly {bound}")),
            holds: found == bound,
            ..Self::told(what, found)
        }
    }

    /// Takeovers, which must be fewer than their bound.
    fn chance(what: &str, found: f64, bound: f64) -> Self {
        Self {
            what: what.to_owned(),
            found: format!("{found:.3}"),
            bound: Some(format!("below {bound}")),
            holds: found < bound,
        }
    }

    /// Times in microseconds that must not tell one kind from another: they lie within 1 % or
    /// 50 µs, whichever is larger.
    pub(crate) fn spread(what: &str, found: &[(&str, u64)], held: bool) -> Self {
        let times = || found.iter().map(|(_, time)| *time);
        let (least, most) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let bound = (least / 100).max(50);
        let each: Vec<String> = found
            .iter()
            .map(|(kind, t)| format!("{kind} {t}"))
            .collect();
        println!("    {what}, in µs: {}", each.join(", "));
        Self {
            what: format!("{what}: apart, µs"),
            found: (most - least).to_string(),
            // A few trials on a busy machine say nothing that could be held to a bound.
            bound: held.then(|| format!("at most {bound}")),
            holds: !held || most - least <= bound,
        }
    }

    pub(crate) fn print(&self) {
        let bound = self.bound.as_deref().unwrap_or("");
        let verdict = match (self.holds, &self.bound) {
            (true, None) => "",
            (true, Some(_)) => "holds",
            (false, _) => "BROKEN",
        };
        println!(
            "  {:<34}{:>12}   {bound:<14}{verdict}",
            self.what, self.found
        );
    }
}

/// The most that fall into one window, of any key; `at` in milliseconds.
fn most<K: Ord>(events: impl Iterator<Item = (K, u64)>, window: u64) -> usize {
    let mut by_key: BTreeMap<K, Vec<u64>> = BTreeMap::new();
    for (key, at) in events {
        by_key.entry(key).or_default().push(at);
    }
    let in_a_window = |mut times: Vec<u64>| {
        times.sort_unstable();
        let mut first = 0;
        let mut most = 0;
        for (last, at) in times.iter().enumerate() {
            while at - times[first] >= window {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    };
    by_key.into_values().map(in_a_window).max().unwrap_or(0)
}

/// By how much guesses, but for those of challenges that succeeded, went beyond a budget of 500 at once that fills up by 25 a day.
fn overdrawn(guesses: &[Guess]) -> usize {
    let given_back: BTreeSet<u64> = guesses
        .iter()
        .filter(|guess| guess.entered)
        .map(|guess| guess.challenge)
        .collect();
    let mut times: Vec<u64> = guesses
        .iter()
        .filter(|guess| !given_back.contains(&guess.challenge))
        .map(|guess| guess.at)
        .collect();
    times.sort_unstable();
    let (mut left, mut worst, mut before) = (500.0_f64, 0.0_f64, times.first().copied());
    for at in times {
        let since = at - before.unwrap_or(at);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a few years")]
        let filled = since as f64 / DAY as f64 * 25.0;
        left = (left + filled).min(500.0) - 1.0;
        worst = worst.min(left);
        before = Some(at);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small number that is not negative"
    )]
    // Less than a thousandth of a guess is rounding.
    let beyond = (-worst - 1e-3).max(0.0).ceil() as usize;
    beyond
}

/// Takeovers to be expected in a year that begins like what was seen, and goes on like its days
/// after the first.
fn yearly(guesses: &[Guess], days: f64) -> f64 {
    let Some(begin) = guesses.iter().map(|guess| guess.at).min() else {
        return 0.0;
    };
    let first = guesses
        .iter()
        .filter(|guess| guess.at < begin + DAY)
        .count();
    let rest = guesses.len() - first;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand guesses")]
    let (first, rest) = (first as f64, rest as f64);
    (first + rest / (days - 1.0).max(1.0) * 364.0) / CODES
}
