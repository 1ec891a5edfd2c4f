//! Random answers: what serde_json reads as a route is that route, and nothing else is one.
//!
//! `PROPTEST_CASES` makes it run for longer.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::tests::{decide, preferences};
use super::*;

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(2000), failure_persistence: None, ..default }
}

/// Pieces that answers are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let known = vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        ":",
        ",",
        "```",
        "json",
        "\n",
        " ",
        "\\",
        "\\u00",
        "<think>",
        "</think>",
        "<|im_end|>",
        "route",
        "\"route\"",
        "'route'",
        "code",
        "\"code\"",
        "it's",
        "für dich",
        "null",
        "\u{feff}",
        "é",
    ];
    let piece = prop_oneof![9 => select(known).prop_map(str::to_owned), 1 => any::<String>()];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    let known =
        select(vec!["code", "it's", "für dich", "other", "Code", ""]).prop_map(str::to_owned);
    prop_oneof![3 => known, 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => name().prop_map(Value::from),
        2 => vec(name(), 0..3).prop_map(Value::from),
        1 => select(vec![json!(null), json!(1), json!([1]), json!({}), json!([null])]),
    ]
}

/// The route in a document; `None` when it is no answer, empty when it names none.
fn expected(document: &Value) -> Option<String> {
    let route = document.as_object()?.get("route")?;
    let first = |names: &Vec<Value>| {
        let names: Option<Vec<_>> = names.iter().map(Value::as_str).collect();
        Some(names?.first().copied().unwrap_or_default().to_owned())
    };
    match route {
        Value::Null => Some(String::new()),
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => first(names),
        _ => None,
    }
}

fn agrees(content: &str, route: Option<&str>) -> Result<(), TestCaseError> {
    let decided = decide(content);
    match route {
        None => prop_assert_eq!(decided, Err(ErrorKind::Malformed)),
        Some(route) => {
            let decided = decided.map_err(|kind| TestCaseError::fail(format!("{kind:?}")))?;
            let known = preferences().get(route.trim()).map(|preference| preference.name.clone());
            prop_assert_eq!(decided.route, known);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_written_is_read(
        value in value(),
        beside in prop::option::of(value()),
        pretty in any::<bool>(),
        fence in select(vec!["", "```", "```json", "```JSON\n"]),
    ) {
        let mut document = json!({"route": value});
        if let Some(beside) = beside {
            document["reason"] = beside;
        }
        let text = match pretty {
            true => serde_json::to_string_pretty(&document),
            false => serde_json::to_string(&document),
        };
        let end = if fence.is_empty() { "" } else { "\n```" };
        let content = format!("{fence}{}{end}", text.unwrap());
        agrees(&content, expected(&document).as_deref())?;
    }

    #[test]
    fn whatever_is_answered_only_a_route_is_one(content in pieces()) {
        let Ok(decided) = decide(&content) else { return Ok(()) };
        if let Some(route) = decided.route {
            prop_assert!(content.contains("route"), "{}", content);
            prop_assert!(preferences().get(route.as_str()).is_some(), "{}", content);
        }
        // What serde_json reads as an object is read as that.
        if let Ok(document @ Value::Object(_)) = serde_json::from_str(&content) {
            agrees(&content, expected(&document).as_deref())?;
        }
    }

    #[test]
    fn no_bytes_are_a_decision_that_is_not_there(
        before in vec(any::<u8>(), 0..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = json!({"choices": [{"message": {"content": "{\"route\":\"code\"}"}}]}).to_string();
        let cut = cut.index(whole.len());
        prop_assert!(decision(&whole.as_bytes()[..cut], &preferences()).is_err());
        let bytes = [&before, &whole.as_bytes()[..cut]].concat();
        prop_assert!(decision(&bytes, &preferences()).is_err());
    }
}
