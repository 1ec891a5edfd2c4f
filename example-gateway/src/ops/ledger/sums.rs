//! What turns add up to.
//!
//! Whole numbers that saturate: a sum of shares would drift, and one that wraps would lie. A count that the
//! provider did not report adds nothing and is counted as unknown, so that a share can leave it out.

use crate::stack::turns::turn::Turn;

/// Sums over turns. A sum that would not fit any more stays where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) turns: u64,
    /// Turns whose model came from a pin that stood before.
    pub(super) pinned: u64,
    /// Turns whose answer broke off.
    pub(super) incomplete: u64,
    /// Turns that another model answered than the turn of the session before.
    pub(super) switches: u64,
    pub(super) router_calls: u64,
    pub(super) router_us: u64,
    /// Turns that had their model without asking the router.
    pub(super) saved: u64,
    pub(super) prompt: Tokens,
    pub(super) cached: Tokens,
    pub(super) output: Tokens,
}

/// Tokens of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) sum: u64,
    /// Turns for which the provider did not report them.
    pub(super) unknown: u64,
}

impl Sums {
    pub(super) fn add(&mut self, turn: &Turn) {
        count(&mut self.turns, true);
        count(&mut self.pinned, turn.pinned);
        count(&mut self.incomplete, !turn.complete);
        count(&mut self.switches, turn.switched);
        count(&mut self.router_calls, turn.router.is_some());
        count(&mut self.saved, turn.router.is_none());
        let took = turn.router.map_or(0, |router| router.as_micros());
        self.router_us = self.router_us.saturating_add(u64::try_from(took).unwrap_or(u64::MAX));
        if turn.may_cost() {
            self.prompt.add(turn.prompt_tokens);
            self.cached.add(turn.cached_tokens);
            self.output.add(turn.output_tokens);
        }
    }
}

impl Tokens {
    fn add(&mut self, told: Option<u64>) {
        self.sum = self.sum.saturating_add(told.unwrap_or(0));
        count(&mut self.unknown, told.is_none());
    }
}

fn count(sum: &mut u64, one: bool) {
    *sum = sum.saturating_add(u64::from(one));
}
