//! reqwest, whose client is a tower service of its own type of request.

use affinity_layer::body::{CheckBodyLayer, ModelBody, ModelBodyLayer};
use affinity_layer::client::{CacheKeyLayer, SessionLayer, WithholdLayer};
use affinity_layer::{AffinityLayer, BoxError, FailoverLayer, MemoryStore, RouterService};
use http::{Request, Response};
use reqwest::Body;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};

use crate::{SECRET, id_at_provider};

/// A client that asks `router` for the model of each new session. Build a request with `reqwest` as usual and
/// turn it into an `http::Request` with `try_into`; `reqwest::Response::from` turns the answer back.
pub fn agent(
    router: impl RouterService,
    client: reqwest::Client,
) -> BoxCloneSyncService<Request<Body>, Response<Body>, BoxError> {
    let transport = service_fn(move |request: Request<ModelBody<Body>>| {
        let client = client.clone();
        async move {
            let request = reqwest::Request::try_from(request.map(Body::wrap))?;
            Ok::<_, BoxError>(Response::from(client.execute(request).await?))
        }
    });
    let agent = ServiceBuilder::new()
        .layer(SessionLayer::new())
        .layer(CacheKeyLayer::new(SECRET))
        .layer(CheckBodyLayer::new())
        .layer(AffinityLayer::new(MemoryStore::default(), router))
        .layer(FailoverLayer::new())
        .layer(ModelBodyLayer::new().named(id_at_provider))
        .layer(WithholdLayer::new())
        .service(transport);
    BoxCloneSyncService::new(agent)
}
