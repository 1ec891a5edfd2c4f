//! The layers of the stack, as they are configured.
//!
//! Each function turns the [`Config`] into one layer, or into what one needs, and [`app`](crate::app) puts
//! them in order. What the configuration leaves out is `None`, and then not in the stack.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use affinity_layer::answer::AnswerObserver;
use affinity_layer::{
    AffinityLayer, AnswerLayer, BodyId, FailoverLayer, ModelName, Rejection, RouterService,
    SharedStore,
    affinity::SharedFlights,
    agents::{AGENT_HEADERS, AGENT_TRAIL_HEADERS},
    headers::SESSION_HEADERS,
    store::NameSecret,
};
use axum::body::Body;
use http::request::Parts;
use http::{HeaderName, Response, header};
use secrecy::ExposeSecret;

use crate::config::{Config, Limits, Policy, Release, SessionCache};
use crate::error::ApiError;
use crate::protocol::Protocol;
use crate::stack::heal::Healer;
use crate::stack::holdings::Holdings;
use crate::stack::intake::Turns;
use crate::stack::routed::{opened, routed};
use crate::stack::shadow::ShadowLayer;
use crate::stack::switching::{SwitchAccounts, SwitchPolicy};
use crate::stack::turns::observer::TurnObserver;
use crate::stack::turns::record::TurnRecorder;
use crate::stack::unnamed::Unnamed;
use crate::stack::{routing, sessions};
use crate::upstream::dial::Connector;
use crate::upstream::providers::Upstreams;
use crate::upstream::sizes::{Both, SizeObserver};

pub(crate) type Refuse = fn(&Rejection, &Parts) -> Response<Body>;

pub(crate) fn affinity(
    config: &Config,
    store: SharedStore,
    upstreams: &Arc<Upstreams>,
    flights: &SharedFlights,
    router: impl RouterService,
    unnamed: &Unnamed,
    (healer, switching): (&Healer, Option<&SwitchPolicy>),
) -> AffinityLayer<SharedStore, Refuse> {
    let routing = &config.routing;
    let router = routed(router, store.clone(), routing.expiry, upstreams.clone());
    let router = unnamed.clone().noting(router, routing);
    let served = upstreams.clone();
    let (healer, switching) = (healer.clone(), switching.cloned());
    let mut layer = AffinityLayer::new(store, router)
        .flights(flights)
        .store_budget(sessions::budget(config))
        .require_store(config.routing.cache.is_required())
        .expiry(routing.expiry)
        .body_limit(config.limits.body_bytes)
        .max_waiters(config.limits.max_waiters)
        .mode(routing.mode.clone())
        .expose_epoch(routing.expose_epoch)
        .warm_up(routing.warm_up_turns)
        .escalation(routing.escalation.iter().cloned())
        .session_headers(routing.session_headers.iter().chain(SESSION_HEADERS).cloned())
        .baggage_session(routing.session_baggage)
        .body_ids(routing.body_ids.iter().copied())
        .on_decision(move |request, key, pinned, decided| {
            // What is bound to its vendor stays there, whatever that costs.
            let decided = healer.adopted(request, key, pinned, decided);
            match &switching {
                Some(switching) => switching.adopted(request, key, pinned, decided),
                None => decided,
            }
        })
        .accept_models(move |model| served.serves(model) && !served.drains().moves(model));
    if upstreams.are_limited() {
        let upstreams = upstreams.clone();
        layer = layer.detour(move |request, selection| {
            upstreams.detour(request, selection.model(), selection.candidates())
        });
    }
    if routing.failover {
        layer = layer.cooldowns(upstreams.cooldowns());
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

pub(crate) fn shadow(
    config: &Config,
    upstreams: &Arc<Upstreams>,
    holdings: &Holdings,
    connector: &Connector,
    observer: Option<Arc<dyn TurnObserver>>,
) -> Option<ShadowLayer<impl RouterService + use<>>> {
    let layer = move || {
        // A drained model is not a choice that can be regretted.
        let router = routing::router(config, upstreams.clone(), holdings.clone(), connector);
        let router = opened(router, upstreams.clone());
        ShadowLayer::new(config, router, observer)
    };
    (config.routing.regret_sample > 0.0).then(layer)
}

/// The policy that weighs turns, if there is one; `observer` receives its decisions.
pub(crate) fn switching(
    config: &Config,
    upstreams: &Arc<Upstreams>,
    accounts: &Arc<SwitchAccounts>,
    observer: Option<Arc<dyn TurnObserver>>,
) -> Option<SwitchPolicy> {
    let Policy::Cost { max_switch_share } = config.routing.policy else { return None };
    let (upstreams, accounts) = (upstreams.clone(), accounts.clone());
    Some(SwitchPolicy::new(upstreams, max_switch_share, accounts, observer))
}

/// How requests are marked that open a turn of the user, or continue one.
pub(crate) fn turns(config: &Config) -> Turns {
    match config.routing.release {
        Release::UserTurn => Turns::MarkNew,
        _ if config.routing.policy != Policy::Strict => Turns::MarkNew,
        _ if config.routing.warm_up_turns > 0 => Turns::MarkOthers,
        _ => Turns::Unmarked,
    }
}

/// What is done with the answers of providers. Turns are recorded only if they can be asked for.
pub(crate) fn answer(
    config: &Config,
    holdings: &Holdings,
    recorder: Option<TurnRecorder>,
    upstreams: &Arc<Upstreams>,
    switching: Option<SwitchPolicy>,
) -> AnswerLayer {
    let layer = AnswerLayer::new().final_answer(config.routing.release == Release::FinalAnswer);
    let layer = match holdings.noted() {
        Some(holders) => layer.holders(holders),
        None => layer,
    };
    let sized = upstreams.windows().any().then(|| upstreams.clone());
    if recorder.is_none() && sized.is_none() && switching.is_none() {
        return layer;
    }
    layer.observe(move |request| {
        let recorded = recorder.as_ref().and_then(|recorder| recorder.begin(request));
        let sized = sized.as_ref().and_then(|upstreams| SizeObserver::begin(upstreams, request));
        let sized = sized.map(|sized| Box::new(sized) as Box<dyn AnswerObserver>);
        let switching = switching.as_ref().and_then(|switching| switching.observe(request));
        let all = [recorded, sized, switching].into_iter().flatten();
        all.reduce(|one, other| Box::new(Both(one, other)))
    })
}

/// Goes on with the next candidate or, without failover, sees to it that a pin that never served goes.
pub(crate) fn failover(
    config: &Config,
    upstreams: &Arc<Upstreams>,
    healer: &Healer,
) -> FailoverLayer {
    let (cooldowns, larger) = (upstreams.cooldowns().clone(), upstreams.clone());
    let (upstreams, healer) = (upstreams.clone(), healer.clone());
    let same_vendor = move |one: &ModelName, other: &ModelName| healer.have_one_vendor(one, other);
    let usable = move |request: &Parts, model: &ModelName| {
        upstreams.takes(model, request) && !upstreams.drains().holds(model)
    };
    let layer = FailoverLayer::new().usable(usable).same_vendor(same_vendor);
    if !config.routing.failover {
        return layer.attempts(1);
    }
    let layer = layer.cooldowns(&cooldowns);
    match larger.windows().any() {
        true => layer.outgrown(move |request, given| larger.larger(request, given)),
        false => layer,
    }
}

/// The limits of a call to a provider. Without failover nobody could take over from an answer that
/// begins badly, so no head is held for its beginning.
pub(crate) fn call_limits(config: &Config) -> Limits {
    let held = if config.routing.failover { config.limits.first_event } else { Duration::ZERO };
    Limits { first_event: held, ..config.limits }
}

/// The secret by which spans name sessions.
pub(crate) fn conversations(config: &Config) -> NameSecret {
    // No span shows what a pin is called in Redis.
    NameSecret::new(&format!("conversations of spans: {}", secret(config)))
}

/// The secret by which requests name sessions to providers, if they do.
pub(crate) fn cache_keys(config: &Config) -> Option<NameSecret> {
    // No provider learns what a span or a pin is called.
    let named = || NameSecret::new(&format!("cache keys for providers: {}", secret(config)));
    config.routing.stamp_cache_key.then(named)
}

/// The secret from which others are derived. Where the store has one, all replicas name a session alike; else
/// this process has one that was drawn.
fn secret(config: &Config) -> &str {
    static DRAWN: LazyLock<String> = LazyLock::new(|| {
        let half = || RandomState::new().hash_one(());
        format!("{:x}{:x}", half(), half())
    });
    let secret = match &config.routing.cache {
        SessionCache::Redis(redis) => redis.key_secret.as_ref(),
        SessionCache::Memory => None,
    };
    secret.map_or_else(|| DRAWN.as_str(), ExposeSecret::expose_secret)
}

/// The headers that are for us and not for the providers.
pub(crate) fn withheld(config: &Config) -> Vec<HeaderName> {
    let mut withheld: Vec<_> = config.routing.tenant_header.iter().cloned().collect();
    let follows = config.routing.body_ids.contains(&BodyId::PreviousResponseId)
        || config.routing.fingerprint.is_some();
    if follows
        || config.routing.release == Release::FinalAnswer
        || config.admin.is_some()
        || config.access_log
        || config.routing.policy != Policy::Strict
        || config.providers.iter().any(|provider| provider.context_window.is_some())
    {
        // A compressed answer could not be read for its id, its end or its tokens.
        withheld.push(header::ACCEPT_ENCODING);
    }
    if !config.routing.forward_session_header {
        withheld.extend(telling(config));
    }
    withheld
}

/// The headers that name a session or follow from its id.
pub(crate) fn telling(config: &Config) -> Vec<HeaderName> {
    let routing = &config.routing;
    let mut names = [SESSION_HEADERS, AGENT_HEADERS, AGENT_TRAIL_HEADERS].concat();
    names.extend_from_slice(&routing.session_headers);
    if routing.session_baggage {
        names.push(HeaderName::from_static("baggage"));
    }
    names
}
