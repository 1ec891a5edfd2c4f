//! The gateway: its paths, and the stack of layers behind them.
//!
//! The one place where the rooms meet. [`gateway`](crate::gateway) builds an [`App`] from the configuration
//! and gives each listener a [`Front`] of it.
//!
//! ```text
//! /v1          intake → affinity → shadow → answer → failover → proxy
//! /routing/v1  intake → affinity → answer → decide
//! ```
//!
//! Both stacks hold one affinity layer, and so one store and one set of flights: a session that is decided
//! on one is pinned on the other. What the configuration does not ask for is not in a stack, so that it
//! costs a request nothing.

use std::sync::Arc;

use affinity_layer::AnswerLayer;
use affinity_layer::ext::Probe;
use axum::body::Body;
use axum::routing::{any, get};
use axum::{Json, Router};
use http::Method;
use serde_json::json;
use tower::util::MapRequestLayer;
use tower::{Layer, ServiceBuilder, service_fn};
use tower_http::ServiceBuilderExt;
use tower_http::add_extension::AddExtensionLayer;

use crate::config::{Config, Listener};
use crate::edge::front::{Access, Endpoint, Front};
use crate::extensions::RouterClock;
use crate::ops::admin;
use crate::ops::admin::state::Admin;
use crate::ops::drains::Board;
use crate::ops::hub::TurnHub;
use crate::ops::live::feed::Live;
use crate::paths::Served;
use crate::stack::answers::{model, models, not_served, ready, scrape};
use crate::stack::decision::decide;
use crate::stack::intake::IntakeLayer;
use crate::stack::layers::{
    affinity, answer, call_limits, failover, shadow, telling, turns, withheld,
};
use crate::stack::observe::Observer;
use crate::stack::sessions::Sessions;
use crate::stack::turns::observer::TurnObserver;
use crate::stack::turns::record::TurnRecorder;
use crate::telemetry::metrics::Metrics;
use crate::upstream::providers::Upstreams;
use crate::upstream::proxy::Proxy;

/// The paths of the three protocols, below `/v1` and `/routing/v1`.
const PATHS: [&str; 3] = ["/chat/completions", "/messages", "/responses"];

/// The paths that use the model of a session and make no pin.
const PROBES: [&str; 3] =
    ["/v1/messages/count_tokens", "/v1/responses/compact", "/v1/responses/input_tokens"];

const GET: &[Method] = &[Method::GET, Method::HEAD];
const POST: &[Method] = &[Method::POST];

/// Everything behind the listeners; each of them gets its own [`App::front`].
#[derive(Debug)]
pub(crate) struct App {
    endpoints: Arc<[Endpoint]>,
    observer: Arc<Observer>,
    others: Router,
    admin: Option<Router>,
    live: Option<Live>,
    sessions: Sessions,
    board: Board,
    metrics: Metrics,
}

impl App {
    /// Builds the stack that `config` describes.
    ///
    /// # Errors
    ///
    /// When certificates are needed and cannot be read, the Redis client refuses its settings, or
    /// the program counts its metrics elsewhere.
    pub(crate) fn new(config: &Config) -> std::io::Result<Self> {
        // First, so that what the others count is kept.
        let metrics = Metrics::start()?;
        let upstreams = Arc::new(Upstreams::new(config));
        let sessions = Sessions::new(config)?;
        let board = Board::new(sessions.clone(), upstreams.clone());
        // Only an admin listener can serve it.
        let hub = config.admin.as_ref().map(|_| TurnHub::new(upstreams.clone()));
        let observer = hub.clone().map(|hub| Arc::new(hub) as Arc<dyn TurnObserver>);
        let live = hub.clone().map(|hub| {
            let models = upstreams.models().map(|provider| provider.model.clone());
            Live::new(hub, models.collect())
        });
        let admin = config.admin.as_ref().zip(hub.zip(live.clone()));
        let admin = admin.map(|(settings, (turns, live))| {
            let steered = Admin::new(config, &sessions, &upstreams, board.clone(), turns, live);
            admin::router(steered, &settings.token)
        });

        let mut endpoints = model_endpoints(&upstreams);
        endpoints.extend(session_endpoints(config, &upstreams, &sessions, observer)?);
        endpoints.extend(health_endpoints(&metrics, &sessions));
        let path = |endpoint: &Endpoint| endpoint.path().to_owned();
        let counted = endpoints.iter().filter(|endpoint| endpoint.access() == Access::Clients);
        let observer = Observer::new(
            config.tracing.span_attributes.clone(),
            telling(config),
            counted.map(path),
        );
        let served = Served::new(endpoints.iter().map(path));
        let others = Router::new().fallback_service(any(not_served).with_state(served));
        let (endpoints, observer) = (endpoints.into(), Arc::new(observer));
        Ok(Self { endpoints, observer, others, admin, live, sessions, board, metrics })
    }

    /// The sessions that are kept.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What is drained, for all replicas.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What the admin listener serves, if there is one.
    pub(crate) fn admin(&self) -> Option<Front> {
        let router = self.admin.clone()?;
        Some(Front::new(Arc::new([]), self.observer.clone(), &[], router))
    }

    /// The feed of the live page, if there is an admin listener.
    pub(crate) fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// What `listener` serves; without keys, everyone is let in.
    pub(crate) fn front(&self, listener: &Listener) -> Front {
        let (endpoints, observer) = (self.endpoints.clone(), self.observer.clone());
        let front = Front::new(endpoints, observer, &listener.client_keys, self.others.clone());
        front.behind(listener.trusted_proxies.clone())
    }
}

/// What clients may ask for by name.
fn model_endpoints(upstreams: &Arc<Upstreams>) -> Vec<Endpoint> {
    let models = get(models).with_state(upstreams.clone());
    let model = get(model).with_state(upstreams.clone());
    vec![
        Endpoint::new("/v1/models", GET, models),
        // The name of a model holds a slash.
        Endpoint::new("/v1/models/{*id}", GET, model),
    ]
}

/// What belongs to a session: requests to a model, and those that only ask which one it would be.
fn session_endpoints(
    config: &Config,
    upstreams: &Arc<Upstreams>,
    sessions: &Sessions,
    observer: Option<Arc<dyn TurnObserver>>,
) -> std::io::Result<Vec<Endpoint>> {
    let is_recorded = observer.is_some();
    let recorded = is_recorded || config.access_log;
    let recorder = recorded.then(|| TurnRecorder::new(observer.clone(), sessions.clone()));
    let intake = IntakeLayer::new(upstreams.clone(), config.limits)
        .turns(turns(config))
        .body_ids(!config.routing.body_ids.is_empty());
    let affinity = affinity(config, sessions.store(), upstreams);
    let proxied = ServiceBuilder::new()
        // Reads and checks the body, which the router and the proxy need whole.
        .layer(intake.clone())
        // Lets the router report how long it took, if that is recorded.
        .option_layer(is_recorded.then(|| MapRequestLayer::new(RouterClock::attach)))
        // Decides or recalls the model.
        .layer(affinity.clone())
        // Routes some of the pinned turns once more, to count what the router would have done.
        .option_layer(shadow(config, upstreams, observer))
        // Gives the refusals of the layer above and the answers of those below one body type.
        .map_response_body(Body::new)
        // Reads each answer once: ends its pin, follows its id, records its turn.
        .layer(answer(config, recorder))
        // Goes on with the next candidate when a provider fails.
        .option_layer(failover(config, upstreams))
        .service(Proxy::new(upstreams.clone(), withheld(config), call_limits(config))?);
    let deciding = upstreams.clone();
    let decided = ServiceBuilder::new()
        .layer(intake.deciding())
        // The same layer: a session decided here is pinned there.
        .layer(affinity)
        .map_response_body(Body::new)
        .layer(AnswerLayer::new())
        .service(service_fn(move |request| decide(deciding.clone(), request)));

    let mut endpoints = Vec::new();
    for path in PATHS {
        endpoints.push(Endpoint::new(format!("/v1{path}"), POST, proxied.clone()));
        endpoints.push(Endpoint::new(format!("/routing/v1{path}"), POST, decided.clone()));
    }
    // They count or compact for the model of the session, and must not be what decides it.
    let probe = AddExtensionLayer::new(Probe).layer(proxied);
    endpoints.extend(PROBES.map(|path| Endpoint::new(path, POST, probe.clone())));
    Ok(endpoints)
}

/// What anyone may ask: whether the gateway lives, can serve, and how it does.
fn health_endpoints(metrics: &Metrics, sessions: &Sessions) -> [Endpoint; 3] {
    let alive = get(|| async { Json(json!({"status": "ok"})) });
    let ready = get(ready).with_state(sessions.clone());
    let scrape = get(scrape).with_state((metrics.clone(), sessions.clone()));
    [
        Endpoint::new("/healthz", GET, alive).open_to(Access::Anywhere),
        Endpoint::new("/readyz", GET, ready).open_to(Access::Anywhere),
        Endpoint::new("/metrics", GET, scrape).open_to(Access::Everyone),
    ]
}

#[cfg(test)]
mod tests;
