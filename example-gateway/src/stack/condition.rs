//! What `/readyz` tells of the process itself: whether it stops, and which configuration it serves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::telemetry::metrics;

/// Who asks whether we are ready asks again within this time.
const ASKS_AGAIN: Duration = Duration::from_secs(30);

/// The condition of a gateway. Clones are the same; it outlives a reload.
#[derive(Clone, Debug)]
pub(crate) struct Condition(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    draining: AtomicBool,
    /// When somebody asked whether we are ready.
    asked: Mutex<Option<Instant>>,
    configuration: Mutex<Configuration>,
}

#[derive(Debug)]
struct Configuration {
    /// When the one in force was read.
    read: SystemTime,
    last_reload: Option<Reload>,
}

/// A reload that was asked for.
#[derive(Debug)]
struct Reload {
    at: SystemTime,
    errors: Vec<String>,
}

impl Condition {
    /// That of a gateway that begins to serve.
    pub(crate) fn new() -> Self {
        metrics::configured(None);
        let configuration = Configuration { read: SystemTime::now(), last_reload: None };
        let configuration = Mutex::new(configuration);
        let (draining, asked) = (AtomicBool::new(false), Mutex::new(None));
        Self(Arc::new(Shared { draining, asked, configuration }))
    }

    /// Somebody asks whether we are ready.
    pub(crate) fn was_asked(&self) {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether somebody goes by what we answer, such as a load balancer.
    pub(crate) fn is_watched(&self) -> bool {
        let asked = *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| asked.elapsed() < ASKS_AGAIN)
    }

    /// The gateway stops: it is to get no new clients.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it stops.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// A reload was asked for; without `errors` it was made.
    pub(crate) fn reloaded(&self, errors: Vec<String>) {
        let at = SystemTime::now();
        metrics::configured(Some(errors.is_empty()));
        let mut configuration = self.configuration();
        if errors.is_empty() {
            configuration.read = at;
        }
        configuration.last_reload = Some(Reload { at, errors });
    }

    /// When the configuration was read, and how the last reload went. What was wrong with it is for those
    /// `inside` only.
    pub(crate) fn configuration_json(&self, inside: bool) -> Value {
        let Configuration { read, last_reload } = &*self.configuration();
        let last = last_reload.as_ref().map(|Reload { at, errors }| {
            let result = if errors.is_empty() { "applied" } else { "rejected" };
            let told = if inside { json!(errors) } else { json!(errors.len()) };
            json!({"at": unix(*at), "result": result, "errors": told})
        });
        json!({"read_at": unix(*read), "last_reload": last})
    }

    fn configuration(&self) -> MutexGuard<'_, Configuration> {
        self.0.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In Unix seconds.
fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asked_lately_goes_by_the_answer() {
        let condition = Condition::new();
        assert!(!condition.is_watched());
        condition.was_asked();
        tokio::time::advance(ASKS_AGAIN - Duration::from_millis(1)).await;
        assert!(condition.is_watched());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!condition.is_watched());
    }

    #[test]
    fn a_rejected_reload_is_told_and_its_errors_only_inside() {
        let condition = Condition::new();
        assert_eq!(condition.configuration_json(false)["last_reload"], Value::Null);
        condition.reloaded(vec!["config.yaml:3: port: wrong".to_owned()]);
        let told = condition.configuration_json(false);
        assert_eq!(told["last_reload"]["result"], "rejected");
        assert_eq!(told["last_reload"]["errors"], 1);
        let inside = condition.configuration_json(true);
        assert_eq!(inside["last_reload"]["errors"], json!(["config.yaml:3: port: wrong"]));
        condition.reloaded(Vec::new());
        assert_eq!(condition.configuration_json(true)["last_reload"]["result"], "applied");
    }
}
