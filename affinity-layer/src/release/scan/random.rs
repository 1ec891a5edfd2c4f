//! Random answers, written and cut in random ways: the verdict is that of somebody who reads the whole
//! with serde_json. `PROPTEST_CASES` makes it run for longer.

mod style;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use self::style::Style;
use super::*;

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(2000), failure_persistence: None, ..default }
}

/// Texts that mean something in some place, and others; none near the length that is kept.
fn text() -> impl Strategy<Value = String> {
    let known = [
        "stop",
        "length",
        "tool_calls",
        "function_call",
        "end_turn",
        "tool_use",
        "pause_turn",
        "completed",
        "in_progress",
        "incomplete",
        "failed",
        "cancelled",
        "message",
        "reasoning",
        "custom_tool_call",
        "web_search_call",
        "mcp_approval_request",
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

fn key() -> impl Strategy<Value = String> {
    let known = [
        "choices",
        "finish_reason",
        "stop_reason",
        "delta",
        "status",
        "response",
        "output",
        "type",
        "content",
        "message",
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
fn shaped() -> impl Strategy<Value = Value> {
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
    let choice = (one_of(&["stop", "tool_calls", "function_call"]), anything())
        .prop_map(|(reason, beside)| json!({"index": 0, "delta": beside, "finish_reason": reason}));
    let chat = list(choice.boxed()).prop_map(|choices| json!({"choices": choices, "usage": {}}));
    let reason = || one_of(&["end_turn", "tool_use", "pause_turn"]);
    let message = (reason(), anything()).prop_map(
        |(reason, content)| json!({"type": "message", "content": content, "stop_reason": reason}),
    );
    let delta = reason().prop_map(|reason| json!({"delta": {"stop_reason": reason}}));
    let item = (one_of(&["message", "function_call", "web_search_call"]), anything())
        .prop_map(|(kind, content)| json!({"type": kind, "content": content}));
    let response = (one_of(&["completed"]), list(item.boxed()))
        .prop_map(|(status, output)| json!({"status": status, "output": output}));
    let responses = (response, any::<bool>()).prop_map(|(whole, streamed)| match streamed {
        true => json!({"type": "response.completed", "response": whole}),
        false => whole,
    });
    prop_oneof![2 => chat, 1 => message, 1 => delta, 2 => responses, 2 => anything()]
}

fn style() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..200)
}

/// What a document says: that the task ends, that it goes on, both or neither.
fn says(document: &Value) -> (bool, bool) {
    let nothing = Vec::new();
    let list = |value: &Value, key: &str| value[key].as_array().unwrap_or(&nothing).clone();
    let short = |value: &Value| {
        let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= 32);
        text.map(str::to_owned)
    };
    let mut reasons: Vec<bool> = Vec::new();
    for choice in list(document, "choices") {
        let reason = short(&choice["finish_reason"]);
        reasons.extend(reason.map(|reason| ["tool_calls", "function_call"].contains(&&*reason)));
    }
    for place in [document, &document["delta"]] {
        let reason = short(&place["stop_reason"]);
        reasons.extend(reason.map(|reason| ["tool_use", "pause_turn"].contains(&&*reason)));
    }
    let (mut completed, mut calls) = (false, false);
    for place in [document, &document["response"]] {
        let status = short(&place["status"]).unwrap_or_default();
        completed |= status == "completed";
        let over = ["incomplete", "failed", "cancelled"].contains(&&*status);
        reasons.extend(over.then_some(false));
        calls |= list(place, "output").iter().any(|item| {
            let kind = short(&item["type"]).unwrap_or_default();
            kind == "mcp_approval_request" || kind.ends_with("_call") && !HOSTED.contains(&&*kind)
        });
    }
    reasons.extend(completed.then_some(calls));
    (reasons.contains(&false), reasons.contains(&true))
}

fn expected(documents: &[Value]) -> bool {
    let said: Vec<_> = documents.iter().map(says).collect();
    said.iter().any(|(ends, _)| *ends) && !said.iter().any(|(_, goes_on)| *goes_on)
}

fn verdict(content_type: &str, bytes: &[u8], cuts: &[Index]) -> bool {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut scanner = Scanner::new(content_type).unwrap();
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        scanner.feed(&bytes[from..cut]);
        from = cut;
    }
    assert!(format!("{scanner:?}").len() < 2000, "memory is bounded");
    scanner.was_final()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn plain_answers(
        answer in shaped(),
        choices in style(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let text = Style::new(choices).json(&answer);
        let read: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &answer, "the test writes JSON");
        let found = verdict("application/json", text.as_bytes(), &cuts);
        prop_assert_eq!(found, expected(&[answer]), "{}", text);
    }

    #[test]
    fn streamed_answers(
        events in vec(shaped(), 0..6),
        done in any::<bool>(),
        choices in style(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let mut style = Style::new(choices);
        let mut text = String::new();
        for (n, event) in events.iter().enumerate() {
            let data = style.json(event).replace("\r\n", "\n");
            text += &style.event(&data, n + 1 == events.len() && !done);
        }
        if done {
            text += &style.event("[DONE]", true);
        }
        let found = verdict("text/event-stream", text.as_bytes(), &cuts);
        prop_assert_eq!(found, expected(&events), "{}", text);
    }

    #[test]
    fn whatever_comes_the_cuts_do_not_matter(
        pieces in vec(prop_oneof![
            text().prop_map(String::into_bytes),
            key().prop_map(String::into_bytes),
            vec(any::<u8>(), 0..6),
            select(vec!["{", "}", "[", "]", "\"", ":", ",", "\\", "\\u00", "\r", "\n", "data:", "\u{feff}"])
                .prop_map(|token| token.as_bytes().to_vec()),
        ], 0..200),
        stream in any::<bool>(),
        cuts in vec(any::<Index>(), 0..40),
    ) {
        let content_type = if stream { "text/event-stream" } else { "application/json" };
        let bytes = pieces.concat();
        prop_assert_eq!(verdict(content_type, &bytes, &cuts), verdict(content_type, &bytes, &[]));
    }
}

/// A test whose answers never end, or always do, would show nothing.
#[test]
fn both_verdicts_occur() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let streams = vec(shaped(), 0..6);
    let ended = (0..1000).filter(|_| expected(&streams.new_tree(&mut runner).unwrap().current()));
    let ended = ended.count();
    assert!((100..900).contains(&ended), "{ended} of 1000");
}
