//! What the end-to-end tests share: the gateway as a process, a client and an upstream that see
//! every byte, and configurations.
//!
//! The client and the upstream are written on plain sockets. A library would repair or refuse what
//! the tests are about: the order of headers, a stream that is cut, two equal header fields.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests reports what is wrong by a panic"
)]

pub mod bench;
mod binary;
mod client;
mod collector;
mod config;
pub mod faults;
mod forward_proxy;
mod gateway;
pub mod h2;
pub mod integrity;
mod model_router;
pub mod redis;
mod scrape;
pub mod soak;
mod upstream;
mod wire;
mod wrong_clock;

pub use binary::{agent_server, gateway};
pub use client::{Connection, Request, Response, get, post};
pub use collector::{Collector, Span};
pub use config::{Setup, models};
pub use forward_proxy::{Asked, ForwardProxy};
pub use gateway::{Gateway, Output, run};
pub use model_router::ModelRouter;
pub use scrape::{Scrape, promtool};
pub use upstream::{Answer, Refusing, Seen, Upstream, ok_json};
pub use wire::{Head, Piece, Wire, field};
pub use wrong_clock::WrongClock;

use std::future::Future;
use std::time::Duration;

/// The longest that anything may take before a test fails.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What `future` gives, within [`LIMIT`].
///
/// # Panics
///
/// When it takes longer.
#[track_caller]
pub fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(output) => output,
            Err(_) => panic!("{place}: nothing happened within {LIMIT:?}"),
        }
    }
}

/// Asks `condition` again and again until it holds, within [`LIMIT`].
///
/// # Panics
///
/// When it does not come to hold.
#[track_caller]
pub fn until(mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while !condition().await {
            pace.tick().await;
        }
    })
}

/// The documents whose code is compiled and run with the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/recipes.md")]
    struct Recipes;
}
