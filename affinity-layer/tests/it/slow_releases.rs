//! The last piece of an answer waits for the release of its pin, and not for ever.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, AnswerLayer, Epoch, MemoryStore, StoreError,
};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

const PLAIN: &str = r#"{"stop_reason":"end_turn"}"#;
const PIECES: [&str; 3] = [
    "data: {\"stop_reason\":\"end_turn\"}\n\n",
    "data: {\"type\":\"message_stop\"}\n\n",
    ": bye\n\n",
];

/// A store in which releases wait for a permit, and whose changes are seen elsewhere after a while.
#[derive(Clone)]
struct SlowReleases {
    pins: MemoryStore,
    permits: Arc<Semaphore>,
    coherence: Duration,
}

impl SlowReleases {
    fn new(permits: usize) -> Self {
        let permits = Arc::new(Semaphore::new(permits));
        Self { pins: MemoryStore::default(), permits, coherence: Duration::ZERO }
    }
}

impl AffinityStore for SlowReleases {
    as_in!(pins: get, claim, repin);

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        self.permits.acquire().await.unwrap().forget();
        self.pins.release(key, epoch).await
    }

    fn coherence(&self) -> Duration {
        self.coherence
    }
}

/// The body of an answer, plain or streamed, to a request that is final or not.
async fn answered(store: &SlowReleases, content_type: &'static str, is_final: bool) -> Body {
    let handler = move |_: Request<Body>| async move {
        let body = match content_type {
            "text/event-stream" => {
                let pieces = PIECES.map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
                Body::from_stream(tokio_stream::iter(pieces))
            }
            _ => Body::from(PLAIN),
        };
        let response = Response::builder().header("content-type", content_type);
        Ok::<_, Infallible>(response.body(body).unwrap())
    };
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store.clone(), Calls::default().router()))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new().final_answer(!is_final))
        .service(service_fn(handler));
    let id = ("x-model-affinity", "s");
    let request = match is_final {
        true => post(&[id, ("x-plano-affinity", "final")]),
        false => post(&[id]),
    };
    service.oneshot(request).await.unwrap().into_body()
}

#[tokio::test(start_paused = true)]
async fn only_the_last_piece_waits_for_the_release() {
    for is_final in [true, false] {
        let store = SlowReleases::new(0);
        let began = Instant::now();
        let mut body = answered(&store, "text/event-stream", is_final).await;
        body.frame().await.unwrap().unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(timeout(Duration::from_millis(30), body.frame()).await.is_err());
        assert_eq!(store.pins.len(), 1);
        store.permits.add_permits(1);
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((store.pins.len(), &*piece), (0, PIECES[1].as_bytes()));
        assert_eq!(body.collect().await.unwrap().to_bytes(), PIECES[2]);
        assert_eq!(began.elapsed(), Duration::from_millis(30));
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_other_replicas_know() {
    let coherence = Duration::from_millis(20);
    let store = SlowReleases { coherence, ..SlowReleases::new(1) };
    let began = Instant::now();
    let body = answered(&store, "text/event-stream", false).await;
    body.collect().await.unwrap();
    // The claim is told when it is known elsewhere, too.
    assert_eq!(began.elapsed(), 2 * coherence);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stalls_holds_an_answer_for_50_ms_and_releases_later() {
    for content_type in ["text/event-stream", "application/json", "text/plain"] {
        let store = SlowReleases::new(0);
        let began = Instant::now();
        let body = answered(&store, content_type, true).await;
        body.collect().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(50), "{content_type}");
        assert_eq!(store.pins.len(), 1);
        store.permits.add_permits(1);
        for _ in 0..3 {
            yield_now().await;
        }
        assert!(store.pins.is_empty(), "{content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_meanwhile_does_not_stop_the_release() {
    let store = SlowReleases::new(0);
    let mut body = answered(&store, "application/json", false).await;
    assert!(timeout(Duration::from_millis(10), body.frame()).await.is_err());
    drop(body);
    store.permits.add_permits(1);
    for _ in 0..3 {
        yield_now().await;
    }
    assert!(store.pins.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_has_not_ended() {
    let store = SlowReleases::new(0);
    let mut body = answered(&store, "application/json", true).await;
    assert_eq!(body.size_hint().exact(), Some(PLAIN.len() as u64));
    assert!(timeout(Duration::from_millis(10), body.frame()).await.is_err());
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(PLAIN.len() as u64));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), PLAIN);
    assert!(body.is_end_stream() || body.frame().await.is_none());
}
