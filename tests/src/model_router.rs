//! A routing model that counts, and never gives the same answer twice in a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::upstream::{Answer, Upstream, ok_json};

/// A stand-in for a routing model: `one`, `two`, `one`, and so on.
#[derive(Debug)]
pub struct ModelRouter {
    upstream: Upstream,
    failing: Arc<AtomicBool>,
}

impl ModelRouter {
    /// One that answers at once.
    pub async fn start() -> Self {
        Self::failing_with(Answer::Silence).await
    }

    /// One that gives `failure` while [`ModelRouter::fail`] says so.
    pub async fn failing_with(failure: Answer) -> Self {
        let (turn, failing) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
        let fails = failing.clone();
        let upstream = Upstream::start(move |_| {
            if fails.load(Ordering::SeqCst) {
                return match &failure {
                    Answer::Bytes(bytes) => Answer::Bytes(bytes.clone()),
                    Answer::Cut(bytes) => Answer::Cut(bytes.clone()),
                    _ => Answer::Silence,
                };
            }
            let route = ["one", "two"][turn.fetch_add(1, Ordering::SeqCst) % 2];
            ok_json(&decided(route))
        });
        Self { upstream: upstream.await, failing }
    }

    /// Whether it fails from now on.
    pub fn fail(&self, fails: bool) {
        self.failing.store(fails, Ordering::SeqCst);
    }

    /// How often it was asked.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.upstream.count()
    }

    /// What it was asked.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Its address as a base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/v1", self.upstream.url())
    }
}

/// The completion of a routing model that chose `route`.
fn decided(route: &str) -> Value {
    let content = json!({"route": route}).to_string();
    json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]})
}
