//! An answer that tells of a change is held until every replica knows of it.

use std::convert::Infallible;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, Expiry, FailoverLayer, MemoryStore, Pin, PinnedModel,
};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

const COHERENCE: Duration = Duration::from_millis(20);

/// A store whose changes are seen elsewhere after a while.
#[derive(Clone)]
struct Distant(MemoryStore);

impl AffinityStore for Distant {
    as_in!(0: get, claim, repin, release);

    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        self.0.peek(key, expiry)
    }

    fn coherence(&self) -> Duration {
        COHERENCE
    }
}

/// How long a request takes, and what it was told, when the model answers after `thinking`.
async fn turn(store: &Distant, thinking: Duration, headers: &[(&str, &str)]) -> (Duration, String) {
    let handler = move |_: Request<Full<Bytes>>| async move {
        sleep(thinking).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    };
    let layer = AffinityLayer::new(store.clone(), Calls::default().router());
    let (service, began) = (layer.layer(service_fn(handler)), Instant::now());
    let response = service.oneshot(request(headers)).await.unwrap();
    (began.elapsed(), header(response.headers(), "x-plano-affinity").to_owned())
}

fn request(headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    post(headers).map(|_| Full::default())
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_of_a_change_is_held() {
    let store = Distant(MemoryStore::default());
    let id = ("x-model-affinity", "s");
    let told = |how: &str, after| (after, how.to_owned());
    let none = Duration::ZERO;
    assert_eq!(turn(&store, none, &[id]).await, told("claimed", COHERENCE));
    assert_eq!(turn(&store, none, &[id]).await, told("hit", none));
    let refresh = [id, ("x-plano-affinity", "refresh")];
    assert_eq!(turn(&store, none, &refresh).await, told("refreshed", COHERENCE));
    assert_eq!(turn(&store, none, &[]).await, told("none", none));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_takes_its_time_is_not_held_up() {
    let store = Distant(MemoryStore::default());
    let thinking = COHERENCE * 3;
    let (after, _) = turn(&store, thinking, &[("x-model-affinity", "s")]).await;
    assert_eq!(after, thinking);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_fails_over_is_told_when_all_know() {
    let store = Distant(MemoryStore::default());
    let id = [("x-model-affinity", "s")];
    turn(&store, Duration::ZERO, &id).await;
    let pinned = store.0.peek(&AffinityKey::new("s").unwrap(), &Expiry::default()).unwrap();
    let failing = pinned.selection.model().clone();
    let handler = move |request: Request<Full<Bytes>>| {
        let model = request.extensions().get::<PinnedModel>().unwrap().model().clone();
        let status = if model == failing { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        let response = Response::builder().status(status).body(Body::empty()).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    };
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store, Calls::default().router()))
        .layer(FailoverLayer::new())
        .service(service_fn(handler));
    let began = Instant::now();
    let response = service.oneshot(request(&id)).await.unwrap();
    assert_eq!(header(response.headers(), "x-plano-affinity"), "repinned");
    assert_eq!(began.elapsed(), COHERENCE);
}
