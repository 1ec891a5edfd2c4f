//! Time limits and retries of a router, and what happens when it fails.
//!
//! The layer has no limits for its router. They are tower layers around it, because only there can they include
//! the wait for a place:
//!
//! | layer, from the outside in | bounds |
//! |---|---|
//! | `timeout(2 s)` | the decision: the wait for a place, every try, the pauses |
//! | `load_shed` and `concurrency_limit(64)` | questions at the same time; more of them fail at once instead of waiting |
//! | `retry(policy)` | tries after a failure |
//! | `timeout(900 ms)` | one try |
//!
//! Each miss clones the whole stack. A clone of `concurrency_limit` shares its permits, and a policy is cloned
//! for each question, so it may count tries in itself.
//!
//! # When the router fails
//!
//! No request fails because of its router. Whatever the error, a limit that is over included:
//!
//! | the request | goes on with | `x-plano-affinity` | stored |
//! |---|---|---|---|
//! | of a session without a pin | the model that it asks for, else [`default_model`](crate::AffinityLayer::default_model) | `router-unavailable` | nothing: the next request asks again |
//! | of a session with a pin that is decided again (`refresh`, a new turn) | the pin | `hit` | the pin as it was |
//! | that names no model, without a default | no [`PinnedModel`](crate::PinnedModel): a handler that takes one answers 500 and says so | `router-unavailable` | nothing |
//!
//! Requests that wait for the same decision share its failure, so a router that is slow is not asked once
//! for each of them. One line at WARN says that a router began to fail, and one at INFO that it answers
//! again; each failure is a line at DEBUG. The layer's store budget does not count the router's time.
//!
//! A router answers "no route matched" with [`RouteDecision::none`](crate::RouteDecision::none). That is a
//! decision and is stored; an outage must be an error, or it would bind sessions to the requested model.
//!
//! # Example
//!
//! ```
//! use std::future::{Ready, pending, ready};
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicUsize, Ordering};
//! use std::time::Duration;
//!
//! use affinity_layer::{
//!     AffinityLayer, BoxError, MemoryStore, ModelName, RouteDecision, RouteRequest,
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::retry::Policy;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! /// So many tries more, at once, whatever has failed. A real policy looks at the error and pauses.
//! #[derive(Clone)]
//! struct TriesLeft(usize);
//!
//! impl Policy<RouteRequest, RouteDecision, BoxError> for TriesLeft {
//!     type Future = Ready<()>;
//!
//!     fn retry(
//!         &mut self,
//!         _: &mut RouteRequest,
//!         answer: &mut Result<RouteDecision, BoxError>,
//!     ) -> Option<Ready<()>> {
//!         self.0 = self.0.checked_sub(1).filter(|_| answer.is_err())?;
//!         Some(ready(()))
//!     }
//!
//!     fn clone_request(&mut self, question: &RouteRequest) -> Option<RouteRequest> {
//!         Some(question.clone())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! // Silent at the first question, and at every later one that is about a long prompt.
//! let asked = Arc::new(AtomicUsize::new(0));
//! let count = asked.clone();
//! let decide = service_fn(move |question: RouteRequest| {
//!     let is_first = count.fetch_add(1, Ordering::Relaxed) == 0;
//!     async move {
//!         if is_first || question.body.len() > 1000 {
//!             pending::<()>().await;
//!         }
//!         Ok::<_, BoxError>(RouteDecision::new([ModelName::new("openai/gpt-4o")?]))
//!     }
//! });
//! let router = ServiceBuilder::new()
//!     .timeout(Duration::from_secs(2))
//!     .load_shed()
//!     .concurrency_limit(64)
//!     .retry(TriesLeft(1))
//!     .timeout(Duration::from_millis(900))
//!     .service(decide);
//! let affinity = AffinityLayer::new(MemoryStore::default(), router)
//!     .default_model(ModelName::new("openai/gpt-4o-mini")?);
//! let app = ServiceBuilder::new().layer(affinity).service_fn(|_: Request<Full<Bytes>>| async {
//!     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
//! });
//! let turn = |session: &str, prompt: String| {
//!     Request::post("/").header("x-session-id", session).body(Full::<Bytes>::from(prompt))
//! };
//!
//! // The second try answers.
//! let first = app.clone().oneshot(turn("one", "short".into())?).await?;
//! assert_eq!(first.headers()["x-plano-affinity"], "claimed");
//! assert_eq!(asked.load(Ordering::Relaxed), 2);
//! // Neither try answers: the request goes on with the default, and the next one asks again.
//! let failed = app.clone().oneshot(turn("two", "long ".repeat(1000))?).await?;
//! assert_eq!(failed.headers()["x-plano-affinity"], "router-unavailable");
//! assert_eq!(failed.headers()["x-plano-model"], "openai/gpt-4o-mini");
//! let later = app.oneshot(turn("two", "short".into())?).await?;
//! assert_eq!(later.headers()["x-plano-affinity"], "claimed");
//! # Ok(())
//! # }
//! ```
