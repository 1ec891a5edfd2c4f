use affinity_layer::{ModelName, RouteName};
use bytes::Bytes;
use http::Request;
use serde_json::json;

use super::*;

fn preferences(routes: &[(&str, &str)]) -> Preferences {
    Preferences::new(routes.iter().map(|(name, description)| Preference {
        name: RouteName::new(name).unwrap(),
        description: (*description).to_owned(),
        models: vec![ModelName::new("a/b").unwrap()],
    }))
}

fn question(text: &str) -> RouteRequest {
    let body = json!({"messages": [{"role": "user", "content": text}]}).to_string();
    let (parts, ()) = Request::post("/v1/chat/completions").body(()).unwrap().into_parts();
    RouteRequest::new(parts, Bytes::from(body))
}

fn route(router: &LexicalRouter, text: &str) -> Option<String> {
    router.decide(&question(text)).route.map(|route| route.to_string())
}

fn assert_routes(routes: &[(&str, &str)], expected: &[(Option<&str>, &[&str])]) {
    let router = LexicalRouter::new(preferences(routes));
    for (name, texts) in expected {
        for text in *texts {
            assert_eq!(route(&router, text).as_deref(), *name, "{text}");
        }
    }
}

#[test]
fn code_and_reasoning_stay_apart() {
    let routes = [
        (
            "code_generation",
            "generating new code snippets, functions, or boilerplate based on user prompts or \
             requirements",
        ),
        (
            "complex_reasoning",
            "complex reasoning tasks, multi-step analysis, or detailed explanations",
        ),
    ];
    let code = [
        "Write a Python function that reverses a linked list.",
        "Please generate the boilerplate for an axum service",
        "List the technical requirements of an e-commerce database",
        "I need a code snippet that reads a CSV file",
        "Can you write code to parse dates? Explain nothing.",
        "Write the schema for the orders table as code",
    ];
    let reasoning = [
        "Analyze the trade-offs between PostgreSQL and MongoDB step by step",
        "Explain in detail why consensus is hard",
        "Give me a detailed analysis of both options",
        "This is a complex problem: reason about what happens on a partition",
        "What is your analysis of the scalability trade-offs?",
        "Walk me through the multi-step reasoning",
    ];
    let neither = ["hello", "What is the weather in Paris?", "", "你好，世界", "???"];
    let expected: [(Option<&str>, &[&str]); 3] = [
        (Some("code_generation"), &code),
        (Some("complex_reasoning"), &reasoning),
        (None, &neither),
    ];
    assert_routes(&routes, &expected);
}

#[test]
fn fast_and_deep_stay_apart() {
    let routes = [
        ("fast_responses", "short and simple requests"),
        ("deep_reasoning", "multi-step reasoning, math, detailed explanation"),
    ];
    let fast = [
        "Write a short poem about the ocean.",
        "A simple question: what is the capital of France?",
        "Quick and short, please: a synonym for happy",
        "fast answer: 2 + 2",
    ];
    let deep = [
        "Explain quantum entanglement in detail with equations.",
        "Solve this math problem: integrate x squared",
        "Reason step by step about the prisoners and the hats",
        "A detailed explanation of Raft, please",
    ];
    // What every description may say is no topic.
    let neither = ["Request 1", "my request to the user", "a new task"];
    let expected: [(Option<&str>, &[&str]); 3] =
        [(Some("fast_responses"), &fast), (Some("deep_reasoning"), &deep), (None, &neither)];
    assert_routes(&routes, &expected);
}

#[test]
fn a_shared_word_counts_less_than_an_own_one() {
    let routes = [("a", "write python code"), ("b", "write rust code"), ("c", "write go code")];
    let expected: [(Option<&str>, &[&str]); 3] = [
        (Some("b"), &["write code, code, code in rust"]),
        (Some("c"), &["write code for go"]),
        (Some("a"), &["write code"]),
    ];
    assert_routes(&routes, &expected);
}

#[test]
fn a_long_description_is_no_advantage() {
    let padding = (0..100).map(|n| format!("word{n} ")).collect::<String>();
    let long = format!("{padding} poem");
    assert_routes(&[("x", &long), ("y", "poem")], &[(Some("y"), &["a poem"])]);
}

#[test]
fn a_name_counts_more_than_a_description() {
    let routes = [("cats", "sql birds"), ("sql", "dogs birds")];
    assert_routes(&routes, &[(Some("sql"), &["sql"])]);
}

#[test]
fn inline_preferences_take_the_place_of_the_configured_ones() {
    let mut router = LexicalRouter::new(preferences(&[("poetry", "poems")]));
    let mut request = question("a poem about databases");
    request.parts.extensions.insert(preferences(&[("storage", "databases"), ("other", "x")]));
    let decided = router.call(request.clone()).into_inner().unwrap();
    assert_eq!(decided.route.unwrap().as_str(), "storage");
    request.parts.extensions.insert(Preferences::default());
    assert_eq!(router.call(request).into_inner().unwrap(), RouteDecision::none());
}

#[test]
fn both_ends_of_a_long_message_count() {
    let router = LexicalRouter::new(preferences(&[("poetry", "poems")]));
    let filler = "lorem ".repeat(100_000);
    assert_eq!(route(&router, &format!("poem {filler}")).as_deref(), Some("poetry"));
    assert_eq!(route(&router, &format!("{filler} poem")).as_deref(), Some("poetry"));
    assert_eq!(route(&router, &format!("{filler} poem {filler}")), None);
}

#[test]
fn nothing_to_choose_from_and_nothing_to_read_match_nothing() {
    let empty = LexicalRouter::new(Preferences::default());
    assert_eq!(route(&empty, "write code"), None);
    let router = LexicalRouter::new(preferences(&[("code", "code")]));
    let mut request = question("code");
    request.body = Bytes::from_static(b"not json");
    assert_eq!(router.decide(&request), RouteDecision::none());
}
