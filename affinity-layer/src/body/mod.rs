//! The JSON body of a request: checked before it is routed, and sent on with the one `model` value replaced.
//!
//! An [`AffinityLayer`](crate::AffinityLayer) finds the model and does not put it into the body. These two
//! layers do:
//!
//! 1. [`CheckBodyLayer`] belongs above the affinity layer. It reads the body, refuses what two parsers read
//!    differently, and hands on a [`CheckedBody`], which knows where its `model` is.
//! 2. [`ModelBodyLayer`] belongs below it, next to the service that calls the provider. It replaces the
//!    top-level `model` by that of the [`PinnedModel`](crate::PinnedModel).
//!
//! The body is never serialised again: every other byte goes on as the client sent it, so that signatures,
//! numbers and the provider's prompt cache see what they saw before.
//!
//! ```
//! use affinity_layer::body::{CheckBodyLayer, ModelBodyLayer};
//! use affinity_layer::{
//!     AffinityLayer, BoxError, MemoryStore, ModelName, RouteDecision, RouteRequest,
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let router = service_fn(|_: RouteRequest| async {
//!     Ok::<_, BoxError>(RouteDecision::new([ModelName::new("gpt-4o-mini")?]))
//! });
//! // Stands for a provider: it answers with what it was sent.
//! let provider = service_fn(|request: Request<affinity_layer::body::ModelBody<_>>| async {
//!     let sent = request.into_body().collect().await?.to_bytes();
//!     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(sent)))
//! });
//! let app = ServiceBuilder::new()
//!     .layer(CheckBodyLayer::new())
//!     .layer(AffinityLayer::new(MemoryStore::default(), router))
//!     .layer(ModelBodyLayer::new())
//!     .service(provider);
//!
//! let request = |body: &'static str| {
//!     Request::post("/v1/chat/completions")
//!         .header("content-type", "application/json")
//!         .header("x-model-affinity", "task-1")
//!         .body(Full::<Bytes>::from(body))
//! };
//! let answer = app.clone().oneshot(request(r#"{"n": 1.50, "model" : "auto"}"#)?).await?;
//! let sent = answer.into_body().collect().await?.to_bytes();
//! assert_eq!(sent, r#"{"n": 1.50, "model" : "gpt-4o-mini"}"#);
//!
//! // Which of the two would the provider take?
//! let twice = app.oneshot(request(r#"{"model":"a","model":"b"}"#)?).await?;
//! assert_eq!(twice.status(), 400);
//! # Ok(())
//! # }
//! ```
//!
//! # What is refused
//!
//! | request | status | code |
//! |---|---|---|
//! | another content type than JSON, or none | 415 | `unsupported_media_type` |
//! | a charset other than UTF-8 | 400 | `unsupported_charset` |
//! | a `content-type` or `content-encoding` that is repeated | 400 | `repeated_header` |
//! | a compressed body: inflate it in a layer above | 415 | `unsupported_encoding` |
//! | more bytes than [`limit`](CheckBodyLayer::limit) | 413 | `request_too_large` |
//! | a body that breaks off | 400 | `invalid_body` |
//! | what is not one JSON object, nests deeper than 127 levels, begins with a byte order mark, or has a number beyond a double | 400 | `invalid_json`, `invalid_json_type` |
//! | `model` or `routing_preferences` twice | 400 | `duplicate_key` |
//! | a key that another parser takes for one of [`ACTED_ON`], such as `Model`, `mod\u0065l` or `model\u0000` | 400 | `ambiguous_key` |
//! | a `stream`, `messages` or number of tokens that parsers read differently | 400 | `invalid_value` |
//!
//! Nested keys are not judged. A refused request is not routed, so it makes no pin.
//!
//! # Limits
//!
//! - A body is held whole until it has been checked, since its last byte may show that it is no JSON. It is
//!   held once: the router, each attempt of a [`FailoverLayer`](crate::FailoverLayer) and the provider share
//!   its bytes.
//! - Requests that cannot use a model (any method but `POST`, or what
//!   [`checks`](CheckBodyLayer::checks) leaves out) stream through unread. Such a body can be sent once:
//!   a second attempt gets an error in place of its frames.
//! - There is no time limit; a server bounds how long a client may take to send its body.
//! - A body without `model` stays without one.

mod check_layer;
mod check_service;
mod checked;
mod content;
mod disguise;
mod error;
mod inputs;
mod json_body;
mod key;
mod media;
mod members;
mod model_layer;
mod quick;
#[cfg(test)]
mod random;
mod scan;
mod slices;
mod values;

pub use check_layer::CheckBodyLayer;
pub use check_service::{CheckBody, CheckBodyFuture, ResponseForRefusal};
pub use checked::{CheckedBody, ModelBody};
pub use disguise::ACTED_ON;
pub use error::{BodyError, BodyRefusal, Fault};
pub use inputs::Inputs;
pub use json_body::JsonBody;
pub use media::{MediaError, check_media, is_json};
pub use model_layer::{ModelBodyLayer, ReplaceModel};
pub use slices::Slices;
