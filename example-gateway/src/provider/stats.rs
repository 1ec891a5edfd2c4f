//! What the provider was asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Names come from whoever asks; more different ones than this are counted together.
const MAX_NAMES: usize = 1024;
const OTHER_NAMES: &str = "(other)";

/// Counters of the simulated provider. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Stats(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    routing_calls: AtomicUsize,
    requests: Mutex<BTreeMap<String, u64>>,
}

impl Stats {
    /// How often a routing decision was asked for.
    #[must_use]
    pub fn routing_calls(&self) -> usize {
        self.0.routing_calls.load(Ordering::Relaxed)
    }

    /// How many answers each model gave, routing decisions left out.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.counts().clone()
    }

    /// Counts a routing call and gives the number of those before it.
    pub(super) fn next_routing_call(&self) -> usize {
        self.0.routing_calls.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn count_request(&self, model: &str) {
        let mut counts = self.counts();
        let known = counts.len() < MAX_NAMES || counts.contains_key(model);
        let name = if known { model } else { OTHER_NAMES };
        *counts.entry(name.to_owned()).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stats = serializer.serialize_struct("Stats", 2)?;
        stats.serialize_field("routing_calls", &self.routing_calls())?;
        stats.serialize_field("requests", &self.requests())?;
        stats.end()
    }
}
