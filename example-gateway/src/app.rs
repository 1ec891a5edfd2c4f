//! The gateway: its paths, and the stack of layers behind them.
//!
//! The one place where the rooms meet. [`gateway`](crate::gateway) builds an [`App`] from the configuration
//! and gives each listener a [`Front`] of it.
//!
//! ```text
//! /v1          intake → affinity → shadow → answer → failover → heal → proxy
//! /routing/v1  intake → affinity → answer → decide
//! what no session decides, below /v1: unrouted → proxy
//! ```
//!
//! Both stacks hold one affinity layer, and so one store and one set of flights: a session that is decided
//! on one is pinned on the other. What the configuration does not ask for is not in a stack, so that it
//! costs a request nothing.

use std::sync::Arc;

use affinity_layer::affinity::SharedFlights;
use affinity_layer::answer::Holders;
use affinity_layer::cooldown::Cooldowns;
use affinity_layer::ext::Probe;
use affinity_layer::{AnswerLayer, ModelName};
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
use crate::stack::answers::{Readiness, model, models, not_served, ready, scrape};
use crate::stack::condition::Condition;
use crate::stack::decision::decide;
use crate::stack::heal::{HealLayer, Healer, LastServed};
use crate::stack::holdings::Holdings;
use crate::stack::intake::IntakeLayer;
use crate::stack::layers::{
    affinity, answer, cache_keys, call_limits, conversations, failover, shadow, switching, telling,
    turns, withheld,
};
use crate::stack::memory::BodyMemory;
use crate::stack::observe::Observer;
use crate::stack::router_state::RouterState;
use crate::stack::routing;
use crate::stack::sessions::{Sessions, budget};
use crate::stack::switching::SwitchAccounts;
use crate::stack::tenants::Tenants;
use crate::stack::turns::observer::TurnObserver;
use crate::stack::turns::record::TurnRecorder;
use crate::stack::unnamed::Unnamed;
use crate::stack::unrouted::Unrouted;
use crate::telemetry::metrics::Metrics;
use crate::upstream::dial::connector;
use crate::upstream::drains::Drains;
use crate::upstream::providers::Upstreams;
use crate::upstream::proxy::Proxy;

/// The paths of the three protocols, below `/v1` and `/routing/v1`.
const PATHS: [&str; 3] = ["/chat/completions", "/messages", "/responses"];

/// The paths that use the model of a session and make no pin.
const PROBES: [&str; 3] =
    ["/v1/messages/count_tokens", "/v1/responses/compact", "/v1/responses/input_tokens"];

const GET: &[Method] = &[Method::GET, Method::HEAD];
const GET_DELETE: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE];
const POST: &[Method] = &[Method::POST];
/// What is passed on. Not `TRACE`, whose answer would show our key.
const ANY: &[Method] =
    &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Everything behind the listeners; each of them gets its own [`App::front`].
#[derive(Debug)]
pub(crate) struct App {
    endpoints: Arc<[Endpoint]>,
    observer: Arc<Observer>,
    others: Router,
    admin: Option<Router>,
    lasting: Lasting,
}

/// What outlives a reload of the configuration.
#[derive(Clone, Debug)]
struct Lasting {
    sessions: Sessions,
    flights: SharedFlights,
    board: Board,
    drains: Arc<Drains>,
    cooldowns: Cooldowns,
    served: Arc<LastServed>,
    accounts: Arc<SwitchAccounts>,
    metrics: Metrics,
    memory: BodyMemory,
    /// The bytes of the memory.
    memory_bytes: usize,
    /// Who learns of turns; only an admin listener can serve it.
    turns: Option<(TurnHub, Live)>,
    unnamed: Unnamed,
    condition: Condition,
}

impl Lasting {
    fn new(config: &Config) -> std::io::Result<Self> {
        // First, so that what the others count is kept.
        let metrics = Metrics::start()?;
        let (sessions, drains) = (Sessions::new(config)?, Arc::<Drains>::default());
        let upstreams = Arc::new(Upstreams::new(config).with_drains(drains.clone()));
        let memory_bytes = config.limits.body_memory();
        let unnamed = Unnamed::default();
        let turns = config.admin.as_ref().map(|_| {
            let hub = TurnHub::new(upstreams.clone());
            (hub.clone(), Live::new(hub, shown(&upstreams), unnamed.clone()))
        });
        Ok(Self {
            board: Board::new(sessions.clone(), drains.clone()),
            sessions,
            flights: SharedFlights::default(),
            drains,
            cooldowns: Cooldowns::new(),
            served: Arc::default(),
            accounts: Arc::default(),
            metrics,
            memory: BodyMemory::new(memory_bytes),
            memory_bytes,
            turns,
            unnamed,
            condition: Condition::new(),
        })
    }

    /// The same for another configuration.
    fn under(&self, config: &Config) -> Self {
        let memory_bytes = config.limits.body_memory();
        if memory_bytes == self.memory_bytes {
            return self.clone();
        }
        // What the bodies of requests that run hold is not counted in the new one.
        Self { memory: BodyMemory::new(memory_bytes), memory_bytes, ..self.clone() }
    }
}

/// The models of the live page.
fn shown(upstreams: &Upstreams) -> Vec<ModelName> {
    upstreams.models().map(|provider| provider.model.clone()).collect()
}

impl App {
    /// Builds the stack that `config` describes.
    ///
    /// # Errors
    ///
    /// When certificates are needed and cannot be read, the Redis client refuses its settings, or
    /// the program counts its metrics elsewhere.
    pub(crate) fn new(config: &Config) -> std::io::Result<Self> {
        Self::build(config, Lasting::new(config)?)
    }

    /// The stack that `config` describes, with the sessions, counts and drained models of this one.
    ///
    /// # Errors
    ///
    /// When certificates are needed and cannot be read, or the address of Redis is not understood; then
    /// nothing has changed.
    pub(crate) fn renewed(&self, config: &Config) -> std::io::Result<Self> {
        Self::build(config, self.lasting.under(config))
    }

    fn build(config: &Config, lasting: Lasting) -> std::io::Result<Self> {
        let upstreams = Upstreams::new(config).with_drains(lasting.drains.clone());
        let upstreams = Arc::new(upstreams.with_cooldowns(&lasting.cooldowns));
        let router = RouterState::default();
        let common = Common::new(config, &upstreams, &lasting)?;
        let mut endpoints = model_endpoints(&upstreams);
        endpoints.extend(session_endpoints(config, &common, &lasting, &router));
        endpoints.extend(health_endpoints(&lasting, router, &upstreams));
        lasting.sessions.reconfigure(config)?;
        // Nothing fails from here on, so what outlives a reload may change.
        lasting.unnamed.forget();
        let steered = config.admin.as_ref().zip(lasting.turns.clone());
        let admin = steered.map(|(settings, (turns, live))| {
            turns.ledger().reconfigured(upstreams.clone());
            live.reconfigured(shown(&upstreams));
            let (sessions, board) = (&lasting.sessions, lasting.board.clone());
            let condition = lasting.condition.clone();
            let steered = Admin::new(config, sessions, &upstreams, board, (turns, live), condition);
            admin::router(steered, &settings.token)
        });
        let path = |endpoint: &Endpoint| endpoint.path().to_owned();
        let served = Served::new(endpoints.iter().map(path));
        endpoints.extend(unrouted_endpoints(config, common, &served));
        let counted = endpoints.iter().filter(|endpoint| endpoint.access() == Access::Clients);
        let observer = Observer::new(
            config.tracing.span_attributes.clone(),
            telling(config),
            counted.map(path),
        );
        let others = Router::new().fallback_service(any(not_served).with_state(served));
        let (endpoints, observer) = (endpoints.into(), Arc::new(observer));
        Ok(Self { endpoints, observer, others, admin, lasting })
    }

    /// The sessions that are kept.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.lasting.sessions
    }

    /// What is drained, for all replicas.
    pub(crate) fn board(&self) -> &Board {
        &self.lasting.board
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.lasting.metrics
    }

    /// What the admin listener serves, if there is one.
    pub(crate) fn admin(&self) -> Option<Front> {
        let router = self.admin.clone()?;
        Some(Front::new(Arc::new([]), self.observer.clone(), &[], router))
    }

    /// The feed of the live page, if there is an admin listener.
    pub(crate) fn live(&self) -> Option<&Live> {
        self.lasting.turns.as_ref().map(|(_, live)| live)
    }

    /// What `/readyz` tells of the process.
    pub(crate) fn condition(&self) -> &Condition {
        &self.lasting.condition
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

/// What requests of a session and those of none have in common.
struct Common {
    upstreams: Arc<Upstreams>,
    holdings: Holdings,
    intake: IntakeLayer,
    proxy: Proxy,
}

impl Common {
    fn new(
        config: &Config,
        upstreams: &Arc<Upstreams>,
        lasting: &Lasting,
    ) -> std::io::Result<Self> {
        let (upstreams, tenants) = (upstreams.clone(), Tenants::new(config));
        let holders = Holders::new(lasting.sessions.store());
        let holdings = Holdings::new(holders, upstreams.clone(), tenants, budget(config));
        let (limits, memory) = (config.limits, lasting.memory.clone());
        let intake = IntakeLayer::new(upstreams.clone(), limits, memory, holdings.clone());
        let (withheld, limits) = (withheld(config), call_limits(config));
        let connector = connector(config.bases(), &config.proxies)?;
        let (named, cache_keys) = (conversations(config), cache_keys(config));
        let proxy = Proxy::new(upstreams.clone(), connector, withheld, limits, named, cache_keys);
        Ok(Self { upstreams, holdings, intake, proxy })
    }
}

/// What no session decides. The last one takes all that is left of `/v1`.
fn unrouted_endpoints(config: &Config, common: Common, served: &Served) -> [Endpoint; 4] {
    let Common { upstreams, holdings, intake, proxy } = common;
    let served = served.clone();
    let unrouted = Unrouted::new(upstreams, proxy, intake, holdings, config.limits, served);
    let rest = unrouted.clone();
    let response = service_fn(move |request| unrouted.clone().response(request));
    let rest = service_fn(move |request| rest.clone().rest(request));
    [
        Endpoint::new("/v1/responses/{id}", GET_DELETE, response.clone()),
        Endpoint::new("/v1/responses/{id}/cancel", POST, response.clone()),
        Endpoint::new("/v1/responses/{id}/input_items", GET, response),
        Endpoint::new("/v1/{*path}", ANY, rest),
    ]
}

/// What belongs to a session: requests to a model, and those that only ask which one it would be.
fn session_endpoints(
    config: &Config,
    common: &Common,
    lasting: &Lasting,
    router: &RouterState,
) -> Vec<Endpoint> {
    let Common { upstreams, holdings, intake, proxy } = common;
    let sessions = &lasting.sessions;
    let observer = lasting.turns.clone().map(|(hub, _)| Arc::new(hub) as Arc<dyn TurnObserver>);
    let is_recorded = observer.is_some();
    let recorded = is_recorded || config.access_log;
    let recorder = recorded.then(|| TurnRecorder::new(observer.clone(), sessions.clone()));
    // Whether a response is stored is told among the ids.
    let reads_ids = !config.routing.body_ids.is_empty()
        || config.routing.fingerprint.is_some()
        || holdings.matter();
    let intake = intake.clone().turns(turns(config)).body_ids(reads_ids);
    let intake = intake.on_move(config.routing.on_move);
    let healer = Healer::new(upstreams.clone(), config.routing.on_move, lasting.served.clone());
    let (store, Lasting { flights, unnamed, accounts, .. }) = (sessions.store(), lasting);
    let connector = proxy.connector();
    let router =
        router.watching(routing::router(config, upstreams.clone(), holdings.clone(), connector));
    let switching = switching(config, upstreams, accounts, observer.clone());
    let adopting = (&healer, switching.as_ref());
    let affinity = affinity(config, store, upstreams, flights, router, unnamed, adopting);
    let proxied = ServiceBuilder::new()
        // Reads and checks the body, which the router and the proxy need whole.
        .layer(intake.clone())
        // Lets the router report how long it took, if that is recorded.
        .option_layer(is_recorded.then(|| MapRequestLayer::new(RouterClock::attach)))
        // Decides or recalls the model.
        .layer(affinity.clone())
        // Routes some of the pinned turns once more, to count what the router would have done.
        .option_layer(shadow(config, upstreams, holdings, connector, observer))
        // Gives the refusals of the layer above and the answers of those below one body type.
        .map_response_body(Body::new)
        // Reads each answer once: ends its pin, follows its id, records its turn.
        .layer(answer(config, holdings, recorder, upstreams, switching))
        // Goes on with the next candidate when a provider fails.
        .layer(failover(config, upstreams, &healer))
        // Leaves out of each attempt what its vendor cannot read.
        .layer(HealLayer(healer))
        .service(proxy.clone());
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
    endpoints
}

/// What anyone may ask: whether the gateway lives, can serve, and how it does.
fn health_endpoints(
    lasting: &Lasting,
    router: RouterState,
    upstreams: &Arc<Upstreams>,
) -> [Endpoint; 3] {
    let Lasting { metrics, sessions, condition, .. } = lasting;
    let readiness = Readiness {
        sessions: sessions.clone(),
        router,
        upstreams: upstreams.clone(),
        condition: condition.clone(),
    };
    let alive = get(|| async { Json(json!({"status": "ok"})) });
    let ready = get(ready).with_state(readiness);
    let state = (metrics.clone(), sessions.clone(), upstreams.clone());
    let scrape = get(scrape).with_state(state);
    [
        Endpoint::new("/healthz", GET, alive).open_to(Access::Anywhere),
        Endpoint::new("/readyz", GET, ready).open_to(Access::Anywhere),
        Endpoint::new("/metrics", GET, scrape).open_to(Access::Everyone),
    ]
}

#[cfg(test)]
mod tests;
