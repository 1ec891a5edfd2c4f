use super::*;
use crate::RouteDecision;

fn decode(value: &[u8]) -> Option<Pin> {
    super::decode(value, "name").unwrap().map(|stored| stored.pin)
}

fn encode(pin: &Pin) -> String {
    super::encode(pin, "name", false)
}

fn model(name: &str) -> ModelName {
    ModelName::new(name).unwrap()
}

#[test]
fn a_pin_comes_back_as_it_went() {
    let decision = RouteDecision::new([model("a/one"), model("b/two")])
        .with_route(RouteName::new("it's \"quoted\"").unwrap());
    let mark = StateMark::parse("00c0ffee00000001");
    for (turns, foreign) in [(0, None), (3, mark), (0, mark)] {
        let selection = Selection::best(decision.clone()).unwrap().with_warm_up(turns);
        let selection = selection.with_foreign(foreign);
        let pin = Pin {
            selection: Arc::new(selection),
            epoch: Epoch(1_763_648_000_000_123),
            claimed_at: from_unix_millis(1_763_648_000_000),
        };
        let value = encode(&pin);
        assert_eq!(value.contains("warm_up"), turns > 0, "{value}");
        let marked = value.contains(r#","foreign":"00c0ffee00000001","epoch":"#);
        assert_eq!(marked, foreign.is_some(), "{value}");
        assert_eq!(decode(value.as_bytes()), Some(pin));
    }
}

#[test]
fn what_the_older_system_wrote_is_understood() {
    let pin = decode(br#"{"model_name":"openai/gpt-5.2","route_name":"deep_reasoning"}"#);
    let pin = pin.unwrap();
    assert_eq!(pin.selection.model().as_str(), "openai/gpt-5.2");
    assert_eq!(pin.selection.route().unwrap().as_str(), "deep_reasoning");
    assert_eq!(pin.selection.candidates(), [model("openai/gpt-5.2")]);
    assert_eq!(pin.epoch, Epoch(0));
    let null = decode(br#"{"model_name":"openai/gpt-4o","route_name":null}"#).unwrap();
    assert_eq!(null.selection.route(), None);
}

#[test]
fn boundary_values_are_read_without_a_panic() {
    let numbers = ["0", "-1", "1.5", "18446744073709551615", "18446744073709551616"];
    // What may stand in the place of a name.
    let names = [r#""x""#, r#""""#, r#"["", " ", "\n", 1, null]"#, "{}", "null"];
    for extreme in numbers.into_iter().chain(names) {
        for field in
            ["epoch", "claimed_at", "candidates", "warm_up", "foreign", "route_name", "unknown"]
        {
            let text = format!("{{\"model_name\":\"a/b\",\"{field}\":{extreme}}}");
            let pin = decode(text.as_bytes()).unwrap();
            assert_eq!(pin.selection.model().as_str(), "a/b", "{text}");
            assert_eq!(decode(encode(&pin).as_bytes()).unwrap().epoch, pin.epoch);
        }
    }
}

#[test]
fn a_model_that_is_no_candidate_is_one_within_the_limit() {
    let others: Vec<_> = (0..Selection::MAX_CANDIDATES).map(|n| format!("\"m/{n}\"")).collect();
    let value = format!("{{\"model_name\":\"a/b\",\"candidates\":[{}]}}", others.join(","));
    let pin = decode(value.as_bytes()).unwrap();
    assert_eq!(pin.selection.candidates().len(), Selection::MAX_CANDIDATES);
    assert_eq!(pin.selection.candidates()[0], model("a/b"));
    assert_eq!(decode(encode(&pin).as_bytes()), Some(pin));
}

#[test]
fn a_pin_of_many_long_candidates_stays_small() {
    let long = |n: usize| model(&format!("m/{n:0>254}").replace('0', "\""));
    let decision = RouteDecision::new((1..33).map(long));
    let decision = decision.with_route(RouteName::new(&"r".repeat(256)).unwrap());
    let pin = Pin {
        selection: Arc::new(Selection::best(decision).unwrap()),
        epoch: Epoch(u64::MAX),
        claimed_at: from_unix_millis(1_763_648_000_000),
    };
    let value = encode(&pin);
    // Each byte of these names is two in JSON.
    assert!(value.len() <= 2 * Selection::MAX_CANDIDATES_BYTES + 1024, "{}", value.len());
    assert_eq!(decode(value.as_bytes()), Some(pin));
    // What an older version wrote is cut when it is read.
    let others: Vec<_> = (1..33).map(|n| format!("\"m/{n:0>254}\"")).collect();
    let old = format!("{{\"model_name\":\"a/b\",\"candidates\":[{}]}}", others.join(","));
    let pin = decode(old.as_bytes()).unwrap();
    assert_eq!(pin.selection.candidates()[0], model("a/b"));
    assert!(encode(&pin).len() <= Selection::MAX_CANDIDATES_BYTES + 512);
}

#[test]
fn what_names_no_usable_model_is_none() {
    let long = format!("{{\"model_name\":\"{}\"}}", "m".repeat(257));
    let huge = format!("{{\"model_name\":\"m\",\"x\":\"{}\"}}", "x".repeat(MAX_VALUE_LEN));
    for value in [
        "",
        "openai/gpt-4o",
        "null",
        "[]",
        "[\"a/b\"]",
        "{}",
        "{\"model_name\":null}",
        "{\"model_name\":\"\"}",
        "{\"model_name\":\"a\\r\\nb\"}",
        "{\"model_name\":\"caf\u{e9}\"}",
        "{\"model_name\":\"a/b\"",
        "{\"v\":9,\"data\":1}",
        &long,
        &huge,
    ] {
        assert_eq!(decode(value.as_bytes()), None, "{}", value.get(..40).unwrap_or(value));
    }
    assert_eq!(decode(b"{\"model_name\":\"a\xff\"}"), None);
}

#[test]
fn what_is_not_confirmed_says_so() {
    let pin = decode(br#"{"model_name":"a/b"}"#).unwrap();
    for unconfirmed in [true, false] {
        let value = super::encode(&pin, "name", unconfirmed);
        assert_eq!(value.contains("\"unconfirmed\":true,"), unconfirmed, "{value}");
        let stored = super::decode(value.as_bytes(), "name").unwrap().unwrap();
        assert_eq!(stored, Stored { pin: pin.clone(), unconfirmed });
    }
}

#[test]
fn a_value_of_another_name_is_no_answer() {
    let pin = decode(br#"{"model_name":"a/b"}"#).unwrap();
    let value = encode(&pin);
    let other = super::decode(value.as_bytes(), "other").unwrap_err();
    assert_eq!(other.kind(), StoreErrorKind::Invalid);
    assert_eq!(decode(value.as_bytes()), Some(pin));
}
