//! How a request without a pin is decided, as configured.
//!
//! It builds the router that [`layers`](super::layers) gives to the affinity layer: one of the crate
//! [`router_client`], its time limit, and then the knowledge that a router lacks, namely which of its
//! candidates can take this request. A candidate that cannot is put behind those that can and not left out.

use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    BoxError, ModelName, RouteDecision, RouteRequest, RouterService, ext::RequestedModel,
};
use router_client::{
    ErrorKind, LexicalRouter, LlmRouter, PlanoRouter, Preferences, RouterClient, RouterError,
};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::util::MapRequest;
use tower::{Service, ServiceExt};

use crate::config::{Config, Router};
use crate::extensions::RouterClock;
use crate::protocol::Protocol;
use crate::stack::apart::apart_until_it_waits;
use crate::stack::holdings::Holdings;
use crate::stack::memory::SMALL;
use crate::telemetry::context;
use crate::upstream::dial::{Connector, client};
use crate::upstream::providers::Upstreams;

/// Decisions about long bodies at a time, of the 64 that a [`RouterClient`] allows: those about small ones
/// never wait for them.
const LONG_AT_A_TIME: usize = 32;

/// Time for the router that asks nobody. All that it waits for is a thread to read a long body.
const LEXICAL_TIME: Duration = Duration::from_secs(30);

/// The configured router within its limits. Of its candidates, those that can take the request come
/// first, and without one any configured model that can; the others stay behind them, for the next
/// request of the session may be of another kind. It is called over connections of `connector`.
pub(crate) fn router(
    config: &Config,
    upstreams: Arc<Upstreams>,
    holdings: Holdings,
    connector: &Connector,
) -> impl RouterService + use<> {
    let preferences = Preferences::new(config.preferences.iter().cloned());
    let client = match &config.routing.router {
        Router::Lexical => {
            let router = reading_apart(LexicalRouter::new(preferences));
            RouterClient::builder(router).in_process().timeout(LEXICAL_TIME).build()
        }
        Router::Llm { url, model, access_key, timeout: limit } => {
            let router = LlmRouter::new(url.clone(), model, preferences);
            let mut router = router.client(client(connector, &config.proxies, url));
            if let Some(key) = access_key {
                router = router.bearer(key.expose_secret());
            }
            RouterClient::builder(traced(reading_apart(router))).timeout(*limit).build()
        }
        Router::Plano { url, timeout: limit } => {
            // It sends the body as it is.
            let router = PlanoRouter::new(url.clone());
            let router = router.client(client(connector, &config.proxies, url));
            RouterClient::builder(traced(router)).timeout(*limit).build()
        }
    };
    let patience = match &config.routing.router {
        Router::Lexical => LEXICAL_TIME,
        Router::Llm { timeout: limit, .. } | Router::Plano { timeout: limit, .. } => *limit,
    };
    let long = Arc::new(Semaphore::new(LONG_AT_A_TIME));
    tower::service_fn(move |request: RouteRequest| {
        let (mut client, upstreams, long) = (client.clone(), upstreams.clone(), long.clone());
        let holdings = holdings.clone();
        async move {
            let _place = match request.body.len() > SMALL {
                true => Some(timeout(patience, long.acquire_owned()).await?),
                false => None,
            };
            let mut parts = request.parts.clone();
            let protocol = Protocol::of(parts.uri.path());
            let timed = RouterClock::start(&parts.extensions);
            let mut decision = client.ready().await?.call(request).await?;
            drop(timed);
            holdings.follow(&mut parts).await;
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

/// A router that reads a long body apart from the threads that serve clients. It is below the limits of the
/// [`RouterClient`], where the body is read by the first poll.
fn reading_apart<R>(
    router: R,
) -> impl Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send> + Clone
where
    R: Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send>,
    R: Clone + Send + Sync + 'static,
{
    tower::service_fn(move |request: RouteRequest| {
        let mut router = router.clone();
        let length = request.body.len();
        async move {
            let decided = async move { router.ready().await?.call(request).await };
            let done = apart_until_it_waits(length, decided).await;
            done.unwrap_or_else(|ended| {
                Err(RouterError::new(ErrorKind::Malformed).with_source(ended))
            })
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
