//! What every implementation of [`Store`](super::Store) is held to, told through a [`Rig`].

pub(super) mod budgets;
pub(super) mod challenges;
pub(super) mod records;
pub(super) mod sends;
pub(super) mod shield;
pub(super) mod standing;

use std::time::Duration;

use async_trait::async_trait;

use super::{
    AccountKey, Attempt, Challenge, CodeHash, Completion, DeviceRecord, Lane, NewChallenge,
    SessionRecord, SharedStore,
};
use crate::clock::Timestamp;
use crate::config::{Fleet, Window};
use crate::secret::BearerHash;

/// A store under test, which can be stopped and started on what it kept.
#[async_trait]
pub(super) trait Rig: Send {
    fn store(&self) -> SharedStore;
    /// Drops the store and opens it again.
    async fn restart(&mut self);
}

/// Makes one test of every line of the contract, for the rigs that `$rig` makes.
macro_rules! hold_to_contract {
    ($rig:expr) => {
        $crate::store::contract::hold_to_contract! { @ $rig;
            challenges::ten_thousand_parallel_guesses_get_three_comparisons,
            challenges::a_hundred_parallel_completions_make_one_session,
            challenges::a_renewal_resets_no_counter_and_kills_the_old_code,
            challenges::a_renewed_challenge_outlives_its_first_code,
            challenges::opening_beyond_the_living_drops_the_oldest,
            challenges::a_known_device_has_one_living_challenge,
            challenges::an_expired_challenge_is_gone,
            challenges::a_challenge_opens_its_own_user_only,
            challenges::a_completion_that_fails_has_no_effect,
            challenges::a_forgotten_device_takes_its_challenge_along,
            budgets::a_restart_changes_no_counter,
            budgets::a_success_gives_back_exactly_one,
            budgets::windows_slide_exactly,
            budgets::a_long_window_outlasts_a_short_one,
            budgets::a_spent_lane_opens_nothing,
            budgets::lanes_and_accounts_do_not_share,
            budgets::addresses_without_a_user_are_counted_alike,
            budgets::a_rotated_device_keeps_its_counter,
            budgets::unlocking_forgets_every_lane,
            sends::a_message_is_charged_to_all_its_budgets_or_to_none,
            sends::what_we_hold_back_still_counts_for_the_one_who_asked,
            sends::every_window_of_a_budget_holds,
            sends::a_large_budget_never_gives_more_than_it_holds,
            sends::drafts_at_once_do_not_outrun_a_budget,
            sends::budgets_survive_a_restart,
            sends::what_was_drawn_can_be_looked_at,
            sends::unlocking_frees_the_accounts_messages_and_nobody_elses,
            shield::ten_thousand_guesses_at_many_accounts_cannot_outrun_the_fleets_budget,
            shield::a_success_gives_back_all_that_its_challenge_drew,
            shield::the_shield_outlasts_a_restart_and_lowers_itself_at_half,
            shield::attempts_at_nobody_draw_nothing_and_are_stopped_alike,
            shield::a_known_device_notices_nothing_of_the_shield,
            shield::a_link_is_followed_once_by_its_own_challenge_and_passes_the_shield,
            shield::what_is_raised_by_hand_is_lowered_by_hand,
            records::a_session_ends_at_its_limit,
            records::using_a_session_is_recorded_and_revives_nothing,
            records::revoking_covers_whom_it_names,
            records::a_login_ends_the_session_that_the_browser_had,
            records::the_device_unused_the_longest_goes,
            records::a_sealed_value_is_put_only_over_what_was_expected,
            records::learned_facts_are_never_overwritten,
            records::the_latest_moment_only_rises,
            records::a_ready_store_says_so,
            records::everything_survives_a_restart,
            standing::a_suspension_lasts_until_it_is_taken_back,
            standing::failures_are_counted_until_a_login_and_told_once,
            standing::failures_of_nobodys_address_are_nobodys,
            standing::what_stands_against_an_account_is_told_by_lane,
        }
    };
    (@ $rig:expr; $($chapter:ident::$line:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $line() {
            $crate::store::contract::$chapter::$line(&mut $rig).await;
        }
    )*};
}
pub(super) use hold_to_contract;

/// Comparisons per challenge.
const ATTEMPTS: u32 = 3;
/// Challenges that live at once on an unknown lane.
const LIVE: u32 = 3;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const UNKNOWN: [Window; 2] = [window(5, DAY), window(20, DAY.saturating_mul(30))];
const KNOWN: [Window; 2] = [window(10, DAY), window(30, DAY.saturating_mul(30))];

const fn window(limit: u32, per: Duration) -> Window {
    Window { limit, per }
}

/// A moment, in seconds after the tests begin.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_795_515_607_123).plus(Duration::from_secs(seconds))
}

fn account(number: u8) -> AccountKey {
    AccountKey([number; 32])
}

fn id(number: u8) -> BearerHash {
    BearerHash([number; 32])
}

fn code(number: u8) -> CodeHash {
    CodeHash([number; 32])
}

/// Kari's challenge on the unknown lane of account 1, good for five minutes.
fn asked(number: u8, now: Timestamp) -> NewChallenge {
    NewChallenge {
        id: id(number),
        account: account(1),
        user: Some("u-kari".into()),
        lane: Lane::Unknown,
        code: code(number),
        expires: now.plus(Duration::from_secs(300)),
        next: "/projects/1".to_owned(),
        email: "kari@fjord.example".to_owned(),
        link: None,
    }
}

fn session(handle: &str, user: &str, company: &str) -> SessionRecord {
    SessionRecord {
        handle: handle.to_owned(),
        user: user.into(),
        company: company.into(),
        created: at(0),
        last_seen: at(0),
        expires: at(0).plus(DAY),
        client: "Firefox on Linux".to_owned(),
    }
}

fn device(handle: &str, last_seen: Timestamp) -> DeviceRecord {
    DeviceRecord {
        handle: handle.to_owned(),
        account: account(1),
        created: at(0),
        last_seen,
        expires: at(0).plus(DAY.saturating_mul(180)),
        client: "Firefox on Linux".to_owned(),
    }
}

/// Kari's login by a challenge, whose comparison was charged at `charged_at`.
fn completion(challenge: BearerHash, charged_at: Timestamp, session_id: u8) -> Completion {
    Completion {
        challenge,
        charged_at,
        session: id(session_id),
        record: session("s-kari", "u-kari", "fjord"),
        replaces: None,
        device: None,
        devices: 10,
    }
}

/// Opens a challenge that must open.
async fn open(store: &SharedStore, now: Timestamp, new: NewChallenge) {
    let budget = budget_of(new.lane);
    let opening = store.open_challenge(now, new, LIVE, budget).await.unwrap();
    assert_eq!(opening, super::Opening::Opened);
}

/// Charges a comparison that must be free.
async fn charge(store: &SharedStore, now: Timestamp, id: BearerHash) -> Challenge {
    let lane = store.challenge(now, id).await.unwrap().unwrap().lane;
    let budget = budget_of(lane);
    match store
        .charge_attempt(now, id, ATTEMPTS, budget, Fleet::default())
        .await
    {
        Ok(Attempt::Charged(challenge)) => challenge,
        other => panic!("not charged: {other:?}"),
    }
}

/// Spends what `new`'s lane has, a challenge at a time; returns how many comparisons that took.
/// Numbers from `first` name the challenges.
async fn spend(store: &SharedStore, now: Timestamp, first: u8, new: &NewChallenge) -> usize {
    let budget = budget_of(new.lane);
    let mut charged = 0;
    for number in first.. {
        let new = NewChallenge {
            id: id(number),
            ..new.clone()
        };
        let opening = store.open_challenge(now, new, LIVE, budget).await.unwrap();
        if opening != super::Opening::Opened {
            break;
        }
        for _ in 0..ATTEMPTS {
            let attempt = store
                .charge_attempt(now, id(number), ATTEMPTS, budget, Fleet::default())
                .await
                .unwrap();
            charged += usize::from(matches!(attempt, Attempt::Charged(_)));
        }
    }
    charged
}

fn budget_of(lane: Lane) -> &'static [Window] {
    match lane {
        Lane::Unknown => &UNKNOWN,
        Lane::Known(_) => &KNOWN,
    }
}
