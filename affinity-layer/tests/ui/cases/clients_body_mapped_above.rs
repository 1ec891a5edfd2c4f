//! On the client's side: the body of the client's responses is mapped above the layer instead of below it.
//~ cannot make a refusal whose body is of type
//~ right below the affinity layer
use std::convert::Infallible;

use affinity_layer::{AffinityLayer, MemoryStore, RouteDecision, RouteRequest};
use axum::body::Body;
use http::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::map_response_body::MapResponseBodyLayer;

pub async fn call() {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, Infallible>(RouteDecision::none()) });
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let client = ServiceBuilder::new()
        .layer(MapResponseBodyLayer::new(Body::new))
        .layer(AffinityLayer::new(MemoryStore::default(), router))
        .service(client);
    let _ = ServiceExt::oneshot(client, Request::new(Body::empty())).await;
}
