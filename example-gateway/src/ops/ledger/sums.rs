//! What turns add up to.
//!
//! Whole numbers that saturate: a sum of shares would drift, and one that wraps would lie. What a provider did
//! not report adds nothing and is counted as unknown, so that a share can leave it out.

use super::observed::ObservedSums;
use crate::prices::Cost;
use crate::stack::turns::turn::Turn;

/// Sums over turns. A sum that would not fit any more stays where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Turns whose model came from a pin that stood before.
    pub(super) pinned: Share,
    /// All other turns.
    pub(super) unpinned: Share,
    /// Turns whose answer broke off.
    pub(super) incomplete: u64,
    /// Turns that another model answered than the turn of the session before.
    pub(super) switches: u64,
    pub(super) router_calls: u64,
    pub(super) router_us: u64,
    /// Turns that had their model without asking the router.
    pub(super) saved: u64,
    /// Those of observed sessions, and what pins would have done.
    pub(super) observed: ObservedSums,
}

/// What a part of the turns used and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) turns: u64,
    pub(super) prompt: Tokens,
    pub(super) cached: Tokens,
    pub(super) written: Tokens,
    pub(super) output: Tokens,
    pub(super) cost: Cost,
    /// Turns whose cost is not known.
    pub(super) without_cost: u64,
}

/// Tokens of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) sum: u64,
    /// Turns for which the provider did not report them.
    pub(super) unknown: u64,
}

impl Sums {
    /// Adds a turn, and what a pin would have done if its session is observed.
    pub(super) fn add(&mut self, turn: &Turn, observed: &ObservedSums) {
        self.observed.add(observed);
        count(&mut self.incomplete, !turn.complete);
        count(&mut self.switches, turn.switched);
        count(&mut self.router_calls, turn.router.is_some());
        count(&mut self.saved, turn.router.is_none());
        let took = turn.router.map_or(0, |router| router.as_micros());
        self.router_us = self.router_us.saturating_add(u64::try_from(took).unwrap_or(u64::MAX));
        if turn.pinned { &mut self.pinned } else { &mut self.unpinned }.add(turn);
    }

    /// Over all turns, pinned or not.
    pub(super) fn all(&self) -> Share {
        self.pinned.with(&self.unpinned)
    }
}

impl Share {
    fn add(&mut self, turn: &Turn) {
        count(&mut self.turns, true);
        if turn.may_cost() {
            self.prompt.add(turn.tokens.prompt);
            self.cached.add(turn.tokens.cached);
            self.written.add(turn.tokens.written);
            self.output.add(turn.tokens.output);
            self.cost = self.cost.plus(&turn.cost.unwrap_or_default());
            count(&mut self.without_cost, turn.cost.is_none());
        }
    }

    fn with(&self, other: &Self) -> Self {
        Self {
            turns: self.turns.saturating_add(other.turns),
            prompt: self.prompt.with(other.prompt),
            cached: self.cached.with(other.cached),
            written: self.written.with(other.written),
            output: self.output.with(other.output),
            cost: self.cost.plus(&other.cost),
            without_cost: self.without_cost.saturating_add(other.without_cost),
        }
    }
}

impl Tokens {
    fn add(&mut self, told: Option<u64>) {
        self.sum = self.sum.saturating_add(told.unwrap_or(0));
        count(&mut self.unknown, told.is_none());
    }

    fn with(self, other: Self) -> Self {
        Self {
            sum: self.sum.saturating_add(other.sum),
            unknown: self.unknown.saturating_add(other.unknown),
        }
    }
}

fn count(sum: &mut u64, one: bool) {
    *sum = sum.saturating_add(u64::from(one));
}
