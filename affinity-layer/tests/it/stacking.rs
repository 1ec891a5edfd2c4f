//! The layer among the layers of a usual stack, inside and outside of each.

use std::convert::Infallible;
use std::time::Duration;

use affinity_layer::{
    AffinityLayer, AnswerLayer, BodyId, MemoryStore, PinnedModel, RouteDecision, RouteRequest,
};
use axum::Router;
use axum::body::Body;
use axum::routing::{any, post as axum_post};
use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::ServiceBuilderExt;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use crate::common::*;

fn affinity() -> AffinityLayer<MemoryStore> {
    layer(Calls::default().router())
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(5))
}

/// Three turns: claimed, then hits, with one model.
async fn holds<S, B>(service: S)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
{
    for affinity in ["claimed", "hit", "hit"] {
        let request = post(&[("x-model-affinity", "s"), ("accept-encoding", "gzip")]);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(response.headers(), "x-plano-affinity"), affinity);
        assert_eq!(header(response.headers(), "x-plano-model"), "vendor/m1");
    }
}

#[tokio::test]
async fn below_each_usual_layer() {
    let inner = || affinity().layer(service_fn(echo));
    holds(TraceLayer::new_for_http().layer(inner())).await;
    holds(timeout().layer(inner())).await;
    holds(CompressionLayer::new().layer(inner())).await;
    holds(CorsLayer::permissive().layer(inner())).await;
    holds(ServiceBuilder::new().concurrency_limit(1).service(inner())).await;
}

#[tokio::test]
async fn above_each_usual_layer() {
    // A layer that changes the response body needs its body boxed again for our refusals.
    let boxed = ServiceBuilder::new().layer(affinity()).map_response_body(Body::new);
    holds(boxed.layer(TraceLayer::new_for_http()).service(service_fn(echo))).await;
    let boxed = ServiceBuilder::new().layer(affinity()).map_response_body(Body::new);
    holds(boxed.layer(CompressionLayer::new()).service(service_fn(echo))).await;
    let direct = ServiceBuilder::new().layer(affinity());
    holds(direct.layer(AnswerLayer::new()).service(service_fn(echo))).await;
    let direct = ServiceBuilder::new().layer(affinity());
    holds(direct.layer(timeout()).service(service_fn(echo))).await;
    let direct = ServiceBuilder::new().layer(affinity());
    holds(direct.layer(CorsLayer::permissive()).service(service_fn(echo))).await;
    let direct = ServiceBuilder::new().layer(affinity());
    holds(direct.concurrency_limit(1).service(service_fn(echo))).await;
}

#[tokio::test]
async fn in_an_axum_app_with_everything_on_both_sides() {
    let handler = |model: PinnedModel| async move { [("given", model.model().to_string())] };
    let app: Router = Router::new()
        .route("/v1/chat/completions", axum_post(handler))
        .layer(TraceLayer::new_for_http())
        .layer(timeout())
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive())
        .layer(AnswerLayer::new())
        .layer(affinity())
        .layer(TraceLayer::new_for_http())
        .layer(timeout())
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive());
    holds(app).await;
}

#[tokio::test]
async fn two_routes_under_one_layer_share_their_sessions() {
    let handler = |model: PinnedModel| async move { [("given", model.model().to_string())] };
    let app: Router = Router::new()
        .route("/v1/chat/completions", axum_post(handler))
        .route("/v1/messages", axum_post(handler))
        .layer(affinity());
    for (path, affinity) in [("/v1/messages", "claimed"), ("/v1/chat/completions", "hit")] {
        let mut request = post(&[("x-model-affinity", "s")]);
        *request.uri_mut() = path.parse().unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(header(response.headers(), "x-plano-affinity"), affinity);
    }
}

#[tokio::test]
async fn a_handler_without_a_model_is_told_why() {
    let strict = |_: PinnedModel| async {};
    let failing = service_fn(|_: RouteRequest| async { Err::<RouteDecision, _>("it is away") });
    let app = |layer: AffinityLayer<MemoryStore>| -> Router {
        Router::new().route("/strict", any(strict)).layer(layer)
    };
    let routes = |layer: AffinityLayer<MemoryStore>| layer.route_unkeyed(true);
    for (app, request, told) in [
        (Router::new().route("/strict", any(strict)), post(&[]), "not below an AffinityLayer"),
        (app(affinity()), Request::get("/").body(Body::empty()).unwrap(), "of this method"),
        (app(affinity().route_unkeyed(false)), post(&[]), "names no session"),
        (app(reading_bodies().route_unkeyed(false)), post(&[]), "names no session"),
        (app(routes(layer(failing))), unnamed(), "the router named none"),
    ] {
        let mut request = request;
        *request.uri_mut() = "/strict".parse().unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500, "{told}");
        let text = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(text.starts_with("no model: ") && text.contains(told), "{text}");
    }
}

/// A layer that looks for a session in the body before it lets a request through.
fn reading_bodies() -> AffinityLayer<MemoryStore> {
    affinity().body_ids([BodyId::SessionId])
}

/// A request that names a session and no model.
fn unnamed() -> Request<Body> {
    let mut request = post(&[("x-session-id", "s")]);
    *request.body_mut() = Body::from("{}");
    request
}

#[tokio::test]
async fn a_handler_that_can_do_without_a_model_gets_none() {
    let strict = |_: PinnedModel| async {};
    let lenient = |model: Option<PinnedModel>| async move { model.is_none().to_string() };
    let app: Router =
        Router::new().route("/strict", axum_post(strict)).route("/lenient", axum_post(lenient));
    for (path, status) in [("/strict", 500), ("/lenient", 200)] {
        let mut request = post(&[]);
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status);
    }
}

/// Two affinity layers by mistake: the outer one speaks last, and each response has its headers
/// once.
#[tokio::test]
async fn two_layers_give_one_answer() {
    let inner = affinity().layer(service_fn(echo));
    let outer = layer(Calls::default().router()).layer(inner);
    let response = outer.oneshot(post(&[("x-model-affinity", "s")])).await.unwrap();
    assert_eq!(response.headers().get_all("x-plano-affinity").iter().count(), 1);
    assert_eq!(response.headers().get_all("x-plano-model").iter().count(), 1);
}
