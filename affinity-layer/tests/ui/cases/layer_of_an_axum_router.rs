//! Inside `axum::Router::layer`, which asks for the service at once.
//~ cannot read a request body of type
//~ MapRequestBodyLayer::new
use std::convert::Infallible;

use affinity_layer::{AffinityLayer, MemoryStore, RouteDecision, RouteRequest};
use axum::Router;
use tower::{ServiceBuilder, service_fn};
use tower_http::limit::RequestBodyLimitLayer;

pub fn app() -> Router {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, Infallible>(RouteDecision::none()) });
    let layers = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(1024))
        .layer(AffinityLayer::new(MemoryStore::default(), router));
    Router::new().layer(layers)
}
