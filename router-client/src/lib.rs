//! Tower services that decide which model answers a request.
//!
//! Each is a [`Service`](tower_service::Service) from [`affinity_layer::RouteRequest`] to
//! [`affinity_layer::RouteDecision`], and so a router for the affinity layer:
//!
//! | router | who decides |
//! |---|---|
//! | [`LexicalRouter`] | no server: it compares the words of the last user message with the preferences |
//! | [`LlmRouter`] | a routing model behind an OpenAI-compatible endpoint |
//! | [`PlanoRouter`] | another gateway, by its decision API |
//!
//! [`RouterClient`] puts limits on time, retries and concurrency around any of them, and around a
//! router of your own.
//!
//! # Rooms
//!
//! | module | holds |
//! |---|---|
//! | `client` | the limits around a router |
//! | `lexical`, `llm`, `plano` | one router each; `llm::dialect` is how a model is asked, `llm::format` what it is asked, `llm::answer` how its answer is read |
//! | `conversation`, `turn` | the texts of a request's body, in three protocols, and where a turn of the user begins |
//! | `endpoint` | one HTTP exchange: what is sent, how much is read, what its failures are called |
//! | `preference`, `error`, `span` | the routes to choose from, the errors, the span of a decision |
//!
//! # Rules
//!
//! 1. No match is a decision: [`RouteDecision::none`](affinity_layer::RouteDecision::none). A
//!    failure is a [`RouterError`] and never a decision, so that an outage is never stored.
//! 2. [`Preferences`] in the extensions of a request take the place of the configured ones.
//! 3. Nothing of a client's headers goes out but `x-request-id`, `traceparent` and `tracestate`.
//! 4. Redirects are not followed, and at most 64 KiB of an answer are read.
//!
//! # Spans
//!
//! A decision of a [`RouterClient`] is one `tracing` span, `router`, of level DEBUG, retries
//! included: with the model that was asked, the route that matched and the best candidate. A request
//! that is pinned has none.
//!
//! # Example
//!
//! ```
//! use affinity_layer::{ModelName, RouteName, RouteRequest};
//! use router_client::{LexicalRouter, Preference, Preferences, RouterClient};
//! use std::time::Duration;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let preferences = Preferences::new([Preference::new(
//!     RouteName::new("code_generation")?,
//!     "writing functions, snippets and boilerplate code",
//!     [ModelName::new("anthropic/claude-sonnet-4-20250514")?],
//! )]);
//! let router = RouterClient::builder(LexicalRouter::new(preferences))
//!     .timeout(Duration::from_millis(500))
//!     .build();
//!
//! let body = r#"{"messages": [{"role": "user", "content": "Write a sort function"}]}"#;
//! let (parts, ()) = http::Request::post("/v1/chat/completions").body(())?.into_parts();
//! let decision = router.oneshot(RouteRequest::new(parts, body.into())).await?;
//!
//! assert_eq!(decision.models[0].as_str(), "anthropic/claude-sonnet-4-20250514");
//! assert_eq!(decision.route.unwrap().as_str(), "code_generation");
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod conversation;
mod endpoint;
mod error;
#[cfg(feature = "__fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod lexical;
mod list;
mod llm;
mod object;
mod plano;
mod preference;

mod span;
mod turn;

pub use client::{RouterClient, RouterClientBuilder};
pub use error::{ErrorKind, RouterError};
pub use lexical::LexicalRouter;
pub use llm::{LlmRouter, PromptFormat};
pub use plano::PlanoRouter;
pub use preference::{Preference, Preferences};
pub use turn::opens_user_turn;

/// The example of the README is compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
