//! What the provider was asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use super::conversation::Tokens;

/// Clients choose the names; beyond this many different ones, they are counted together.
const MAX_NAMES: usize = 1024;
const OTHER_NAMES: &str = "(other)";

/// Counters of the simulated provider. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Stats(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    routing_calls: AtomicUsize,
    models: Mutex<BTreeMap<String, Usage>>,
}

/// Calls of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Answers, whether or not they were read to their end.
    pub calls: u64,
    /// Tokens of prompts, cached ones included.
    pub prompt_tokens: u64,
    /// Of these, the ones that the model had in its cache.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
}

impl Stats {
    /// How many routing decisions were requested.
    #[must_use]
    pub fn routing_calls(&self) -> usize {
        self.0.routing_calls.load(Ordering::Relaxed)
    }

    /// How many answers each model gave, routing decisions left out.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.usage().into_iter().map(|(model, usage)| (model, usage.calls)).collect()
    }

    /// The calls and tokens of each model, without routing decisions.
    #[must_use]
    pub fn usage(&self) -> BTreeMap<String, Usage> {
        self.models().clone()
    }

    /// Counts a routing call and gives the number of those before it.
    pub(super) fn next_routing_call(&self) -> usize {
        self.0.routing_calls.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn count_request(&self, model: &str, tokens: &Tokens) {
        let mut models = self.models();
        let known = models.len() < MAX_NAMES || models.contains_key(model);
        let usage = models.entry(if known { model } else { OTHER_NAMES }.to_owned()).or_default();
        usage.calls += 1;
        for (sum, tokens) in [
            (&mut usage.prompt_tokens, tokens.prompt),
            (&mut usage.cached_tokens, tokens.cached),
            (&mut usage.output_tokens, tokens.output),
        ] {
            *sum = sum.saturating_add(u64::try_from(tokens).unwrap_or(u64::MAX));
        }
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<String, Usage>> {
        self.0.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stats = serializer.serialize_struct("Stats", 3)?;
        stats.serialize_field("routing_calls", &self.routing_calls())?;
        stats.serialize_field("requests", &self.requests())?;
        stats.serialize_field("usage", &self.usage())?;
        stats.end()
    }
}
