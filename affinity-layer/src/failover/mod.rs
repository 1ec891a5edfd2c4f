//! Middleware below the affinity layer: the next candidate when a model fails, and the session moves
//! along.
//!
//! A pin makes a session depend on one model, and so on the worst hour of its provider. A client that
//! retries gets the same model again, for as long as the pin holds. A [`FailoverLayer`] asks the next of
//! the candidates that the router ranked, and moves the pin to the one that answers: the session changes
//! its model once, and not with every request of the outage.
//!
//! ```
//! use affinity_layer::{
//!     AffinityLayer, BoxError, FailoverLayer, MemoryStore, ModelName, PinnedModel, RouteDecision,
//!     RouteRequest,
//! };
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let router = service_fn(|_: RouteRequest| async {
//!     let ranked = ["openai/gpt-4o", "anthropic/claude-sonnet-4-5"].map(ModelName::new);
//!     Ok::<_, BoxError>(RouteDecision::new(ranked.into_iter().collect::<Result<Vec<_>, _>>()?))
//! });
//! // Stands for the providers: one of them is overloaded.
//! let providers = service_fn(|request: Request<Full<Bytes>>| async move {
//!     let model = request.extensions().get::<PinnedModel>().expect("a model").model().clone();
//!     let mut response = Response::new(Full::<Bytes>::default());
//!     if model.as_str().starts_with("openai/") {
//!         *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
//!     }
//!     Ok::<_, BoxError>(response)
//! });
//! let app = ServiceBuilder::new()
//!     .layer(AffinityLayer::new(MemoryStore::default(), router))
//!     .layer(FailoverLayer::new())
//!     .service(providers);
//!
//! let request = || {
//!     Request::post("/v1/chat/completions")
//!         .header("x-model-affinity", "task-1")
//!         .body(Full::from("{}"))
//! };
//! let first = app.clone().oneshot(request()?).await?;
//! assert_eq!(first.status(), StatusCode::OK);
//! assert_eq!(first.headers()["x-plano-affinity"], "repinned");
//! let second = app.oneshot(request()?).await?;
//! assert_eq!(second.headers()["x-plano-model"], "anthropic/claude-sonnet-4-5");
//! assert_eq!(second.headers()["x-plano-affinity"], "hit");
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! 1. A candidate has failed when it answers 429 or any 5xx but 501 and 505, when the inner service
//!    returns an error, or when a response has a [`PassingFailure`](crate::ext::PassingFailure) or a
//!    [`LastingFailure`](crate::ext::LastingFailure) in its extensions. The next candidate of the
//!    [`PinnedModel`](crate::PinnedModel) gets the request, as long as there is one, within
//!    [a number](FailoverLayer::attempts) and [a time](FailoverLayer::time_limit).
//! 2. With a `Retry-After` no longer than [the patience](FailoverLayer::patience), or a
//!    [`SecondChance`](crate::ext::SecondChance) in the response's extensions, the same model gets a
//!    second chance first.
//! 3. When another candidate serves the request, the session's pin moves to it, once: requests that
//!    fail at the same time find it moved. The response says `x-plano-affinity: repinned`.
//! 4. Any other status from 400 on is an answer when the session's own model gives it. From another
//!    candidate it is no success: it moves nothing, and the next candidate is tried.
//! 5. When none serves, the client gets the first failure that may pass (429, 5xx, an error), else
//!    the first: a later candidate's 400 never takes the place of a 429. The response names the model
//!    whose answer it is, and says `x-plano-affinity: failed` if it belongs to a session. A pin that
//!    the request found stays; one that it made or moved is released by its epoch, for it never served.
//! 6. An accepted head is final. A stream that breaks is not restarted. With a
//!    [`FirstEventLayer`](crate::first_event::FirstEventLayer) below, the head of a 200 is accepted only
//!    once the answer has begun.
//! 7. A request with a [`SendOnce`](crate::ext::SendOnce) in its extensions is sent again only after a
//!    429, and after an answer with a [`NotReached`](crate::ext::NotReached). Any other failure is told as
//!    in rule 5.
//! 8. A request with a [`Bound`](crate::ext::Bound) in its extensions is sent again only to models of
//!    [the same vendor](FailoverLayer::same_vendor). With none left, one that refers to what its provider has
//!    ends as `x-plano-affinity: bound`, the pin as it was.
//! 9. With the move of a session, the mark of a [`LeftOut`](crate::ext::LeftOut) in the answer's extensions
//!    is stored.
//! 10. A request that [is too much](FailoverLayer::outgrown) for its model moves the session before it is sent.
//! 11. With [cool-downs](FailoverLayer::cooldowns) a candidate that failed lately is
//!     [passed over](crate::cooldown).
//!
//! # Caveats
//!
//! - The request is cloned for each attempt, so its body must be one that is held in memory, such as
//!   `http_body_util::Full`.
//! - A candidate may have done part of the work before it failed. A request that must not be
//!   worked on twice needs a [`SendOnce`](crate::ext::SendOnce).
//! - The failed response that may be returned is kept, body unread, while others are tried.
//! - The pin moves before the answer goes out, for up to twice the
//!   [store budget](crate::AffinityLayer::store_budget). If the store fails or takes longer, the answer
//!   says `x-plano-affinity: store-unavailable`, and the next request may find the old model.
//! - A request without a [`PinnedModel`](crate::PinnedModel), such as a `GET`, is sent once and never
//!   cloned.

mod attempt;
mod attempts;
mod candidates;
mod layer;
mod service;
mod settings;

pub use layer::FailoverLayer;
pub use service::{Failover, RepeatableBody, ResponseFuture};
