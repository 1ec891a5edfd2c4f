//! Tower middleware that pins an agentic session to the model it was first routed to.
//!
//! An agent sends many requests for one task. A router that judges each prompt alone changes the
//! model in mid-task: context fragments, tool-call ids break, the provider's prompt cache goes
//! cold. With [`AffinityLayer`] the client names its session in one header, the first request is
//! routed, and every later one is given the same model without asking the router.
//!
//! ```
//! use affinity_layer::{
//!     AffinityLayer, MemoryStore, ModelName, PinnedModel, RouteDecision, RouteRequest,
//! };
//! use axum::{Router, routing::post};
//! use tower::{BoxError, ServiceExt, service_fn};
//!
//! # #[cfg(feature = "axum")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Any tower service that ranks models for a request.
//! let router = service_fn(|request: RouteRequest| async move {
//!     let hard = request.body.len() > 1000;
//!     let model = ModelName::new(if hard { "openai/gpt-4o" } else { "openai/gpt-4o-mini" })?;
//!     Ok::<_, BoxError>(RouteDecision::new([model]))
//! });
//!
//! let app: Router = Router::new()
//!     .route("/v1/chat/completions", post(|model: PinnedModel| async move {
//!         model.model().to_string()
//!     }))
//!     .layer(AffinityLayer::new(MemoryStore::default(), router));
//!
//! let request = |body: String| {
//!     http::Request::post("/v1/chat/completions")
//!         .header("x-model-affinity", "task-1")
//!         .body(axum::body::Body::from(body))
//! };
//! let first = app.clone().oneshot(request("short".into())?).await?;
//! assert_eq!(first.headers()["x-plano-affinity"], "claimed");
//! let second = app.oneshot(request("long ".repeat(1000))?).await?;
//! assert_eq!(second.headers()["x-plano-model"], "openai/gpt-4o-mini");
//! assert_eq!(second.headers()["x-plano-pinned"], "true");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "axum"))]
//! # fn main() {}
//! ```
//!
//! # Rules
//!
//! 1. A `POST` without a session id is routed each time, and nothing is stored. Other methods and
//!    upgrades pass untouched, unless [`by_head`](AffinityLayer::by_head) has them routed.
//! 2. The first request of a session is routed once, however many arrive together, and claims the
//!    session. All of them go on with the one model that won the claim.
//! 3. Later requests get the pinned model; their bodies are not read.
//! 4. A pin ends by its [`Expiry`], by eviction, by `x-plano-affinity: final`, or by
//!    [`PinnedModel::release`].
//! 5. When the router fails, the request goes on with the model it asks for. Nothing is stored.
//! 6. When the store fails or stalls, the request goes on within
//!    [`store_budget`](AffinityLayer::store_budget).
//! 7. A pin of a model that [`accept_models`](AffinityLayer::accept_models) refuses moves to a new
//!    decision.
//! 8. A client that hangs up at any point neither blocks nor fails the others of its session.
//!
//! By choice: [not all sessions are pinned](mode); a session may [warm up](AffinityLayer::warm_up) before a turn binds it, move
//! [only to stronger models](AffinityLayer::escalation), and send single requests on a
//! [detour](AffinityLayer::detour) that its model cannot take.
//!
//! # What names a session
//!
//! The first of these that is present; each source is a namespace of its own, so that no id of one
//! passes for that of another.
//!
//! | source | enabled by | reads the body |
//! |---|---|---|
//! | `x-model-affinity`, `x-routing-session-id`, `x-session-id` | default, or [`session_headers`](AffinityLayer::session_headers) | no |
//! | the headers of agent clients | [`agents`](AffinityLayer::agents) | no |
//! | `session.id` in `baggage` | [`baggage_session`](AffinityLayer::baggage_session) | no |
//! | [`BodyId`]: `session_id`, `metadata.session_id`, `prompt_cache_key`, `conversation`, `metadata.user_id`, `previous_response_id` | [`body_ids`](AffinityLayer::body_ids) | without an id in a header |
//! | goose's `agent-session-id` with the opening of the conversation | [`agents`](AffinityLayer::agents), with the feature `fingerprint` | without any id |
//! | the answer that a request goes on from, as a guess | `fingerprint`, with that feature | without any id |
//!
//! `previous_response_id` needs an [`AnswerLayer`] below. With it, a request of `/responses` that names
//! no session begins one, whose id is never sent: the ids of its responses lead back to it.
//!
//! # What happens when
//!
//! | request | pin | router is asked | `x-plano-affinity` | `x-plano-pinned` |
//! |---|---|---|---|---|
//! | no session id | | yes | `none` | `false` |
//! | first of a session | claimed | once | `claimed` | `false` |
//! | concurrent with the first, or first on a second replica | adopted | no, or in vain | `joined` | `true` |
//! | later | stays | no | `hit` | `true` |
//! | `x-plano-affinity: bypass` | untouched | yes | `bypass` | `false` |
//! | `x-plano-affinity: refresh` | moves | yes | `refreshed` | `false` |
//! | `x-plano-affinity: final` | released at the end | as without | as without | as without |
//! | opens a turn, while the session warms up or by [`NewTurn`](ext::NewTurn) | moves | yes | `refreshed` | `false` |
//! | decided again, for a model that is not stronger | stays | yes | `hit` | `true` |
//! | of a session that is [observed](mode) | none is made | yes | `observed` | `false` |
//! | on a detour | stays | no | as without | `false` |
//! | its model fails, and it is [`Bound`](ext::Bound) to it | stays | no | `bound` | `true` |
//! | its model is no longer served | moves | yes | `repinned` | `false` |
//! | router fails | none is made | in vain | `router-unavailable` | `false` |
//! | store fails | none is known | yes | `store-unavailable` | `false` |
//! | bad session id, scope or control | | no | `none`, status 400 | `false` |
//!
//! # When models fail
//!
//! A [`FailoverLayer`] goes on with the next candidate and moves the session along. With
//! [`Cooldowns`](cooldown::Cooldowns) what failed is passed over for a while.
//!
//! # Order of layers
//!
//! - Authentication goes outside; it may put a [`Scope`] into the request's extensions.
//! - Layers that change a request's body go outside, so that the router sees what they made.
//! - [`AnswerLayer`] goes inside. Without it a `final` request releases its pin when the head of the
//!   response is there; with it, when the body has ended. It also follows conversations by
//!   `previous_response_id`.
//! - An inner layer that changes the *response* body type, such as `TraceLayer` or `CompressionLayer`, needs
//!   `MapResponseBodyLayer` between, or [`with_rejection_response`](AffinityLayer::with_rejection_response):
//!   a refusal is a response with a body of its own. The layers of this crate need none, and an axum
//!   router does this already.
//! - An outer layer that changes the *request* body type, such as `RequestBodyLimitLayer`, needs
//!   `MapRequestBodyLayer` between: a body that the router has read is put back.
//! - Limits on the router's time, retries and concurrency are tower layers around the router.
//!
//! # When a stack does not compile
//!
//! The compiler names the layer that is missing, if it is asked for a service, as axum's `Router::layer` and
//! hyper's connections do. Of a method call, `app.oneshot(request)`, it says only that `_: Service<_>` is not
//! satisfied; write `tower::ServiceExt::oneshot(app, request)` until it compiles.
//!
//! | mistake | cure |
//! |---|---|
//! | a layer above changes the request's body | `MapRequestBodyLayer::new(Body::new)` between |
//! | a layer or client below changes the response's body | `MapResponseBodyLayer::new(Body::new)` right below the layer |
//! | a closure as a router | `tower::service_fn` |
//! | a router without a name, or not `Clone` | `BoxCloneSyncService`, or `Buffer` |
//! | a store in an `Arc` | [`SharedStore::from_arc`] |
//! | "implementation of `From` is not general enough" in `tokio::spawn` | hyper cannot take a service whose error is a `BoxError` there: use `Infallible` or an error with a name. Your router's error may be one |
//!
//! # Security
//!
//! Anyone who knows a session id can use, move and end that session within its scope. If clients do
//! not trust each other, set a scope that they cannot choose: a [`Scope`] extension from
//! authentication, or a [`tenant_header`](AffinityLayer::tenant_header) that only your proxy sets.
//! `x-plano-*` headers of clients and upstreams are removed or overwritten (those under
//! [names of your own](headers::HeaderNames), if you choose some). Ids are not logged.
//!
//! # Stores
//!
//! | store | pins | a pinned turn costs | feature |
//! |---|---|---|---|
//! | [`MemoryStore`] | in this process | a read lock | |
//! | `RedisStore` | shared by replicas | a round trip | `redis` |
//! | `TieredStore` | shared, with near copies here | a read lock | `redis` |
//! | [`SharedStore`] | in any of them, chosen at run time | the same, and a virtual call | |
//!
//! # Beside the layer
//!
//! An [`Affinity`] decides for programs without HTTP, such as queue workers and gRPC streams; a layer can
//! [share](AffinityLayer::over) it. On the [client's side](client), the session of the running task is stamped
//! onto outgoing requests.
//!
//! An [`AnswerObserver`](answer::AnswerObserver) learns what each answer costs, so that you can
//! measure what a pin saves.
//!
//! # Features
//!
//! | feature | what |
//! |---|---|
//! | `axum` | [`PinnedModel`] as an extractor |
//! | `body` | `body`: request bodies checked, and their `model` replaced byte for byte |
//! | `fingerprint` | `Fingerprint`: clients that send no id are known by what was said |
//! | `redis` | `RedisStore` and `TieredStore` |
//! | `redis-rustls` | TLS to Redis |
//! | `metrics` | counts and times through the `metrics` facade; `describe_metrics` lists them |
//! | `conformance` | `store::conformance`, the suite for stores of your own |
//!
//! Their costs, time limits and retries of routers, and tests on paused time have pages in the guide, which is a
//! module of these docs only.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod admin;
pub mod affinity;
pub mod agents;
pub mod answer;
#[cfg(feature = "body")]
pub mod body;
pub mod client;
mod coalesce;
mod conversations;
pub mod cooldown;
pub mod decide;
mod error;
pub mod ext;
#[cfg(feature = "axum")]
mod extractor;
pub mod failover;
pub mod first_event;
#[cfg(any(doc, doctest, test))]
pub mod guide;
pub mod headers;
mod in_use;
pub mod key;
pub mod mode;
pub mod name;
mod observed;
mod outcome;
mod pin;
mod pinned;
pub mod rejection;
mod route;
mod router;
pub mod state;
pub mod store;
mod telemetry;

pub use affinity::AffinityLayer;
pub use answer::AnswerLayer;
pub use decide::{Affinity, Decision, TargetName, Turn, Undecided};
pub use error::{StoreError, StoreErrorKind};
pub use failover::FailoverLayer;
#[cfg(feature = "fingerprint")]
pub use key::Fingerprint;
pub use key::{AffinityKey, BodyId, Scope};
pub use name::{ModelName, RouteName};
pub use outcome::Outcome;
pub use pin::{Epoch, Expiry, Pin, Selection};
pub use pinned::PinnedModel;
pub use rejection::Rejection;
pub use route::{RouteDecision, RouteRequest, RouterService};
pub use store::{AffinityStore, Claim, MemoryStore, PinRead, SharedStore};
#[cfg(feature = "redis")]
pub use store::{RedisOptions, RedisStore, TieredStore};

#[cfg(feature = "metrics")]
pub use telemetry::describe_metrics;

/// The example of the README is compiled with those of the documentation.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// A type-erased error, as tower uses it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
