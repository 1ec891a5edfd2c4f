//! Two layers with one set of flights, as an application has them that reads its configuration again.

use std::time::Duration;

use affinity_layer::affinity::SharedFlights;
use affinity_layer::{AffinityLayer, MemoryStore};

use crate::common::*;

const SESSION: &[(&str, &str)] = &[("x-model-affinity", "s")];

#[tokio::test(start_paused = true)]
async fn a_first_request_that_is_under_way_is_joined_by_one_of_the_next_layer() {
    let (store, flights, calls) =
        (MemoryStore::default(), SharedFlights::default(), Calls::default());
    let make = || {
        let router = calls.slow_router(Duration::from_secs(1));
        stack(AffinityLayer::new(store.clone(), router).flights(&flights))
    };
    let (before, after) = (make(), make());
    let first = tokio::spawn(async move { send(&before, post(SESSION)).await });
    tokio::task::yield_now().await;
    let second = send(&after, post(SESSION)).await;
    let first = first.await.unwrap();
    assert_eq!((first.affinity.as_str(), second.affinity.as_str()), ("claimed", "joined"));
    assert_eq!((calls.count(), &first.model), (1, &second.model));
}

#[tokio::test(start_paused = true)]
async fn what_the_next_layer_does_not_serve_is_decided_again_and_moves_the_session() {
    let (store, flights, calls) =
        (MemoryStore::default(), SharedFlights::default(), Calls::default());
    let make = || {
        let router = calls.slow_router(Duration::from_secs(1));
        AffinityLayer::new(store.clone(), router).flights(&flights)
    };
    let before = stack(make());
    let after = stack(make().accept_models(|model| model.as_str() != "vendor/m1"));
    let first = tokio::spawn(async move { send(&before, post(SESSION)).await });
    tokio::task::yield_now().await;
    let second = send(&after, post(SESSION)).await;
    assert_eq!(first.await.unwrap().model, "vendor/m1");
    assert_eq!(second.model, "vendor/m2");
    let third = send(&after, post(SESSION)).await;
    assert_eq!((third.affinity.as_str(), third.model.as_str()), ("hit", "vendor/m2"));
}
