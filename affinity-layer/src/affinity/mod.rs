//! The middleware that pins: every request of a session gets the model of the first one.
//!
//! The [crate docs](crate) say what names a session, and what happens when. Here is how it is done,
//! and what to know before you stack it.
//!
//! ```
//! use std::time::Duration;
//!
//! use affinity_layer::{
//!     AffinityLayer, BoxError, Expiry, MemoryStore, ModelName, PinnedModel, RouteDecision,
//!     RouteRequest,
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let router = service_fn(|request: RouteRequest| async move {
//!     let model = if request.body.len() > 1000 { "openai/gpt-4o" } else { "openai/gpt-4o-mini" };
//!     Ok::<_, BoxError>(RouteDecision::new([ModelName::new(model)?]))
//! });
//! let affinity = AffinityLayer::new(MemoryStore::new(100_000), router)
//!     // A pin ends ten minutes after its last use, and a day after its session began.
//!     .expiry(Expiry::sliding(Duration::from_secs(600), Duration::from_secs(86_400)))
//!     .store_budget(Duration::from_millis(50));
//!
//! let provider = service_fn(|request: Request<Full<Bytes>>| async move {
//!     let model = request.extensions().get::<PinnedModel>().ok_or("no model")?.model().clone();
//!     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(model.to_string())))
//! });
//! let app = ServiceBuilder::new().layer(affinity).service(provider);
//!
//! let request = |body: String| {
//!     let request = Request::post("/v1/chat/completions").header("x-model-affinity", "task-1");
//!     request.body(Full::from(body))
//! };
//! let first = app.clone().oneshot(request("{}".into())?).await?;
//! assert_eq!(first.headers()["x-plano-affinity"], "claimed");
//! let later = app.oneshot(request("x".repeat(2000))?).await?;
//! assert_eq!(later.headers()["x-plano-model"], "openai/gpt-4o-mini");
//! assert_eq!(later.headers()["x-plano-affinity"], "hit");
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! 1. A request whose pin is [at hand](crate::AffinityStore::peek) is decided without waiting: neither
//!    its body nor the store nor the router is asked, and its future is that of the inner service and a
//!    few words more.
//! 2. Any other request waits for what it needs, in this order: its body where that may name the
//!    session, the store, the body again where the router has to see it, the router, the store.
//! 3. Requests of one session that need a decision at the same time share one. The first asks the
//!    router; when its client hangs up, the next one does. Up to [`max_waiters`](AffinityLayer::max_waiters)
//!    of them wait; more are refused with 503.
//! 4. All calls of the store by one request together take [`store_budget`](AffinityLayer::store_budget)
//!    at most; a read takes at most half of what is left. The router's time is not counted.
//! 5. Of a body at most [`body_limit`](AffinityLayer::body_limit) bytes are held; a larger one that has
//!    to be held is refused with 413. A body that does not have to be read is passed on unchanged.
//! 6. The layer invents no errors: what it refuses is a response, made by
//!    [`OpenAiErrors`](crate::rejection::OpenAiErrors) or by
//!    [a function of yours](AffinityLayer::with_rejection_response).
//! 7. If other replicas hold near copies, a response that reports a new pin is held back until
//!    they know of it ([`coherence`](crate::AffinityStore::coherence)), so that the client finds the same
//!    pin wherever it asks next.
//!
//! # Caveats
//!
//! - The service that is ready takes the request, and its clone stays behind to be made ready again. The
//!   router is cloned and made ready for each decision, so that no permit of it is lost on a hit.
//! - A body that the router has seen goes on as one piece, and its trailers are dropped. The body's type
//!   must be `From<Bytes>` for that, or a [`ReadBody`] of your own.
//! - Services that are made from one layer share its store and its decisions under way. Two layers over
//!   one store agree on pins, but each asks its router, unless they have [`SharedFlights`].
//! - A hit is as fast as the store's `peek`; a store without one answers each request in its own time.

mod arrival;
mod epilogue;
mod future;
mod http_ask;
mod layer;
mod observe;
mod payload;
mod recognise;
mod service;
mod settings;
mod shared;
mod shared_flights;
mod unread;

pub use future::ResponseFuture;
pub use layer::AffinityLayer;
pub use payload::ReadBody;
pub use service::AffinityService;
pub use shared_flights::SharedFlights;
pub use unread::Unread;
