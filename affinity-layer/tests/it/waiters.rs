//! The bound on those that wait for a decision is none on those that have one.

use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, Expiry, MemoryStore, PinRead, StoreError,
};
use axum::body::Body;
use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

use crate::common::*;

/// A store that takes its time to tell of a pin, and has none at hand.
#[derive(Clone)]
struct Slow(MemoryStore);

impl AffinityStore for Slow {
    as_in!(0: claim, repin, release);

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        sleep(Duration::from_millis(10)).await;
        self.0.get(key, expiry).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_pin_is_not_turned_away() {
    let calls = Calls::default();
    let handler =
        async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty()));
    let layer = AffinityLayer::new(Slow(MemoryStore::default()), calls.router()).max_waiters(1);
    let service = layer.layer(service_fn(handler));
    let turn = || service.clone().oneshot(post(&[("x-model-affinity", "s")]));
    let first = turn().await.unwrap();
    assert_eq!(header(first.headers(), "x-plano-affinity"), "claimed");
    let together: JoinSet<_> = (0..20).map(|_| turn()).collect();
    for answer in together.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status(), header(answer.headers(), "x-plano-affinity")),
            (200.try_into().unwrap(), "hit")
        );
    }
    assert_eq!(calls.count(), 1);
}
