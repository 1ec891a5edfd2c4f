//! OpenAI chat completions.

use serde_json::{Value, json};

use super::conversation::{
    self, Answer, Choice, Conversation, Format, Reply, Tokens, Tool, last_user, runs,
};
use super::error::Failure;
use super::fields::{at, items, with};
use super::sse::{Event, pieces};

pub(super) fn parse(request: &Value) -> Result<Conversation, Failure> {
    let model = conversation::model(request)?;
    let messages = conversation::messages(request)?;
    let functions = items(&request["tools"]).iter().map(|tool| &tool["function"]);
    Ok(Conversation {
        model,
        stream: request["stream"] == true,
        last_user: last_user(messages),
        tools: functions.filter_map(|function| Tool::read(function, "parameters")).collect(),
        rounds: runs(messages, |message| message["role"] == "tool"),
        choice: Choice::read(&request["tool_choice"]),
        parallel: request["parallel_tool_calls"] != false,
        format: Format::read(&request["response_format"]),
    })
}

pub(super) fn plain(answer: &Answer) -> Value {
    let message = json!({"role": "assistant", "content": null, "refusal": null});
    let message = match &answer.reply {
        Reply::Text(text) => with(message, "content", json!(text)),
        Reply::Calls(calls) => {
            let calls = calls.iter().map(|call| {
                json!({"id": format!("call_{}", call.id), "type": "function", "function": {
                    "name": call.name, "arguments": call.arguments.to_string()
                }})
            });
            with(message, "tool_calls", calls.collect())
        }
    };
    let choices = json!([{
        "index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(answer)
    }]);
    with(head(answer, "chat.completion", &choices), "usage", usage(answer))
}

pub(super) fn events(answer: &Answer) -> Vec<Event> {
    let with_usage = at(&answer.request, "/stream_options/include_usage") == true;
    let chunk = |choices: Value, usage: Value| {
        let chunk = head(answer, "chat.completion.chunk", &choices);
        Event::data(&if with_usage { with(chunk, "usage", usage) } else { chunk })
    };
    let choice = |delta: &Value, reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
    let deltas = deltas(&answer.reply).into_iter();
    let mut events =
        deltas.map(|delta| chunk(choice(&delta, Value::Null), Value::Null)).collect::<Vec<_>>();
    events.push(chunk(choice(&json!({}), json!(finish_reason(answer))), Value::Null));
    if with_usage {
        events.push(chunk(json!([]), usage(answer)));
    }
    events.push(Event::done());
    events
}

fn deltas(reply: &Reply) -> Vec<Value> {
    let calls = match reply {
        Reply::Text(text) => {
            let first = json!({"role": "assistant", "content": "", "refusal": null});
            let rest = pieces(text).map(|piece| json!({"content": piece}));
            return std::iter::once(first).chain(rest).collect();
        }
        Reply::Calls(calls) => calls,
    };
    let mut deltas = vec![json!({"role": "assistant", "content": null, "refusal": null})];
    for (index, call) in calls.iter().enumerate() {
        deltas.push(json!({"tool_calls": [{
            "index": index, "id": format!("call_{}", call.id), "type": "function",
            "function": {"name": call.name, "arguments": ""}
        }]}));
        let arguments = call.arguments.to_string();
        deltas.extend(pieces(&arguments).map(
            |piece| json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}),
        ));
    }
    deltas
}

fn head(answer: &Answer, object: &str, choices: &Value) -> Value {
    json!({
        "id": format!("chatcmpl-{}", answer.id),
        "object": object,
        "created": answer.created,
        "model": answer.conversation.model,
        "system_fingerprint": "fp_simulated",
        "choices": choices
    })
}

fn finish_reason(answer: &Answer) -> &'static str {
    match answer.reply {
        Reply::Text(_) => "stop",
        Reply::Calls(_) => "tool_calls",
    }
}

fn usage(answer: &Answer) -> Value {
    let Tokens { prompt, cached, written, output } = answer.tokens;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": cached, "cache_write_tokens": written, "audio_tokens": 0
        },
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}
    })
}
