//! A limit above the layer changes the type of the request's body.
//~ cannot read a request body of type
//~ MapRequestBodyLayer::new
use std::convert::Infallible;

use affinity_layer::{AffinityLayer, MemoryStore, RouteDecision, RouteRequest};
use axum::body::Body;
use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::limit::RequestBodyLimitLayer;

pub async fn serve() {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, Infallible>(RouteDecision::none()) });
    let app = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(1024))
        .layer(AffinityLayer::new(MemoryStore::default(), router))
        .service(service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Body::empty()))));
    let _ = ServiceExt::oneshot(app, Request::new(Body::empty())).await;
}
