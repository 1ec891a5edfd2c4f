//! The books as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use affinity_layer::{ModelName, RouteName};
use serde::{Deserialize, Serialize};

use super::regret::Regret;
use super::sums::Sums;
use super::{Entry, Ledger};
use crate::ops::turns::SessionTag;

/// The whole ledger.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    /// Unix milliseconds.
    pub(crate) since: u64,
    pub(crate) totals: Row,
    pub(crate) models: Vec<Model>,
    pub(crate) routes: Vec<Route>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Model {
    pub(crate) model: String,
    #[serde(flatten)]
    pub(crate) row: Row,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Route {
    pub(crate) route: Option<String>,
    #[serde(flatten)]
    pub(crate) row: Row,
}

/// One session.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    session: SessionTag,
    scope: Option<String>,
    model: Option<ModelName>,
    route: Option<RouteName>,
    /// Unix milliseconds.
    last: Option<u64>,
    #[serde(flatten)]
    row: Row,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) turns: u64,
    pub(crate) pinned_turns: u64,
    pub(crate) incomplete_turns: u64,
    pub(crate) switches: u64,
    pub(crate) router: Router,
    pub(crate) tokens: Tokens,
    pub(crate) turns_without: Tokens,
    /// A model does not tell for whom the router would have chosen it, nor does a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) regret: Option<Regret>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Router {
    pub(crate) calls: u64,
    pub(crate) calls_saved: u64,
    pub(crate) time_us: u64,
    /// An estimate; `None` while the router has not been asked.
    pub(crate) time_saved_us: Option<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Tokens {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) output: u64,
}

impl Ledger {
    /// The books as they stand.
    pub(crate) fn answer(&self) -> Answer {
        let books = self.books();
        let total = books.total.sums;
        let models = books.models.iter().map(|(model, entry)| Model {
            model: model.clone(),
            row: Row::new(&entry.sums, &total),
        });
        let routes = books.routes.iter();
        let routes =
            routes.map(|(route, entry)| Route { route: route.clone(), row: entry.row(&total) });
        Answer {
            since: unix_millis(self.since),
            totals: books.total.row(&total),
            models: models.collect(),
            routes: routes.collect(),
        }
    }

    /// The sums over all turns.
    pub(crate) fn totals(&self) -> impl Serialize + use<> {
        let total = self.books().total;
        total.row(&total.sums)
    }

    /// The sessions, the last used first.
    pub(super) fn sessions(&self, limit: usize) -> Vec<Session> {
        let books = self.books();
        let total = books.total.sums;
        let newest = books.pins.newest().take(limit).map(|(session, page)| Session {
            session,
            scope: page.scope.clone(),
            model: page.model.clone(),
            route: page.route.clone(),
            last: page.last.map(unix_millis),
            row: Row::new(&page.sums, &total),
        });
        newest.collect()
    }
}

impl Entry {
    fn row(&self, total: &Sums) -> Row {
        Row { regret: Some(self.regret), ..Row::new(&self.sums, total) }
    }
}

impl Row {
    fn new(sums: &Sums, total: &Sums) -> Self {
        let Sums { prompt, cached, output, .. } = sums;
        Self {
            turns: sums.turns,
            pinned_turns: sums.pinned,
            incomplete_turns: sums.incomplete,
            switches: sums.switches,
            router: Router {
                calls: sums.router_calls,
                calls_saved: sums.saved,
                time_us: sums.router_us,
                time_saved_us: time_saved(sums.saved, total),
            },
            tokens: Tokens { prompt: prompt.sum, cached: cached.sum, output: output.sum },
            turns_without: Tokens {
                prompt: prompt.unknown,
                cached: cached.unknown,
                output: output.unknown,
            },
            regret: None,
        }
    }
}

/// As many calls as were saved, at the mean duration of all that were made.
fn time_saved(saved: u64, total: &Sums) -> Option<u64> {
    let time = u128::from(saved) * u128::from(total.router_us);
    let time = time.checked_div(u128::from(total.router_calls))?;
    Some(u64::try_from(time).unwrap_or(u64::MAX))
}

fn unix_millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
