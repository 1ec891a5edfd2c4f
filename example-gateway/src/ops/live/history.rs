//! The last sessions and their turns.
//!
//! It is what a reader sees first, and so holds enough to fill a page and no more. Sessions give way by their
//! last turn, and turns by their age.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use affinity_layer::{ModelName, admin::StoredKey};
use bytes::Bytes;
use serde::Serialize;

use super::lane::{Lane, Told};
use crate::ops::ledger::books::Ledger;
use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::Turn;
use crate::stack::unnamed::UnnamedClient;

/// Sessions that are kept.
pub(super) const LANES: usize = 200;

#[derive(Debug)]
pub(super) struct History {
    models: Vec<ModelName>,
    lanes: HashMap<Option<SessionTag>, Lane>,
    /// Turns that were taken in.
    turns: u64,
    /// Turns that came too fast to be.
    missed: u64,
}

#[derive(Serialize)]
struct Snapshot<'a, T> {
    /// The gateway's clock, in Unix milliseconds.
    now: u128,
    models: &'a [ModelName],
    missed: u64,
    totals: T,
    unnamed: &'a [UnnamedClient],
    /// The newest activity first.
    lanes: Vec<&'a Lane>,
}

#[derive(Serialize)]
struct News<'a, T> {
    turns: &'a [Told],
    missed: u64,
    totals: T,
    unnamed: &'a [UnnamedClient],
}

impl History {
    pub(super) fn new(models: Vec<ModelName>) -> Self {
        Self { models, lanes: HashMap::new(), turns: 0, missed: 0 }
    }

    pub(super) fn reconfigured(&mut self, models: Vec<ModelName>) {
        self.models = models;
    }

    pub(super) fn add(&mut self, turn: Arc<Turn>) -> Told {
        self.turns += 1;
        let lane = self.lanes.entry(turn.session).or_insert_with(|| Lane::of(&turn));
        lane.newest = self.turns;
        let told = lane.add(turn);
        if self.lanes.len() > LANES {
            self.forget();
        }
        told
    }

    pub(super) fn missed(&mut self, turns: u64) {
        self.missed += turns;
    }

    /// A session by its name on the page, and what its pin is called in the store.
    pub(super) fn find(&self, name: &str) -> Option<(SessionTag, &[StoredKey])> {
        let mut sessions = self.lanes.iter().filter_map(|(tag, lane)| Some(((*tag)?, lane)));
        let (tag, lane) = sessions.find(|(tag, _)| tag.to_string() == name)?;
        Some((tag, lane.keys()?))
    }

    /// Drops the session that was idle longest.
    fn forget(&mut self) {
        let idle = self.lanes.iter().min_by_key(|(_, lane)| lane.newest);
        if let Some(session) = idle.map(|(session, _)| *session) {
            self.lanes.remove(&session);
        }
    }

    /// All that is kept.
    pub(super) fn snapshot(&self, ledger: &Ledger, unnamed: &[UnnamedClient]) -> Bytes {
        let mut lanes: Vec<_> = self.lanes.values().collect();
        lanes.sort_unstable_by_key(|lane| Reverse(lane.newest));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let Self { models, missed, .. } = self;
        let totals = ledger.totals();
        message("snapshot", &Snapshot { now, models, missed: *missed, totals, unnamed, lanes })
    }

    /// Turns that are in it by now.
    pub(super) fn news(&self, turns: &[Told], ledger: &Ledger, unnamed: &[UnnamedClient]) -> Bytes {
        let (missed, totals) = (self.missed, ledger.totals());
        message("turns", &News { turns, missed, totals, unnamed })
    }
}

/// A server-sent event. JSON holds no line break that is not escaped.
fn message(event: &str, data: &impl Serialize) -> Bytes {
    let mut text = format!("event: {event}\ndata: ").into_bytes();
    if serde_json::to_writer(&mut text, data).is_err() {
        // Plain numbers and strings cannot fail; a reader would pass over half an event.
        text.clear();
    }
    text.extend_from_slice(b"\n\n");
    text.into()
}
