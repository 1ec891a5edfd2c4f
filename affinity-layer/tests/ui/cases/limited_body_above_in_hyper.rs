//! The same mistake as in `limited_body_above`, where hyper asks for the service.
//~ cannot read a request body of type
//~ MapRequestBodyLayer::new
use std::convert::Infallible;

use affinity_layer::{AffinityLayer, MemoryStore, RouteDecision, RouteRequest};
use axum::body::Body;
use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tower::{ServiceBuilder, service_fn};
use tower_http::limit::RequestBodyLimitLayer;

pub async fn serve(stream: TcpStream) {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, Infallible>(RouteDecision::none()) });
    let app = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(1024))
        .layer(AffinityLayer::new(MemoryStore::default(), router))
        .service(service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Body::empty()))));
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
}
