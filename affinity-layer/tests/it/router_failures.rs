//! A router that fails, has no preference, or names what is not served.

use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, ext::RequestedModel};

use crate::common::*;

#[tokio::test]
async fn a_router_failure_serves_the_requested_model_and_is_never_stored() {
    let calls = Calls::default();
    let inner = calls.clone();
    let router = calls.router_after(move || {
        let calls = inner.clone();
        async move {
            match calls.next() {
                1..=2 => Err(BoxError::from("503")),
                _ => Ok(RouteDecision::new([model("vendor/routed")])),
            }
        }
    });
    let service = stack(layer(router));
    let failed = said("vendor/asked", false, "router-unavailable");
    assert_eq!(turn(&service, "s").await, failed);
    assert_eq!(send(&service, post(&[])).await, failed);
    assert_eq!(turn(&service, "s").await, said("vendor/routed", false, "claimed"));
}

#[tokio::test]
async fn a_refresh_without_an_answer_leaves_the_session_where_it_is() {
    let calls = Calls::default();
    let inner = calls.clone();
    let router = calls.router_after(move || {
        let calls = inner.clone();
        async move {
            match calls.next() {
                1 => Ok(RouteDecision::new([model("vendor/routed")])),
                _ => Err(BoxError::from("503")),
            }
        }
    });
    let service = stack(layer(router));
    turn(&service, "s").await;
    let refresh = post(&[("x-model-affinity", "s"), ("x-plano-affinity", "refresh")]);
    let expected = said("vendor/routed", false, "router-unavailable");
    assert_eq!(send(&service, refresh).await, expected);
    assert_eq!(turn(&service, "s").await, said("vendor/routed", true, "hit"));
}

#[tokio::test]
async fn no_matching_route_pins_the_requested_model() {
    let calls = Calls::default();
    let router = calls.router_after(|| async { Ok(RouteDecision::none()) });
    let service = stack(layer(router));
    assert_eq!(turn(&service, "s").await, said("vendor/asked", false, "claimed"));
    let mut other = post(&[("x-model-affinity", "t")]);
    other.extensions_mut().insert(RequestedModel(model("vendor/alias-target")));
    assert_eq!(send(&service, other).await, said("vendor/alias-target", false, "claimed"));
}

#[tokio::test]
async fn without_any_model_the_request_goes_on_unpinned() {
    let calls = Calls::default();
    let router = || calls.router_after(|| async { Ok(RouteDecision::none()) });
    let request = || {
        let mut request = post(&[("x-model-affinity", "s")]);
        *request.body_mut() = axum::body::Body::from("not json");
        request
    };
    let bare = stack(layer(router()));
    let expected = said("", false, "router-unavailable");
    assert_eq!(send(&bare, request()).await, expected);
    let default = stack(layer(router()).default_model(model("vendor/default")));
    assert_eq!(send(&default, request()).await, said("vendor/default", false, "claimed"));
}

#[tokio::test]
async fn a_pin_of_an_unknown_model_moves_once() {
    let store = MemoryStore::default();
    let before = stack(AffinityLayer::new(store.clone(), Calls::default().router()));
    turn(&before, "s").await;
    let calls = Calls::default();
    let router = calls.router_after(|| async {
        Ok(RouteDecision::new([model("vendor/m1"), model("vendor/kept")]))
    });
    let layer = AffinityLayer::new(store, router);
    let after = stack(layer.accept_models(|model| model.as_str() == "vendor/kept"));
    assert_eq!(turn(&after, "s").await, said("vendor/kept", false, "repinned"));
    assert_eq!(turn(&after, "s").await, said("vendor/kept", true, "hit"));
}

#[tokio::test]
async fn a_router_that_names_only_unknown_models_has_not_answered() {
    let store = MemoryStore::default();
    let layer = AffinityLayer::new(store.clone(), Calls::default().router());
    let service = stack(layer.accept_models(|model| model.as_str() == "vendor/asked"));
    assert_eq!(turn(&service, "s").await, said("vendor/asked", false, "router-unavailable"));
    assert!(store.is_empty());
}
