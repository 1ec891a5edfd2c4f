//! Random beginnings: what is found is what a reader finds that parses whole events with serde_json.

use http::Response;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::answers::shaped;
use super::style::Style;
use super::{config, style};
use crate::answer::Beginning::{self, Error, Open, Served};
use crate::answer::BeginningReader;

fn is_error(event: &Value) -> bool {
    let nothing = Vec::new();
    let elements = event.as_array().unwrap_or(&nothing);
    let told = [event].into_iter().chain(elements).any(|place| match &place["error"] {
        Value::Object(_) => true,
        Value::String(text) => !text.is_empty() && text.len() <= 256,
        Value::Number(number) => number.is_u64(),
        _ => false,
    });
    let named = |key: &str| ["error", "response.failed"].iter().any(|name| event[key] == *name);
    told || named("type") || named("object")
}

fn expected(events: &[Value]) -> Beginning {
    let empty = |event: &Value| {
        let kinds = [
            "ping",
            "message_start",
            "response.created",
            "response.queued",
            "response.in_progress",
        ];
        kinds.iter().any(|kind| event["type"] == *kind)
    };
    for event in events {
        match event {
            _ if is_error(event) => return Error,
            event if empty(event) => {}
            _ => return Served,
        }
    }
    Open
}

fn found(content_type: &str, bytes: &[u8], cuts: &[Index]) -> Beginning {
    let response = Response::builder().header("content-type", content_type).body(()).unwrap();
    let mut reader = BeginningReader::new(&response.into_parts().0);
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut from, mut found) = (0, Open);
    for cut in cuts.into_iter().chain([bytes.len()]) {
        let before = found;
        found = reader.feed(&bytes[from..cut]);
        assert!(before == Open || found == before, "it is known once");
        from = cut;
    }
    found
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn streams(
        events in vec(shaped(), 0..6),
        choices in style(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let mut style = Style::new(choices);
        let mut text = String::new();
        for (n, event) in events.iter().enumerate() {
            let data = style.json(event).replace("\r\n", "\n");
            text += &style.event(&data, n + 1 == events.len());
        }
        let found = found("text/event-stream", text.as_bytes(), &cuts);
        prop_assert_eq!(found, expected(&events), "{}", text);
    }

    #[test]
    fn plain_answers_however_they_are_cut(
        answer in shaped(),
        choices in style(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let text = Style::new(choices).json(&answer);
        let whole = found("application/json", text.as_bytes(), &[]);
        prop_assert_eq!(found("application/json", text.as_bytes(), &cuts), whole, "{}", text);
        prop_assert!(whole != Open, "{}", text);
        prop_assert!(whole != Error || is_error(&answer), "{}", text);
    }
}

/// A test that finds the same each time would show nothing.
#[test]
fn each_beginning_occurs() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let streams = vec(shaped(), 0..6);
    let found = (0..1000).map(|_| expected(&streams.new_tree(&mut runner).unwrap().current()));
    let found: Vec<_> = found.collect();
    for kind in [Open, Served, Error] {
        let count = found.iter().filter(|found| **found == kind).count();
        assert!(count >= 20, "{kind:?}: {count} of 1000");
    }
}
