//! What a router is asked and what it answers.

use bytes::Bytes;
use http::request::Parts;
use tower_service::Service;

use crate::{AffinityKey, BoxError, ModelName, RouteName};

/// One question to a router: the client's request, its body whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteRequest {
    /// Method, URI, headers and extensions of the client's request.
    ///
    /// The headers are the client's own, credentials included; a router that calls out must choose
    /// what it passes on.
    pub parts: Parts,
    /// The unchanged body, at most the layer's [`body_limit`](crate::AffinityLayer::body_limit).
    pub body: Bytes,
    /// The session that asks, if the request named one.
    pub key: Option<AffinityKey>,
}

impl RouteRequest {
    /// A question without a session.
    #[must_use]
    pub fn new(parts: Parts, body: Bytes) -> Self {
        Self { parts, body, key: None }
    }

    /// Names the session that asks.
    #[must_use]
    pub fn with_key(mut self, key: Option<AffinityKey>) -> Self {
        self.key = key;
        self
    }
}

/// A router's answer: the models to use, best first, and the route that matched.
///
/// An empty list means that no route matched: the request keeps the model it asked for. That is a
/// decision and is stored, so that a session does not move when a later prompt happens to match. A router
/// that could not decide returns an error instead, and nothing is stored.
///
/// Of the candidates that can be served the first
/// [`MAX_CANDIDATES`](crate::Selection::MAX_CANDIDATES) are kept in the pin, for failover, with at most
/// [`MAX_CANDIDATES_BYTES`](crate::Selection::MAX_CANDIDATES_BYTES) of names.
///
/// ```
/// use affinity_layer::{ModelName, RouteDecision, RouteName};
///
/// let ranked = ["openai/gpt-4o", "openai/gpt-4o-mini"].map(ModelName::new);
/// let ranked = ranked.into_iter().collect::<Result<Vec<_>, _>>()?;
/// let decision = RouteDecision::new(ranked).with_route(RouteName::new("code generation")?);
/// assert_eq!(decision.models[0].as_str(), "openai/gpt-4o");
/// assert!(RouteDecision::none().models.is_empty(), "no route matched");
/// # Ok::<(), affinity_layer::name::InvalidName>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteDecision {
    /// Candidates, best first.
    pub models: Vec<ModelName>,
    /// The route that matched, if one did.
    pub route: Option<RouteName>,
}

impl RouteDecision {
    /// A decision for `models`, best first.
    #[must_use]
    pub fn new(models: impl IntoIterator<Item = ModelName>) -> Self {
        Self { models: models.into_iter().collect(), route: None }
    }

    /// No route matched.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Names the route that matched.
    #[must_use]
    pub fn with_route(mut self, route: RouteName) -> Self {
        self.route = Some(route);
        self
    }
}

/// A name for the bound on routers: any cloneable tower service from a question to a
/// [`RouteDecision`], be it a `service_fn` or a stack of layers around a client. The question of an
/// [`AffinityLayer`](crate::AffinityLayer) is a [`RouteRequest`]; an [`Affinity`](crate::Affinity) takes one of
/// any type.
///
/// It is implemented for every such service; there is nothing to write. A closure becomes one with
/// `tower::service_fn`. Limits on time, retries and concurrency belong into tower layers around it. A
/// boxed stack is a `BoxCloneSyncService`, or a `BoxCloneService` if threads cannot share it. Each
/// miss clones the service and drives the clone to readiness, so a permit is never held by a request
/// that was pinned.
///
/// A router that fails fails no request: that one goes on with the model that it asks for, and nothing
/// is pinned. Give the router a time limit; the layer has none for it.
///
/// ```
/// use std::time::Duration;
///
/// use affinity_layer::{
///     AffinityLayer, BoxError, MemoryStore, ModelName, RouteDecision, RouteName, RouteRequest,
/// };
/// use tower::util::BoxCloneSyncService;
/// use tower::{ServiceBuilder, service_fn};
///
/// let decide = service_fn(|request: RouteRequest| async move {
///     if request.body.is_empty() {
///         return Ok(RouteDecision::none());
///     }
///     let model = ModelName::new("openai/gpt-4o")?;
///     Ok::<_, BoxError>(RouteDecision::new([model]).with_route(RouteName::new("code")?))
/// });
/// let router = ServiceBuilder::new().timeout(Duration::from_secs(2)).service(decide);
/// // Boxed, it has a name that a struct or a function can spell.
/// let router: BoxCloneSyncService<RouteRequest, RouteDecision, BoxError> =
///     BoxCloneSyncService::new(router);
/// let affinity = AffinityLayer::new(MemoryStore::default(), router);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a router",
    label = "not a cloneable tower service from `{Q}` to `RouteDecision`",
    note = "wrap a closure or an async function in `tower::service_fn`: \
            `service_fn(|request: RouteRequest| async {{ Ok::<_, BoxError>(RouteDecision::none()) }})`",
    note = "its error must be `Into<BoxError>`, and its future `Send`; box a service that has no name with \
            `tower::util::BoxCloneSyncService`, and share one that is not `Clone` with `tower::buffer::Buffer`"
)]
pub trait RouterService<Q = RouteRequest>:
    Service<Q, Response = RouteDecision, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static
{
}

#[diagnostic::do_not_recommend]
impl<T, Q> RouterService<Q> for T where
    T: Service<Q, Response = RouteDecision, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static
{
}
