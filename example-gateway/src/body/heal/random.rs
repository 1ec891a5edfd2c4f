//! Random conversations: what is left of them is what serde_json leaves when it removes the same things.
//!
//! `PROPTEST_CASES` makes it run for longer, on other conversations each time.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::*;
use crate::body::Envelope;

/// xorshift64*: the same conversations for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }

    fn name(&mut self) -> String {
        format!("{:x}\"}}],", self.below(1 << 20))
    }

    /// A part of a message's content.
    fn part(&mut self) -> Value {
        let name = self.name();
        match self.below(8) {
            0 => json!({"type": "thinking", "thinking": name, "signature": name}),
            1 => json!({"type": "redacted_thinking", "data": name}),
            2 => json!({"type": "text", "text": name, "citations": [{"encrypted_index": name}]}),
            3 => {
                json!({"type": "tool_use", "id": name, "input": {"type": "thinking", "signature": 1}})
            }
            4 => json!({"type": "tool_result", "content": [{"type": "text", "text": "[{"}]}),
            5 => {
                json!({"type": "web_search_tool_result", "tool_use_id": format!("s{}", self.below(3)),
                "content": [{"encrypted_content": name}, {"a": []}]})
            }
            6 => json!({"type": "server_tool_use", "id": format!("s{}", self.below(3))}),
            _ => json!({"type": "text", "text": name}),
        }
    }

    fn message(&mut self) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), ["assistant", "user"][self.below(2)].into());
        match self.below(5) {
            0 => drop(message.insert("content".into(), Value::Null)),
            1 => drop(message.insert("content".into(), self.name().into())),
            2 => {}
            _ => {
                let parts = (0..self.below(4)).map(|_| self.part()).collect();
                message.insert("content".into(), Value::Array(parts));
            }
        }
        for key in ["reasoning_details", "thinking_blocks", "encrypted_content"] {
            if self.below(5) == 0 {
                message.insert(key.into(), json!([self.name()]));
            }
        }
        if self.below(4) == 0 {
            let calls = (0..self.below(3)).map(|_| match self.below(2) {
                0 => json!({"id": self.name(), "extra_content": {"google": {"thought_signature": self.name()}}}),
                _ => json!({"id": self.name(), "function": {}}),
            });
            let calls = calls.collect();
            message.insert("tool_calls".into(), Value::Array(calls));
        }
        Value::Object(message)
    }

    fn item(&mut self) -> Value {
        let name = self.name();
        match self.below(8) {
            0 | 1 => json!({"type": "reasoning", "id": name, "encrypted_content": name}),
            2 => json!({"type": "reasoning", "id": name, "summary": []}),
            3 => json!({"type": "compaction", "encrypted_content": name}),
            4 => json!({"type": "function_call", "id": name, "arguments": "{\"id\":1}"}),
            5 => json!({"type": "function_call_output", "id": name, "output": "x"}),
            6 => {
                json!({"type": "message", "role": "assistant", "id": name, "content": [{"type": "output_text"}]})
            }
            _ => json!({"role": "user", "id": name, "content": "x"}),
        }
    }

    fn body(&mut self) -> Value {
        let mut body = Map::new();
        let count = self.below(6);
        match self.below(3) {
            0 => body.insert("input".into(), (0..count).map(|_| self.item()).collect()),
            _ => body.insert("messages".into(), (0..count).map(|_| self.message()).collect()),
        };
        if self.below(2) == 0 {
            let kind = ["enabled", "disabled"][self.below(2)];
            body.insert("thinking".into(), json!({ "type": kind }));
        }
        if self.below(3) == 0 {
            let kinds = ["clear_thinking_1", "clear_tool_uses_1"];
            let edits = (0..self.below(3)).map(|_| kinds[self.below(2)]);
            let edits = edits.map(|kind| json!({ "type": kind }));
            body.insert("context_management".into(), json!({"edits": edits.collect::<Vec<_>>()}));
        }
        if self.below(3) == 0 {
            body.insert("routing_preferences".into(), json!([]));
        }
        body.insert("model".into(), "m".into());
        Value::Object(body)
    }
}

/// The same removal, of values and not of text. A block is identified by its count.
struct Reference {
    left: usize,
    count: usize,
    calls: Vec<Value>,
}

impl Reference {
    fn goes(&mut self) -> bool {
        self.count += 1;
        self.count <= self.left
    }

    fn part(&mut self, part: &mut Value) -> bool {
        match part["type"].as_str() {
            Some("thinking" | "redacted_thinking" | "web_search_tool_result") => {
                return !self.goes();
            }
            Some("server_tool_use") => return !self.calls.contains(&part["id"]),
            _ => {}
        }
        if part.get("citations").is_some() && self.goes() {
            part.as_object_mut().unwrap().remove("citations");
        }
        true
    }

    fn message(&mut self, message: &mut Value) -> bool {
        let before = message.clone();
        let object = message.as_object_mut().unwrap();
        let keys: Vec<_> = object.keys().cloned().collect();
        for key in keys {
            match &*key {
                "content" => {
                    if let Some(parts) = object["content"].as_array_mut() {
                        parts.retain_mut(|part| self.part(part));
                    }
                }
                "reasoning_details" | "thinking_blocks" | "encrypted_content" if self.goes() => {
                    object.remove(&key);
                }
                "tool_calls" => {
                    for call in object["tool_calls"].as_array_mut().unwrap() {
                        if call.get("extra_content").is_some() && self.goes() {
                            call.as_object_mut().unwrap().remove("extra_content");
                        }
                    }
                }
                _ => {}
            }
        }
        let empty = |value: &Value| {
            value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty)
        };
        let later = ["reasoning_details", "thinking_blocks", "encrypted_content"];
        let later = later.iter().any(|key| !message[key].is_null());
        later || *message == before || !empty(&message["content"]) || !empty(&message["tool_calls"])
    }
}

fn removed(body: &Value, left: usize) -> Value {
    let mut body = body.clone();
    let object = body.as_object_mut().unwrap();
    object.remove("routing_preferences");
    let mut reference = Reference { left, count: 0, calls: Vec::new() };
    if let Some(messages) = object.get_mut("messages").and_then(Value::as_array_mut) {
        // Which results go is known only once they are counted.
        let mut counted = messages.clone();
        let mut counter = Reference { left: 0, count: 0, calls: Vec::new() };
        for message in &mut counted {
            let at = |counter: &Reference| counter.count;
            let keys: Vec<_> = message.as_object().unwrap().keys().cloned().collect();
            for key in keys {
                let mut alone = Map::new();
                alone.insert(key.clone(), message[&key].clone());
                if key == "content" {
                    for part in message["content"].as_array().into_iter().flatten() {
                        counter.part(&mut part.clone());
                        if part["type"] == "web_search_tool_result" && at(&counter) <= left {
                            reference.calls.push(part["tool_use_id"].clone());
                        }
                    }
                } else {
                    counter.message(&mut Value::Object(alone));
                }
            }
        }
        messages.retain_mut(|message| reference.message(message));
        let last = messages.iter().rposition(|message| message["role"] == "assistant");
        let begins = last.is_some_and(|last| {
            let first = &messages[last]["content"][0]["type"];
            first == "thinking" || first == "redacted_thinking"
        });
        let after = last.map_or(0, |last| last + 1);
        let is_loop = messages[after..].iter().any(|message| {
            message["content"].as_array().into_iter().flatten().any(|p| p["type"] == "tool_result")
        });
        if is_loop && !begins && object.get("thinking").is_some_and(|t| t["type"] != "disabled") {
            object.remove("thinking");
        }
    }
    if let Some(items) = object.get_mut("input").and_then(Value::as_array_mut) {
        let mut is_orphan = false;
        items.retain_mut(|item| {
            let kind = item["type"].as_str().unwrap_or("message").to_owned();
            if matches!(&*kind, "reasoning" | "compaction") {
                is_orphan = reference.goes();
                return !is_orphan;
            }
            if kind == "function_call_output" || item["role"] == "user" {
                is_orphan = false;
            }
            if is_orphan {
                item.as_object_mut().unwrap().remove("id");
            }
            true
        });
    }
    if let Some(edits) = object.get_mut("context_management") {
        let edits = edits["edits"].as_array_mut().unwrap();
        let before = edits.len();
        edits.retain(|edit| edit["type"] != "clear_thinking_1");
        if edits.is_empty() && before > 0 {
            object.remove("context_management");
        }
    }
    body
}

/// How many blocks there are, and what identifies each.
fn blocks(text: &str) -> Vec<Vec<u8>> {
    let seen = std::cell::RefCell::new(Vec::new());
    let note = |id: &[u8]| {
        seen.borrow_mut().push(id.to_vec());
        false
    };
    let _ = heal(text.as_bytes(), &Upto::Block(&note));
    seen.into_inner()
}

#[test]
fn a_healed_conversation_is_what_serde_json_leaves_of_it() {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases: usize = asked.unwrap_or(20_000);
    let seed =
        if asked.is_some() { RandomState::new().hash_one(()) | 1 } else { 0x9e37_79b9_7f4a_7c15 };
    let mut random = Random(seed);
    let (mut cut, mut partial) = (0, 0);
    for _ in 0..cases {
        let body = random.body();
        let text = match random.below(2) {
            0 => body.to_string(),
            _ => serde_json::to_string_pretty(&body).unwrap(),
        };
        let envelope = Envelope::parse(Bytes::from(text.clone())).unwrap();
        let blocks = blocks(&text);
        assert!(blocks.is_empty() || envelope.may_be_foreign(), "{text}");
        let Some(limit) = (!blocks.is_empty()).then(|| random.below(blocks.len())) else {
            assert!(envelope.heal(&Upto::End).is_none(), "{text}");
            continue;
        };
        let id = &blocks[limit];
        // Of equal blocks the last one counts.
        let limit = blocks.iter().rposition(|block| block == id).unwrap();
        let healing = envelope.heal(&Upto::Block(&|block| block == id)).unwrap();
        assert_eq!(&text.as_bytes()[healing.last()], id.as_slice());
        let sent = envelope.healed(Some(healing.clone())).for_model("m").to_bytes();
        let sent = String::from_utf8(sent.into()).unwrap();
        let left: Value =
            serde_json::from_str(&sent).unwrap_or_else(|error| panic!("{error}: {text}\n{sent}"));
        assert_eq!(left, removed(&body, limit + 1), "{seed}: {text}\n{sent}");
        // Once is enough, and later blocks pass as they are.
        let later = self::blocks(&sent);
        assert_eq!(later, blocks[limit + 1..], "{text}\n{sent}");
        assert_eq!(healing.is_partial, !later.is_empty());
        cut += 1;
        partial += usize::from(healing.is_partial);
    }
    assert!(cut > cases / 3 && partial > cases / 10, "{cut}, {partial}");
}

#[test]
fn random_text_that_was_checked_never_breaks_the_walk() {
    let mut random = Random(7);
    for _ in 0..5_000 {
        let mut text = random.body().to_string().into_bytes();
        let at = random.below(text.len());
        text[at] = b"{}[]\",:\\ u0"[random.below(11)];
        // It may be no JSON any more: nothing is said of what is cut, but that it ends within.
        if let Some(healing) = heal(&text, &Upto::End) {
            assert!(healing.cuts.iter().all(|cut| cut.start <= cut.end && cut.end <= text.len()));
        }
    }
}
