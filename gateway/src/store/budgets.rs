//! The words of the send budgets and of the shield.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::Window;

/// Whose budget, and which of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    /// A keyed hash of an address, a number's prefix, a company …; for an account's budgets the
    /// [`AccountKey`](super::AccountKey), so that unlocking it finds them.
    pub whose: [u8; 32],
    /// Tells the budgets of one of them apart.
    pub what: u8,
}

/// A draft of one on a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The budget.
    pub key: BudgetKey,
    /// What it holds. Windows whose limits are all at most [`Charge::EXACT`] slide to the
    /// millisecond; others in steps of a sixtieth of the shortest window, and then a draft counts
    /// up to a step longer, never shorter.
    pub windows: Vec<Window>,
    /// Whether anyone can make up as many such budgets as they like: then they are bounded in
    /// number, and the one unused the longest is forgotten.
    pub invented: bool,
}

impl Charge {
    /// Up to this limit every draft is kept by its own moment.
    pub const EXACT: u32 = 128;

    /// The steps that drafts are counted in; zero if each counts by its own moment.
    pub(super) fn step(&self) -> Duration {
        let windows = &self.windows;
        let coarse = windows.iter().any(|window| window.limit > Self::EXACT);
        let shortest = windows.iter().map(|window| window.per).min();
        match shortest {
            Some(shortest) if coarse => shortest / 60,
            _ => Duration::ZERO,
        }
    }
}

/// What became of a message or call that draws on several budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charging {
    /// Every budget was charged.
    Charged,
    /// What the caller may know of was charged; of ours, none, because this one, by its place, is
    /// spent.
    Held(usize),
    /// One that the caller may know of is spent until then; nothing was charged.
    Spent {
        /// When all of those have room again.
        until: Timestamp,
    },
}

/// The token of a link, hashed under a key that the store does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHash(pub [u8; 32]);

/// What stands between a challenge and its comparisons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    /// Nothing, as long as the shield is down.
    #[default]
    Open,
    /// A link has to be followed first; until then there is no code.
    Link(LinkHash),
    /// The link was followed: the shield and the fleet's budget let it pass.
    Followed,
}

/// The shield and the fleet's budget at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shield {
    /// Since when it is raised; `None` if it is down.
    pub raised: Option<Timestamp>,
    /// Whether it was raised by hand: then it is lowered by hand alone.
    pub by_hand: bool,
    /// Whole units that the fleet's budget has left.
    pub left: u32,
}
