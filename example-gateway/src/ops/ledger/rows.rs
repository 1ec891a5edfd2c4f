//! The books as JSON.
//!
//! One shape serves totals, models, routes and sessions, so that a reader learns it once. The admin API writes
//! it and the command `report` reads it back. Counts and money are as they were added up; only the time saved
//! is an estimate.

use std::time::{SystemTime, UNIX_EPOCH};

use affinity_layer::{ModelName, RouteName};
use serde::{Deserialize, Serialize};

use super::observed::ObservedSums;
use super::regret::Regret;
use super::sums::{Share, Sums};
use super::switches::SwitchesRow;
use crate::prices::Cost;
use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::Group;

/// The whole ledger.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct LedgerReport {
    /// Unix milliseconds.
    pub(crate) since: u64,
    pub(crate) totals: Row,
    pub(crate) models: Vec<ModelRow>,
    pub(crate) routes: Vec<RouteRow>,
    #[serde(default)]
    pub(crate) groups: Vec<GroupRow>,
    /// Decisions of the policy `cost`.
    #[serde(default)]
    pub(crate) switching: SwitchesRow,
}

/// Sessions that are pinned, that are observed, and requests of none.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct GroupRow {
    pub(crate) group: Group,
    #[serde(flatten)]
    pub(crate) row: Row,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ModelRow {
    pub(crate) model: String,
    #[serde(flatten)]
    pub(crate) row: Row,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct RouteRow {
    pub(crate) route: Option<String>,
    #[serde(flatten)]
    pub(crate) row: Row,
}

/// One session.
#[derive(Debug, Serialize)]
pub(crate) struct SessionRow {
    pub(super) session: SessionTag,
    pub(super) scope: Option<String>,
    pub(super) model: Option<ModelName>,
    pub(super) route: Option<RouteName>,
    /// Unix milliseconds.
    pub(super) last: Option<u64>,
    #[serde(flatten)]
    pub(super) row: Row,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    /// Over all turns of the row.
    #[serde(flatten)]
    pub(crate) all: ShareRow,
    pub(crate) pinned_turns: u64,
    pub(crate) incomplete_turns: u64,
    pub(crate) switches: u64,
    pub(crate) router: RouterRow,
    /// Over the pinned turns alone, and over the others.
    pub(crate) pinned: ShareRow,
    pub(crate) unpinned: ShareRow,
    /// The turns of observed sessions, and what pins would have done.
    #[serde(default)]
    pub(crate) observed: ObservedSums,
    /// Regret is known for routes only: neither a model nor a session says what the router would choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) regret: Option<Regret>,
}

/// What a part of the turns used and cost, as far as it is known.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ShareRow {
    pub(crate) turns: u64,
    pub(crate) tokens: TokensRow,
    pub(crate) cost: Cost,
    pub(crate) turns_without: UnknownRow,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct RouterRow {
    pub(crate) calls: u64,
    pub(crate) calls_saved: u64,
    pub(crate) time_us: u64,
    /// An estimate; `None` while the router has not been asked.
    pub(crate) time_saved_us: Option<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct TokensRow {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) written: u64,
    pub(crate) output: u64,
}

/// Turns of which something is not known.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct UnknownRow {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) written: u64,
    pub(crate) output: u64,
    pub(crate) cost: u64,
}

impl Row {
    pub(super) fn new(sums: &Sums, total: &Sums) -> Self {
        Self {
            all: ShareRow::new(&sums.all()),
            pinned_turns: sums.pinned.turns,
            incomplete_turns: sums.incomplete,
            switches: sums.switches,
            router: RouterRow {
                calls: sums.router_calls,
                calls_saved: sums.saved,
                time_us: sums.router_us,
                time_saved_us: time_saved(sums.saved, total),
            },
            pinned: ShareRow::new(&sums.pinned),
            unpinned: ShareRow::new(&sums.unpinned),
            observed: sums.observed,
            regret: None,
        }
    }
}

impl ShareRow {
    fn new(share: &Share) -> Self {
        let Share { turns, prompt, cached, written, output, cost, without_cost } = *share;
        Self {
            turns,
            tokens: TokensRow {
                prompt: prompt.sum,
                cached: cached.sum,
                written: written.sum,
                output: output.sum,
            },
            cost,
            turns_without: UnknownRow {
                prompt: prompt.unknown,
                cached: cached.unknown,
                written: written.unknown,
                output: output.unknown,
                cost: without_cost,
            },
        }
    }
}

/// As many calls as were saved, at the mean duration of all that were made.
fn time_saved(saved: u64, total: &Sums) -> Option<u64> {
    let time = u128::from(saved) * u128::from(total.router_us);
    let time = time.checked_div(u128::from(total.router_calls))?;
    Some(u64::try_from(time).unwrap_or(u64::MAX))
}

pub(super) fn unix_millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
