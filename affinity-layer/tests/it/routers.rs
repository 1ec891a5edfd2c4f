//! Routers of the kinds that applications have.

use std::cell::Cell;

use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, service_fn};

use crate::common::*;

/// The usual block around hyper, whole inside a spawned task. Whether it compiles is the test: with the type
/// of the router's error in the layer's future it did not. (The error of the service itself is hyper's
/// business, which cannot take a `BoxError` here.)
#[tokio::test]
async fn a_router_with_a_boxed_error_serves_inside_a_spawned_task() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let router = service_fn(|_: RouteRequest| async {
            Ok::<_, BoxError>(RouteDecision::new([model("vendor/m1")]))
        });
        let app = ServiceBuilder::new()
            .map_request(|request: Request<_>| request.map(Body::new))
            .layer(AffinityLayer::new(MemoryStore::default(), router))
            .service_fn(|_: Request<Body>| async {
                Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
            });
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
                .await
        })
        .await?
    });
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::post(format!("http://{address}/")).header("x-session-id", "s");
    let response = client.request(request.body(Full::from("{}")).unwrap()).await.unwrap();
    assert_eq!(header(response.headers(), "x-plano-model"), "vendor/m1");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

/// `BoxCloneService` is not `Sync`, and nor are many services that hold a cell.
#[tokio::test]
async fn a_router_that_threads_cannot_share_is_one() {
    let asked = Cell::new(0);
    let router = service_fn(move |_: RouteRequest| {
        asked.set(asked.get() + 1);
        let decided = RouteDecision::new([model("vendor/m1")]);
        async move { Ok::<_, BoxError>(decided) }
    });
    let service = stack(layer(BoxCloneService::new(router)));
    assert_eq!(turn(&service, "s").await, said("vendor/m1", false, "claimed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m1", true, "hit"));
}
