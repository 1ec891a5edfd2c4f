//! Random answers, written and cut in random ways: the verdict is that of somebody who reads the whole
//! with serde_json. `PROPTEST_CASES` makes it run for longer.

mod answers;
mod beginning;
mod style;
mod usage;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use self::answers::{key, shaped, text};
use self::style::Style;
use crate::answer::AnswerReader;
use crate::answer::facts::{HOSTED_CALLS, LAST_EVENTS};

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(2000), failure_persistence: None, ..default }
}

fn style() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..200)
}

/// What a document says: that the task ends, that it goes on, both or neither.
fn says(document: &Value) -> (bool, bool) {
    let nothing = Vec::new();
    let list = |value: &Value, key: &str| value[key].as_array().unwrap_or(&nothing).clone();
    let short = |value: &Value| {
        let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= 256);
        text.map(str::to_owned)
    };
    let kind = |value: &Value| short(&value["type"]).unwrap_or_default();
    let mut reasons: Vec<bool> = Vec::new();
    for choice in list(document, "choices") {
        let reason = short(&choice["finish_reason"]);
        reasons.extend(reason.map(|reason| ["tool_calls", "function_call"].contains(&&*reason)));
        let calls = [&choice["message"], &choice["delta"]].iter().any(|said| {
            said["function_call"].is_object()
                || list(said, "tool_calls").iter().any(Value::is_object)
        });
        reasons.extend(calls.then_some(true));
    }
    for place in [document, &document["delta"]] {
        let reason = short(&place["stop_reason"]);
        let on = ["tool_use", "pause_turn", "compaction"];
        reasons.extend(reason.map(|reason| on.contains(&&*reason)));
    }
    let mut blocks = [list(document, "content"), list(&document["message"], "content")].concat();
    blocks.push(document["content_block"].clone());
    reasons.extend(blocks.iter().any(|block| kind(block) == "tool_use").then_some(true));
    for place in [document, &document["response"]] {
        let status = short(&place["status"]).unwrap_or_default();
        let over = ["completed", "incomplete", "failed", "cancelled"].contains(&&*status);
        reasons.extend(over.then_some(false));
    }
    let mut items = [list(document, "output"), list(&document["response"], "output")].concat();
    items.push(document["item"].clone());
    let calls = items.iter().map(kind).any(|kind| {
        kind == "mcp_approval_request" || kind.ends_with("_call") && !HOSTED_CALLS.contains(&&*kind)
    });
    reasons.extend(calls.then_some(true));
    let event = document["type"].as_str().unwrap_or_default();
    let carries = ["response.function_call_arguments.", "response.custom_tool_call_input."];
    reasons.extend(carries.iter().any(|begin| event.starts_with(begin)).then_some(true));
    (reasons.contains(&false), reasons.contains(&true))
}

/// Nothing counts after the document that is the last of its answer.
fn expected(documents: &[Value]) -> bool {
    let last = documents.iter().position(is_last).map_or(documents.len(), |last| last + 1);
    let said: Vec<_> = documents[..last].iter().map(says).collect();
    said.iter().any(|(ends, _)| *ends) && !said.iter().any(|(_, goes_on)| *goes_on)
}

fn is_last(document: &Value) -> bool {
    document["type"].as_str().is_some_and(|kind| LAST_EVENTS.contains(&kind))
}

/// The verdict, and whether the end was seen.
fn verdict(content_type: &str, bytes: &[u8], cuts: &[Index]) -> (bool, bool) {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut reader = AnswerReader::new(content_type).unwrap();
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        reader.feed(&bytes[from..cut]);
        from = cut;
    }
    assert!(format!("{reader:?}").len() < 2000, "memory is bounded");
    let is_over = reader.is_over();
    (reader.ends_task(), is_over)
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
        let is_over = answer.is_object() || answer.is_array();
        prop_assert_eq!(found, (expected(&[answer]), is_over), "{}", text);
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
        let is_over = done || events.iter().any(is_last);
        prop_assert_eq!(found, (expected(&events), is_over), "{}", text);
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
