//! Real Redis servers for tests: one server, a cluster, a Sentinel set, TLS, and a faulty network.
//!
//! 1. Every server is a `redis-server` process of its own on a free loopback port, in a temporary
//!    directory of its own. Both are gone when the value is dropped, also when a test panics.
//! 2. Nothing is persisted unless asked for: a restarted server is empty.
//! 3. A server that cannot be set up panics with the reason and the server's own last words, since
//!    no test can go on without it. Commands give a [`CommandError`] instead.
//! 4. Every wait is bounded and says what it waited for.
//! 5. Time is real time: tokio's clock must not be paused while this module waits.
//!
//! ```no_run
//! # async fn example() {
//! use affinity_tests::redis::RedisServer;
//!
//! let server = RedisServer::start().await;
//! server.run(&["SET", "k", "v"]).await;
//! assert_eq!(server.run(&["GET", "k"]).await.text(), Some("v"));
//! server.freeze();
//! assert!(server.cmd(&["GET", "k"]).await.is_err());
//! # }
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests reports what is wrong by a panic"
)]

mod builder;
mod cluster;
mod command;
mod counts;
mod liar;
mod port;
mod process;
mod proxy;
mod reshape;
mod resp;
mod sentinel;
mod server;
mod sides;
pub mod tls;
mod wait;

pub use builder::Builder;
pub use cluster::RedisCluster;
pub use liar::Liar;
pub use proxy::{Mode, Proxy};
pub use resp::{CommandError, Reply};
pub use sentinel::{SERVICE_NAME, SentinelSet};
pub use server::RedisServer;
pub use sides::{LEFT, RIGHT, SplitSet};
