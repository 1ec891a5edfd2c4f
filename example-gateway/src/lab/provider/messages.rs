//! Anthropic messages.

use serde_json::{Value, json};

use super::conversation::{
    self, Answer, Choice, Conversation, Format, Reply, Tokens, Tool, last_user,
};
use super::error::Failure;
use super::fields::{at, items};
use super::sse::{Event, pieces};

pub(super) fn parse(request: &Value) -> Result<Conversation, Failure> {
    let model = conversation::model(request)?;
    let messages = conversation::messages(request)?;
    let format = [at(request, "/output_config/format"), &request["output_format"]];
    Ok(Conversation {
        model,
        stream: request["stream"] == true,
        last_user: last_user(messages),
        tools: items(&request["tools"])
            .iter()
            // The provider's own tools, such as web search, come without a schema.
            .filter(|tool| tool["input_schema"].is_object())
            .filter_map(|tool| Tool::read(tool, "input_schema"))
            .collect(),
        rounds: messages.iter().filter(|message| has_result(message)).count(),
        choice: Choice::read(&request["tool_choice"]),
        parallel: at(request, "/tool_choice/disable_parallel_tool_use") != true,
        format: format
            .into_iter()
            .find(|format| format.is_object())
            .map_or(Format::Text, Format::read),
    })
}

fn has_result(message: &Value) -> bool {
    items(&message["content"]).iter().any(|block| block["type"] == "tool_result")
}

pub(super) fn plain(answer: &Answer) -> Value {
    let content = match &answer.reply {
        Reply::Text(text) => json!([{"type": "text", "text": text}]),
        Reply::Calls(calls) => calls
            .iter()
            .map(|call| {
                let id = format!("toolu_{}", call.id);
                json!({"type": "tool_use", "id": id, "name": call.name, "input": call.arguments})
            })
            .collect(),
    };
    message(answer, &content, &json!(stop_reason(answer)), answer.tokens.output)
}

pub(super) fn events(answer: &Answer) -> Vec<Event> {
    let start = message(answer, &json!([]), &Value::Null, 1);
    let mut data = vec![json!({"type": "message_start", "message": start})];
    match &answer.reply {
        Reply::Text(text) => {
            let deltas = pieces(text).map(|piece| json!({"type": "text_delta", "text": piece}));
            block(&mut data, 0, &json!({"type": "text", "text": ""}), deltas);
        }
        Reply::Calls(calls) => {
            for (index, call) in calls.iter().enumerate() {
                let id = format!("toolu_{}", call.id);
                let start = json!({"type": "tool_use", "id": id, "name": call.name, "input": {}});
                let input = call.arguments.to_string();
                let deltas = std::iter::once("")
                    .chain(pieces(&input))
                    .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
                block(&mut data, index, &start, deltas);
            }
        }
    }
    data.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
        "usage": {"output_tokens": answer.tokens.output}
    }));
    data.push(json!({"type": "message_stop"}));
    data.iter().map(Event::typed).collect()
}

/// One content block from its start to its stop; a ping follows the first start.
fn block(data: &mut Vec<Value>, index: usize, start: &Value, deltas: impl Iterator<Item = Value>) {
    data.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
    if index == 0 {
        data.push(json!({"type": "ping"}));
    }
    data.extend(
        deltas.map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
    );
    data.push(json!({"type": "content_block_stop", "index": index}));
}

fn message(answer: &Answer, content: &Value, stop_reason: &Value, output_tokens: usize) -> Value {
    let Tokens { prompt, cached, written, .. } = answer.tokens;
    json!({
        "id": format!("msg_{}", answer.id),
        "type": "message",
        "role": "assistant",
        "model": answer.conversation.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            // Only what has nothing to do with the cache.
            "input_tokens": prompt - cached - written,
            "cache_creation_input_tokens": written,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0
            },
            "cache_read_input_tokens": cached,
            "output_tokens": output_tokens
        }
    })
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.reply {
        Reply::Text(_) => "end_turn",
        Reply::Calls(_) => "tool_use",
    }
}
