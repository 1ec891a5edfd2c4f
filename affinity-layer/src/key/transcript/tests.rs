use serde_json::{Value, json};

use super::*;
use crate::key::Fingerprint;

fn read(body: &Value) -> Option<Transcript> {
    Transcript::of(body.to_string().as_bytes(), &Fingerprint::new("secret").key())
}

fn head(body: &Value) -> Print {
    read(body).unwrap().head()
}

fn user(content: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

#[test]
fn what_moves_from_turn_to_turn_does_not_count() {
    let plain = head(&user(&json!("fix the tests")));
    for content in [
        json!(" fix  the\ntests "),
        json!("<info-msg>It is 12:01</info-msg>\nfix the tests"),
        json!("fix the tests\n<environment_details>\n# Time\n12:01</environment_details>"),
        json!([{"type": "text", "text": "fix the tests", "cache_control": {"type": "ephemeral"}}]),
        json!([{"type": "text", "text": "<system-reminder>12:01</system-reminder>"},
            {"type": "input_text", "text": "fix the tests"}]),
    ] {
        assert_eq!(head(&user(&content)), plain, "{content}");
    }
    for body in [
        json!({"input": "fix the tests", "instructions": "be brief"}),
        json!({"input": [{"role": "user", "content": "fix the tests"}], "tools": [{"name": "f"}]}),
        json!({"system": [{"type": "text", "text": "s"}], "messages": [
            {"role": "user", "content": "<system-reminder>r</system-reminder>"},
            {"role": "user", "content": "fix the tests"},
            {"role": "system", "content": "a reminder"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}]}),
    ] {
        assert_eq!(head(&body), plain, "{body}");
    }
}

#[test]
fn what_was_said_otherwise_is_another_conversation() {
    let part = |part: Value| user(&json!([{"type": "text", "text": "look"}, part]));
    let image = |data: &str| json!({"type": "image", "source": {"type": "base64", "data": data}, "cache_control": {}});
    let result = |text: &str| json!({"type": "tool_result", "tool_use_id": "t", "content": text});
    let call = |arguments: &str| {
        json!({"messages": [{"role": "user", "content": "look"}, {"role": "assistant",
            "content": null, "tool_calls": [{"id": "c", "function": {"arguments": arguments}}]}]})
    };
    let item = |item: Value| json!({"input": [{"role": "user", "content": "look"}, item]});
    let bodies = [
        user(&json!("look")),
        user(&json!("look!")),
        part(image("AAAA")),
        part(image("BBBB")),
        part(result("one")),
        part(result("two")),
        call("{}"),
        call("{\"a\":1}"),
        item(json!({"type": "function_call", "call_id": "c", "arguments": "{}"})),
        item(json!({"type": "function_call_output", "call_id": "c", "output": "1"})),
        item(json!({"type": "function_call_output", "call_id": "c", "output": "2"})),
        item(json!({"type": "item_reference", "id": "i"})),
        item(json!({"role": "assistant", "content": "look"})),
        item(json!({"role": 7})),
        item(json!([1])),
    ];
    let heads: Vec<_> = bodies.iter().map(head).collect();
    for (n, one) in heads.iter().enumerate() {
        for (m, other) in heads.iter().enumerate().skip(n + 1) {
            assert_ne!(one, other, "{} {}", bodies[n], bodies[m]);
        }
    }
    // The marks for a cache move over everything.
    let marked = part(json!({"type": "tool_result", "tool_use_id": "t", "content": [
        {"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}],
        "cache_control": {"type": "ephemeral"}}));
    assert_eq!(head(&marked), head(&part(result("one"))));
}

#[test]
fn instructions_tell_requests_apart_and_not_conversations() {
    let told = |told: &str| {
        json!({"messages": [{"role": "system", "content": told},
            {"role": "user", "content": "hello"}]})
    };
    let (one, other) = (read(&told("task")).unwrap(), read(&told("title")).unwrap());
    assert_eq!(one.head(), other.head());
    assert_ne!(one.request(), other.request());
}

#[test]
fn the_answers_of_a_request_are_found_in_any_form() {
    let id = "call_wL5fRZYBmYVxGWx0aBv3mJ4d";
    let opening = json!({"role": "user", "content": "hello"});
    let end = json!({"role": "user", "content": "so?"});
    let chat = json!({"messages": [opening, {"role": "assistant", "content": "I look",
        "tool_calls": [{"id": id, "type": "function"}]}, end]});
    let messages = json!({"messages": [opening, {"role": "assistant", "content": [
        {"type": "text", "text": "I "}, {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "look"}, {"type": "tool_use", "id": id, "input": {}}]}, end]});
    let responses = json!({"input": [opening, {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": "I look"}]},
        {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}, end]});
    let first = read(&user(&json!("hello"))).unwrap();
    let mut notes = first.answered();
    for piece in ["I", " lo", "ok"] {
        notes.text(piece.as_bytes());
    }
    notes.call(id);
    let (calls, text) = notes.prints();
    for body in [chat, messages, responses] {
        let read = read(&body).unwrap();
        let prints: Vec<_> = read.evidence().iter().map(|evidence| evidence.print).collect();
        assert_eq!(prints, [calls[0], text.unwrap(), read.request(), first.served()], "{body}");
        assert!(read.continues(first.head()) && !first.continues(read.head()));
    }
}

#[test]
fn only_the_latest_answers_are_evidence() {
    let mut messages = vec![json!({"role": "user", "content": "hello"})];
    for n in 0..50 {
        messages.push(json!({"role": "assistant", "content": format!("answer {n}")}));
        messages.push(json!({"role": "user", "content": "more"}));
    }
    let read = read(&json!({"messages": messages})).unwrap();
    assert_eq!(read.len(), 101);
    assert_eq!(read.evidence().len(), 7);
}

#[test]
fn the_same_opening_with_another_counter_is_another_session() {
    let counted = |counter: &[u8]| read(&user(&json!("hello"))).unwrap().counted(counter);
    assert_eq!(counted(b"20261130_1"), counted(b"20261130_1"));
    assert_ne!(counted(b"20261130_1"), counted(b"20261130_2"));
}

#[test]
fn without_a_message_of_the_user_there_is_no_conversation() {
    for body in [
        json!({}),
        json!([]),
        json!({"messages": []}),
        json!({"input": 7}),
        json!({"input": " "}),
        user(&json!([])),
        user(&json!("<system-reminder>r</system-reminder>")),
        json!({"messages": [{"role": "system", "content": "s"}]}),
        json!({"messages": [{"role": "assistant", "content": "s"}]}),
    ] {
        assert!(read(&body).is_none(), "{body}");
    }
    assert!(Transcript::of(b"no json", &Fingerprint::new("s").key()).is_none());
}
