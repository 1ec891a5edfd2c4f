//! How a request without a pin is decided, as configured.
//!
//! It builds the router that [`layers`](super::layers) gives to the affinity layer: one of the crate
//! [`router_client`], its time limit, and then the knowledge that a router lacks, namely which of its
//! candidates can take this request. A candidate that cannot is put behind those that can and not left out.

use std::sync::Arc;

use affinity_layer::{
    BoxError, ModelName, RouteDecision, RouteRequest, RouterService, ext::RequestedModel,
};
use router_client::{LexicalRouter, LlmRouter, PlanoRouter, Preferences, RouterClient};
use secrecy::ExposeSecret;
use tower::util::MapRequest;
use tower::{Service, ServiceExt};

use crate::config::{Config, Router};
use crate::extensions::RouterClock;
use crate::protocol::Protocol;
use crate::stack::apart::apart_async;
use crate::telemetry::context;
use crate::upstream::providers::Upstreams;

/// The configured router within its limits. Of its candidates, those that can take the request come
/// first, and without one any configured model that can; the others stay behind them, for the next
/// request of the session may be of another kind.
pub(crate) fn router(config: &Config, upstreams: Arc<Upstreams>) -> impl RouterService + use<> {
    let preferences = Preferences::new(config.preferences.iter().cloned());
    let is_local = matches!(config.routing.router, Router::Lexical);
    let client = match &config.routing.router {
        Router::Lexical => {
            RouterClient::builder(LexicalRouter::new(preferences)).in_process().build()
        }
        Router::Llm { url, model, access_key, timeout } => {
            let mut router = LlmRouter::new(url.clone(), model, preferences);
            if let Some(key) = access_key {
                router = router.bearer(key.expose_secret());
            }
            RouterClient::builder(traced(router)).timeout(*timeout).build()
        }
        Router::Plano { url, timeout } => {
            let router = traced(PlanoRouter::new(url.clone()));
            RouterClient::builder(router).timeout(*timeout).build()
        }
    };
    tower::service_fn(move |request: RouteRequest| {
        let (mut client, upstreams) = (client.clone(), upstreams.clone());
        async move {
            let parts = request.parts.clone();
            let protocol = Protocol::of(parts.uri.path());
            let timed = RouterClock::start(&parts.extensions);
            let length = request.body.len();
            let call = async move { client.ready().await?.call(request).await };
            let mut decision = apart_async(length, is_local, call).await??;
            drop(timed);
            let speaks = |model: &ModelName| upstreams.speaks(model, protocol);
            decision.models.sort_by_key(|model| (!upstreams.takes(model, &parts), !speaks(model)));
            if decision.models.is_empty() {
                let requested = parts.extensions.get::<RequestedModel>();
                decision.models.extend(requested.map(|RequestedModel(model)| model.clone()));
            }
            if let Some(first) = decision.models.first()
                && let Some(able) = upstreams.elsewhere(&parts, first, &decision.models)
            {
                decision.models.retain(|model| *model != able);
                decision.models.insert(0, able);
            }
            Ok::<RouteDecision, BoxError>(decision)
        }
    })
}

/// Tells a router that is called of the span of the call, which the limits around it begin.
fn traced<R>(router: R) -> MapRequest<R, fn(RouteRequest) -> RouteRequest> {
    MapRequest::new(router, |mut request| {
        context::pass_on(&mut request.parts.headers);
        request
    })
}
