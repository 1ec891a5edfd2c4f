//! What was decided while the store failed keeps the model of its session, and is not told as a pin.

use std::sync::Arc;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, Claim, Expiry, MemoryStore, PinRead, Selection,
    StoreError, StoreErrorKind,
};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};

use crate::common::*;

/// A store that cannot promise anything, and knows what was decided without it.
#[derive(Clone)]
struct Unsure(MemoryStore);

impl AffinityStore for Unsure {
    as_in!(0: repin, release);

    async fn get(&self, _: &AffinityKey, _: &Expiry) -> Result<PinRead, StoreError> {
        let selection = Arc::new(Selection::of(model("vendor/decided")));
        Ok(PinRead::Decided { selection, failure: StoreErrorKind::Unconfirmed })
    }

    async fn claim(
        &self,
        _: &AffinityKey,
        _: Arc<Selection>,
        _: &Expiry,
    ) -> Result<Claim, StoreError> {
        Err(StoreErrorKind::Unconfirmed.into())
    }
}

async fn answer(calls: &Calls, strict: bool) -> Response<Body> {
    let handler =
        async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty()));
    let layer = AffinityLayer::new(Unsure(MemoryStore::default()), calls.router());
    let service = layer.require_store(strict).layer(service_fn(handler));
    service.oneshot(post(&[("x-model-affinity", "s")])).await.unwrap()
}

#[tokio::test]
async fn it_is_used_without_asking_the_router_again() {
    let calls = Calls::default();
    for _ in 0..3 {
        let response = answer(&calls, false).await;
        let told = |name| header(response.headers(), name).to_owned();
        assert_eq!(told("x-plano-model"), "vendor/decided");
        assert_eq!(told("x-plano-pinned"), "false");
        assert_eq!(told("x-plano-affinity"), "store-unavailable");
    }
    assert_eq!(calls.count(), 0);
}

#[tokio::test]
async fn where_the_store_is_required_it_does_not_count() {
    let response = answer(&Calls::default(), true).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}
