//! A session over the paths of the whole stack.

use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::config::{Mode, SessionCache};

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
    asked(app, path, session, json!({"messages": [{"role": "user", "content": prompt}]})).await
}

async fn asked(app: &App, path: &str, session: &str, body: Value) -> (StatusCode, Value) {
    let body = body.to_string();
    let request = Request::post(format!("/routing/v1/{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-model-affinity", session)
        .body(Body::from(body))
        .unwrap();
    let response = app.front(&Listener::named("test")).answer(request).await;
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

const TWO_VENDORS: &str = "
version: v0.4.0
model_providers:
  - {model: openai/gpt, default: true}
  - {model: openai/*}
  - {model: anthropic/*}
routing_preferences:
  - {name: graphs, description: graph theory, models: [openai/gpt]}
  - {name: poems, description: writing poems, models: [claude-poet, openai/gpt]}
";

#[tokio::test]
async fn a_request_is_routed_among_the_models_that_speak_its_protocol() {
    let config = Config::parse(TWO_VENDORS, "test", &|_| None, Mode::Full).unwrap();
    let app = App::new(&config).unwrap();
    let (chat, messages, responses) = ("chat/completions", "messages", "responses");
    for (path, model, prompt, first) in [
        // The route's only model does not speak Messages: the model asked for does.
        (messages, "claude-opus-4-8", "graph theory", "anthropic/claude-opus-4-8"),
        // Nothing was asked for: any model that is named somewhere and speaks it.
        (messages, "auto", "graph theory", "anthropic/claude-poet"),
        (messages, "auto", "hello", "anthropic/claude-poet"),
        // Of a route's models, those that speak it.
        (messages, "claude-opus-4-8", "writing poems", "anthropic/claude-poet"),
        (responses, "gpt-5", "writing poems", "openai/gpt"),
        (responses, "gpt-5", "hello", "openai/gpt-5"),
        (chat, "claude-opus-4-8", "writing poems", "anthropic/claude-poet"),
        (chat, "claude-opus-4-8", "hello", "anthropic/claude-opus-4-8"),
    ] {
        let session = format!("{path} {model} {prompt}").replace([' ', '/'], "-");
        let message = json!([{"role": "user", "content": prompt}]);
        let body = json!({"model": model, "messages": message, "input": message});
        for pinned in [false, true] {
            let (status, answer) = asked(&app, path, &session, body.clone()).await;
            assert_eq!(status, StatusCode::OK, "{session}: {answer}");
            assert_eq!(
                (&answer["model"], &answer["pinned"]),
                (&json!(first), &json!(pinned)),
                "{session}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_names_a_model_and_another_protocol_is_told() {
    let config = Config::parse(TWO_VENDORS, "test", &|_| None, Mode::Full).unwrap();
    let app = App::new(&config).unwrap();
    for (path, model, prompt) in [
        ("messages", "gpt-5", "hello"),
        ("messages", "gpt", "graph theory"),
        ("responses", "claude-opus-4-8", "hello"),
    ] {
        let message = json!([{"role": "user", "content": prompt}]);
        let body = json!({"model": model, "messages": message, "input": message});
        let (status, answer) = asked(&app, path, &format!("{path}-{model}"), body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {model}: {answer}");
        assert!(answer.to_string().contains("speaks the protocol"), "{answer}");
    }
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing_that_outlives_it() {
    let redis = "{type: redis, url: 'redis://127.0.0.1:1'}";
    let text = format!("{TWO_PROTOCOLS}routing: {{session_cache: {redis}}}\n");
    let config = Config::parse(&text, "test", &|_| None, Mode::Full).unwrap();
    let app = App::new(&config).unwrap();
    let unnamed = Request::post("/routing/v1/chat/completions")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"messages": [{"role": "user", "content": "graph theory"}]}"#))
        .unwrap();
    app.front(&Listener::named("test")).answer(unnamed).await;
    let known = app.lasting.unnamed.clients();
    assert_eq!(known.len(), 1);
    let mut other = config.clone();
    let SessionCache::Redis(cache) = &mut other.routing.cache else { panic!("Redis") };
    cache.url = "no address".into();
    assert!(app.renewed(&other).is_err());
    assert_eq!(app.lasting.unnamed.clients(), known);
    assert!(app.renewed(&config).is_ok());
    assert_eq!(app.lasting.unnamed.clients(), []);
}
