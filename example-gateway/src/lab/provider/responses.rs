//! OpenAI responses.

use serde_json::{Value, json};

use super::conversation::{
    self, Answer, Choice, Conversation, Format, Reply, Tool, last_user, runs,
};
use super::error::Failure;
use super::fields::{at, items, with};
use super::sse::{Event, pieces};

/// Digits of the round count that begin an id.
const ROUND_DIGITS: usize = 2;

pub(super) fn parse(request: &Value) -> Result<Conversation, Failure> {
    let model = conversation::model(request)?;
    let input = &request["input"];
    let last_user = input.as_str().map_or_else(|| last_user(items(input)), str::to_owned);
    let functions = items(&request["tools"]).iter().filter(|tool| tool["type"] == "function");
    let results = runs(items(input), |item| item["type"] == "function_call_output");
    Ok(Conversation {
        model,
        stream: request["stream"] == true,
        last_user,
        tools: functions.filter_map(|tool| Tool::read(tool, "parameters")).collect(),
        rounds: results + earlier_rounds(&request["previous_response_id"]),
        choice: Choice::read(&request["tool_choice"]),
        parallel: request["parallel_tool_calls"] != false,
        format: Format::read(at(request, "/text/format")),
    })
}

/// With `previous_response_id` the earlier conversation is not sent again. Nothing is kept here:
/// a response's id begins with its number of rounds.
fn earlier_rounds(previous: &Value) -> usize {
    let id = previous.as_str().and_then(|id| id.strip_prefix("resp_"));
    let digits = id.and_then(|id| id.get(..ROUND_DIGITS));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

fn response_id(answer: &Answer) -> String {
    let rounds = answer.conversation.rounds.min(99);
    format!("resp_{rounds:0ROUND_DIGITS$}{}", answer.id)
}

pub(super) fn plain(answer: &Answer) -> Value {
    response(answer, "completed", &output(answer))
}

pub(super) fn events(answer: &Answer) -> Vec<Event> {
    let begun = response(answer, "in_progress", &[]);
    let mut data = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.in_progress", "response": begun}),
    ];
    for (index, item) in output(answer).iter().enumerate() {
        data.extend(match item["type"].as_str() {
            Some("message") => message_events(index, item),
            _ => call_events(index, item),
        });
    }
    data.push(json!({"type": "response.completed", "response": plain(answer)}));
    let numbered = data.into_iter().zip(0..);
    numbered
        .map(|(data, number)| Event::typed(&with(data, "sequence_number", json!(number))))
        .collect()
}

fn output(answer: &Answer) -> Vec<Value> {
    match &answer.reply {
        Reply::Text(text) => vec![json!({
            "type": "message",
            "id": format!("msg_{}", answer.id),
            "status": "completed",
            "role": "assistant",
            "content": [text_part(text)]
        })],
        Reply::Calls(calls) => calls
            .iter()
            .map(|call| {
                json!({
                    "type": "function_call",
                    "id": format!("fc_{}", call.id),
                    "call_id": format!("call_{}", call.id),
                    "name": call.name,
                    "arguments": call.arguments.to_string(),
                    "status": "completed"
                })
            })
            .collect(),
    }
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn message_events(index: usize, item: &Value) -> Vec<Value> {
    let part = at(item, "/content/0");
    let text = part["text"].as_str().unwrap_or_default();
    let at_part = |kind: &str, key: &str, value: Value| {
        let event = json!({
            "type": format!("response.{kind}"),
            "item_id": item["id"], "output_index": index, "content_index": 0
        });
        with(event, key, value)
    };
    let with_logprobs = |event| with(event, "logprobs", json!([]));
    let mut events = vec![added(index, with(item.clone(), "content", json!([])))];
    events.push(at_part("content_part.added", "part", text_part("")));
    events.extend(
        pieces(text)
            .map(|piece| with_logprobs(at_part("output_text.delta", "delta", json!(piece)))),
    );
    events.push(with_logprobs(at_part("output_text.done", "text", json!(text))));
    events.push(at_part("content_part.done", "part", part.clone()));
    events.push(done(index, item));
    events
}

fn call_events(index: usize, item: &Value) -> Vec<Value> {
    let at_item = |kind: &str, key: &str, value: Value| {
        let kind = format!("response.function_call_arguments.{kind}");
        with(json!({"type": kind, "item_id": item["id"], "output_index": index}), key, value)
    };
    let arguments = item["arguments"].as_str().unwrap_or_default();
    let mut events = vec![added(index, with(item.clone(), "arguments", json!("")))];
    events.extend(pieces(arguments).map(|piece| at_item("delta", "delta", json!(piece))));
    let last = at_item("done", "arguments", json!(arguments));
    events.push(with(last, "name", item["name"].clone()));
    events.push(done(index, item));
    events
}

fn added(index: usize, item: Value) -> Value {
    let item = with(item, "status", json!("in_progress"));
    json!({"type": "response.output_item.added", "output_index": index, "item": item})
}

fn done(index: usize, item: &Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn response(answer: &Answer, status: &str, output: &[Value]) -> Value {
    let request = &answer.request;
    let given = |key: &str, default: Value| match &request[key] {
        Value::Null => default,
        value => value.clone(),
    };
    let tokens = answer.tokens;
    let usage = json!({
        "input_tokens": tokens.prompt,
        "input_tokens_details": {
            "cached_tokens": tokens.cached, "cache_write_tokens": tokens.written
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens.prompt + tokens.output
    });
    json!({
        "id": response_id(answer),
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": request["instructions"],
        "max_output_tokens": request["max_output_tokens"],
        "metadata": given("metadata", json!({})),
        "model": answer.conversation.model,
        "output": output,
        "parallel_tool_calls": answer.conversation.parallel,
        "previous_response_id": request["previous_response_id"],
        "reasoning": given("reasoning", json!({"effort": null, "summary": null})),
        "store": given("store", json!(true)),
        "temperature": given("temperature", json!(1.0)),
        "text": given("text", json!({"format": {"type": "text"}})),
        "tool_choice": given("tool_choice", json!("auto")),
        "tools": given("tools", json!([])),
        "top_p": given("top_p", json!(1.0)),
        "truncation": "disabled",
        "usage": if status == "completed" { usage } else { Value::Null },
        "user": null
    })
}
