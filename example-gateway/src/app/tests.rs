//! A session over the paths of the whole stack.

use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::config::Mode;

const TWO_PROTOCOLS: &str = "
version: v0.4.0
model_providers:
  - {model: a/chat, base_url: 'http://127.0.0.1:1', protocols: [chat]}
  - {model: b/messages, base_url: 'http://127.0.0.1:1', protocols: [messages]}
  - {model: c/chat, base_url: 'http://127.0.0.1:1', protocols: [chat], default: true}
routing_preferences:
  - {name: mixed, description: graph theory, models: [a/chat, b/messages]}
";

async fn decided(app: &App, path: &str, session: &str, prompt: &str) -> (StatusCode, Value) {
    let body = json!({"messages": [{"role": "user", "content": prompt}]}).to_string();
    let request = Request::post(format!("/routing/v1/{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-model-affinity", session)
        .body(Body::from(body))
        .unwrap();
    let response = app.front(&[]).answer(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_session_may_change_its_protocol() {
    let config = Config::parse(TWO_PROTOCOLS, "test", &|_| None, Mode::Full).unwrap();
    let app = App::new(&config).unwrap();
    let graph = "a question on graph theory";
    let (_, first) = decided(&app, "chat/completions", "s", graph).await;
    assert_eq!((&first["models"], &first["pinned"]), (&json!(["a/chat"]), &json!(false)));
    let (_, other) = decided(&app, "messages", "s", graph).await;
    assert_eq!(other["models"], json!(["b/messages"]), "the pinned one does not speak it");
    let (_, back) = decided(&app, "chat/completions", "s", graph).await;
    assert_eq!((&back["models"], &back["pinned"]), (&json!(["a/chat"]), &json!(true)));
    let (status, refused) = decided(&app, "responses", "s", graph).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(refused["error"]["code"], "protocol_not_supported");
}
