//! The client's side: a program that calls models itself, or that calls a gateway.
//!
//! An agent knows which task it works on, and the code that sends its requests does not. [`Session::scope`]
//! says it for everything that a future does, and a [`SessionLayer`] on the client's stack stamps it onto each
//! outgoing request. A gateway then pins by it; so does an [`AffinityLayer`](crate::AffinityLayer) on the same
//! stack. A [`WithholdLayer`] next to the transport keeps the ids of sessions from providers.
//!
//! ```
//! use affinity_layer::client::{Session, SessionLayer, WithholdLayer};
//! use affinity_layer::{AffinityLayer, BoxError, MemoryStore, ModelName, PinnedModel, RouteDecision, RouteRequest};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let router = service_fn(|_: RouteRequest| async {
//!     Ok::<_, BoxError>(RouteDecision::new([ModelName::new("openai/gpt-4o")?]))
//! });
//! // Stands for the transport, such as a client of hyper-util or reqwest.
//! let transport = service_fn(|request: Request<Full<Bytes>>| async move {
//!     assert!(!request.headers().contains_key("x-model-affinity"), "it does not leave");
//!     let model = request.extensions().get::<PinnedModel>().ok_or("no model")?.model().clone();
//!     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(model.to_string())))
//! });
//! let client = ServiceBuilder::new()
//!     .layer(SessionLayer::new())
//!     .layer(AffinityLayer::new(MemoryStore::default(), router))
//!     .layer(WithholdLayer::new())
//!     .service(transport);
//!
//! let task = Session::new("task-1")?;
//! let outcomes = task.scope(async {
//!     let mut outcomes = Vec::new();
//!     for _ in 0..2 {
//!         let request = Request::post("http://api.example/v1/chat/completions").body(Full::from("{}"))?;
//!         let response = client.clone().oneshot(request).await?;
//!         outcomes.push(response.headers()["x-plano-affinity"].clone());
//!     }
//!     Ok::<_, BoxError>(outcomes)
//! });
//! assert_eq!(outcomes.await?, ["claimed", "hit"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! 1. A request that names a session already, in the header that is stamped or in one of
//!    [`SESSION_HEADERS`](crate::headers::SESSION_HEADERS), is left as it is. So is a body with a
//!    `prompt_cache_key`.
//! 2. Outside of a scope nothing is stamped.
//! 3. A scope ends at a spawn: a task that is spawned belongs to no session until
//!    [`Session::inherit`] takes it along.
//! 4. The session is looked up when the layer is called. A `Buffer` calls what is below it in a task of its
//!    own, so the layer belongs above it.
//! 5. What a provider gets as `prompt_cache_key` is a keyed hash: it groups the requests of a session and
//!    does not tell its id.
//!
//! The package `recipes` of the repository has this stack for the clients of hyper-util and reqwest and for
//! async-openai, tested against a simulated provider.
//!
//! For requests that are no `http::Request`, such as those of reqwest, [`SessionLayer::stamp`] and
//! [`WithholdLayer::withhold`] take their headers.

#[cfg(feature = "body")]
mod cache_key;
mod session;
mod stamp;
mod withhold;

#[cfg(feature = "body")]
pub use cache_key::{CacheKeyFuture, CacheKeyLayer, StampCacheKey};
pub use session::Session;
pub use stamp::{SessionLayer, StampSession};
pub use withhold::{Withhold, WithholdLayer};
