//! What was measured, by round.

use std::collections::BTreeMap;

use crate::contender::Kind;
use crate::load::Http;

/// One thing that is measured of each contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Cpu(Http),
    PerSecond(Http),
    P50(Http),
    P99(Http),
    CalmP50(Http),
    CalmP99(Http),
    Calls(Http),
    Full,
    PostQuantum,
    Resumed,
    Memory,
}

/// A middle and the range that it is the middle of.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Of values; `None` if there is none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let upper = values.get(values.len() / 2)?;
        let lower = values.get((values.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(*lower, *upper),
            low,
            high,
        })
    }
}

/// Figures of all rounds.
#[derive(Debug, Default)]
pub struct Table {
    rounds: Vec<Round>,
    open: Round,
}

type Round = BTreeMap<String, f64>;

impl Table {
    pub fn add(&mut self, kind: Kind, figure: Figure, value: f64) {
        self.open.insert(key(kind, figure), value);
    }

    /// What plain nginx showed in the round that is open.
    pub fn first(&self, figure: Figure) -> Option<f64> {
        self.open.get(&key(Kind::Nginx, figure)).copied()
    }

    pub fn end_round(&mut self) {
        self.rounds.push(std::mem::take(&mut self.open));
    }

    /// A figure as it was measured.
    pub fn absolute(&self, kind: Kind, figure: Figure) -> Option<Spread> {
        let key = key(kind, figure);
        Spread::of(
            self.rounds
                .iter()
                .filter_map(|round| round.get(&key).copied())
                .collect(),
        )
    }

    /// A figure divided by another's in the same round.
    pub fn ratio(&self, kind: Kind, figure: Figure, to: (Kind, Figure)) -> Option<Spread> {
        let (own, other) = (key(kind, figure), key(to.0, to.1));
        let ratio = |round: &Round| Some(round.get(&own)? / round.get(&other)?);
        Spread::of(self.rounds.iter().filter_map(ratio).collect())
    }
}

fn key(kind: Kind, figure: Figure) -> String {
    format!("{kind:?} {figure:?}")
}
