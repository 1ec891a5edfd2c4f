//! The gateway from outside: the real binary, real sockets, and both ends in the test's hands.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reports what is wrong by a panic"
)]

mod access_log;
mod agents;
mod answers;
mod bodies;
mod browsers;
mod cache_keys;
mod commands;
mod connections;
mod cooldown;
mod decision;
mod demo_page;
mod demos;
mod deployed;
mod detours;
mod documents;
mod failover;
mod forward_proxies;
mod headers;
mod identity;
mod listener_tls;
mod metrics;
mod moves;
mod observe;
mod paths;
mod policies;
mod process;
mod protocols;
mod refusals;
mod regret;
mod release;
mod reload;
mod router_failures;
mod sessions;
mod takeover;
mod tenants;
mod tls;
mod traces;
mod windows;

use serde_json::json;

/// A chat with one message, for a model that the client names.
fn chat(model: &str, text: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": text}]}).to_string()
}
