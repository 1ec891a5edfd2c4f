//! What was learned of models that fail: they are left alone for a while.
//!
//! A [`FailoverLayer`](crate::FailoverLayer) alone learns nothing: each session that begins while a
//! provider is away waits for it anew. With [`Cooldowns`], which all requests of the process share, the first
//! of them waits.
//!
//! ```
//! use affinity_layer::cooldown::Cooldowns;
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
//! let providers = service_fn(|request: Request<Full<Bytes>>| async move {
//!     let model = request.extensions().get::<PinnedModel>().ok_or("no model")?.model().clone();
//!     let mut response = Response::new(Full::<Bytes>::default());
//!     if model.as_str().starts_with("openai/") {
//!         *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
//!     }
//!     Ok::<_, BoxError>(response)
//! });
//! let cooldowns = Cooldowns::new();
//! let app = ServiceBuilder::new()
//!     .layer(AffinityLayer::new(MemoryStore::default(), router).cooldowns(&cooldowns))
//!     .layer(FailoverLayer::new().cooldowns(&cooldowns))
//!     .service(providers);
//!
//! let request = |session: &'static str| {
//!     Request::post("/v1/chat/completions").header("x-model-affinity", session).body(Full::from("{}"))
//! };
//! let first = app.clone().oneshot(request("task-1")?).await?;
//! assert_eq!(first.headers()["x-plano-affinity"], "repinned");
//! // The next session does not ask the model that has no quota left.
//! let second = app.oneshot(request("task-2")?).await?;
//! assert_eq!(second.headers()["x-plano-affinity"], "claimed");
//! assert_eq!(second.headers()["x-plano-model"], "anthropic/claude-sonnet-4-5");
//! assert_eq!(cooldowns.list().len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! 1. What cools depends on the failure:
//!
//!    | failure of a candidate | cools |
//!    |---|---|
//!    | a [`NotReached`](crate::ext::NotReached) in the response | its address, or the proxy on the way |
//!    | a [`TimedOut`](crate::ext::TimedOut) | its address; only the model if the address answered others |
//!    | 401 and 402 | its credential |
//!    | 403, 410 and 429 | the model |
//!    | 404 | the model at that path |
//!    | anything else, such as a 503 | nothing |
//!
//!    The status is that of the response, or of the one that it [replaces](crate::ext::Replaced), and counts
//!    only where the candidate has failed.
//! 2. A target cools for its `Retry-After`, in seconds or as a date, up to an hour; else for 10 s, and
//!    twice as long with each further failure, up to five minutes. Then one request tries it. While that one
//!    runs, new sessions still pass it over. A success forgets what was known.
//! 3. A new session goes to the first candidate that does not cool. A pinned one leaves its model if that
//!    cools for longer than the [patience](crate::FailoverLayer::patience), and otherwise waits for it.
//!    While another request tries the model, what counts is how long it has cooled: a pinned session that
//!    would have waited for that goes there too.
//! 4. If all candidates cool, the one that is free first is tried, and no other: a request is never
//!    refused unsent.
//! 5. When an address falls silent, a request that waits for it goes on with the next candidate, if
//!    there is one that does not cool. The first wait counts for all. A request to be [sent
//!    once](crate::ext::SendOnce) waits on: the address may be working on it.
//! 6. When no candidate has served a request, the session's next requests within a minute are
//!    repetitions: the router is not asked, and each tries one candidate, the oldest failure first. A
//!    request for another model, with other [hints](crate::ext::RoutingHints) or at another path is none.
//! 7. A request with a [`Bound`](crate::ext::Bound) always goes to its own model first.
//!
//! # Limits
//!
//! It is kept in this process, and bounded: 1,024 targets, 256 more whose names clients may have [made
//! up](Target::guessed), and 1,024 sessions that nobody served. While nothing cools, a request costs two
//! reads of a flag.

mod cooldowns;
mod retries;
mod table;
mod target;

pub(crate) use cooldowns::{Admission, Lesson, Trial};
pub use cooldowns::{CooldownChange, Cooldowns};
pub(crate) use retries::{GiveUp, Question};
pub(crate) use table::Cooling;
pub use table::CoolingTarget;
pub use target::{CooldownCause, Target, TargetKind};
