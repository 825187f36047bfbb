//! Limits: whose budget a login draws on, and what the budgets allow an attacker.
//!
//! The counting itself is the store's, atomically; this room says what is counted.

mod sends;
mod verification;

use std::time::Duration;

use crate::config::{Login, Window};
use crate::principal::EmailAddress;
use crate::secret::Key;
use crate::store::{AccountKey, Lane};

pub use self::sends::{AccountBudget, Drafts, Sending, Sent, account_budgets};
pub use self::verification::{Judgement, Verification};

/// Codes that a guess may be: 0000–9999.
const CODES: f64 = 10_000.0;

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The key under which an account's budgets are counted: the same for every spelling of its
/// address, made the same way whether or not anyone has it, and telling nothing of it to whoever
/// reads the store.
#[must_use]
pub fn account_key(key: &Key, email: &EmailAddress) -> AccountKey {
    AccountKey(key.mac(&[b"account", email.as_str().as_bytes()]))
}

/// The budget of failed comparisons that a lane draws on.
#[must_use]
pub fn budget(login: &Login, lane: Lane) -> &[Window] {
    match lane {
        Lane::Unknown => &login.unknown_device,
        Lane::Known(_) => &login.known_device,
    }
}

/// How likely it is that guessing opens one account, at worst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Takeovers {
    /// Within one day, from 0 to 1.
    pub per_day: f64,
    /// Within one year of days like it, from 0 to 1.
    pub per_year: f64,
}

/// What the configured budgets allow an attacker who has one target and none of its devices, and
/// spends every guess that they are given.
#[must_use]
pub fn takeovers_per_year(login: &Login) -> Takeovers {
    let within = |stretch| chance(guesses(&login.unknown_device, stretch));
    Takeovers {
        per_day: within(DAY),
        per_year: within(YEAR),
    }
}

/// Takeovers to expect in a year, all accounts together, of an attacker who spends all that the
/// fleet's budget gives without its shield stopping them.
#[must_use]
pub fn fleet_takeovers_per_year(login: &Login) -> f64 {
    let days = YEAR.as_secs_f64() / DAY.as_secs_f64();
    let refilled = f64::from(login.fleet.refill_per_day) * days;
    (f64::from(login.fleet.burst) + refilled) / CODES
}

/// Guesses that a budget allows in the long run per stretch of time; without end if it has no
/// window.
fn guesses(budget: &[Window], stretch: Duration) -> f64 {
    budget
        .iter()
        .map(|window| {
            let windows = stretch.as_secs_f64() / window.per.as_secs_f64();
            f64::from(window.limit) * windows.max(1.0)
        })
        .fold(f64::INFINITY, f64::min)
}

/// The chance that one of so many guesses is right, each at a code of its own.
fn chance(guesses: f64) -> f64 {
    1.0 - (1.0 - 1.0 / CODES).powf(guesses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fleet, Sends, Shield};
    use crate::secret::{BearerId, MasterKey};

    fn window(limit: u32, days: u64) -> Window {
        Window {
            limit,
            per: DAY * u32::try_from(days).unwrap(),
        }
    }

    fn login() -> Login {
        Login {
            code_lifetime: Duration::from_secs(300),
            attempts_per_challenge: 3,
            live_challenges: 3,
            unknown_device: vec![window(5, 1), window(20, 30)],
            known_device: vec![window(10, 1), window(30, 30)],
            device_lifetime: DAY * 180,
            answer_tick: Duration::from_millis(50),
            sends: Sends::default(),
            fleet: Fleet::default(),
            shield: Shield::Link,
        }
    }

    fn near(value: f64, expected: f64) {
        assert!(
            (value / expected - 1.0).abs() < 0.01,
            "{value} is not near {expected}"
        );
    }

    #[test]
    fn the_default_budgets_allow_what_the_design_says() {
        let worst = takeovers_per_year(&login());
        near(worst.per_day, 5e-4);
        near(worst.per_year, 0.024);
        near(fleet_takeovers_per_year(&login()), 0.9625);
    }

    #[test]
    fn the_table_of_daily_budgets_is_reproduced() {
        for (limit, day, year) in [(5, 5e-4, 0.167), (50, 5e-3, 0.839)] {
            let mut login = login();
            login.unknown_device = vec![window(limit, 1)];
            let worst = takeovers_per_year(&login);
            near(worst.per_day, day);
            near(worst.per_year, year);
        }
    }

    #[test]
    fn no_budget_is_no_protection() {
        let mut login = login();
        login.unknown_device.clear();
        near(takeovers_per_year(&login).per_year, 1.0);
        login.unknown_device.push(window(0, 1));
        assert!(takeovers_per_year(&login).per_year.abs() < f64::EPSILON);
    }

    #[test]
    fn each_lane_draws_on_its_own_budget() {
        let login = login();
        assert_eq!(budget(&login, Lane::Unknown), login.unknown_device);
        let known = Lane::Known(BearerId::generate().hash());
        assert_eq!(budget(&login, known), login.known_device);
    }

    #[test]
    fn spellings_of_one_address_share_a_key_that_only_the_pepper_gives() {
        let (ours, theirs) = (MasterKey::generate(), MasterKey::generate());
        let key = |master: &MasterKey, typed| {
            account_key(
                &master.derive("account"),
                &EmailAddress::parse(typed).unwrap(),
            )
        };
        let plain = key(&ours, "kari@fjord.example");
        assert_eq!(key(&ours, " Kari@FJORD.example "), plain);
        assert_ne!(key(&ours, "ola@fjord.example"), plain);
        assert_ne!(key(&theirs, "kari@fjord.example"), plain);
    }
}
