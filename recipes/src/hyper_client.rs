//! hyper-util's pooling client, which is a tower service already.

use affinity_layer::body::{CheckBodyLayer, ModelBody, ModelBodyLayer};
use affinity_layer::client::{CacheKeyLayer, SessionLayer, WithholdLayer};
use affinity_layer::{AffinityLayer, BoxError, FailoverLayer, MemoryStore, RouterService};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};

use crate::{SECRET, id_at_provider};

/// What it answers. A refusal is made from bytes, so the provider's body is boxed.
pub type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A client that asks `router` for the model of each new session.
pub fn agent(
    router: impl RouterService,
) -> BoxCloneSyncService<Request<Full<Bytes>>, Answer, BoxError> {
    let transport: Client<HttpConnector, ModelBody<Full<Bytes>>> =
        Client::builder(TokioExecutor::new()).build_http();
    let refused = |status: http::StatusCode, text: String| {
        let body = Full::from(text).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response
    };
    let agent = ServiceBuilder::new()
        .layer(SessionLayer::new())
        .layer(CacheKeyLayer::new(SECRET))
        .layer(CheckBodyLayer::new().with_refusal_response(
            move |refusal: &affinity_layer::body::BodyRefusal, _: &http::request::Parts| {
                refused(refusal.status(), refusal.to_string())
            },
        ))
        .layer(AffinityLayer::new(MemoryStore::default(), router).with_rejection_response(
            move |rejection: &affinity_layer::Rejection, _: &http::request::Parts| {
                refused(rejection.status(), rejection.to_string())
            },
        ))
        .layer(FailoverLayer::new())
        .layer(ModelBodyLayer::new().named(id_at_provider))
        .layer(WithholdLayer::new())
        .map_response(|response: Response<hyper::body::Incoming>| {
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        })
        .service(transport.map_err(BoxError::from));
    BoxCloneSyncService::new(agent)
}
