//! What is counted, as the recorder of an application is told it.

use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityStore, BoxError, Expiry, MemoryStore, RouteDecision, RouteRequest,
    Selection,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::{ServiceExt, service_fn};

use crate::common::{Calls, layer, model, post, stack, turn};

/// Each metric with the values of its labels, and what it has counted since it was last asked for;
/// of a histogram, how many samples.
fn told(recorder: &DebuggingRecorder) -> Vec<(String, u64)> {
    let all = recorder.snapshotter().snapshot().into_vec().into_iter();
    let mut told: Vec<_> = all
        .map(|(key, _, _, value)| {
            let key = key.key();
            let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
            let value = match value {
                DebugValue::Counter(count) => count,
                DebugValue::Histogram(samples) => samples.len() as u64,
                DebugValue::Gauge(_) => panic!("the layer has none"),
            };
            (format!("{} {}", key.name(), labels.join(" ")).trim().to_owned(), value)
        })
        .collect();
    told.sort();
    told
}

fn expected(metrics: &[(&str, u64)]) -> Vec<(String, u64)> {
    metrics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn outcomes_router_calls_and_store_calls_are_counted() {
    let recorder = DebuggingRecorder::new();
    let _local = metrics::set_default_local_recorder(&recorder);
    let app = stack(layer(Calls::default().router()));
    for outcome in ["claimed", "hit", "hit"] {
        assert_eq!(turn(&app, "s").await.affinity, outcome);
    }
    assert_eq!(turn(&app, "not,one").await.status, 400);
    assert_eq!(
        told(&recorder),
        expected(&[
            ("affinity_refused_requests_total invalid_session_id", 1),
            ("affinity_requests_total claimed", 1),
            ("affinity_requests_total hit", 2),
            ("affinity_router_calls_saved_total", 2),
            ("affinity_router_calls_total decided", 1),
            ("affinity_router_duration_seconds", 1),
            ("affinity_store_duration_seconds claim", 1),
            ("affinity_store_duration_seconds get", 1),
            ("affinity_store_operations_total claim won", 1),
            ("affinity_store_operations_total get absent", 1),
        ])
    );
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_abandoned() {
    let recorder = DebuggingRecorder::new();
    let _local = metrics::set_default_local_recorder(&recorder);
    let silent = |_: RouteRequest| std::future::pending::<Result<RouteDecision, BoxError>>();
    let app = stack(layer(service_fn(silent)));
    tokio::select! {
        biased;
        _ = app.oneshot(post(&[])) => panic!("nobody has decided"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(
        told(&recorder),
        expected(&[
            ("affinity_router_calls_total abandoned", 1),
            ("affinity_router_duration_seconds", 1),
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn evicted_and_expired_pins_are_told_apart() {
    let recorder = DebuggingRecorder::new();
    let _local = metrics::set_default_local_recorder(&recorder);
    let store = MemoryStore::new(1);
    let expiry = Expiry::fixed(Duration::from_secs(1));
    let claim = async |session: &str| {
        let key = AffinityKey::new(session).unwrap();
        let selection = Arc::new(Selection::of(model("v/m")));
        assert!(store.claim(&key, selection, &expiry).await.unwrap().won);
    };
    claim("a").await;
    assert_eq!(told(&recorder), expected(&[]));
    claim("b").await;
    assert_eq!(told(&recorder), expected(&[("affinity_evictions_total memory", 1)]));
    tokio::time::advance(Duration::from_secs(2)).await;
    claim("c").await;
    let counts = [("affinity_evictions_total memory", 0), ("affinity_expiries_total memory", 1)];
    assert_eq!(told(&recorder), expected(&counts));
}
