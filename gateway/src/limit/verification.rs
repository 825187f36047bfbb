//! How many of the codes that were sent are typed in: a pump of messages, or a provider that does
//! not deliver, shows here first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::BearerHash;

/// Codes that the rate is taken over.
const OVER: usize = 200;

/// Codes that may be waited for at once; beyond, the oldest counts as not typed in.
const WAITING: usize = 10_000;

/// The rate of codes that were typed in, over the last 200 whose outcome is known. It is this
/// process's, and begins anew with it.
#[derive(Debug)]
pub struct Verification {
    lifetime: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When each was sent, and for which challenge, oldest first.
    waiting: VecDeque<(Timestamp, BearerHash)>,
    /// Whether each was typed in, oldest first.
    outcomes: VecDeque<bool>,
    low: bool,
}

/// What the rate says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// From 0 to 1; `None` before the first outcome.
    pub rate: Option<f64>,
    /// Whether it has just fallen below half (`true`) or is back (`false`).
    pub crossed: Option<bool>,
}

impl Verification {
    /// Nothing sent yet. A code not typed in within its `lifetime` never will be.
    #[must_use]
    pub fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            state: Mutex::default(),
        }
    }

    /// A code was sent for a challenge.
    pub fn sent(&self, now: Timestamp, challenge: BearerHash) {
        self.with(|state| {
            state.waiting.push_back((now, challenge));
            if state.waiting.len() > WAITING {
                state.waiting.pop_front();
                state.ended(false);
            }
        });
    }

    /// A challenge's latest code was typed in.
    pub fn verified(&self, challenge: BearerHash) {
        self.with(|state| {
            let place = state.waiting.iter().rposition(|(_, id)| *id == challenge);
            if place
                .and_then(|place| state.waiting.remove(place))
                .is_some()
            {
                state.ended(true);
            }
        });
    }

    /// The rate now; a crossing is told once.
    pub fn judge(&self, now: Timestamp) -> Judgement {
        let lifetime = self.lifetime;
        self.with(|state| {
            while state
                .waiting
                .pop_front_if(|(sent, _)| sent.plus(lifetime) <= now)
                .is_some()
            {
                state.ended(false);
            }
            let typed = state.outcomes.iter().filter(|typed| **typed).count();
            let low = state.outcomes.len() == OVER && typed * 2 < OVER;
            let crossed = (low != state.low).then_some(low);
            state.low = low;
            Judgement {
                rate: share(typed, state.outcomes.len()),
                crossed,
            }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut state)
    }
}

impl State {
    fn ended(&mut self, typed: bool) {
        if self.outcomes.len() == OVER {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(typed);
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    let number = |n: usize| u32::try_from(n).map_or(f64::INFINITY, f64::from);
    (whole > 0).then(|| number(part) / number(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000 * seconds)
    }

    fn id(number: u8) -> BearerHash {
        BearerHash([number; 32])
    }

    #[test]
    fn below_half_of_the_last_two_hundred_is_told_once_and_so_is_the_way_back() {
        let rate = Verification::new(Duration::from_secs(300));
        let round = |start: u64, count: u64, typed: bool| {
            for n in 0..count {
                rate.sent(at(start + n), id(1));
                if typed {
                    rate.verified(id(1));
                }
            }
            rate.judge(at(start + count + 300))
        };
        let quiet = |value| Judgement {
            rate: Some(value),
            crossed: None,
        };
        assert_eq!(rate.judge(at(0)).rate, None);
        assert_eq!(round(0, 50, false), quiet(0.0));
        assert_eq!(round(1_000, 50, true), quiet(0.5));
        assert_eq!(round(2_000, 100, true), quiet(0.75));
        assert_eq!(round(3_000, 100, false), quiet(0.5));
        let low = round(4_000, 1, false);
        assert_eq!(low.crossed, Some(true));
        assert_eq!(round(5_000, 1, false).crossed, None);
        assert_eq!(round(6_000, 2, true).crossed, None);
        assert_eq!(round(7_000, 100, true).crossed, Some(false));
        assert_eq!(round(8_000, 10, true).crossed, None);
    }

    #[test]
    fn a_code_counts_when_its_outcome_is_known() {
        let rate = Verification::new(Duration::from_secs(300));
        rate.sent(at(0), id(1));
        rate.sent(at(100), id(1));
        rate.verified(id(2));
        assert_eq!(rate.judge(at(299)).rate, None);
        rate.verified(id(1));
        assert_eq!(rate.judge(at(299)).rate, Some(1.0));
        // The one that was replaced was never typed in.
        assert_eq!(rate.judge(at(300)).rate, Some(0.5));
        rate.verified(id(1));
        assert_eq!(rate.judge(at(900)).rate, Some(0.5));
    }
}
