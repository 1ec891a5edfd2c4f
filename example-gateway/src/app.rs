//! The gateway as one axum router: paths, and the stack of layers behind them.

use std::sync::Arc;

use affinity_layer::{
    AFFINITY_HEADERS, AGENT_HEADERS, AGENT_TRAIL_HEADERS, AffinityLayer, BodyId, FailoverLayer,
    LinkLayer, ModelName, Probe, Rejection, ReleaseLayer, RouterService, SharedStore,
};
use axum::body::Body;
use axum::routing::{get, post_service};
use axum::{Json, Router, middleware};
use http::request::Parts;
use http::{HeaderName, Response, header};
use serde_json::json;
use tower::util::MapRequestLayer;
use tower::{Layer, ServiceBuilder, service_fn};
use tower_http::ServiceBuilderExt;
use tower_http::add_extension::AddExtensionLayer;

use crate::admin::{self, Admin};
use crate::answers::{caught, models, not_found, ready, scrape, wrong_method};
use crate::auth;
use crate::config::{ClientKey, Config, Release};
use crate::decision::decide;
use crate::error::ApiError;
use crate::intake::{IntakeLayer, Turns};
use crate::live::Live;
use crate::observe::ObserveLayer;
use crate::protocol::Protocol;
use crate::proxy::Proxy;
use crate::routing;
use crate::sessions::{self, Sessions};
use crate::shadow::ShadowLayer;
use crate::telemetry::metrics::Metrics;
use crate::turns::{RecordLayer, RouterClock, TurnHub};
use crate::upstream::Upstreams;

/// The paths of the three protocols, below `/v1` and `/routing/v1`.
const PATHS: [&str; 3] = ["/chat/completions", "/messages", "/responses"];

/// Everything behind the listeners; each of them gets its own [`App::router`].
#[derive(Clone, Debug)]
pub(crate) struct App {
    api: Router,
    health: Router,
    admin: Option<Router>,
    live: Option<Live>,
    sessions: Sessions,
    metrics: Metrics,
    observe: ObserveLayer,
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
        let affinity = affinity(config, sessions.store(), &upstreams);
        // Without an admin listener nobody can ask for it.
        let hub = config.admin.as_ref().map(|_| TurnHub::new(upstreams.clone(), sessions.clone()));
        let live = hub.clone().map(|hub| {
            let models = upstreams.models().map(|provider| provider.model.clone());
            Live::new(hub, models.collect())
        });
        let intake = IntakeLayer::new(upstreams.clone(), config.limits).turns(turns(config));
        let intake = intake.body_ids(!config.routing.body_ids.is_empty());

        let proxied = ServiceBuilder::new()
            // Reads and checks the body, which the router and the proxy need whole.
            .layer(intake.clone())
            // Lets the router tell how long it took, where that is recorded.
            .option_layer(hub.is_some().then(|| MapRequestLayer::new(RouterClock::attach)))
            // Decides or recalls the model.
            .layer(affinity.clone())
            // Routes some of the pinned turns once more, to count what the router would have done.
            .option_layer(shadow(config, &upstreams, hub.as_ref()))
            // Records what becomes of the turn, where somebody may ask for it.
            .option_layer(hub.clone().map(RecordLayer::new))
            // The refusals of the layer above and the answers of those below have one body type.
            .map_response_body(Body::new)
            // Ends a pin with the last byte of a final response, or of the model's last answer.
            .layer(ReleaseLayer::new().final_answer(config.routing.release == Release::FinalAnswer))
            // Learns by which ids the conversations of Responses go on.
            .layer(LinkLayer::new())
            // Goes on with the next candidate when a provider fails.
            .option_layer(failover(config, &upstreams))
            .service(Proxy::new(upstreams.clone(), withheld(config), config.limits)?);
        let deciding = upstreams.clone();
        let decided = ServiceBuilder::new()
            .layer(intake.deciding())
            // The same layer: a session decided here is pinned there.
            .layer(affinity)
            .map_response_body(Body::new)
            .layer(ReleaseLayer::new())
            .service(service_fn(move |request| decide(deciding.clone(), request)));

        let admin = config.admin.as_ref().zip(hub.zip(live.clone()));
        let admin = admin.map(|(settings, (turns, live))| {
            let steered = Admin::new(config, &sessions, &upstreams, turns, live);
            admin::router(steered, &settings.token)
        });
        let mut api = Router::new().route("/v1/models", get(models)).with_state(upstreams);
        for path in PATHS {
            let (proxy, decision) = (format!("/v1{path}"), format!("/routing/v1{path}"));
            let caught = caught(Protocol::of(&proxy));
            api = api
                .route(&proxy, post_service(caught.layer(proxied.clone())))
                .route(&decision, post_service(caught.layer(decided.clone())));
        }
        // It counts for the model of the session, and must not be what decides it.
        let probe = caught(Protocol::Messages).layer(AddExtensionLayer::new(Probe).layer(proxied));
        api = api.route("/v1/messages/count_tokens", post_service(probe));
        let health = Router::new()
            .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
            .route("/readyz", get(ready))
            .with_state(sessions.clone());
        let scrape = get(scrape).with_state((metrics.clone(), sessions.clone()));
        let health = health.route("/metrics", scrape);
        let observe = ObserveLayer::new(
            config.tracing.span_attributes.clone(),
            PATHS.iter().flat_map(|path| [format!("/v1{path}"), format!("/routing/v1{path}")]),
        );
        Ok(Self { api, health, admin, live, sessions, metrics, observe })
    }

    /// The sessions that are kept.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What the admin listener serves, where there is one.
    pub(crate) fn admin(&self) -> Option<&Router> {
        self.admin.as_ref()
    }

    /// What the page is told, where there is an admin listener.
    pub(crate) fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// What a listener with `keys` serves; without keys, everybody is let in.
    pub(crate) fn router(&self, keys: &[ClientKey]) -> Router {
        let mut api = self.api.clone();
        if !keys.is_empty() {
            let keys: Arc<[ClientKey]> = keys.into();
            api = api.route_layer(middleware::from_fn_with_state(keys, auth::check));
        }
        // Outermost: refusals of strangers are counted too.
        let api = api.route_layer(self.observe.clone());
        self.health.clone().merge(api).fallback(not_found).method_not_allowed_fallback(wrong_method)
    }
}

type Refuse = fn(&Rejection, &Parts) -> Response<Body>;

fn affinity(
    config: &Config,
    store: SharedStore,
    upstreams: &Arc<Upstreams>,
) -> AffinityLayer<SharedStore, impl RouterService + use<>, Refuse> {
    let routing = &config.routing;
    let router = routing::router(config, upstreams.clone());
    let served = upstreams.clone();
    let mut layer = AffinityLayer::new(store, router)
        .store_budget(sessions::budget(config))
        .expiry(routing.expiry)
        .body_limit(config.limits.body_bytes)
        .waiters(config.limits.max_waiters)
        .expose_epoch(routing.expose_epoch)
        .warm_up(routing.warm_up_turns)
        .escalation(routing.escalation.iter().cloned())
        .body_ids(routing.body_ids.iter().copied())
        .accept_models(move |model| served.serves(model));
    if upstreams.are_limited() {
        let upstreams = upstreams.clone();
        layer = layer.detour(move |request, selection| {
            upstreams.elsewhere(request, selection.model(), selection.candidates())
        });
    }
    if let Some(sub_agents) = routing.agents {
        layer = layer.agents(sub_agents).model_lanes(routing.model_lanes);
    }
    if let Some(fingerprint) = &routing.fingerprint {
        layer = layer.fingerprint(fingerprint.clone());
    }
    if let Some(header) = &routing.tenant_header {
        layer = layer.tenant_header(header.clone());
    }
    layer.with_rejection_response(|rejection, parts| {
        ApiError::from(rejection).response(Protocol::of(parts.uri.path()))
    })
}

fn shadow(
    config: &Config,
    upstreams: &Arc<Upstreams>,
    hub: Option<&TurnHub>,
) -> Option<ShadowLayer<impl RouterService + use<>>> {
    let layer =
        || ShadowLayer::new(config, routing::router(config, upstreams.clone()), hub.cloned());
    (config.routing.regret_sample > 0.0).then(layer)
}

/// How requests are marked that open a turn of the user, or go on with one.
fn turns(config: &Config) -> Turns {
    match config.routing.release {
        Release::UserTurn => Turns::MarkNew,
        _ if config.routing.warm_up_turns > 0 => Turns::MarkOthers,
        _ => Turns::Unmarked,
    }
}

fn failover(config: &Config, upstreams: &Arc<Upstreams>) -> Option<FailoverLayer> {
    let upstreams = upstreams.clone();
    let usable = move |request: &Parts, model: &ModelName| upstreams.takes(model, request);
    config.routing.failover.then(|| FailoverLayer::new().usable(usable))
}

/// The headers that are for us and not for the providers.
fn withheld(config: &Config) -> Vec<HeaderName> {
    let mut withheld: Vec<_> = config.routing.tenant_header.iter().cloned().collect();
    let follows = config.routing.body_ids.contains(&BodyId::PreviousResponseId);
    if follows || config.routing.release == Release::FinalAnswer || config.admin.is_some() {
        // A compressed answer could not be read for its id, its end or its tokens.
        withheld.push(header::ACCEPT_ENCODING);
    }
    if !config.routing.forward_session_header {
        withheld.extend(AFFINITY_HEADERS);
        withheld.extend(AGENT_HEADERS);
        withheld.extend(AGENT_TRAIL_HEADERS);
    }
    withheld
}

#[cfg(test)]
mod tests;
