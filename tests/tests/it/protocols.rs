//! Providers that do not speak every protocol.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Gateway, Upstream, post};
use serde_json::json;

use crate::chat;

/// `DEFAULT` and `ONE` speak chat alone, `TWO` messages and responses.
async fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::echo().await;
    let url = upstream.url();
    let config = format!(
        "version: v0.4.0
model_providers:
  - {{model: {DEFAULT}, base_url: '{url}', access_key: k, default: true, protocols: [chat]}}
  - {{model: {ONE}, base_url: '{url}', access_key: k, protocols: [chat]}}
  - {{model: {TWO}, base_url: '{url}', access_key: k, protocols: [messages, responses]}}
routing_preferences:
  - {{name: both, description: writing poems, models: [{ONE}, {TWO}]}}
"
    );
    (upstream, Gateway::start(&config).await)
}

#[tokio::test]
async fn candidates_that_do_not_speak_the_protocol_are_passed_over() {
    let (upstream, gateway) = start().await;
    for (path, model) in
        [("/v1/chat/completions", ONE), ("/v1/messages", TWO), ("/v1/responses", TWO)]
    {
        let body = match path {
            "/v1/responses" => json!({"model": "auto", "input": "writing poems"}).to_string(),
            _ => chat("auto", "writing poems"),
        };
        let answer = gateway.ask(&post(path, body)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.affinity(), ("false", "none", model), "{path}");
        assert_eq!(upstream.last().json()["model"], model.split_once('/').unwrap().1);
    }
}

#[tokio::test]
async fn with_none_left_the_client_is_told() {
    let (upstream, gateway) = start().await;
    let answer = gateway.ask(&post("/v1/responses", json!({"model": ONE, "input": "z"}))).await;
    assert_eq!(answer.refusal(), (400, "protocol_not_supported".to_owned()));
    let answer = gateway.ask(&post("/v1/chat/completions", chat(TWO, "z"))).await;
    assert_eq!(answer.refusal(), (400, "protocol_not_supported".to_owned()));
    let answer = gateway.ask(&post("/v1/messages", chat(ONE, "z"))).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (400, Some("error")));
    assert_eq!(upstream.count(), 0);
}
