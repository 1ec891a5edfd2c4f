//! A session that fails over waits for its store as long as its layer allows, and no longer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, Claim, Epoch, Expiry, FailoverLayer, MemoryStore,
    PinnedModel, RouteDecision, RouteRequest, Selection, StoreError,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

const BUDGET: Duration = Duration::from_millis(300);

/// A store that takes its time for a move.
#[derive(Clone)]
struct SlowMoves(MemoryStore, Duration);

impl AffinityStore for SlowMoves {
    as_in!(0: get, claim, release);

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        sleep(self.1).await;
        self.0.repin(key, from, selection, expiry).await
    }
}

/// What a first request says whose best model fails, and how long it took.
async fn moved_after(pause: Duration) -> (String, Duration) {
    let router = service_fn(|_: RouteRequest| async {
        Ok::<_, Infallible>(RouteDecision::new(["v/one", "v/two"].map(model)))
    });
    let handler = async |request: Request<Full<Bytes>>| {
        let mut response = Response::new(Full::<Bytes>::default());
        if request.extensions().get::<PinnedModel>().unwrap().model().as_str() == "v/one" {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        Ok::<_, Infallible>(response)
    };
    let store = SlowMoves(MemoryStore::default(), pause);
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store, router).store_budget(BUDGET))
        .layer(FailoverLayer::new())
        .service(service_fn(handler));
    let request = Request::post("/").header("x-model-affinity", "s");
    let began = Instant::now();
    let response = service.oneshot(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(response.headers(), "x-plano-model"), "v/two");
    (header(response.headers(), "x-plano-affinity").to_owned(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_store_may_use_the_budget_up_and_still_move_the_session() {
    let (affinity, _) = moved_after(BUDGET + Duration::from_millis(5)).await;
    assert_eq!(affinity, "repinned");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_moves_it_holds_the_answer_for_two_budgets() {
    let (affinity, took) = moved_after(Duration::from_secs(3600)).await;
    assert_eq!(affinity, "store-unavailable", "nobody knows whether the session has moved");
    assert!((2 * BUDGET..2 * BUDGET + Duration::from_millis(10)).contains(&took), "{took:?}");
}
