//! Bodies of requests: their limit, their end, and that they pass as they are.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::common::*;
use crate::refusals::refusal;

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_a_pinned_one_is_not_read() {
    let service = stack(layer(Calls::default().router()).body_limit(64));
    let with_body = |body: Body| {
        let mut request = post(&[("x-model-affinity", "s")]);
        *request.body_mut() = body;
        request
    };
    let streamed = || {
        let chunks = (0..10).map(|_| Ok::<_, std::io::Error>("0123456789"));
        Body::from_stream(tokio_stream::iter(chunks))
    };
    for body in [Body::from("x".repeat(65)), streamed()] {
        let (status, code, message) = refusal(&service, with_body(body)).await;
        assert_eq!((status, code.as_str()), (413, "request_too_large"));
        assert!(message.contains("64"), "{message}");
    }
    assert_eq!(send(&service, with_body(Body::from("x".repeat(64)))).await.affinity, "claimed");

    // Pinned: a body of any size passes, and one that never ends does not hold the request up.
    assert_eq!(send(&service, with_body(Body::from("x".repeat(65)))).await.affinity, "hit");
    let endless = Body::from_stream(tokio_stream::pending::<Result<&str, std::io::Error>>());
    let hit = tokio::time::timeout(Duration::from_secs(5), send(&service, with_body(endless)));
    assert_eq!(hit.await.unwrap().affinity, "hit");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let service = stack(layer(Calls::default().router()));
    let chunks = [Ok("{"), Err(std::io::Error::other("reset"))];
    let mut request = post(&[("x-model-affinity", "s")]);
    *request.body_mut() = Body::from_stream(tokio_stream::iter(chunks));
    assert_eq!(refusal(&service, request).await.1, "invalid_body");
    assert_eq!(turn(&service, "s").await.affinity, "claimed", "and nothing was stored");
}

#[tokio::test]
async fn the_body_reaches_the_handler_as_it_came() {
    let service = stack(layer(Calls::default().router()));
    for _ in 0..2 {
        let mut request = post(&[("x-model-affinity", "s")]);
        *request.body_mut() = Body::from("{ \"model\" :1, \"odd\"}");
        let response = service.clone().oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{ \"model\" :1, \"odd\"}");
    }
}
