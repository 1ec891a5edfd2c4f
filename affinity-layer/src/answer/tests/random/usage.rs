//! Random answers, written and cut in random ways: what is read is what somebody finds who reads the
//! whole with serde_json. `PROPTEST_CASES` makes it run for longer.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use super::config;
use super::style::Style;
use crate::answer::{AnswerReader, Usage};

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (0..100_000_u64).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => select(vec![json!(null), json!(0), json!(-3), json!(1.5), json!("7"), json!([7]), json!(true)]),
    ]
}

/// Some of these members, in any order, and a value of each kind.
fn object(
    known: &'static [&'static str],
    value: impl Strategy<Value = Value> + 'static,
) -> impl Strategy<Value = Value> {
    let other = select(vec!["total_tokens", "usage", "x", "Prompt_tokens"]);
    let key = prop_oneof![5 => select(known), 1 => other].prop_map(str::to_owned);
    vec((key, value), 0..9).prop_map(|members| Map::from_iter(members).into())
}

fn usage() -> impl Strategy<Value = Value> {
    let details = object(
        &["cached_tokens", "cache_write_tokens", "ephemeral_1h_input_tokens", "reasoning_tokens"],
        number(),
    );
    let counts = &[
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "prompt_tokens_details",
        "input_tokens_details",
        "cache_creation",
    ];
    let usage = object(counts, prop_oneof![3 => number(), 1 => details]);
    prop_oneof![8 => usage, 1 => Just(Value::Null), 1 => number()]
}

/// An answer, or an event of one, with usage in places where it counts, and in others.
fn document() -> impl Strategy<Value = Value> {
    let inner = object(&["usage", "usage", "message"], usage());
    let kinds =
        select(vec!["message_start", "message_delta", "message_stop", "response.completed"]);
    let member = prop_oneof![
        3 => (Just("usage"), usage()),
        3 => (select(vec!["message", "response", "delta"]), inner.boxed()),
        1 => (Just("type"), kinds.prop_map(Value::from)),
        1 => (Just("choices"), vec(usage(), 0..3).prop_map(Value::from)),
    ];
    let member = member.prop_map(|(key, value)| (key.to_owned(), value));
    vec(member, 0..5).prop_map(|members| Map::from_iter(members).into())
}

/// What the documents of an answer tell, read whole.
fn expected(documents: &[Value]) -> Usage {
    let lasts = ["message_stop", "response.completed"];
    let is_last = |document: &Value| document["type"].as_str().is_some_and(|t| lasts.contains(&t));
    let count = documents.iter().position(is_last).map_or(documents.len(), |last| last + 1);
    let largest = |begins: bool, pointers: &[&str]| {
        let starts: &[&str] =
            if begins { &["", "/message", "/response"] } else { &["", "/response"] };
        let places = documents[..count].iter().flat_map(|document| {
            starts.iter().flat_map(move |start| {
                pointers.iter().map(move |end| document.pointer(&format!("{start}/usage/{end}")))
            })
        });
        places.flatten().filter_map(Value::as_u64).max()
    };
    let prompt = largest(true, &["prompt_tokens"]);
    let read = largest(true, &["cache_read_input_tokens"]);
    let creation = largest(true, &["cache_creation_input_tokens"]);
    let cached = ["prompt_tokens_details/cached_tokens", "input_tokens_details/cached_tokens"];
    let cached = largest(true, &cached).or(read);
    let written =
        ["prompt_tokens_details/cache_write_tokens", "input_tokens_details/cache_write_tokens"];
    let written = largest(true, &written);
    let hour = largest(true, &["cache_creation/ephemeral_1h_input_tokens"]);
    let (written, hour) = (written.or(creation), hour.or(written.map(|_| 0)));
    let input = largest(true, &["input_tokens"])
        .map(|input| input.saturating_add(read.unwrap_or(0)).saturating_add(creation.unwrap_or(0)));
    let prompt_tokens = prompt.or(input);
    Usage {
        prompt_tokens,
        cached_tokens: cached.filter(|_| prompt_tokens.is_some()),
        written_tokens: written.filter(|_| prompt_tokens.is_some()),
        written_1h_tokens: hour.filter(|_| prompt_tokens.is_some()),
        output_tokens: largest(false, &["completion_tokens", "output_tokens"]),
    }
}

fn found(content_type: &str, bytes: &[u8], cuts: &[Index]) -> Usage {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut reader = AnswerReader::new(content_type).unwrap();
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        reader.feed(&bytes[from..cut]);
        from = cut;
    }
    assert!(format!("{reader:?}").len() < 2000, "memory is bounded");
    reader.usage()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn plain_answers(
        answer in document(),
        choices in vec(any::<u8>(), 1..200),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let text = Style::new(choices).json(&answer);
        let found = found("application/json", text.as_bytes(), &cuts);
        prop_assert_eq!(found, expected(&[answer]), "{}", text);
    }

    #[test]
    fn streamed_answers(
        events in vec(document(), 0..6),
        choices in vec(any::<u8>(), 1..200),
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
}

/// A test whose answers never tell anything, or always do, would show nothing.
#[test]
fn known_and_unknown_counts_occur() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let streams = vec(document(), 0..6);
    let told = (0..1000).map(|_| expected(&streams.new_tree(&mut runner).unwrap().current()));
    let told: Vec<_> = told.collect();
    for is_known in [
        |usage: &Usage| usage.prompt_tokens.is_some(),
        |usage: &Usage| usage.cached_tokens.is_some(),
        |usage: &Usage| usage.written_tokens.is_some(),
        |usage: &Usage| usage.written_1h_tokens.is_some(),
        |usage: &Usage| usage.output_tokens.is_some(),
    ] {
        let known = told.iter().filter(|usage| is_known(usage)).count();
        assert!((100..900).contains(&known), "{known} of 1000");
    }
}
