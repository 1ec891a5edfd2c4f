//! Failover where a model takes long to fail, and where none is left.

use std::convert::Infallible;
use std::time::Duration;

use affinity_layer::{
    AffinityLayer, BoxError, FailoverLayer, MemoryStore, PinnedModel, RouteDecision, RouteRequest,
};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::{Calls, Said, header, model, post, said};

const ID: (&str, &str) = ("x-model-affinity", "s");
const REFRESH: (&str, &str) = ("x-plano-affinity", "refresh");

/// A turn in which `fails` says of each model that is tried how it fails.
async fn turn(
    store: &MemoryStore,
    calls: &Calls,
    headers: &[(&str, &str)],
    fails: impl Fn(&str) -> Option<Duration> + Clone + Send + 'static,
) -> Said {
    let calls = calls.clone();
    let router = service_fn(move |_: RouteRequest| {
        let names = [format!("v/{}", calls.next()), "v/spare".to_owned()];
        async move { Ok::<_, BoxError>(RouteDecision::new(names.map(|name| model(&name)))) }
    });
    let handler = move |request: Request<Full<Bytes>>| {
        let tried = request.extensions().get::<PinnedModel>().unwrap().model().to_string();
        let failing = fails(&tried);
        async move {
            let status = if failing.is_some() { 504 } else { 200 };
            sleep(failing.unwrap_or_default()).await;
            Ok::<_, Infallible>(Response::builder().status(status).body(Body::empty()).unwrap())
        }
    };
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(store.clone(), router))
        .layer(FailoverLayer::new())
        .service(service_fn(handler));
    let response = service.oneshot(post(headers).map(|_| Full::default())).await.unwrap();
    let told = |name| header(response.headers(), name).to_owned();
    Said {
        status: response.status().as_u16(),
        model: told("x-plano-model"),
        pinned: told("x-plano-pinned"),
        affinity: told("x-plano-affinity"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_takes_minutes_to_fail_is_followed_by_the_next() {
    let (store, calls) = (MemoryStore::default(), Calls::default());
    let slow = |name: &str| (name == "v/1").then_some(Duration::from_secs(300));
    let moved = turn(&store, &calls, &[ID], slow).await;
    assert_eq!(moved, said("v/spare", false, "repinned"));
    assert_eq!(turn(&store, &calls, &[ID], slow).await, said("v/spare", true, "hit"));
}

#[tokio::test]
async fn a_refresh_that_nobody_served_leaves_the_session_with_what_it_had() {
    let (store, calls) = (MemoryStore::default(), Calls::default());
    let well = |_: &str| None;
    assert_eq!(turn(&store, &calls, &[ID], well).await, said("v/1", false, "claimed"));
    let down = |_: &str| Some(Duration::ZERO);
    let failed = turn(&store, &calls, &[ID, REFRESH], down).await;
    assert_eq!((failed.status, failed.affinity.as_str()), (504, "failed"));
    assert_eq!(turn(&store, &calls, &[ID], well).await, said("v/1", true, "hit"));
}

#[tokio::test]
async fn a_pin_that_has_served_outlives_a_failure() {
    let (store, calls) = (MemoryStore::default(), Calls::default());
    assert_eq!(turn(&store, &calls, &[ID], |_| None).await, said("v/1", false, "claimed"));
    let failed = turn(&store, &calls, &[ID], |_| Some(Duration::ZERO)).await;
    assert_eq!((failed.status, failed.affinity.as_str()), (504, "failed"));
    assert_eq!(turn(&store, &calls, &[ID], |_| None).await, said("v/1", true, "hit"));
}
