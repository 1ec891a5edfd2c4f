//! The piece of an answer that holds the id of a response waits for its link, and not for ever.

use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, AnswerLayer, BodyId, Claim, Expiry, MemoryStore,
    Selection, StoreError,
};
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

const BODY: &str = r#"{"id":"resp_1","output":[]}"#;

/// A store in which links wait for a permit.
#[derive(Clone)]
struct SlowLinks(MemoryStore, Arc<Semaphore>);

impl AffinityStore for SlowLinks {
    as_in!(0: get, repin, release);

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        if key.kind() == affinity_layer::key::IdKind::Response {
            self.1.acquire().await.unwrap().forget();
        }
        self.0.claim(key, selection, expiry).await
    }
}

async fn answered(store: &SlowLinks) -> Body {
    let handler = async |_: Request<Body>| {
        let response = Response::builder().header("content-type", "application/json");
        Ok::<_, std::convert::Infallible>(response.body(Body::from(BODY)).unwrap())
    };
    let layer = AffinityLayer::new(store.clone(), Calls::default().router());
    let service = ServiceBuilder::new()
        .layer(layer.body_ids([BodyId::PreviousResponseId]))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new())
        .service(service_fn(handler));
    let request = Request::post("/v1/responses").body(Body::from("{}")).unwrap();
    service.oneshot(request).await.unwrap().into_body()
}

#[tokio::test(start_paused = true)]
async fn an_id_is_told_when_its_link_is_stored() {
    let store = SlowLinks(MemoryStore::default(), Arc::new(Semaphore::new(0)));
    let mut body = answered(&store).await;
    let length = http_body::Body::size_hint(&body).exact();
    let mut frame = Box::pin(body.frame());
    assert!(tokio::time::timeout(Duration::from_millis(30), &mut frame).await.is_err());
    assert_eq!(store.0.len(), 1, "the pin alone");
    store.1.add_permits(1);
    let piece = frame.await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((store.0.len(), &*piece), (2, BODY.as_bytes()));
    assert_eq!(length, Some(BODY.len() as u64));
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_wait_for_a_store_that_stalls() {
    let store = SlowLinks(MemoryStore::default(), Arc::new(Semaphore::new(0)));
    let body = answered(&store).await;
    let began = Instant::now();
    assert_eq!(body.collect().await.unwrap().to_bytes(), BODY);
    assert_eq!(began.elapsed(), Duration::from_millis(50));
    assert_eq!(store.0.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_has_not_ended() {
    let store = SlowLinks(MemoryStore::default(), Arc::new(Semaphore::new(0)));
    let mut body = answered(&store).await;
    let waiting = tokio::time::timeout(Duration::from_millis(10), body.frame()).await;
    assert!(waiting.is_err());
    assert!(!http_body::Body::is_end_stream(&body));
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(BODY.len() as u64));
}
