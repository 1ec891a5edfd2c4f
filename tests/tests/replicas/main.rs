//! Several gateways as one: real processes over one real Redis.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reports what is wrong by a panic"
)]

mod balancer;
mod clocks;
mod conversations;
mod counts;
mod eviction;
mod lifetimes;
mod outages;
mod outlast;
mod privacy;
mod redis_clock;
mod required;
mod responses;
mod rotation;
mod sessions;
mod versions;
mod warm_up;

use affinity_tests::models::DEFAULT;
use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, ModelRouter, Request, Setup, Upstream, get, post, until};
use serde_json::json;

/// Replicas of one gateway, and what they share. The router never gives one answer twice in a row.
struct Replicas {
    a: Gateway,
    b: Gateway,
    router: ModelRouter,
    upstream: Upstream,
}

impl Replicas {
    /// Two, both in touch with Redis.
    async fn start(redis: &RedisServer, cache: &str) -> Self {
        let replicas = Self::start_anyway(redis, cache).await;
        for gateway in [&replicas.a, &replicas.b] {
            is_ready(gateway).await;
        }
        replicas
    }

    /// Two, whether Redis is there or not.
    async fn start_anyway(redis: &RedisServer, cache: &str) -> Self {
        let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
        let setup = Setup::routed(&upstream, &router)
            .routing(&format!("session_cache: {{type: redis, url: '{}'{cache}}}", redis.url()));
        let (a, b) = (setup.start().await, setup.start().await);
        Self { a, b, router, upstream }
    }
}

/// Waits until a replica is in touch with Redis.
async fn is_ready(gateway: &Gateway) {
    until(async || gateway.ask(&get("/readyz")).await.json()["status"] == "ready").await;
}

/// A turn of a session.
fn turn(session: &str) -> Request {
    let message = json!({"role": "user", "content": "hello"});
    let body = json!({"model": DEFAULT, "messages": [message]});
    post("/v1/chat/completions", body).session(session)
}

/// The names of sessions.
fn ids(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{what}-{n}")).collect()
}
