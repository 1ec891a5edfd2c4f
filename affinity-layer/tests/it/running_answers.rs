//! A sliding pin does not expire while its answer runs.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use affinity_layer::ext::Probe;
use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, AnswerLayer, Expiry, MemoryStore, Pin, PinRead,
    StoreError,
};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

const IDLE: Duration = Duration::from_secs(2);
const AGE: Duration = Duration::from_secs(3600);

/// A store that has no pin at hand, as one that is far away. Counts what it is asked for.
#[derive(Clone, Default)]
struct Far(MemoryStore, Arc<AtomicUsize>);

impl AffinityStore for Far {
    as_in!(0: claim, repin, release);

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.get(key, expiry).await
    }
}

/// A model that is silent for `before` ahead of its head, and between its two pieces for `between`.
fn stacked<St>(store: St, expiry: Expiry, before: Duration, between: Duration) -> Stack
where
    St: AffinityStore + Clone,
{
    let model = service_fn(move |_: Request<Body>| async move {
        sleep(before).await;
        let pieces = tokio_stream::iter([Duration::ZERO, between]).then(async |pause| {
            sleep(pause).await;
            Ok::<_, Infallible>(Bytes::from("data: 1\n\n"))
        });
        Ok::<_, Infallible>(Response::new(Body::from_stream(pieces)))
    });
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store, Calls::default().router()).expiry(expiry))
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new())
        .service(model);
    BoxCloneSyncService::new(service.map_err(BoxError::from))
}

fn request() -> Request<Body> {
    post(&[("x-model-affinity", "s")])
}

/// Whether the pin of the session is there, by a look that is no use of it.
async fn stands(store: &MemoryStore) -> bool {
    let key = AffinityKey::new("s").unwrap();
    let pin: Option<Pin> = store.get(&key, &Expiry::fixed(IDLE)).await.unwrap().pin();
    pin.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_silent_model_keeps_its_session() {
    let (long, short) = (5 * IDLE, Duration::ZERO);
    for (before, between) in [(long, short), (short, long), (long, long)] {
        let store = MemoryStore::default();
        let stack = stacked(store.clone(), Expiry::sliding(IDLE, AGE), before, between);
        let body = stack.oneshot(request()).await.unwrap().into_body();
        assert!(stands(&store).await, "{before:?} before the head");
        body.collect().await.unwrap();
        assert!(stands(&store).await, "{between:?} between two pieces");
        // The end is a use.
        sleep(IDLE - Duration::from_millis(1)).await;
        assert!(stands(&store).await);
        sleep(Duration::from_millis(2)).await;
        assert!(!stands(&store).await, "nobody uses it any more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_store_hears_of_it_once_in_a_quarter_of_the_idle_time() {
    let store = Far::default();
    let stack = stacked(store.clone(), Expiry::sliding(IDLE, AGE), IDLE, 4 * IDLE);
    stack.oneshot(request()).await.unwrap().into_body().collect().await.unwrap();
    tokio::task::yield_now().await;
    assert!(stands(&store.0).await);
    // The first is the request's own.
    let asked = store.1.load(Ordering::SeqCst) - 1;
    assert!((18..=21).contains(&asked), "{asked} in 20 quarters");
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_a_client_that_gives_up() {
    let store = MemoryStore::default();
    let stack = stacked(store.clone(), Expiry::sliding(IDLE, AGE), Duration::ZERO, 100 * IDLE);
    let mut body = stack.oneshot(request()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let waiting = tokio::time::timeout(3 * IDLE, body.frame()).await;
    assert!(waiting.is_err() && stands(&store).await);
    drop(body);
    sleep(IDLE - Duration::from_millis(1)).await;
    assert!(stands(&store).await, "giving up is a use");
    sleep(Duration::from_millis(2)).await;
    assert!(!stands(&store).await);
}

#[tokio::test(start_paused = true)]
async fn the_maximum_age_takes_effect_when_the_last_answer_has_ended() {
    let store = MemoryStore::default();
    let expiry = Expiry::sliding(IDLE, 2 * IDLE);
    let stack = stacked(store.clone(), expiry, Duration::ZERO, 5 * IDLE);
    let answer = async || stack.clone().oneshot(request()).await.unwrap();
    let begun = tokio::time::Instant::now();
    let first = answer().await;
    assert_eq!(first.headers()["x-plano-affinity"], "claimed");
    let first = tokio::spawn(first.into_body().collect());
    // At four times the idle time the pin is over its age, and the first answer runs.
    sleep(4 * IDLE).await;
    let second = answer().await;
    assert_eq!(second.headers()["x-plano-affinity"], "hit");
    let second = tokio::spawn(second.into_body().collect());
    first.await.unwrap().unwrap();
    assert!(stands(&store).await, "the second one runs");
    second.await.unwrap().unwrap();
    assert_eq!(begun.elapsed(), 9 * IDLE);
    assert!(!stands(&store).await, "now the age counts");
    assert_eq!(answer().await.headers()["x-plano-affinity"], "claimed");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_began_just_before_the_maximum_age_keeps_its_pin() {
    let store = MemoryStore::default();
    let expiry = Expiry::sliding(IDLE, 2 * IDLE);
    let stack = stacked(store.clone(), expiry, Duration::ZERO, IDLE / 5);
    let millis = Duration::from_millis(1);
    for _ in 0..3 {
        stack.clone().oneshot(request()).await.unwrap().into_body().collect().await.unwrap();
        sleep(IDLE / 5 * 2).await;
    }
    sleep(IDLE / 5 - millis).await;
    let last = stack.clone().oneshot(request()).await.unwrap();
    assert_eq!(last.headers()["x-plano-affinity"], "hit", "a millisecond before its age");
    sleep(IDLE / 10).await;
    assert!(stands(&store).await, "over its age, under a running answer");
    last.into_body().collect().await.unwrap();
    assert!(!stands(&store).await);
}

#[tokio::test(start_paused = true)]
async fn a_move_under_a_running_answer_ends_nothing() {
    let store = MemoryStore::default();
    let expiry = Expiry::sliding(IDLE, 2 * IDLE);
    let stack = stacked(store.clone(), expiry, Duration::ZERO, 5 * IDLE);
    let answer = stack.oneshot(request()).await.unwrap();
    let answer = tokio::spawn(answer.into_body().collect());
    sleep(3 * IDLE).await;
    let key = AffinityKey::new("s").unwrap();
    let pin = store.get(&key, &expiry).await.unwrap().pin().unwrap();
    let moved = store.repin(&key, pin.epoch, pin.selection, &expiry).await.unwrap();
    assert!(moved.unwrap().won && stands(&store).await, "beyond its maximum age");
    answer.await.unwrap().unwrap();
    assert!(!stands(&store).await);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_pin_and_a_probe_are_as_they_were() {
    let store = MemoryStore::default();
    let stack = stacked(store.clone(), Expiry::fixed(IDLE), Duration::ZERO, 2 * IDLE);
    stack.oneshot(request()).await.unwrap().into_body().collect().await.unwrap();
    assert!(!stands(&store).await);

    let stack = stacked(store.clone(), Expiry::sliding(IDLE, AGE), Duration::ZERO, 2 * IDLE);
    let answer = stack.clone().oneshot(request()).await.unwrap();
    drop(answer);
    let mut probe = request();
    probe.extensions_mut().insert(Probe);
    sleep(IDLE / 2).await;
    stack.oneshot(probe).await.unwrap().into_body().collect().await.unwrap();
    assert!(!stands(&store).await, "counting tokens holds nothing");
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_no_use_of_a_pin_and_ends_none() {
    for far in [false, true] {
        let store = MemoryStore::default();
        let expiry = Expiry::sliding(IDLE, AGE);
        let (short, silent) = (Duration::from_millis(1), Duration::ZERO);
        let stack = match far {
            false => stacked(store.clone(), expiry, silent, short),
            true => stacked(Far(store.clone(), Arc::default()), expiry, silent, short),
        };
        stack.clone().oneshot(request()).await.unwrap().into_body().collect().await.unwrap();
        for control in [None, Some("final"), Some("refresh")] {
            sleep(IDLE / 5).await;
            let mut probe = request();
            probe.extensions_mut().insert(Probe);
            if let Some(control) = control {
                probe.headers_mut().insert("x-plano-affinity", control.parse().unwrap());
            }
            let answer = stack.clone().oneshot(probe).await.unwrap();
            assert_eq!(answer.headers()["x-plano-affinity"], "hit");
            answer.into_body().collect().await.unwrap();
            assert!(stands(&store).await, "{control:?}");
        }
        sleep(IDLE / 5 * 2 + Duration::from_millis(2)).await;
        assert!(!stands(&store).await, "its life counts from the end of the first answer");
    }
}
