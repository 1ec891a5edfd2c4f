//! What tower asks of a middleware.

use std::task::Poll;
use std::time::Duration;

use affinity_layer::{
    MemoryStore, RouterService, affinity::AffinityService, rejection::OpenAiErrors,
};
use axum::body::Body;
use http::{Request, Response};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_test::mock::{self, Handle, Mock};

use crate::common::*;

type MockService = Mock<Request<Body>, Response<Body>>;

type MockHandle = Handle<Request<Body>, Response<Body>>;
type Mocked = AffinityService<MockService, MemoryStore, OpenAiErrors>;

fn mocked(router: impl RouterService) -> (Mocked, MockHandle) {
    let (inner, handle) = mock::pair();
    (layer(router).layer(inner), handle)
}

/// tower-test's mock panics when a service is called that was not ready: a layer that calls the
/// clone instead of the service it was polled with fails here.
#[tokio::test]
async fn the_service_that_was_ready_takes_the_request() {
    let (service, mut handle) = mocked(Calls::default().router());
    let mut spawned = mock::Spawn::new(service);
    for affinity in ["claimed", "hit", "hit"] {
        handle.allow(0);
        assert!(spawned.poll_ready::<Request<Body>>().is_pending());
        handle.allow(1);
        assert!(matches!(spawned.poll_ready::<Request<Body>>(), Poll::Ready(Ok(()))));
        let answer = tokio::spawn(spawned.call(post(&[("x-model-affinity", "s")])));
        let (_, reply) = handle.next_request().await.unwrap();
        reply.send_response(Response::new(Body::empty()));
        let response = answer.await.unwrap().unwrap();
        assert_eq!(header(response.headers(), "x-plano-affinity"), affinity);
    }
}

#[tokio::test]
async fn errors_of_the_inner_service_pass_as_they_are() {
    let (service, mut handle) = mocked(Calls::default().router());
    let mut spawned = mock::Spawn::new(service);
    for _ in 0..2 {
        handle.allow(1);
        assert!(matches!(spawned.poll_ready::<Request<Body>>(), Poll::Ready(Ok(()))));
        let answer = tokio::spawn(spawned.call(post(&[("x-model-affinity", "s")])));
        let (_, reply) = handle.next_request().await.unwrap();
        reply.send_error("upstream is gone");
        assert_eq!(answer.await.unwrap().unwrap_err().to_string(), "upstream is gone");
    }
    handle.send_error("not ready");
    let ready = spawned.poll_ready::<Request<Body>>();
    assert!(matches!(ready, Poll::Ready(Err(error)) if error.to_string().contains("not ready")));
}

/// A router with one permit: were it polled on a hit, the permit would be taken and lost.
#[tokio::test]
async fn a_hit_takes_no_permit_of_the_router() {
    let calls = Calls::default();
    let router = ServiceBuilder::new().concurrency_limit(1).service(calls.router());
    let service = stack(layer(router));
    turn(&service, "s").await;
    let mut held = service.clone();
    held.ready().await.unwrap();
    for _ in 0..10 {
        assert_eq!(turn(&service, "s").await.affinity, "hit");
    }
    assert_eq!(turn(&service, "t").await.affinity, "claimed", "the permit is still there");
}

/// `Buffer` and `LoadShed` make readiness bookkeeping visible: a permit that leaks ends in 503s.
#[tokio::test]
async fn no_false_refusal_under_load_shed_and_buffer() {
    let inner = ServiceBuilder::new()
        .layer(layer(Calls::default().router()))
        .concurrency_limit(4)
        .service(service_fn(echo));
    let service = ServiceBuilder::new().load_shed().buffer(64).service(inner);
    for n in 0..10_000_usize {
        let session = format!("s{}", n % 100);
        let request = post(&[("x-model-affinity", &session)]);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

/// The inner service is a mock that panics when it is called unready, so each layer below ours must
/// have been polled through it, and each above must get its readiness.
#[tokio::test]
async fn readiness_passes_through_the_layers_of_tower_in_both_orders() {
    fn inner() -> MockService {
        let (inner, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        tokio::spawn(async move {
            while let Some((_, reply)) = handle.next_request().await {
                reply.send_response(Response::new(Body::empty()));
            }
        });
        inner
    }
    async fn serves<S>(service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone,
        S::Error: std::fmt::Debug,
    {
        for n in 0..1000_usize {
            let session = format!("s{}", n % 100);
            let response =
                service.clone().oneshot(post(&[("x-model-affinity", &session)])).await.unwrap();
            let affinity = if n < 100 { "claimed" } else { "hit" };
            assert_eq!(header(response.headers(), "x-plano-affinity"), affinity);
        }
    }
    let ours = || layer(Calls::default().router());
    let limit = Duration::from_secs(30);
    let builder = ServiceBuilder::new;
    serves(builder().concurrency_limit(1).layer(ours()).service(inner())).await;
    serves(builder().layer(ours()).concurrency_limit(1).service(inner())).await;
    serves(builder().timeout(limit).layer(ours()).service(inner())).await;
    serves(builder().layer(ours()).timeout(limit).service(inner())).await;
    serves(builder().load_shed().layer(ours()).service(inner())).await;
    serves(builder().layer(ours()).load_shed().service(inner())).await;
    serves(builder().buffer(8).layer(ours()).service(inner())).await;
    serves(builder().layer(ours()).buffer(8).service(inner())).await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_made_in_flight_shares_the_session() {
    let calls = Calls::default();
    let router = calls.slow_router(Duration::from_secs(1));
    let service = stack(layer(router));
    let first = tokio::spawn({
        let service = service.clone();
        async move { turn(&service, "s").await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let clone = service.clone();
    assert_eq!(turn(&clone, "s").await, said("vendor/m1", true, "joined"));
    assert_eq!(first.await.unwrap(), said("vendor/m1", false, "claimed"));
}
