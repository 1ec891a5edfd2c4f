use serde_json::json;

use super::*;

fn conversation(path: &str, body: &serde_json::Value) -> Vec<(Role, String)> {
    let body = body.to_string();
    let mut found: Vec<_> = newest_first(path, body.as_bytes())
        .map(|message| (message.role, message.content))
        .collect();
    found.reverse();
    found
}

fn user(text: &str) -> (Role, String) {
    (Role::User, text.to_owned())
}

fn assistant(text: &str) -> (Role, String) {
    (Role::Assistant, text.to_owned())
}

#[test]
fn chat_keeps_the_texts_of_user_and_assistant() {
    let body = json!({"model": "m", "messages": [
        {"role": "system", "content": "rules"},
        {"role": "developer", "content": "more rules"},
        {"role": "user", "content": "it's \"first\" \u{1f600}"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "result"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": [
            {"type": "text", "text": "third"},
            {"type": "image_url", "image_url": {"url": "data:"}},
            {"type": "text", "text": "fourth"},
        ]},
        {"role": "user", "content": "  \n"},
        {"content": "no role"}, 7, null, {"role": 1, "content": "bad role"},
    ]});
    let expected = [user("it's \"first\" \u{1f600}"), assistant("second"), user("third\nfourth")];
    assert_eq!(conversation("/v1/chat/completions", &body), expected);
    assert_eq!(conversation("/any/other/path", &body), expected);
}

#[test]
fn messages_leave_tool_results_out() {
    let body = json!({"system": "rules", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "question"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hidden"},
            {"type": "text", "text": "looking"},
            {"type": "tool_use", "id": "t", "name": "n", "input": {"text": "x"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}]},
        ]},
    ]});
    let expected = [user("question"), assistant("looking")];
    assert_eq!(conversation("/v1/messages", &body), expected);
}

#[test]
fn responses_take_a_string_or_items() {
    let path = "/v1/responses";
    assert_eq!(conversation(path, &json!({"input": "hello \u{e9}"})), [user("hello \u{e9}")]);
    let body = json!({"instructions": "rules", "messages": [], "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]},
        {"role": "user", "content": "plain"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hidden"}]},
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": "answer"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "output": "result"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "last"}]},
    ]});
    assert_eq!(conversation(path, &body), [user("plain"), assistant("answer"), user("last")]);
    assert_eq!(conversation("/other", &json!({"input": "hello"})), [user("hello")]);
}

#[test]
fn what_is_not_understood_is_no_conversation() {
    let deep = "[".repeat(10_000);
    let nested = format!("{{\"messages\":{deep}");
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"not json",
        b"{\"messages\":{}}",
        b"{\"messages\":3}",
        b"\xff\xfe",
        nested.as_bytes(),
    ];
    for body in bodies {
        assert_eq!(newest_first("/v1/chat/completions", body).count(), 0);
    }
    let other_shape = br#"{"input":"for responses"}"#;
    assert_eq!(newest_first("/v1/chat/completions", other_shape).count(), 0);
}

#[test]
fn a_body_cut_off_anywhere_is_no_conversation() {
    let body = json!({"messages": [{"role": "user", "content": [{"text": "é \u{1f600}"}]}]});
    let body = body.to_string();
    for end in 0..body.len() {
        let cut = &body.as_bytes()[..end];
        assert_eq!(newest_first("/v1/messages", cut).count(), 0, "{end}");
    }
    assert_eq!(newest_first("/v1/messages", body.as_bytes()).count(), 1);
}

#[test]
fn harness_blocks_are_not_the_users_words() {
    let body = json!({"messages": [
        {"role": "user", "content": "<system-reminder>a</system-reminder>"},
        {"role": "user", "content": "<system-reminder>generate code</system-reminder>fix \
            <user-prompt-submit-hook>h</user-prompt-submit-hook>it"},
        {"role": "user", "content": "an open <system-reminder> stays"},
    ]});
    let expected = [user("fix it"), user("an open <system-reminder> stays")];
    assert_eq!(conversation("/v1/messages", &body), expected);
}

#[test]
fn the_last_user_text_is_found_behind_tool_results() {
    let body = json!({"messages": [
        {"role": "user", "content": "first"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "content": "answer"},
        {"role": "tool", "content": "result"},
    ]});
    let text = last_user_text("/v1/chat/completions", body.to_string().as_bytes());
    assert_eq!(text.as_deref(), Some("second"));
}

fn messages(newest_first: &[&str]) -> impl Iterator<Item = Message> {
    newest_first.iter().map(|text| Message { role: Role::User, content: (*text).to_owned() })
}

#[test]
fn the_budget_keeps_the_newest_messages_in_order() {
    let texts = |budget| -> Vec<String> {
        within(messages(&["newest", "middle", "oldest"]), budget)
            .into_iter()
            .map(|message| message.content)
            .collect()
    };
    assert_eq!(texts(120), ["oldest", "middle", "newest"]);
    assert_eq!(texts(119), ["middle", "newest"]);
    assert_eq!(texts(80), ["middle", "newest"]);
    assert_eq!(texts(79), ["newest"]);
    assert_eq!(texts(6), ["newest"]);
    assert_eq!(texts(4), ["ne … st"]);
}

#[test]
fn a_gap_never_opens_in_the_middle() {
    let long = "x".repeat(500);
    let kept = within(messages(&["newest", &long, "oldest"]), 200);
    assert_eq!(kept.len(), 1);
}

#[test]
fn ends_cut_between_characters() {
    let text = "é".repeat(100);
    let cut = ends(&text, 7);
    assert_eq!(cut, "é … é");
    assert_eq!(ends("short", 5), "short");
    assert_eq!(ends("", 0), "");
}

#[test]
fn of_a_list_of_millions_the_newest_are_looked_at() {
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"old"}},{}{{"role":"user","content":"new"}}]}}"#,
        "1,".repeat(2_000_000)
    );
    assert_eq!(items("/v1/chat/completions", body.as_bytes()).len(), MOST);
    assert_eq!(last_user_text("/v1/chat/completions", body.as_bytes()).as_deref(), Some("new"));
    let content =
        format!(r#"[{}{{"text":"a"}},{{"text":""}},{{"text":"b"}}]"#, "1,".repeat(99_999));
    let content = RawValue::from_string(content).unwrap();
    assert_eq!(text(&content), "a\n\nb");
}
