//! What pins save and what turns cost: in total, by model, by route and by session.
//!
//! - Sums are exact, in whole numbers. Nothing is divided before somebody asks.
//! - Models are those of the configuration. Routes may be named by clients, and sessions are: of the
//!   first a bounded number is told apart, of the second the newest are kept.
//! - It is what this process has seen since it was started.

pub(crate) mod api;
mod pins;
mod regret;
pub(crate) mod rows;
mod sums;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use affinity_layer::{ModelName, RouteName};

use self::pins::Pins;
use self::regret::Regret;
pub(crate) use self::regret::Verdict;
use self::sums::Sums;
use crate::ops::turns::{SessionTag, Turn};
use crate::telemetry::metrics;
use crate::upstream::providers::Upstreams;

/// Routes that are told apart; those beyond are counted as [`OTHER`].
const MAX_ROUTES: usize = 1000;
const OTHER: &str = "(other)";

/// The books of one process.
#[derive(Debug)]
pub(crate) struct Ledger {
    upstreams: Arc<Upstreams>,
    since: SystemTime,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    total: Entry,
    models: BTreeMap<String, Entry>,
    /// `None` is for turns that no route matched.
    routes: BTreeMap<Option<String>, Entry>,
    pins: Pins,
}

/// What is counted under one name.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    sums: Sums,
    regret: Regret,
}

impl Ledger {
    pub(crate) fn new(upstreams: Arc<Upstreams>) -> Self {
        metrics::expect_costs(upstreams.configured());
        Self { upstreams, since: SystemTime::now(), books: Mutex::default() }
    }

    /// A model answers a session; says whether another one did before.
    pub(crate) fn answers(&self, session: SessionTag, model: &ModelName) -> bool {
        self.books().pins.answers(session, model)
    }

    /// A turn has ended.
    pub(crate) fn add(&self, turn: &Turn) {
        let model = self.upstreams.provider(&turn.model).map_or(&turn.model, |by| &by.model);
        metrics::cost(model, turn);
        let mut books = self.books();
        books.total.sums.add(turn);
        books.models.entry(model.to_string()).or_default().sums.add(turn);
        books.route(turn.route.as_ref()).sums.add(turn);
        books.pins.add(turn);
    }

    /// A pinned turn was routed once more; `route` is that of the pin.
    pub(crate) fn judged(&self, route: Option<&RouteName>, verdict: Verdict) {
        let mut books = self.books();
        books.total.regret.add(verdict);
        books.route(route).regret.add(verdict);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn route(&mut self, route: Option<&RouteName>) -> &mut Entry {
        let mut name = route.map(ToString::to_string);
        if self.routes.len() >= MAX_ROUTES && !self.routes.contains_key(&name) {
            name = Some(OTHER.to_owned());
        }
        self.routes.entry(name).or_default()
    }
}

#[cfg(test)]
mod tests;
