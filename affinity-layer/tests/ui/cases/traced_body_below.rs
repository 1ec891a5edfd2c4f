//! Tracing below the layer changes the type of the response's body.
//~ cannot make a refusal whose body is of type
//~ MapResponseBodyLayer::new
use std::convert::Infallible;

use affinity_layer::{AffinityLayer, MemoryStore, RouteDecision, RouteRequest};
use axum::body::Body;
use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::trace::TraceLayer;

pub async fn serve() {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, Infallible>(RouteDecision::none()) });
    let app = ServiceBuilder::new()
        .layer(AffinityLayer::new(MemoryStore::default(), router))
        .layer(TraceLayer::new_for_http())
        .service(service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty()))));
    let _ = ServiceExt::oneshot(app, Request::new(Body::empty())).await;
}
