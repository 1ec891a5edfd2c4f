//! Every reason to stop of the three protocols, with and without a call, plain and streamed, cut at
//! every byte.

use serde_json::{Value, json};

use super::task::{plain, stream_with};

/// How an answer leaves the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The task is over.
    Ends,
    /// The client has something to do, or the model is to be asked to go on.
    GoesOn,
}
use Then::{Ends, GoesOn};

#[track_caller]
fn assert_then(then: Then, whole: &Value, events: &[Value]) {
    let ends = then == Ends;
    assert_eq!(plain(&whole.to_string()), ends, "{whole}");
    let events: Vec<_> = events.iter().map(Value::to_string).collect();
    let events: Vec<_> = events.iter().map(String::as_str).collect();
    assert_eq!(stream_with(&events, "data: ", "\n"), ends, "{events:?}");
}

#[test]
fn chat_completions_by_reason() {
    let call = json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]});
    let custom = json!({"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "f"}}]});
    let older = json!({"function_call": {"name": "f", "arguments": "{}"}});
    let text = json!({"content": "tool_calls"});
    for (reason, then) in [
        ("stop", Ends),
        ("length", Ends),
        ("content_filter", Ends),
        ("tool_calls", GoesOn),
        ("function_call", GoesOn),
    ] {
        for (said, then) in [(&text, then), (&call, GoesOn), (&custom, GoesOn), (&older, GoesOn)] {
            let choice = json!({"message": said, "finish_reason": reason});
            let whole = json!({"object": "chat.completion", "choices": [choice]});
            let chunk = json!({"choices": [{"delta": said, "finish_reason": null}]});
            let last = json!({"choices": [{"delta": {}, "finish_reason": reason}]});
            let usage = json!({"choices": [], "usage": {"total_tokens": 7}});
            assert_then(then, &whole, &[chunk, last, usage]);
        }
    }
}

#[test]
fn messages_by_reason() {
    let text = json!({"type": "text", "text": "tool_use"});
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}});
    let hosted = json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search"});
    let by_mcp = json!({"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "f"});
    for (reason, then) in [
        ("end_turn", Ends),
        ("max_tokens", Ends),
        ("stop_sequence", Ends),
        ("refusal", Ends),
        ("model_context_window_exceeded", Ends),
        ("tool_use", GoesOn),
        ("pause_turn", GoesOn),
        ("compaction", GoesOn),
    ] {
        for (block, then) in [(&text, then), (&hosted, then), (&by_mcp, then), (&call, GoesOn)] {
            let whole = json!({"type": "message", "content": [text, block], "stop_reason": reason});
            let start = |content: Value| {
                let message = json!({"content": content, "stop_reason": null});
                json!({"type": "message_start", "message": message})
            };
            let begun = json!({"type": "content_block_start", "index": 0, "content_block": block});
            let delta = json!({"type": "message_delta", "delta": {"stop_reason": reason}});
            let stop = json!({"type": "message_stop"});
            assert_then(then, &whole, &[start(json!([])), begun, delta.clone(), stop.clone()]);
            assert_then(then, &whole, &[start(json!([block])), delta, stop]);
        }
    }
}

#[test]
fn responses_by_status() {
    let message =
        json!({"type": "message", "content": [{"type": "output_text", "text": "x_call"}]});
    let items = [
        (message.clone(), Ends),
        (json!({"type": "reasoning", "summary": []}), Ends),
        (json!({"type": "web_search_call"}), Ends),
        (json!({"type": "file_search_call"}), Ends),
        (json!({"type": "code_interpreter_call"}), Ends),
        (json!({"type": "image_generation_call"}), Ends),
        (json!({"type": "mcp_call", "name": "f"}), Ends),
        (json!({"type": "function_call", "name": "f", "arguments": "{}"}), GoesOn),
        (json!({"type": "custom_tool_call", "name": "f", "input": "x"}), GoesOn),
        (json!({"type": "local_shell_call"}), GoesOn),
        (json!({"type": "computer_call"}), GoesOn),
        (json!({"type": "apply_patch_call"}), GoesOn),
        (json!({"type": "mcp_approval_request"}), GoesOn),
    ];
    for (status, event) in [
        ("completed", "response.completed"),
        ("incomplete", "response.incomplete"),
        ("failed", "response.failed"),
        ("cancelled", "response.failed"),
    ] {
        for (item, then) in &items {
            let whole = json!({"object": "response", "status": status, "output": [message, item]});
            let created =
                json!({"type": "response.created", "response": {"status": "in_progress"}});
            let last = json!({"type": event, "response": whole});
            assert_then(*then, &whole, &[created.clone(), last]);
            // The last event of some servers repeats nothing that the stream has said.
            let bare = json!({"type": event, "response": {"status": status, "output": []}});
            for kind in ["added", "done"] {
                let kind = format!("response.output_item.{kind}");
                let told = json!({"type": kind, "output_index": 0, "item": item});
                assert_then(*then, &whole, &[created.clone(), told, bare.clone()]);
            }
        }
    }
    for status in ["in_progress", "queued"] {
        let whole = json!({"object": "response", "status": status, "output": []});
        assert_then(GoesOn, &whole, &[json!({"type": "response.created", "response": whole})]);
    }
}

#[test]
fn a_call_may_be_known_by_its_input_alone() {
    let last = json!({"type": "response.completed", "response": {"status": "completed"}});
    for (kind, ends) in [
        ("response.function_call_arguments.delta", false),
        ("response.function_call_arguments.done", false),
        ("response.custom_tool_call_input.delta", false),
        ("response.mcp_call_arguments.delta", true),
        ("response.output_text.delta", true),
    ] {
        let told = json!({"type": kind, "delta": "{\"type\":\"function_call\"}"}).to_string();
        assert_eq!(stream_with(&[&told, &last.to_string()], "data: ", "\n"), ends, "{kind}");
    }
}
