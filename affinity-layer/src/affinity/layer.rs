//! The layer: every setting of the middleware, and what makes services out of them.
//!
//! Settings are on the layer and not on the service, as everywhere in tower: a service is a clone for
//! each connection or request, and must be cheap. All services of one layer share one allocation.
//!
//! A setter changes the layer that it is called on. If the layer has been cloned or has made services
//! before, these keep the settings that they had; the store, the flights and the state of the log lines
//! stay common to all of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::request::Parts;
use tower_layer::Layer;

use super::service::AffinityService;
use super::settings::Settings;
use super::shared::Shared;
use super::shared_flights::SharedFlights;
use crate::cooldown::Cooldowns;
use crate::decide::{Decider, Escalation, Rules};
use crate::headers::HeaderNames;
use crate::mode::Rollout;
use crate::router::AnyRouter;
use crate::{
    Affinity, AffinityKey, AffinityStore, BodyId, Expiry, ModelName, RouterService, Selection,
    agents::SubAgents, rejection::OpenAiErrors,
};

/// Layer that applies the [`AffinityService`] middleware. All settings live here.
///
/// Services made from one layer, or from clones of it, share the store and the coalescing of
/// concurrent first requests. See the [crate docs](crate) for an example. Make one layer and clone it
/// for each stack that serves the same sessions: two layers over one store agree on pins, but each of
/// them asks the router for a session that is new to both.
///
/// ```
/// use affinity_layer::agents::SubAgents;
/// use affinity_layer::{
///     AffinityLayer, BodyId, BoxError, Expiry, MemoryStore, ModelName, RouteDecision, RouteRequest,
/// };
/// use std::time::Duration;
/// use tower::service_fn;
///
/// # fn layer() -> Result<(), BoxError> {
/// let served = ["openai/gpt-4o-mini", "openai/gpt-4o"].map(ModelName::new);
/// let served = served.into_iter().collect::<Result<Vec<_>, _>>()?;
/// let small = served[0].clone();
/// let router = service_fn(move |_: RouteRequest| {
///     let small = small.clone();
///     async move { Ok::<_, BoxError>(RouteDecision::new([small])) }
/// });
/// let affinity = AffinityLayer::new(MemoryStore::new(100_000), router)
///     .expiry(Expiry::sliding(Duration::from_secs(600), Duration::from_secs(86_400)))
///     // Coding agents name their sessions in headers of their own.
///     .agents(SubAgents::Inherit)
///     // Clients that send no header may still send a cache key.
///     .body_ids([BodyId::PromptCacheKey])
///     .default_model(served[0].clone())
///     // From the weakest to the strongest: a session moves up and never down.
///     .escalation(served.clone())
///     .accept_models(move |model| served.contains(model));
/// # let _ = affinity;
/// # Ok(())
/// # }
/// # layer().unwrap();
/// ```
#[must_use]
pub struct AffinityLayer<St, Rej = OpenAiErrors> {
    shared: Arc<Shared<St>>,
    reject: Rej,
}

impl<St: AffinityStore> AffinityLayer<St> {
    /// A layer that keeps pins in `store` and asks `router` when there is none.
    ///
    /// The store belongs to the layer from here on. To look at its pins from elsewhere, keep a clone of a
    /// store that is cheap to clone, such as [`SharedStore`](crate::SharedStore).
    pub fn new(store: St, router: impl RouterService) -> Self {
        Self::deciding(Arc::new(Decider::new(store, AnyRouter::new(router))))
    }

    /// A layer that decides by `affinity`, with its store, router and rules. Both share the decisions under
    /// way, so a session that requests and jobs use has one model.
    ///
    /// A rule that is set on the layer afterwards is the layer's alone.
    pub fn over(affinity: &Affinity<St, impl RouterService>) -> Self {
        let router = AnyRouter::new(affinity.decider.router.clone());
        Self::deciding(Arc::new(affinity.decider.with_router(router)))
    }

    fn deciding(decider: Arc<Decider<St, AnyRouter>>) -> Self {
        let (settings, conversations) = (Settings::default(), Default::default());
        let observing = Default::default();
        let shared = Shared { decider, settings, conversations, observing };
        Self { shared: Arc::new(shared), reject: OpenAiErrors::default() }
    }
}

impl<St: AffinityStore, Rej> AffinityLayer<St, Rej> {
    /// Changes one setting. Copies what is shared if a clone or a service holds it too: a running service
    /// never sees a setting change under a request.
    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut Arc::make_mut(&mut self.shared).settings);
        self
    }

    /// Changes one rule, in the same way.
    fn rule(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut Arc::make_mut(&mut Arc::make_mut(&mut self.shared).decider).rules);
        self
    }

    /// The headers that may name the session; the first of them that is present wins.
    ///
    /// The others are then not looked at, even if the first one cannot be used: its request is refused
    /// with 400 `invalid_session_id`. So is one that has a header twice with different values. With an
    /// empty list no header names a session.
    ///
    /// Default: [`SESSION_HEADERS`](crate::headers::SESSION_HEADERS).
    pub fn session_headers(self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.set(|settings| settings.keys.headers(headers))
    }

    /// The header that names the tenant. With it, a request that names a session and no tenant is
    /// refused with 400 `missing_scope`, and one whose tenant is no valid [`Scope`](crate::Scope) with
    /// 400 `invalid_scope`. Only a trusted proxy may be able to set it: whoever chooses the scope
    /// chooses whose sessions it can reach.
    ///
    /// A session that the client did not name (a conversation of Responses, a guess by the opening) is not
    /// begun without a tenant; its request is routed as one without a session.
    ///
    /// Default: none. A [`Scope`](crate::Scope) in the request's extensions takes precedence.
    pub fn tenant_header(self, header: HeaderName) -> Self {
        self.set(|settings| settings.keys.tenant_header(header))
    }

    /// Also reads the session ids that agent clients send on their own: Claude Code, Codex, pi,
    /// OpenCode, Cline, Mistral Vibe, Dynamo-aware hosts and the others of
    /// [`AGENT_HEADERS`](crate::agents::AGENT_HEADERS). Default: only the headers above.
    ///
    /// `x-client-request-id` and the user agent never name a session. Nor does goose's
    /// `agent-session-id` alone, a date and a counter that strangers send as well: with the feature
    /// `fingerprint` a request that has it is known by it together with the opening of its conversation,
    /// for which its body is held as with [`body_ids`](Self::body_ids).
    pub fn agents(self, sub_agents: SubAgents) -> Self {
        self.set(|settings| settings.keys.agents(sub_agents))
    }

    /// Also reads the member `session.id` of W3C `baggage`, for requests without any of the headers
    /// above. Tracing libraries send it along, often for the session of a user and not of an agent.
    /// Default: no.
    pub fn baggage_session(self, read: bool) -> Self {
        self.set(|settings| settings.keys.baggage(read))
    }

    /// Whether each model that an agent client asks for under one session id has a pin of its own, so
    /// that a side call to a small model does not move the main loop. It needs a
    /// [`RequestedModel`](crate::ext::RequestedModel) in the request's extensions, and counts for clients
    /// of the agents' preset only; a request with [`AnyModel`](crate::ext::AnyModel) has the session's own
    /// pin. Default: no.
    pub fn model_lanes(self, lanes: bool) -> Self {
        self.set(|settings| settings.keys.model_lanes(lanes))
    }

    /// Also reads session ids out of the body, for requests whose headers name none. The order of
    /// `sources` does not matter; it is that of [`BodyId`].
    ///
    /// A request with an id in a header is not read for it. Any other has its body held, up to
    /// [`body_limit`](Self::body_limit), unless its extensions hold [`BodyIds`](crate::key::BodyIds).
    /// Default: none.
    pub fn body_ids(self, sources: impl IntoIterator<Item = BodyId>) -> Self {
        self.set(|settings| settings.keys.body_ids(sources))
    }

    /// Finds the session of a request that names none by what was said in it. Bodies are held as with
    /// [`body_ids`](Self::body_ids), and [`PreviousResponseId`](BodyId::PreviousResponseId) is followed,
    /// too. It needs an [`AnswerLayer`](crate::AnswerLayer) below to know answers. Default: no.
    #[cfg(feature = "fingerprint")]
    pub fn fingerprint(self, fingerprint: crate::Fingerprint) -> Self {
        self.set(|settings| settings.keys.fingerprint(fingerprint))
    }

    /// How long a pin lives. Default: 600 s from its last use, and a day from the claim at the latest.
    ///
    /// A request that names the session is a use, and with an [`AnswerLayer`](crate::AnswerLayer) it lasts
    /// until the answer has ended. A [`Probe`](crate::ext::Probe) is none.
    pub fn expiry(self, expiry: Expiry) -> Self {
        self.rule(|rules| rules.expiry = expiry)
    }

    /// A pin ends this long after the claim: short for [`Expiry::fixed`].
    pub fn ttl(self, ttl: Duration) -> Self {
        self.expiry(Expiry::fixed(ttl))
    }

    /// The largest body in bytes that is held to be routed; a larger one is refused with 413
    /// `request_too_large`, before it is read where its length is declared. A request that is pinned is
    /// not read, so its body may have any length. Default: 2 MiB.
    ///
    /// Together with [`max_waiters`](Self::max_waiters) this bounds the memory of one session that is not decided
    /// yet: each of its requests that wait may hold one body.
    pub fn body_limit(self, bytes: usize) -> Self {
        self.set(|settings| settings.body_limit = bytes)
    }

    /// How many requests of one session may be under way while its first decision is made; further
    /// ones are refused with 503 `overloaded` and `retry-after: 1`. Routing them alone could give the
    /// session a second model. A session that has a pin is not limited. Default: 2,048, at least 1.
    pub fn max_waiters(self, most: usize) -> Self {
        self.rule(|rules| rules.waiters = most.max(1))
    }

    /// Shares the decisions under way with other layers: with the one whose place this takes when an
    /// application reads its configuration again, so that a session whose first request is being routed is
    /// not routed twice. Default: the layer and its clones share theirs, and no other does.
    pub fn flights(mut self, flights: &SharedFlights) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        Arc::make_mut(&mut shared.decider).flights = flights.flights.clone();
        shared.conversations = flights.conversations.clone();
        self
    }

    /// The time that one request may wait for the store, all calls together. When it is used up, the
    /// request goes on without the store. Default: 50 ms.
    ///
    /// A read takes at most half of what is left, so that a decision made without it can still be stored.
    /// The time of the router and of the inner service is not charged. A budget of zero begins no call
    /// at all: only pins that are [at hand](AffinityStore::peek) are then used, and none is made.
    pub fn store_budget(self, budget: Duration) -> Self {
        self.rule(|rules| rules.store_budget = budget)
    }

    /// Whether a request that names a session is refused with 503 `store_unavailable` when the store
    /// fails, instead of being served unpinned. For sessions that must not change their model at any
    /// price; everyone else is better served by an answer than by a refusal. Default: no.
    pub fn require_store(self, require: bool) -> Self {
        self.rule(|rules| rules.require_store = require)
    }

    /// Whether a request that names no session is routed. When not, it passes untouched and
    /// without a [`PinnedModel`](crate::PinnedModel): right for an app that routes such requests
    /// itself. Default: yes.
    pub fn route_unkeyed(self, route: bool) -> Self {
        self.set(|settings| settings.route_unkeyed = route)
    }

    /// Which requests are routed by their head alone, whatever their method: streams, such as those of gRPC,
    /// and resources that live on one backend. Default: none; a `POST` is routed with its body, and all other
    /// methods pass.
    ///
    /// The body of such a request is never read, so it may stream both ways: the router sees an empty one, no
    /// id is looked for in it, and the requested model is that of a
    /// [`RequestedModel`](crate::ext::RequestedModel) or the [default](Self::default_model). The function is
    /// asked for every request, hits included.
    ///
    /// A body of a type that is not `From<Bytes>`, such as tonic's, becomes an
    /// [`Unread`](crate::affinity::Unread) by a `MapRequestBodyLayer` above this layer.
    ///
    /// ```
    /// use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest, TargetName};
    /// use http::header::CONTENT_TYPE;
    /// use tower::service_fn;
    ///
    /// // Each session of a game has one shard; the router knows it by the path.
    /// let router = service_fn(|request: RouteRequest| async move {
    ///     let shard = if request.parts.uri.path().starts_with("/chess") { "shard-1" } else { "shard-2" };
    ///     Ok::<_, BoxError>(RouteDecision::new([TargetName::new(shard)?]))
    /// });
    /// let affinity = AffinityLayer::new(MemoryStore::default(), router).by_head(|head| {
    ///     head.headers.get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"application/grpc"))
    /// });
    /// # let _ = affinity;
    /// ```
    pub fn by_head<F>(self, is_by_head: F) -> Self
    where
        F: Fn(&Parts) -> bool + Send + Sync + 'static,
    {
        self.set(|settings| settings.by_head = Some(Arc::new(is_by_head)))
    }

    /// The model of a request that names none, for when the router has no answer or no route matches.
    ///
    /// A name in the body that [`accept_models`](Self::accept_models) refuses counts as none. Default:
    /// none; a request for which nothing names a model then reaches the inner service without a
    /// [`PinnedModel`](crate::PinnedModel).
    pub fn default_model(self, model: ModelName) -> Self {
        self.rule(|rules| rules.default_model = Some(model))
    }

    /// Which models can be served. A router's candidates beyond them are passed over, and a pin of
    /// any other model is moved to a new decision. If nothing is left of a decision, the router counts as
    /// unavailable. Default: all.
    ///
    /// This is how a configuration that drops a model, or an operator who drains one, ends its pins: no pin
    /// is searched for, each moves when it is next used. The function is asked on every pinned request, so
    /// it should be a look-up and take no lock that a writer holds for long.
    pub fn accept_models<F>(self, accepts: F) -> Self
    where
        F: Fn(&ModelName) -> bool + Send + Sync + 'static,
    {
        self.rule(|rules| rules.accepts = Some(Arc::new(accepts)))
    }

    /// Prefers candidates that do not [cool down](crate::cooldown) for new sessions, and repeats the last
    /// decision for one whose last request no candidate has served. Default: candidates as they are ranked.
    ///
    /// Give the same to [`FailoverLayer::cooldowns`](crate::FailoverLayer::cooldowns), which learns.
    pub fn cooldowns(self, cooldowns: &Cooldowns) -> Self {
        let cooldowns = cooldowns.clone();
        self.set(|settings| settings.cooldowns = Some(cooldowns))
    }

    /// Chooses another model for a request that the session's model does not accept, such as one with
    /// an image. The function gets the request and the selection in use, and returns `None` if the
    /// selection will do. Only this request goes to the other model, with `x-plano-pinned: false`; the
    /// pin stays. Default: no request takes a detour.
    ///
    /// The function is asked for every request that has a model, hits included, and sees the head only:
    /// put into the extensions what it has to know of the body. The router chooses the first model of a
    /// session with the request in view, and the function is asked about that choice, too.
    ///
    /// ```
    /// use affinity_layer::{AffinityLayer, BoxError, MemoryStore, ModelName, RouteDecision, RouteRequest};
    /// use tower::service_fn;
    ///
    /// /// Put into the extensions by a layer outside that has read the body.
    /// #[derive(Clone)]
    /// struct HasImage;
    ///
    /// # fn layer() -> Result<(), BoxError> {
    /// let seeing = ModelName::new("openai/gpt-4o")?;
    /// # let router = service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
    /// let affinity = AffinityLayer::new(MemoryStore::default(), router).detour(move |head, selection| {
    ///     let blind = selection.model().as_str() == "openai/o3-mini";
    ///     (blind && head.extensions.get::<HasImage>().is_some()).then(|| seeing.clone())
    /// });
    /// # let _ = affinity;
    /// # Ok(())
    /// # }
    /// # layer().unwrap();
    /// ```
    pub fn detour<F>(self, detour: F) -> Self
    where
        F: Fn(&Parts, &Selection) -> Option<ModelName> + Send + Sync + 'static,
    {
        self.set(|settings| settings.detour = Some(Arc::new(detour)))
    }

    /// Which sessions are pinned: a [`Mode`](crate::mode::Mode) for all, or a
    /// [`Rollout`](crate::mode::Rollout) with another one for a share of them, tenants or routes. Default: all
    /// are pinned.
    ///
    /// Unless all are, no request is refused for its session id or its tenant: it may belong to a session that
    /// is not to be touched. With [`route_unkeyed`](Self::route_unkeyed) off, requests of sessions that are not
    /// pinned pass untouched, and nothing is observed.
    ///
    /// ```
    /// use affinity_layer::mode::{Cohort, Mode, Rollout, Share};
    /// # use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest};
    /// # let router = tower::service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
    ///
    /// // Half of the sessions are pinned; of the others it is counted what a pin would have done.
    /// let half = Cohort::default().share(Share::percent(50));
    /// let affinity = AffinityLayer::new(MemoryStore::default(), router)
    ///     .mode(Rollout::new(Mode::Observe).except(Mode::Enforce, half));
    /// # let _ = affinity;
    /// ```
    pub fn mode(self, mode: impl Into<Rollout>) -> Self {
        let rollout = mode.into();
        self.set(|settings| settings.rollout = rollout)
    }

    /// What is made of a decision before it is kept. The function gets the request, the key of its session,
    /// the pin that the session has, if there is one, and the decision, and returns the selection to keep:
    /// the decision with [the mark](Selection::with_foreign) of what its vendor cannot read, see
    /// [`state`](crate::state); or the pin's own selection, and the session stays where it is. Default: a
    /// decision is kept as it is.
    ///
    /// It is asked about each decision for a session, `bypass` included, whose selection is not kept, and not
    /// about a move by a [`FailoverLayer`](crate::FailoverLayer).
    ///
    /// ```
    /// use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest, ext::Bound};
    /// use tower::service_fn;
    ///
    /// # let router = service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
    /// // Nothing moves a session whose request refers to what its provider has.
    /// let affinity = AffinityLayer::new(MemoryStore::default(), router).on_decision(
    ///     |head, _key, pinned, decided| match pinned {
    ///         Some(pinned) if head.extensions.get::<Bound>().is_some() => pinned.clone().into(),
    ///         _ => decided,
    ///     },
    /// );
    /// # let _ = affinity;
    /// ```
    pub fn on_decision<F>(self, adopt: F) -> Self
    where
        F: Fn(&Parts, &AffinityKey, Option<&Selection>, Arc<Selection>) -> Arc<Selection>
            + Send
            + Sync
            + 'static,
    {
        self.set(|settings| settings.on_decision = Some(Arc::new(adopt)))
    }

    /// How many turns at the beginning of a session are a warm-up, so that a trivial first one does
    /// not bind the rest: each is decided again, and so is the first turn after them, whose model then
    /// holds. Every request counts as a turn, unless it has a [`MidTurn`](crate::ext::MidTurn) in its
    /// extensions. Default: 0, the first turn decides.
    ///
    /// The turns that are left are stored in the pin, so all replicas agree on them, and concurrent
    /// requests of one such turn share one decision. A router that fails leaves model and number as they
    /// are. A request with `x-plano-affinity: final` uses the pin as it is.
    pub fn warm_up(self, turns: u8) -> Self {
        self.rule(|rules| rules.warm_up = turns)
    }

    /// Models from the weakest to the strongest: a session that has a pin moves by a new decision
    /// only to a stronger model, else it keeps its own. A model that is not listed counts as weaker
    /// than those that are. Failover may still go anywhere. Default: every move is allowed.
    pub fn escalation(self, models: impl IntoIterator<Item = ModelName>) -> Self {
        self.rule(|rules| rules.escalation = Escalation::new(models))
    }

    /// Under which names responses say what was done, and clients control it. Default:
    /// [`HeaderNames::plano`], `x-plano-…`.
    pub fn header_names(self, names: HeaderNames) -> Self {
        self.set(|settings| {
            settings.keys.names(names.clone());
            settings.names = names;
        })
    }

    /// Whether responses carry the epoch of the pin behind them, as `x-plano-epoch`. For tests of
    /// consistency: with it, an observer can distinguish a pin that was moved from one that was split.
    /// Default: no.
    pub fn expose_epoch(self, expose: bool) -> Self {
        self.set(|settings| settings.expose_epoch = expose)
    }

    /// Makes the responses to refused requests, instead of [`OpenAiErrors`]: a closure
    /// `Fn(&Rejection, &Parts) -> Response<B>`. The [`Rejection`](crate::Rejection) is added to the
    /// extensions of whatever it returns.
    pub fn with_rejection_response<T>(self, reject: T) -> AffinityLayer<St, T> {
        AffinityLayer { shared: self.shared, reject }
    }
}

impl<St, Rej: Clone> Clone for AffinityLayer<St, Rej> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), reject: self.reject.clone() }
    }
}

impl<St, Rej> fmt::Debug for AffinityLayer<St, Rej> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AffinityLayer")
            .field("rules", &self.shared.decider.rules)
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl<S, St, Rej: Clone> Layer<S> for AffinityLayer<St, Rej> {
    type Service = AffinityService<S, St, Rej>;

    fn layer(&self, inner: S) -> Self::Service {
        AffinityService::new(inner, self.shared.clone(), self.reject.clone())
    }
}
