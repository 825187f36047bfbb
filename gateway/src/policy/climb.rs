//! The way from a resource up through what it lies in.

use std::sync::Arc;

use super::resource::{Above, MAX_DEPTH, Record, Resource};
use super::slots::Begun;
use super::source::Known;
use crate::clock::Timestamp;

/// The facts that decide over a resource: all of them must pass.
#[derive(Debug)]
pub(super) struct Chain {
    first: Arc<Record>,
    above: Vec<Arc<Record>>,
}

impl Chain {
    /// Every step that has facts, from the resource upwards.
    pub(super) fn records(&self) -> impl Iterator<Item = &Arc<Record>> + Clone {
        std::iter::once(&self.first).chain(&self.above)
    }
}

/// The way from a resource up through what it lies in.
#[derive(Default)]
pub(super) struct Climb {
    /// When the oldest of the steps so far was asked for.
    oldest: Option<Begun>,
    depth: usize,
    first: Option<Arc<Record>>,
    above: Vec<Arc<Record>>,
}

/// Where the way leads on.
pub(super) enum Step<'e> {
    Up(&'e Above, &'e str),
    Top,
    Nothing,
}

impl Climb {
    /// Takes in what is known of a step, and says where the way leads on.
    pub(super) fn step<'e>(
        &mut self,
        known: &'e Known,
        begun: Begun,
        resource: &Resource,
    ) -> Step<'e> {
        let Known::Found(found) = known else {
            return Step::Nothing;
        };
        self.oldest = Some(match self.oldest {
            Some(oldest) => oldest.older(begun),
            None => begun,
        });
        match (&found.record, &self.first) {
            (Some(record), None) => self.first = Some(Arc::clone(record)),
            (Some(record), Some(_)) => self.above.push(Arc::clone(record)),
            (None, _) => {}
        }
        let Some((above, id)) = &found.parent else {
            return Step::Top;
        };
        if self.depth == MAX_DEPTH {
            // Perhaps a circle: nobody can say what decides.
            let resource = resource.label(&found.id);
            tracing::warn!(%resource, "it lies more than {MAX_DEPTH} deep, and is nobody's");
            return Step::Nothing;
        }
        self.depth += 1;
        Step::Up(above, id)
    }

    /// When the oldest of the steps so far was asked for.
    pub(super) fn oldest(&self, now: Timestamp) -> Begun {
        self.oldest.unwrap_or_else(|| Begun::at(now))
    }

    /// The facts of every step; `None` if none has some.
    pub(super) fn into_chain(self) -> Option<Chain> {
        Some(Chain {
            first: self.first?,
            above: self.above,
        })
    }
}
