//! Answers and events, of the shapes that providers send and of any other.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Texts that mean something in some place, and others; none near the length that is kept.
pub(super) fn text() -> impl Strategy<Value = String> {
    let known = [
        "stop",
        "length",
        "tool_calls",
        "function_call",
        "end_turn",
        "tool_use",
        "pause_turn",
        "compaction",
        "completed",
        "in_progress",
        "incomplete",
        "failed",
        "cancelled",
        "message",
        "reasoning",
        "custom_tool_call",
        "server_tool_use",
        "response.function_call_arguments.delta",
        "web_search_call",
        "mcp_approval_request",
        "message_start",
        "message_stop",
        "ping",
        "error",
        "response.created",
        "response.failed",
        "",
        "x_call",
        "data: ",
        "\n\n",
        "}]",
        "\"",
        "\\",
        "{\"stop_reason\":\"end_turn\"}",
        "é\u{1f600}",
    ];
    prop_oneof![
        8 => select(known.to_vec()).prop_map(str::to_owned),
        1 => vec(any::<char>(), 0..4).prop_map(String::from_iter),
        1 => (40..80_usize).prop_map(|len| "tool_calls".repeat(len)),
    ]
}

pub(super) fn key() -> impl Strategy<Value = String> {
    let known = [
        "choices",
        "finish_reason",
        "stop_reason",
        "delta",
        "status",
        "response",
        "output",
        "type",
        "item",
        "error",
        "object",
        "content",
        "content_block",
        "message",
        "tool_calls",
        "function_call",
        "arguments",
        "Status",
        "",
    ];
    prop_oneof![8 => select(known.to_vec()).prop_map(str::to_owned), 1 => text()]
}

/// Anything, with our words in any place.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => select(vec![json!(null), json!(true), json!(-1.5e3), json!(7)]),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key(), inner), 0..5).prop_map(|members| Map::from_iter(members).into()),
        ]
    })
}

/// An answer, or an event of one, of a shape that providers send, with anything beside it.
pub(super) fn shaped() -> impl Strategy<Value = Value> {
    let one_of = |known: &'static [&str]| {
        prop_oneof![
            select(known).prop_map(Value::from),
            text().prop_map(Value::from),
            Just(Value::Null)
        ]
    };
    // Beside what is meant to stand in a list, anything may.
    let list = |of: BoxedStrategy<Value>| {
        vec(prop_oneof![3 => of, 1 => text().prop_map(Value::from), 1 => anything()], 0..4)
    };
    let said = (select(vec!["message", "delta"]), anything(), list(anything().boxed())).prop_map(
        |(place, beside, calls)| match &beside {
            Value::Array(_) => json!({place: {"tool_calls": calls, "content": null}}),
            _ => json!({place: beside}),
        },
    );
    let choice =
        (one_of(&["stop", "tool_calls", "function_call"]), said).prop_map(|(reason, said)| {
            let mut choice = said;
            choice["index"] = json!(0);
            choice["finish_reason"] = reason;
            choice
        });
    let chat = list(choice.boxed()).prop_map(|choices| json!({"choices": choices, "usage": {}}));
    let reason = || one_of(&["end_turn", "tool_use", "pause_turn"]);
    let block = (one_of(&["text", "tool_use"]), anything())
        .prop_map(|(kind, input)| json!({"type": kind, "input": input}))
        .boxed();
    let message = (reason(), list(block.clone())).prop_map(
        |(reason, content)| json!({"type": "message", "content": content, "stop_reason": reason}),
    );
    let begun =
        block.prop_map(|block| json!({"type": "content_block_start", "content_block": block}));
    let kind = || one_of(&["message_delta", "message_stop", "response.incomplete"]);
    let delta = (reason(), kind())
        .prop_map(|(reason, kind)| json!({"type": kind, "delta": {"stop_reason": reason}}));
    let item = (one_of(&["message", "function_call", "web_search_call"]), anything())
        .prop_map(|(kind, content)| json!({"type": kind, "content": content}))
        .boxed();
    let added =
        item.clone().prop_map(|item| json!({"type": "response.output_item.added", "item": item}));
    let response = (one_of(&["completed"]), list(item))
        .prop_map(|(status, output)| json!({"status": status, "output": output}));
    let responses = (response, any::<bool>()).prop_map(|(whole, streamed)| match streamed {
        true => json!({"type": "response.completed", "response": whole}),
        false => whole,
    });
    let error = (anything(), one_of(&["error", "ping", "response.failed"]))
        .prop_map(|(error, kind)| json!({"error": error, "type": kind}));
    prop_oneof![
        4 => chat,
        1 => error,
        2 => message,
        1 => begun,
        2 => delta,
        4 => responses,
        1 => added,
        4 => anything(),
    ]
}
