//! The books of one process.
//!
//! One lock guards all sums, so that a report is one moment: its totals are the sums of its rows. It is held
//! for some additions at the end of a turn, or for copying a report, and never over a wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use affinity_layer::{ModelName, RouteName};
use serde::Serialize;

use super::observed::{CACHE_TTL, Models, ObservedSums, Warmth, learn};
use super::pins::Pins;
use super::regret::Regret;
use super::rows::{GroupRow, LedgerReport, ModelRow, RouteRow, Row, SessionRow, unix_millis};
use super::sums::Sums;
use super::switches::Switches;
use crate::prices::Cost;
use crate::stack::turns::observer::Verdict;
use crate::stack::turns::switch::SwitchRecord;
use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::{Group, Turn};
use crate::telemetry::metrics::{self, TurnKind};
use crate::upstream::providers::Upstreams;

/// Routes that are distinguished; further ones are counted as [`OTHER`].
pub(super) const MAX_ROUTES: usize = 1000;
pub(super) const OTHER: &str = "(other)";

/// The books of one process.
#[derive(Debug)]
pub(crate) struct Ledger {
    upstreams: RwLock<Arc<Upstreams>>,
    since: SystemTime,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    total: Entry,
    models: BTreeMap<String, Entry>,
    /// `None` is for turns that no route matched.
    routes: BTreeMap<Option<String>, Entry>,
    groups: BTreeMap<Group, Entry>,
    pins: Pins,
    /// By the name of the model.
    warmth: BTreeMap<String, Warmth>,
    switches: Switches,
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
        let upstreams = RwLock::new(upstreams);
        Self { upstreams, since: SystemTime::now(), books: Mutex::default() }
    }

    /// Names models by another configuration from now on.
    pub(crate) fn reconfigured(&self, upstreams: Arc<Upstreams>) {
        metrics::expect_costs(upstreams.configured());
        *self.upstreams.write().unwrap_or_else(PoisonError::into_inner) = upstreams;
    }

    /// A model answers a session; says whether another one did before.
    pub(crate) fn answers(&self, session: SessionTag, model: &ModelName) -> bool {
        self.books().pins.answers(session, model)
    }

    /// What a turn has cost; `None` if the price of its model or what it used is not known.
    pub(crate) fn cost(&self, turn: &Turn) -> Option<Cost> {
        if !turn.may_cost() {
            return Some(Cost::default());
        }
        let upstreams = self.upstreams.read().unwrap_or_else(PoisonError::into_inner).clone();
        upstreams.price(&turn.model)?.cost(&turn.tokens)
    }

    /// A turn has ended.
    pub(crate) fn add(&self, turn: &Turn) {
        let upstreams = self.upstreams.read().unwrap_or_else(PoisonError::into_inner).clone();
        let model = upstreams.provider(&turn.model).map_or(&turn.model, |by| &by.model);
        if turn.may_cost() {
            let route = self.route_label(turn.route.as_ref(), &upstreams);
            let kind = TurnKind { model, route, is_pinned: turn.pinned };
            metrics::turn_cost(&kind, &turn.tokens, turn.cost.as_ref());
        }
        let would_pin = turn.would_pin.as_ref().unwrap_or(&turn.model);
        let provider = upstreams.provider(would_pin);
        let name = provider.map_or(would_pin, |by| &by.model).as_str();
        let mut books = self.books();
        let models = Models {
            price: upstreams.price(would_pin),
            cache_ttl: provider.and_then(|by| by.cache_ttl_of(would_pin)).unwrap_or(CACHE_TTL),
            warmth: books.warmth.get(name).copied().unwrap_or_default(),
        };
        let (observed, learnt) = books.pins.add(turn, &models);
        if learnt.is_some() {
            learn(books.warmth.entry(model.to_string()).or_default(), learnt);
        }
        books.total.sums.add(turn, &observed);
        books.models.entry(model.to_string()).or_default().sums.add(turn, &observed);
        books.route(turn.route.as_ref()).sums.add(turn, &observed);
        books.groups.entry(turn.group).or_default().sums.add(turn, &observed);
        drop(books);
        if turn.group == Group::Observed {
            let ObservedSums { switches, switches_with_pins, cached, cached_with_pins, .. } =
                observed;
            let route = self.route_label(turn.route.as_ref(), &upstreams);
            let (switches, cached) = ([switches, switches_with_pins], [cached, cached_with_pins]);
            metrics::observed(route, switches, cached);
        }
    }

    /// A route by the name under which metrics count it.
    fn route_label<'a>(&self, route: Option<&'a RouteName>, upstreams: &Upstreams) -> &'a str {
        let name = route.map_or("(none)", RouteName::as_str);
        if route.is_none() || upstreams.is_route(name) { name } else { OTHER }
    }

    /// A session stayed or moved where a turn of the user began.
    pub(crate) fn weighed(&self, record: SwitchRecord) {
        self.books().switches.add(record);
    }

    /// The last decisions of the policy `cost`, the newest first.
    pub(crate) fn decisions(&self, limit: usize) -> Vec<SwitchRecord> {
        self.books().switches.newest(limit)
    }

    /// A pinned turn was routed once more; `route` is that of the pin.
    pub(crate) fn judged(&self, route: Option<&RouteName>, verdict: Verdict) {
        let mut books = self.books();
        books.total.regret.add(verdict);
        books.route(route).regret.add(verdict);
    }

    /// The current books.
    pub(crate) fn report(&self) -> LedgerReport {
        let books = self.books();
        let total = books.total.sums;
        let models = books.models.iter().map(|(model, entry)| ModelRow {
            model: model.clone(),
            row: Row::new(&entry.sums, &total),
        });
        let routes = books.routes.iter();
        let routes =
            routes.map(|(route, entry)| RouteRow { route: route.clone(), row: entry.row(&total) });
        let groups = books.groups.iter();
        let groups =
            groups.map(|(group, entry)| GroupRow { group: *group, row: entry.row(&total) });
        LedgerReport {
            since: unix_millis(self.since),
            totals: books.total.row(&total),
            models: models.collect(),
            routes: routes.collect(),
            groups: groups.collect(),
            switching: books.switches.row(),
        }
    }

    /// The sums over all turns.
    pub(crate) fn totals(&self) -> impl Serialize + use<> {
        let total = self.books().total;
        total.row(&total.sums)
    }

    /// The sessions, the last used first.
    pub(crate) fn sessions(&self, limit: usize) -> Vec<SessionRow> {
        let books = self.books();
        let total = books.total.sums;
        let newest = books.pins.newest().take(limit).map(|(session, page)| SessionRow {
            session,
            scope: page.scope.clone(),
            model: page.model.clone(),
            route: page.route.clone(),
            last: page.last.map(unix_millis),
            row: Row::new(&page.sums, &total),
        });
        newest.collect()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn row(&self, total: &Sums) -> Row {
        Row { regret: Some(self.regret), ..Row::new(&self.sums, total) }
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
