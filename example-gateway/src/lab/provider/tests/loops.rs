//! Loops of tool calls, to their end.

use super::*;

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
        for call in &calls {
            assert!(call["input"]["database"].is_string() && call["input"]["q"] == "example");
        }
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
