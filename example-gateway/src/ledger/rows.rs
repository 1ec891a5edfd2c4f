//! The books as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use affinity_layer::{ModelName, RouteName};
use serde::Serialize;

use super::regret::Regret;
use super::sums::Sums;
use super::{Entry, Ledger};
use crate::turns::SessionTag;

/// The whole ledger.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// Unix milliseconds.
    since: u64,
    totals: Row,
    models: Vec<Model>,
    routes: Vec<Route>,
}

#[derive(Debug, Serialize)]
struct Model {
    model: String,
    #[serde(flatten)]
    row: Row,
}

#[derive(Debug, Serialize)]
struct Route {
    route: Option<String>,
    #[serde(flatten)]
    row: Row,
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

#[derive(Debug, Serialize)]
struct Row {
    turns: u64,
    pinned_turns: u64,
    incomplete_turns: u64,
    switches: u64,
    router: Router,
    tokens: Tokens,
    turns_without: Tokens,
    /// A model does not tell for whom the router would have chosen it, nor does a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    regret: Option<Regret>,
}

#[derive(Debug, Serialize)]
struct Router {
    calls: u64,
    calls_saved: u64,
    time_us: u64,
    /// An estimate; `None` while the router has not been asked.
    time_saved_us: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Tokens {
    prompt: u64,
    cached: u64,
    output: u64,
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
