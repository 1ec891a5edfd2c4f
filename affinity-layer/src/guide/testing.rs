//! Sessions of hours in tests of milliseconds.
//!
//! Everything in this crate that waits or ends does so on tokio's clock: pins in a
//! [`MemoryStore`](crate::MemoryStore), the store budget, waits for a first event, cool-downs, the limits of
//! tower. So a test that pauses the clock moves all of them: with tokio's feature `test-util`, by
//! `#[tokio::test(start_paused = true)]` and `tokio::time::advance`. A sleep of a paused test ends at once when
//! nothing else can run.
//!
//! Real time stays real in three places: a pin's [`claimed_at`](crate::Pin::claimed_at), which is for people to
//! read; pins in Redis, which end on the server's clock; and sockets, on which a paused test should not wait,
//! because the clock jumps over its time limits as soon as nothing else is left to do.
//!
//! ```
//! use std::time::Duration;
//!
//! use affinity_layer::{
//!     AffinityLayer, BoxError, Expiry, MemoryStore, ModelName, RouteDecision, RouteRequest,
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tokio::time::advance;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # // In a test: #[tokio::test(start_paused = true)]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let router = service_fn(|_: RouteRequest| async {
//!     Ok::<_, BoxError>(RouteDecision::new([ModelName::new("openai/gpt-4o")?]))
//! });
//! let (idle, age) = (Duration::from_secs(600), Duration::from_secs(3_600));
//! let affinity = AffinityLayer::new(MemoryStore::default(), router)
//!     .expiry(Expiry::sliding(idle, age));
//! let app = affinity.layer(service_fn(|_: Request<Full<Bytes>>| async {
//!     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
//! }));
//! let turn = async || {
//!     let request = Request::post("/").header("x-session-id", "task-1").body(Full::from("{}"))?;
//!     let response = app.clone().oneshot(request).await?;
//!     Ok::<_, BoxError>(response.headers()["x-plano-affinity"].clone())
//! };
//!
//! assert_eq!(turn().await?, "claimed");
//! advance(Duration::from_secs(599)).await;
//! assert_eq!(turn().await?, "hit", "used in time");
//! advance(Duration::from_secs(601)).await;
//! assert_eq!(turn().await?, "claimed", "ten minutes without a use");
//! # Ok(())
//! # }
//! ```
