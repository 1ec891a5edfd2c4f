//! Optional middleware below the affinity layer: it reads an answer, once, as it passes.
//!
//! An [`AnswerLayer`] ends pins with their answers, lets a conversation be followed by the ids of its
//! responses, and tells an [observer](AnswerObserver) what each answer cost.
//!
//! # One pass
//!
//! ```text
//! request ─▶ service   is anything wanted of its answer? if not, the body passes untouched
//! head ────▶ service   can the body be read? has an inner layer moved the pin?
//! piece ───▶ body ─▶ reader ─▶ sse ─▶ json ─▶ facts   over? done? which id? how many tokens?
//!              ╰────▶ hold   a link or a release that this piece waits for
//! ```
//!
//! All that is learnt comes from one pass: a stream of minutes is not parsed once for its end, once
//! for its id and once for its tokens, and one set of limits bounds the memory. Nothing is collected
//! either, because a client that waits for the whole of an answer has lost its stream.
//!
//! # Rules
//!
//! 1. An answer passes frame by frame, byte for byte. A piece is held back only where it waits for
//!    the store, and for 50 ms at most.
//! 2. The pin of a request with `x-plano-affinity: final` ends with its answer, be that a stream of
//!    minutes. Without the layer it ends as soon as the head of the answer is there.
//! 3. With [`final_answer`](AnswerLayer::final_answer) a pin also ends when the model says that it is
//!    done. An answer that holds a call of a tool keeps the pin, whatever its reason to stop;
//!    [`AnswerReader`] lists what counts. The next request of the session is routed again.
//! 4. An answer has ended when it says so: a stream with `[DONE]`, `message_stop` or
//!    `response.completed`, `.incomplete` or `.failed`, a plain one with the end of its JSON. An
//!    answer that does not say so, or that cannot be read, ends with its body.
//! 5. The release begins before the piece with the end is passed on, and that piece waits until the
//!    store has done it and, over near copies, until
//!    [other replicas know](crate::AffinityStore::coherence). A slower release continues while the
//!    answer goes on, for 1 s in all; a turn that is sent meanwhile may still get the old pin.
//! 6. A body that fails, or that the client stops reading before the model is done, has not ended:
//!    the pin stays. So does a pin that was made after the request was served.
//! 7. Where the affinity layer follows [`PreviousResponseId`](crate::BodyId::PreviousResponseId), the
//!    id of each response of `/responses` leads back to the conversation, if the client gave that no
//!    id of its own. This **link** is stored before the client can know the id: the piece that holds
//!    the id waits for it. A link lives as long as a pin may, counts as one in the store, and holds
//!    within the scope of its conversation. When it cannot be stored, the next turn begins a new
//!    conversation.
//!    Where the affinity layer has a `Fingerprint`, links from what the model says are stored in the same way,
//!    with the last piece of the answer.
//! 8. A sliding pin does not expire while its answer runs: from the request to the last byte it is in
//!    use, however long the model is silent. The store hears of it in the background, at most once in a
//!    quarter of the idle time. A maximum age that is reached meanwhile takes effect when the last answer
//!    of the session has ended.
//! 9. With [`holders`](AnswerLayer::holders) it is noted which model made a response, a container or a file,
//!    so that a later request for it finds its provider.
//!
//! # Caveats
//!
//! - A compressed answer is not read: it keeps its pin, its id leads nowhere and its tokens are not
//!   counted. Let no `accept-encoding` reach the provider. The first such answer of the process is
//!   logged.
//! - Answers of a status other than 2xx keep their pins, unless the request was final.
//! - The layer changes the type of the response's body to [`AnswerBody`], so that
//!   `MapResponseBodyLayer` belongs between it and the affinity layer outside of axum routers.
//!
//! # Example
//!
//! ```
//! use affinity_layer::answer::{AnswerLayer, AnswerObserver, Usage};
//! use affinity_layer::{AffinityLayer, MemoryStore, ModelName, RouteDecision, RouteRequest};
//! # use axum::body::Body;
//! # use http::{Request, Response};
//! # use http_body_util::BodyExt;
//! # use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! /// Prints what each answer cost.
//! struct Cost(Usage);
//!
//! impl AnswerObserver for Cost {
//!     fn on_data(&mut self, usage: Usage) {
//!         self.0 = usage;
//!     }
//!
//!     fn on_end(self: Box<Self>) {
//!         println!("{:?} tokens", self.0.output_tokens);
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # let router = service_fn(|_: RouteRequest| async {
//! #     Ok::<_, BoxError>(RouteDecision::new([ModelName::new("openai/gpt-4o")?]))
//! # });
//! let store = MemoryStore::default();
//! let provider = service_fn(|_: Request<Body>| async {
//!     let answer = r#"{"choices":[{"finish_reason":"stop"}],"usage":{"completion_tokens":7}}"#;
//!     let response = Response::builder().header("content-type", "application/json");
//!     Ok::<_, BoxError>(response.body(Body::from(answer))?)
//! });
//! let answer = AnswerLayer::new().final_answer(true);
//! let answer = answer.observe(|_request| Some(Box::new(Cost(Usage::default()))));
//! let mut service = ServiceBuilder::new()
//!     .layer(AffinityLayer::new(store.clone(), router))
//!     .map_response(|response: Response<_>| response.map(Body::new))
//!     .layer(answer)
//!     .service(provider);
//!
//! let request = Request::post("/v1/chat/completions").header("x-model-affinity", "task-1");
//! let response = service.ready().await?.call(request.body(Body::empty())?).await?;
//! assert_eq!(store.len(), 1, "the answer has not been read yet");
//! response.into_body().collect().await?;
//! assert_eq!(store.len(), 0, "the model is done, and so is the task");
//! # Ok(())
//! # }
//! ```

mod beginning;
mod body;
mod continuation;
mod facts;
mod hold;
mod holders;
mod json;
mod layer;
mod link;
mod observer;
mod reader;
mod service;
mod settings;
mod sse;
#[cfg(test)]
mod tests;
mod usage;

pub(crate) use beginning::{Beginning, BeginningReader};
pub use body::AnswerBody;
pub(crate) use continuation::Continuation;
pub use holders::Holders;
pub use layer::AnswerLayer;
pub(crate) use link::{Link, ServedRequest};
pub use observer::AnswerObserver;
pub(crate) use observer::ReleasedAtEnd;
pub use reader::AnswerReader;
pub use service::{Answer, ResponseFuture};
pub use usage::Usage;
