//! Order and content of the events of each protocol.

use super::*;

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
