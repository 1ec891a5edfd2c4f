//! The admin API from outside: seeing and steering the sessions of real gateways.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reports what is wrong by a panic"
)]

mod access;
mod bulk;
mod cooldowns;
mod documents;
mod drains;
mod events;
mod lanes;
mod ledger;
mod money;
mod pins;
mod replicas;
mod report;

use std::net::SocketAddr;

use affinity_tests::models::DEFAULT;
use affinity_tests::{
    Connection, Gateway, ModelRouter, Request, Response, Setup, Upstream, get, post,
};
use serde_json::{Value, json};

const TOKEN: &str = "token-of-the-admin";

/// What a gateway calls; it goes with its last holder.
type Ends = (Upstream, ModelRouter);

/// Adds the admin API to a configuration, on a port that is free.
fn with_admin(setup: Setup) -> Setup {
    setup.line(&format!("admin: {{address: '127.0.0.1:0', token: {TOKEN}}}"))
}

/// The admin API of a gateway.
struct Admin(SocketAddr);

impl Admin {
    async fn of(gateway: &Gateway) -> Self {
        Self(gateway.admin().await)
    }

    /// Asks with the token.
    async fn ask(&self, request: Request) -> Response {
        self.ask_plainly(&request.header("authorization", &format!("Bearer {TOKEN}"))).await
    }

    async fn ask_plainly(&self, request: &Request) -> Response {
        Connection::open(self.0).await.ask(request).await
    }

    /// What is told at `path`.
    async fn get(&self, path: &str) -> Value {
        let answer = self.ask(get(path)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}

/// A turn of a session.
fn turn(session: &str) -> Request {
    let message = json!({"role": "user", "content": "hello"});
    let body = json!({"model": DEFAULT, "messages": [message]});
    post("/v1/chat/completions", body).session(session)
}

/// A request without a body.
fn delete(path: &str) -> Request {
    get(path).method("DELETE")
}

fn patch(path: &str, body: Value) -> Request {
    post(path, body).method("PATCH")
}

/// A name as one part of a path.
fn part(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The lines of the log that tell of changes.
fn audit(gateway: &Gateway) -> Vec<Value> {
    let lines = gateway.log();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "audit").map(|line| line["fields"].clone()).collect()
}
