//! Sessions that move to stronger models only.

use std::sync::{Arc, Mutex};

use affinity_layer::{AffinityLayer, MemoryStore, RouteDecision, RouteRequest, ext::NewTurn};
use axum::body::Body;
use http::Request;
use tower::{BoxError, service_fn};

use crate::common::*;

type Router = tower::util::BoxCloneSyncService<RouteRequest, RouteDecision, BoxError>;

const ORDER: [&str; 3] = ["v/small", "v/medium", "v/large"];

/// Decides for these models, one after the other.
fn one_after_another(models: &[&'static str]) -> Router {
    let left: Arc<Mutex<Vec<_>>> = Arc::new(Mutex::new(models.iter().rev().copied().collect()));
    let router = service_fn(move |_: RouteRequest| {
        let decided = left.lock().unwrap().pop();
        async move {
            let decided = decided.ok_or("no decision left")?;
            Ok::<_, BoxError>(RouteDecision::new([model(decided)]))
        }
    });
    Router::new(router)
}

fn deciding(models: &[&'static str]) -> AffinityLayer<MemoryStore> {
    layer(one_after_another(models)).escalation(ORDER.map(model))
}

fn refresh() -> Request<Body> {
    post(&[("x-model-affinity", "s"), ("x-plano-affinity", "refresh")])
}

fn new_turn() -> Request<Body> {
    let mut request = post(&[("x-model-affinity", "s")]);
    request.extensions_mut().insert(NewTurn);
    request
}

#[tokio::test]
async fn a_new_decision_moves_a_session_up_and_never_down() {
    for again in [refresh, new_turn] {
        let decisions = ["v/medium", "v/small", "v/medium", "v/unknown", "v/large", "v/small"];
        let service = stack(deciding(&decisions));
        assert_eq!(turn(&service, "s").await, said("v/medium", false, "claimed"));
        for _ in 0..3 {
            assert_eq!(send(&service, again()).await, said("v/medium", true, "hit"));
        }
        assert_eq!(send(&service, again()).await, said("v/large", false, "refreshed"));
        assert_eq!(send(&service, again()).await, said("v/large", true, "hit"));
        assert_eq!(turn(&service, "s").await, said("v/large", true, "hit"));
        let nothing = send(&service, again()).await;
        assert_eq!(nothing.affinity, "router-unavailable", "each was decided");
    }
}

#[tokio::test]
async fn a_session_that_stays_keeps_its_epoch() {
    use tower::ServiceExt;

    let service = stack(deciding(&["v/large", "v/small"]).expose_epoch(true));
    let mut epochs = Vec::new();
    for request in [post(&[("x-model-affinity", "s")]), refresh()] {
        let response = service.clone().oneshot(request).await.unwrap();
        epochs.push(header(response.headers(), "x-plano-epoch").to_owned());
    }
    assert_eq!(epochs[0], epochs[1]);
    assert!(!epochs[0].is_empty());
}

#[tokio::test]
async fn a_model_that_is_not_listed_gives_way_to_one_that_is() {
    let service = stack(deciding(&["v/unknown", "v/other", "v/small"]));
    assert_eq!(turn(&service, "s").await, said("v/unknown", false, "claimed"));
    assert_eq!(send(&service, refresh()).await, said("v/unknown", true, "hit"));
    assert_eq!(send(&service, refresh()).await, said("v/small", false, "refreshed"));
}

#[tokio::test]
async fn a_warm_up_escalates_and_ends_all_the_same() {
    let decisions = ["v/medium", "v/small", "v/large", "v/small"];
    let service = stack(deciding(&decisions).warm_up(2));
    assert_eq!(turn(&service, "s").await, said("v/medium", false, "claimed"));
    assert_eq!(turn(&service, "s").await, said("v/medium", true, "hit"), "decided, and not moved");
    assert_eq!(turn(&service, "s").await, said("v/large", false, "refreshed"));
    for _ in 0..3 {
        assert_eq!(turn(&service, "s").await, said("v/large", true, "hit"));
    }
    assert_eq!(send(&service, refresh()).await.model, "v/large", "the last decision was left");
    assert_eq!(send(&service, refresh()).await.affinity, "router-unavailable");
}

#[tokio::test]
async fn a_model_that_is_not_served_any_more_is_left_whatever_comes() {
    let decisions = ["v/large", "v/small"];
    let store = MemoryStore::default();
    let before = stack(AffinityLayer::new(store.clone(), one_after_another(&decisions[..1])));
    turn(&before, "s").await;
    let after = AffinityLayer::new(store, one_after_another(&decisions[1..]))
        .escalation(ORDER.map(model))
        .accept_models(|model| model.as_str() != "v/large");
    assert_eq!(turn(&stack(after), "s").await, said("v/small", false, "repinned"));
}
