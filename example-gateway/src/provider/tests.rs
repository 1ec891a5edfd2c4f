use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

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

/// The data of each event; a name, when there is one, must be the data's `type`.
async fn stream(router: &Router, path: &str, body: &Value) -> Vec<Value> {
    let (status, body) = send(router, "POST", path, body.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let events = body.split_terminator("\n\n").map(|event| {
        let (name, data) = match event.split_once('\n') {
            Some((name, data)) => (name.strip_prefix("event: "), data),
            None => (None, event),
        };
        let data = data.strip_prefix("data: ").unwrap();
        let data = serde_json::from_str(data).unwrap_or_else(|_| json!(data));
        assert!(name.is_none() || data["type"].as_str() == name, "{event}");
        data
    });
    events.collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    let mut types = events.iter().map(|e| e["type"].as_str().unwrap()).collect::<Vec<_>>();
    types.dedup();
    types
}

fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
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
async fn a_chat_stream_ends_with_reason_usage_and_done() {
    let router = router(Options::default());
    let mut request = json!({
        "model": "m", "stream": true, "messages": [{"role": "user", "content": "Hello"}]
    });
    let events = stream(&router, "/v1/chat/completions", &request).await;
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let text = joined(&events, "/choices/0/delta/content");
    assert_eq!(text, r#"This is a simulated answer to: "Hello""#);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[events.len() - 1], "[DONE]");
    assert!(events.iter().all(|event| event.get("usage").is_none()));

    request["stream_options"] = json!({"include_usage": true});
    let events = stream(&router, "/v1/chat/completions", &request).await;
    let usage = &events[events.len() - 2];
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert!(events[0]["usage"].is_null());
}

#[tokio::test]
async fn messages_events_come_in_order() {
    let router = router(Options::default());
    let mut request = json!({
        "model": "m", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]
    });
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    let events = stream(&router, "/v1/messages", &request).await;
    assert_eq!(types(&events), expected);
    assert_eq!(joined(&events, "/delta/text"), r#"This is a simulated answer to: "Hi""#);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "end_turn");

    request["tools"] = json!([{"name": "search", "input_schema": any_tool()}]);
    let events = stream(&router, "/v1/messages", &request).await;
    assert_eq!(types(&events), expected);
    assert_eq!(joined(&events, "/delta/partial_json"), r#"{"q":"example"}"#);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
}

#[tokio::test]
async fn responses_events_come_in_order_and_numbered() {
    let router = router(Options::default());
    let mut request = json!({"model": "m", "stream": true, "input": "Hi"});
    let events = stream(&router, "/v1/responses", &request).await;
    let text = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(types(&events), text);
    assert_eq!(joined(&events, "/delta"), r#"This is a simulated answer to: "Hi""#);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let whole = &events[events.len() - 1]["response"];
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["output"][0]["content"][0]["text"], joined(&events, "/delta"));

    request["tools"] = json!([{"type": "function", "name": "search", "parameters": any_tool()}]);
    let events = stream(&router, "/v1/responses", &request).await;
    let call = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(types(&events), call);
    assert_eq!(joined(&events, "/delta"), r#"{"q":"example"}"#);
}

#[tokio::test]
async fn a_chat_tool_loop_takes_each_tool_in_turn_and_ends_after_three_rounds() {
    let router = router(Options::default());
    let tools = ["a", "b"].map(
        |name| json!({"type": "function", "function": {"name": name, "parameters": any_tool()}}),
    );
    let mut messages = vec![json!({"role": "user", "content": "Go"})];
    for expected in ["a", "b", "a"] {
        let request = json!({"model": "m", "tools": tools, "messages": messages});
        let body = post(&router, "/v1/chat/completions", &request).await;
        assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
        let message = body["choices"][0]["message"].clone();
        let call = &message["tool_calls"][0];
        assert_eq!(call["function"]["name"], expected);
        assert_eq!(call["function"]["arguments"], r#"{"q":"example"}"#);
        let id = call["id"].clone();
        messages.extend([message, json!({"role": "tool", "tool_call_id": id, "content": "1"})]);
    }
    let request = json!({"model": "m", "tools": tools, "messages": messages});
    let body = post(&router, "/v1/chat/completions", &request).await;
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn the_demo_tools_follow_their_script_to_the_recommendation() {
    let router = router(Options::default());
    let tools = ["get_db_benchmarks", "get_case_studies", "check_feature_support"]
        .map(|name| json!({"name": name, "input_schema": any_tool()}));
    let mut messages = vec![json!({"role": "user", "content": "Go"})];
    let mut called = Vec::new();
    let answer = loop {
        let request = json!({"model": "m", "max_tokens": 9, "tools": tools, "messages": messages});
        let body = post(&router, "/v1/messages", &request).await;
        if body["stop_reason"] == "end_turn" {
            break body;
        }
        let calls = body["content"].as_array().unwrap().clone();
        called
            .push(calls.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>());
        let results = calls
            .iter()
            .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "1"}));
        let results = results.collect::<Value>();
        messages.push(json!({"role": "assistant", "content": calls}));
        messages.push(json!({"role": "user", "content": results}));
    };
    let expected =
        [vec!["get_db_benchmarks"; 2], vec!["get_case_studies"; 2], vec!["check_feature_support"]];
    assert_eq!(called, expected);
    assert!(answer["content"][0]["text"].as_str().unwrap().contains("PostgreSQL"));
}

#[tokio::test]
async fn a_responses_loop_ends_also_when_only_the_new_items_are_sent() {
    let router = router(Options::default());
    let tools = json!([{"type": "function", "name": "a", "parameters": any_tool()}]);
    let mut request = json!({"model": "m", "tools": tools, "input": "Go"});
    for _ in 0..3 {
        let body = post(&router, "/v1/responses", &request).await;
        let call = &body["output"][0];
        assert_eq!(call["type"], "function_call");
        request["previous_response_id"] = body["id"].clone();
        request["input"] = json!([
            {"type": "function_call_output", "call_id": call["call_id"], "output": "1"}
        ]);
    }
    let body = post(&router, "/v1/responses", &request).await;
    assert_eq!(body["output"][0]["type"], "message");
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
    assert_eq!(body, r#"{"routing_calls":3,"requests":{"m":1}}"#);
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
}

#[tokio::test(start_paused = true)]
async fn delays_are_kept() {
    let turn_delay = Duration::from_secs(2);
    let chunk_delay = Duration::from_secs(1);
    let router = router(Options { turn_delay, chunk_delay, stats: Stats::default() });
    let request = json!({"model": "m", "stream": true, "messages": []});
    let start = tokio::time::Instant::now();
    let events = stream(&router, "/v1/chat/completions", &request).await;
    let gaps = u32::try_from(events.len() - 1).unwrap();
    assert_eq!(start.elapsed(), turn_delay + chunk_delay * gaps);
}
