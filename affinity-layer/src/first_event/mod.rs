//! Middleware below failover: a 200 counts only once an answer has begun.
//!
//! Providers send the head of a stream before their model has said anything. What goes wrong then —
//! the model is overloaded, a worker dies, a proxy closes the connection — arrives as a 200 that ends,
//! breaks, or begins with an error. A [`FirstEventLayer`] below a
//! [`FailoverLayer`](crate::FailoverLayer) holds such a head until the answer has begun, so that the
//! next candidate can still be asked, and the client sees nothing of it.
//!
//! # Rules
//!
//! 1. A response of status 200 is held until its answer begins. Comments, blank bytes, `ping`,
//!    `message_start`, `response.created`, `response.queued` and `response.in_progress` do not begin
//!    it; nor does `[DONE]`.
//! 2. An answer has failed that ends or breaks before it begins, or that begins with an error: a first
//!    event, or a JSON body, with the type `error` or `response.failed`, or with an `error` that is not
//!    `null`. The response gets a [`PassingFailure`](crate::ext::PassingFailure) and is otherwise
//!    unchanged: a reader of its body gets the same bytes, and the same break.
//! 3. After [a time](FirstEventLayer::limit), or with more than 256 KiB, what is held goes out and
//!    counts as an answer.
//! 4. No byte waits for another once the answer has begun, and none is changed.
//!
//! # Caveats
//!
//! - The inner body must be [`Unpin`]; box one that is not.
//! - Of a compressed answer, and of one that is neither JSON nor a stream of events, the first byte is
//!   the beginning.
//! - The layer changes the type of the response's body to [`HeldBody`].
//!
//! # Example
//!
//! ```
//! use affinity_layer::first_event::FirstEventLayer;
//! use affinity_layer::{
//!     AffinityLayer, FailoverLayer, MemoryStore, ModelName, PinnedModel, RouteDecision, RouteRequest,
//! };
//! # use axum::body::Body;
//! # use http::{Request, Response};
//! # use http_body_util::{BodyExt, Full};
//! # use bytes::Bytes;
//! # use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let router = service_fn(|_: RouteRequest| async {
//!     let ranked = ["vendor/busy", "vendor/idle"].map(ModelName::new);
//!     Ok::<_, BoxError>(RouteDecision::new(ranked.into_iter().collect::<Result<Vec<_>, _>>()?))
//! });
//! // Stands for the providers: one of them says too late that it is overloaded.
//! let providers = service_fn(|request: Request<Full<Bytes>>| async move {
//!     let model = request.extensions().get::<PinnedModel>().expect("a model").model().clone();
//!     let event = match model.as_str() {
//!         "vendor/busy" => r#"data: {"error":{"message":"overloaded"}}"#,
//!         _ => r#"data: {"choices":[{"delta":{"content":"Hello"}}]}"#,
//!     };
//!     let response = Response::builder().header("content-type", "text/event-stream");
//!     Ok::<_, BoxError>(response.body(Body::from(format!("{event}\n\n")))?)
//! });
//! let app = ServiceBuilder::new()
//!     .layer(AffinityLayer::new(MemoryStore::default(), router))
//!     .map_response(|response: Response<_>| response.map(Body::new))
//!     .layer(FailoverLayer::new())
//!     .layer(FirstEventLayer::new())
//!     .service(providers);
//!
//! let request = Request::post("/v1/chat/completions").header("x-model-affinity", "task-1");
//! let response = app.oneshot(request.body(Full::from("{}"))?).await?;
//! assert_eq!(response.headers()["x-plano-model"], "vendor/idle");
//! assert!(response.into_body().collect().await?.to_bytes().starts_with(b"data: {\"choices\""));
//! # Ok(())
//! # }
//! ```

mod body;
mod hold;
mod layer;
mod service;

pub use body::HeldBody;
pub use hold::{Held, hold};
pub use layer::FirstEventLayer;
pub use service::{FirstEvent, ResponseFuture};
