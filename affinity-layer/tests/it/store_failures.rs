//! A store that fails or stalls fails no request.

use std::sync::Arc;
use std::time::Duration;

use crate::broken_store::Broken;
use crate::common::*;
use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, BoxError, Claim, Epoch, Expiry, Pin, PinRead,
    Selection, StoreError,
};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt, service_fn};

fn broken(stalls: bool, require: bool, calls: &Calls) -> Stack {
    let layer = AffinityLayer::new(Broken { stalls }, calls.router())
        .store_budget(Duration::from_millis(50))
        .require_store(require);
    let service = ServiceBuilder::new().layer(layer).service(service_fn(echo));
    tower::util::BoxCloneSyncService::new(service.map_err(BoxError::from))
}

#[tokio::test(start_paused = true)]
async fn a_stalled_store_costs_one_budget_and_no_answer() {
    let calls = Calls::default();
    let service = broken(true, false, &calls);
    let started = Instant::now();
    let answer = turn(&service, "s").await;
    assert_eq!(answer, said("vendor/m1", false, "store-unavailable"));
    let waited = started.elapsed();
    assert!(waited < Duration::from_millis(55), "{waited:?} for all calls together");
}

/// Knows one pin and stalls when it is to be moved or released.
struct Sticky(Pin);

impl AffinityStore for Sticky {
    fn peek(&self, _: &AffinityKey, _: &Expiry) -> Option<Pin> {
        Some(self.0.clone())
    }

    async fn get(&self, _: &AffinityKey, _: &Expiry) -> Result<PinRead, StoreError> {
        Ok(PinRead::Pinned(self.0.clone()))
    }

    async fn claim(
        &self,
        _: &AffinityKey,
        _: Arc<Selection>,
        _: &Expiry,
    ) -> Result<Claim, StoreError> {
        Ok(Claim::lost(self.0.clone()))
    }

    async fn repin(
        &self,
        _: &AffinityKey,
        _: Epoch,
        _: Arc<Selection>,
        _: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        std::future::pending().await
    }

    async fn release(&self, _: &AffinityKey, _: Option<Epoch>) -> Result<bool, StoreError> {
        std::future::pending().await
    }
}

fn sticky(selection: Selection) -> Stack {
    let claimed_at = std::time::SystemTime::UNIX_EPOCH;
    let store = Sticky(Pin::new(Arc::new(selection), Epoch(1), claimed_at));
    let layer = AffinityLayer::new(store, Calls::default().router())
        .store_budget(Duration::from_millis(50));
    let service = ServiceBuilder::new().layer(layer).service(service_fn(echo));
    tower::util::BoxCloneSyncService::new(service.map_err(BoxError::from))
}

/// Which model would be right for the next request, if the move was not made after all?
#[tokio::test(start_paused = true)]
async fn a_move_that_cannot_be_stored_leaves_the_session_where_it_is() {
    let stays = said("vendor/pinned", false, "store-unavailable");
    let warm = sticky(Selection::of(model("vendor/pinned")).with_warm_up(1));
    assert_eq!(turn(&warm, "s").await, stays);
    let settled = sticky(Selection::of(model("vendor/pinned")));
    let refresh = post(&[("x-model-affinity", "s"), ("x-plano-affinity", "refresh")]);
    assert_eq!(send(&settled, refresh).await, stays);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_stalls_holds_the_response_for_one_budget() {
    let service = sticky(Selection::of(model("vendor/m1")));
    let last = post(&[("x-model-affinity", "s"), ("x-plano-affinity", "final")]);
    let started = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(60), send(&service, last)).await;
    assert_eq!(answer.unwrap(), said("vendor/m1", true, "hit"));
    let waited = started.elapsed();
    assert!(waited < Duration::from_millis(55), "{waited:?}");
}

#[tokio::test]
async fn a_failing_store_leaves_requests_unpinned() {
    let calls = Calls::default();
    let service = broken(false, false, &calls);
    for n in 1..=3 {
        let expected = said(&format!("vendor/m{n}"), false, "store-unavailable");
        assert_eq!(turn(&service, "s").await, expected);
    }
    let refresh = post(&[("x-model-affinity", "s"), ("x-plano-affinity", "refresh")]);
    assert_eq!(send(&service, refresh).await, said("vendor/m4", false, "store-unavailable"));
    let last = post(&[("x-model-affinity", "s"), ("x-plano-affinity", "final")]);
    assert_eq!(send(&service, last).await, said("vendor/m5", false, "store-unavailable"));
}

#[tokio::test]
async fn a_strict_layer_says_503_instead() {
    let calls = Calls::default();
    let service = broken(false, true, &calls);
    let answer = turn(&service, "s").await;
    assert_eq!((answer.status, answer.affinity.as_str()), (503, "none"));
    assert_eq!(send(&service, post(&[])).await.status, 200, "it needs no store");
    assert_eq!(calls.count(), 1);
}
