//! Input that is not meant well, each with its exact answer; `docs/hostile-input.md` says which test
//! answers which row of the list.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reports what is wrong by a panic"
)]

mod amplification;
mod bodies;
mod configs;
mod connections;
mod framing;
mod http2;
mod ids;
mod leaders;
mod limits;
mod list;
mod load;
mod logs;
mod mistakes;
mod secrets;
mod slow;
mod streams;
mod uploads;
mod upstreams;

use affinity_tests::models::ONE;
use affinity_tests::{Gateway, Request, Setup, Upstream, post};
use serde_json::json;

/// A provider that names the model it was asked for, and a gateway before it.
async fn start() -> (Upstream, Gateway) {
    with(|setup| setup).await
}

async fn with(setup: impl Fn(Setup) -> Setup) -> (Upstream, Gateway) {
    let upstream = Upstream::echo().await;
    let gateway = setup(Setup::new(&upstream.url())).start().await;
    (upstream, gateway)
}

fn chat() -> String {
    json!({"model": ONE, "messages": [{"role": "user", "content": "hello"}]}).to_string()
}

fn turn() -> Request {
    post("/v1/chat/completions", chat())
}

/// The status and the code of what is answered to these bytes; 0 when nothing is.
async fn told(gateway: &Gateway, bytes: &[u8]) -> (u16, String) {
    let mut connection = gateway.connect().await;
    // Who is refused early may close before all is written.
    let _ = connection.wire.write(bytes).await;
    connection.told().await
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Still there, and still right.
async fn serves(gateway: &mut Gateway) {
    assert!(gateway.runs());
    assert_eq!(gateway.ask(&turn()).await.affinity(), ("false", "none", ONE));
}
