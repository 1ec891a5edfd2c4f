use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::body::Envelope;

/// What is sent of `body` when blocks up to `upto` are left out, and the kinds of them.
fn healed(body: &str, upto: &Upto<'_>) -> Option<(String, String)> {
    let envelope = Envelope::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    let healing = envelope.heal(upto)?;
    let sent = envelope.healed(Some(healing.clone())).for_model("m").to_bytes();
    Some((String::from_utf8(sent.into()).unwrap(), healing.kinds()))
}

fn all(body: &str) -> (Value, String) {
    let (sent, kinds) = healed(body, &Upto::End).unwrap();
    (serde_json::from_str(&sent).unwrap_or_else(|error| panic!("{error}: {sent}")), kinds)
}

#[test]
fn a_loop_of_messages_goes_on_without_thinking_and_its_bytes_are_those_of_the_client() {
    let body = r#"{"model":"a","thinking":{"type":"enabled","budget_tokens":1024}, "messages":[
        {"role":"user","content":"fix it"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"} ,
            {"type":"redacted_thinking","data":"ZGF0"},{"type":"tool_use","id":"t1","name":"ls","input":{"type":"thinking"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"caf\u00e9"}]}],
        "context_management":{"edits":[{"type":"clear_thinking_20251015"},{"type":"clear_tool_uses_20250919"}]}}"#;
    let (sent, kinds) = healed(body, &Upto::End).unwrap();
    assert_eq!(kinds, "thinking, redacted_thinking, clear_thinking, thinking_mode");
    assert_eq!(
        sent,
        r#"{"model":"m", "messages":[
        {"role":"user","content":"fix it"},
        {"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"ls","input":{"type":"thinking"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"caf\u00e9"}]}],
        "context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}}"#
    );
}

#[test]
fn thinking_is_on_again_when_the_loop_has_ended_or_the_new_vendor_has_thought() {
    let thought =
        |signature: &str| json!({"type": "thinking", "thinking": "t", "signature": signature});
    let call = json!({"type": "tool_use", "id": "t", "name": "n", "input": {}});
    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]});
    let body = |messages: Value| {
        json!({"thinking": {"type": "adaptive"}, "messages": messages}).to_string()
    };
    let ended = body(json!([
        {"role": "assistant", "content": [thought("a"), call]}, result,
        {"role": "assistant", "content": [thought("b"), {"type": "text", "text": "done"}]},
        {"role": "user", "content": "and now?"},
    ]));
    let (sent, kinds) = all(&ended);
    assert_eq!((sent["thinking"]["type"].as_str(), &*kinds), (Some("adaptive"), "thinking"));
    // The first answer in the loop was the old vendor's, the next one is the new one's.
    let is_a = |id: &[u8]| id == b"\"a\"";
    let looped = body(json!([
        {"role": "assistant", "content": [thought("a"), call]}, result,
        {"role": "assistant", "content": [thought("b"), call]}, result,
    ]));
    let (sent, kinds) = healed(&looped, &Upto::Block(&is_a)).unwrap();
    assert_eq!(kinds, "thinking");
    assert!(
        sent.contains(r#""thinking":{"type":"adaptive"}"#) && sent.contains(r#""signature":"b""#)
    );
    // It has answered without, because it was asked without.
    let without = body(json!([
        {"role": "assistant", "content": [thought("a"), call]}, result,
        {"role": "assistant", "content": [call]}, result,
    ]));
    let (sent, kinds) = healed(&without, &Upto::Block(&is_a)).unwrap();
    assert_eq!(kinds, "thinking, thinking_mode");
    assert!(!sent.contains("adaptive"));
}

#[test]
fn a_message_of_thoughts_alone_goes_and_so_does_an_edit_alone() {
    let body = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[
        {"type":"thinking","thinking":"x","signature":""}]},{"role":"user","content":"b"}],
        "context_management":{"edits":[{"type":"clear_thinking_20251015"}]},"thinking":{"type":"disabled"}}"#;
    let (sent, kinds) = all(body);
    assert_eq!(kinds, "thinking, empty_message, clear_thinking");
    let users = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]);
    assert_eq!(sent, json!({"messages": users, "thinking": {"type": "disabled"}}));
}

#[test]
fn an_encrypted_result_goes_with_its_call_and_what_cites_it() {
    let body = json!({"messages": [{"role": "assistant", "content": [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "server_tool_use", "id": "s2", "name": "web_fetch", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [
            {"type": "web_search_result", "url": "u", "encrypted_content": "e"}]},
        {"type": "web_fetch_tool_result", "tool_use_id": "s2", "content": {"type": "web_fetch_result"}},
        {"type": "text", "text": "so", "citations": [
            {"type": "web_search_result_location", "encrypted_index": "i"}]},
        {"type": "text", "text": "it", "citations": [{"type": "char_location"}]},
    ]}]});
    let (sent, kinds) = all(&body.to_string());
    assert_eq!(kinds, "server_tool_result, citations");
    assert_eq!(
        sent["messages"][0]["content"],
        json!([
            {"type": "server_tool_use", "id": "s2", "name": "web_fetch", "input": {}},
            {"type": "web_fetch_tool_result", "tool_use_id": "s2", "content": {"type": "web_fetch_result"}},
            {"type": "text", "text": "so"},
            {"type": "text", "text": "it", "citations": [{"type": "char_location"}]},
        ])
    );
}

#[test]
fn reasoning_goes_with_the_ids_that_would_ask_for_it() {
    let body = json!({"store": false, "input": [
        {"role": "user", "content": "a", "id": "msg_u"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e1"},
        {"type": "message", "role": "assistant", "id": "msg_1", "content": []},
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "n", "arguments": "{}"},
        {"type": "function_call_output", "id": "o_1", "call_id": "c1", "output": "x"},
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "n", "arguments": "{}"},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "e2"},
        {"type": "reasoning", "id": "rs_2", "summary": []},
        {"type": "function_call", "id": "fc_3", "call_id": "c3", "name": "n", "arguments": "{}"},
    ]});
    let (sent, kinds) = all(&body.to_string());
    assert_eq!(kinds, "reasoning, compaction, item_id");
    assert_eq!(
        sent["input"],
        json!([
            {"role": "user", "content": "a", "id": "msg_u"},
            {"type": "message", "role": "assistant", "content": []},
            {"type": "web_search_call", "id": "ws_1"},
            {"type": "function_call", "call_id": "c1", "name": "n", "arguments": "{}"},
            {"type": "function_call_output", "id": "o_1", "call_id": "c1", "output": "x"},
            {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "n", "arguments": "{}"},
            {"type": "function_call", "call_id": "c3", "name": "n", "arguments": "{}"},
        ])
    );
    // What stands after the block keeps its ids.
    let first = |id: &[u8]| id == b"\"e1\"";
    let (sent, kinds) = healed(&body.to_string(), &Upto::Block(&first)).unwrap();
    assert_eq!(kinds, "reasoning, item_id");
    for stays in ["fc_2", "cmp_1", "rs_2", "fc_3"] {
        assert!(sent.contains(stays), "{stays}");
    }
}

#[test]
fn signatures_go_and_their_calls_stay() {
    let body = json!({"messages": [
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "n", "arguments": "{}"},
             "extra_content": {"google": {"thought_signature": "s"}}},
            {"id": "c2", "type": "function", "function": {"name": "n", "arguments": "{}"},
             "extra_content": {"google": {"other": 1}}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
        {"role": "assistant", "content": "y", "reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}],
         "reasoning_content": "plain"},
        {"role": "assistant", "content": "", "thinking_blocks": [{"type": "thinking", "signature": "s"}]},
        {"role": "assistant", "content": "z", "provider_specific_fields": {"thought_signatures": ["s"]}},
        {"role": "assistant", "content": "z", "reasoning_details": null},
    ]});
    let (sent, kinds) = all(&body.to_string());
    assert_eq!(kinds, "reasoning_details, thinking_blocks, thought_signature, empty_message");
    assert_eq!(
        sent["messages"],
        json!([
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "n", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "n", "arguments": "{}"},
                 "extra_content": {"google": {"other": 1}}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "x"},
            {"role": "assistant", "content": "y", "reasoning_content": "plain"},
            {"role": "assistant", "content": "z"},
            {"role": "assistant", "content": "z", "reasoning_details": null},
        ])
    );
}

#[test]
fn what_is_not_there_is_not_looked_for() {
    let never = |_: &[u8]| false;
    for body in [
        r#"{"messages":[{"role":"user","content":"thinking"}]}"#,
        r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","input":{"type":"thinking","signature":"s"}}]}]}"#,
        r#"{"thinking":{"type":"enabled"},"messages":[{"role":"user","content":[{"type":"tool_result","content":[]}]}]}"#,
        r#"{"input":"reasoning","reasoning":{"encrypted_content":"x"}}"#,
        r#"{"input":[{"type":"message","role":"assistant","id":"msg_1","content":[]}]}"#,
        r#"{"input":[{"type":"compaction","content":"plain"}]}"#,
        r#"{"messages":[{"role":"assistant","content":"x","extra_content":{}}]}"#,
        r#"{"messages":[{"role":"assistant","content":{"type":"thinking"}}]}"#,
    ] {
        assert_eq!(healed(body, &Upto::End), None, "{body}");
    }
    let body =
        r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","signature":"s"}]}]}"#;
    assert_eq!(healed(body, &Upto::Block(&never)), None, "the block is gone");
}

#[test]
fn inline_preferences_are_cut_beside_what_is_healed() {
    let block =
        r#"{"role":"assistant","content":[{"type":"thinking","signature":"s"},{"type":"text"}]}"#;
    let looped = r#"{"role":"user","content":[{"type":"tool_result"}]}"#;
    let messages = format!(r#""messages":[{block},{looped}]"#);
    let (thinking, preferences) =
        (r#""thinking":{"type":"enabled"}"#, r#""routing_preferences":[]"#);
    let members = [&*messages, thinking, preferences, r#""a":1"#];
    for order in
        [[0, 1, 2, 3], [2, 1, 0, 3], [1, 2, 3, 0], [3, 2, 1, 0], [3, 0, 1, 2], [2, 3, 1, 0]]
    {
        let body = format!("{{{}}}", order.map(|place| members[place]).join(","));
        let (sent, _) = all(&body);
        let content = json!([{"role": "assistant", "content": [{"type": "text"}]},
            {"role": "user", "content": [{"type": "tool_result"}]}]);
        assert_eq!(sent, json!({"a": 1, "messages": content}), "{body}");
    }
}

#[test]
fn references_to_what_lives_at_one_provider_are_told_from_what_only_reads_so() {
    let refers = |body: &str| {
        Envelope::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap().refers_to_its_provider()
    };
    for body in [
        r#"{"previous_response_id":"resp_1"}"#,
        r#"{"conversation":{"id":"conv_1"}}"#,
        r#"{"conversation":"conv_1"}"#,
        r#"{"container":"cont_1"}"#,
        r#"{"container":{"id":"cont_1","skills":[]}}"#,
        r#"{"prompt":{"id":"pmpt_1"}}"#,
        r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#,
        r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}"#,
        r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"f"}}]}]}"#,
        r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}]}"#,
        r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]}]}"#,
        r#"{"messages":[{"content":[{"type":"container_upload","file_id":"f"}]}]}"#,
        r#"{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}"#,
        r#"{"tools":[{"type":"code_interpreter","container":"cntr_1"}]}"#,
        r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["f"]}}]}"#,
        // An escape takes the closer look.
        r#"{"previous_response_id":"resp_1","\u0061":1}"#,
        r#"{"tools":[{"container":"c"}],"\u0061":1}"#,
    ] {
        assert!(refers(body), "{body}");
    }
    for body in [
        r#"{"previous_response_id":null,"conversation":null,"container":null}"#,
        r#"{"previous_response_id":""}"#,
        r#"{"container":{"skills":[{"skill_id":"pptx"}]}}"#,
        r#"{"prompt":"a text"}"#,
        r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}"#,
        r#"{"tools":[{"type":"file_search","vector_store_ids":[]}]}"#,
        r#"{"tools":[{"type":"function","parameters":{"properties":{"file_id":{"type":"string"}}}}]}"#,
        r#"{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"f"}}]}]}"#,
        r#"{"messages":[{"content":"\"file_id\":\"f\""}],"metadata":{"file_id":"f"}}"#,
        r#"{"messages":[{"content":[{"type":"document","source":{"type":"base64","data":"x"}}]}]}"#,
        r#"{"previous_response_id":null,"\u0061":1}"#,
    ] {
        assert!(!refers(body), "{body}");
    }
}
