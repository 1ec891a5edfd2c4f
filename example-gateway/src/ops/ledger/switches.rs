//! Decisions of the policy `cost`: how many of each kind, what moves came to, and the newest with all that they
//! were made of.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::prices::Picodollars;
use crate::stack::turns::switch::SwitchRecord;
use crate::switching::SwitchVerdict;

/// The newest decisions that are kept, some 300 bytes each.
pub(crate) const MAX_DECISIONS: usize = 1000;

/// What was decided where turns of users began.
#[derive(Debug, Default)]
pub(super) struct Switches {
    row: SwitchesRow,
    newest: VecDeque<SwitchRecord>,
}

/// Decisions in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SwitchesRow {
    /// How often each verdict occurred.
    pub(crate) verdicts: BTreeMap<String, u64>,
    /// What all moves cost, in dollars, as it was expected.
    pub(crate) move_cost: Picodollars,
    /// What the turns that began with them were expected to cost less, the moves paid.
    pub(crate) gained: Picodollars,
}

impl Switches {
    pub(super) fn add(&mut self, record: SwitchRecord) {
        let decision = &record.decision;
        let count = self.row.verdicts.entry(decision.verdict.as_str().to_owned()).or_default();
        *count = count.saturating_add(1);
        if let (SwitchVerdict::Move, Some(cost), Some(stay), Some(go)) =
            (decision.verdict, decision.move_cost, decision.stay, decision.go)
        {
            self.row.move_cost = self.row.move_cost.plus(cost);
            self.row.gained = self.row.gained.plus(stay.minus(go));
        }
        if self.newest.len() >= MAX_DECISIONS {
            self.newest.pop_back();
        }
        self.newest.push_front(record);
    }

    pub(super) fn row(&self) -> SwitchesRow {
        self.row.clone()
    }

    /// The last decisions, the newest first.
    pub(super) fn newest(&self, limit: usize) -> Vec<SwitchRecord> {
        self.newest.iter().take(limit).cloned().collect()
    }
}
