//! A body that streams in from a connection cannot be sent twice.
//~ cannot be sent to a second candidate
//~ http_body_util::Full
use std::convert::Infallible;

use affinity_layer::FailoverLayer;
use axum::body::Body;
use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};

pub async fn serve() {
    let app = ServiceBuilder::new()
        .layer(FailoverLayer::new())
        .service(service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty()))));
    let _ = ServiceExt::oneshot(app, Request::new(Body::empty())).await;
}
