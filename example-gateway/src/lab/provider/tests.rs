use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

mod loops;
mod streams;
mod usage;

async fn send(router: &Router, method: &str, path: &str, body: String) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn post(router: &Router, path: &str, body: &Value) -> Value {
    let (status, body) = send(router, "POST", path, body.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn any_tool() -> Value {
    json!({"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}}})
}

#[tokio::test]
async fn chat_answers_plainly_with_the_model_it_was_asked_for() {
    let router = router(Options::default());
    let request = json!({"model": "openai/x", "messages": [{"role": "user", "content": "Hello"}]});
    for path in ["/v1/chat/completions", "/chat/completions"] {
        let body = post(&router, path, &request).await;
        assert_eq!(body["object"], "chat.completion");
        assert_eq!(body["model"], "openai/x");
        let message = &body["choices"][0]["message"];
        assert_eq!(message["content"], r#"This is a simulated answer to: "Hello""#);
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
        let usage = &body["usage"];
        let sum =
            usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
        assert_eq!(usage["total_tokens"], sum);
    }
    let one = post(&router, "/v1/chat/completions", &request).await;
    let two = post(&router, "/v1/chat/completions", &request).await;
    assert_ne!(one["id"], two["id"]);
}

#[tokio::test]
async fn tool_choice_and_format_are_obeyed() {
    let router = router(Options::default());
    let tools = ["a", "b"].map(|name| json!({"type": "function", "function": {"name": name}}));
    let mut request = json!({
        "model": "m", "tools": tools, "messages": [{"role": "user", "content": "Go"}]
    });
    request["tool_choice"] = json!({"type": "function", "function": {"name": "b"}});
    let body = post(&router, "/v1/chat/completions", &request).await;
    let call = &body["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(*call, json!({"name": "b", "arguments": "{}"}));

    request["tool_choice"] = json!("none");
    request["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "n", "schema": any_tool()}});
    let body = post(&router, "/v1/chat/completions", &request).await;
    assert_eq!(body["choices"][0]["message"]["content"], r#"{"q":"example"}"#);
}

#[tokio::test]
async fn routing_answers_alternate_and_are_counted_apart() {
    let stats = Stats::default();
    let router = router(Options { stats: stats.clone(), ..Options::default() });
    let prompt = r#"<routes>[{"name":"one"},{"name":"two"}]</routes>"#;
    let route = async |model: &str| {
        let request = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
        let body = post(&router, "/v1/chat/completions", &request).await;
        body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(route("Arch-Router").await, r#"{"route":"one"}"#);
    assert_eq!(route("Arch-Router").await, r#"{"route":"two"}"#);
    assert_eq!(route("Plano-Orchestrator").await, r#"{"route":["one"]}"#);
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    post(&router, "/v1/chat/completions", &request).await;

    assert_eq!(stats.routing_calls(), 3);
    let (_, body) = send(&router, "GET", "/stats", String::new()).await;
    let stats = serde_json::from_str::<Value>(&body).unwrap();
    assert_eq!((&stats["routing_calls"], &stats["requests"]), (&json!(3), &json!({"m": 1})));
    assert_eq!(stats["usage"].as_object().unwrap().len(), 1, "a decision costs no model anything");
}

#[tokio::test]
async fn faults_have_the_shape_of_the_protocol() {
    let router = router(Options::default());
    let no_model = r#"{"messages":[]}"#;
    for (method, path, body, status, pointer, value) in [
        ("POST", "/v1/chat/completions", "{", 400, "/error/type", "invalid_request_error"),
        ("POST", "/v1/chat/completions", no_model, 400, "/error/param", "model"),
        ("POST", "/v1/responses", no_model, 400, "/error/code", "missing_required_parameter"),
        ("POST", "/v1/messages", no_model, 400, "/error/type", "invalid_request_error"),
        ("POST", "/v1/messages", no_model, 400, "/type", "error"),
        ("POST", "/v1/messages/count_tokens", "[]", 400, "/type", "error"),
        ("GET", "/v1/chat/completions", "", 405, "/error/type", "invalid_request_error"),
        ("GET", "/nowhere", "", 404, "/error/type", "invalid_request_error"),
        ("GET", "/v1/messages/nowhere", "", 404, "/error/type", "not_found_error"),
    ] {
        let (got, text) = send(&router, method, path, body.to_owned()).await;
        assert_eq!(got, status, "{method} {path} {text}");
        let answer = serde_json::from_str::<Value>(&text).unwrap();
        assert_eq!(answer.pointer(pointer).unwrap(), value, "{method} {path} {text}");
    }

    let large = " ".repeat(BODY_LIMIT + 1);
    let (status, body) = send(&router, "POST", "/v1/messages", large).await;
    assert_eq!(status, 413);
    assert!(body.starts_with(r#"{"error":{"message":"#), "{body}");
    let long = json!({"model": "m".repeat(257), "messages": []});
    let (status, body) = send(&router, "POST", "/v1/chat/completions", long.to_string()).await;
    assert_eq!(status, 400);
    assert!(body.len() < 200, "{body}");
}
