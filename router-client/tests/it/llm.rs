use axum::response::IntoResponse as _;
use http::StatusCode;
use router_client::{ErrorKind, LlmRouter, Preferences, PromptFormat};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::server::{Server, completion};
use crate::{chat, models_of, preferences, question};

fn routes() -> Preferences {
    preferences(&[
        ("it's \"code\"", "writing code, für alle", &["a/code", "b/code"]),
        ("reasoning", "hard problems", &["a/think"]),
    ])
}

/// What stands between the tags in the one message of a recorded question.
fn between<'a>(asked: &'a Value, tag: &str) -> &'a str {
    let prompt = asked["messages"][0]["content"].as_str().unwrap();
    let (_, rest) = prompt.split_once(&format!("<{tag}>\n")).unwrap();
    rest.split_once(&format!("\n</{tag}>")).unwrap().0
}

#[tokio::test]
async fn arch_router_is_asked_with_one_message() {
    let server = Server::model(r#"{"route": "it's \"code\""}"#).await;
    let router = LlmRouter::new(server.url("/v1"), "Arch-Router", routes()).bearer("router-key");
    let body = json!({"messages": [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "first \"quoted\""},
        {"role": "assistant", "content": "second"},
        {"role": "tool", "tool_call_id": "t", "content": "result"},
        {"role": "user", "content": [{"type": "text", "text": "third"}]},
    ]});
    let decided = router.oneshot(question("/v1/chat/completions", &body)).await.unwrap();

    assert_eq!(decided.route.unwrap().as_str(), "it's \"code\"");
    assert_eq!(decided.models, models_of(&["a/code", "b/code"]));

    let (line, headers, _) = server.only();
    assert_eq!(line, "POST /v1/chat/completions");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["authorization"], "Bearer router-key");
    assert_eq!(headers["x-request-id"], "request-1");
    assert!(headers["traceparent"].to_str().unwrap().contains("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(headers["tracestate"], "vendor=1");
    for kept_back in ["x-api-key", "cookie", "x-model-affinity", "x-tenant"] {
        assert!(!headers.contains_key(kept_back), "{kept_back}");
    }

    let asked = server.only_json();
    assert_eq!(asked["model"], "Arch-Router");
    assert_eq!(asked["stream"], false);
    assert_eq!(asked["temperature"], 0.01);
    assert!(asked["max_tokens"].as_u64().unwrap() <= 256);
    assert_eq!(asked["messages"].as_array().unwrap().len(), 1);
    assert_eq!(asked["messages"][0]["role"], "user");
    assert_eq!(
        between(&asked, "routes"),
        r#"[{"name":"it's \"code\"","description":"writing code, für alle"},{"name":"reasoning","description":"hard problems"}]"#
    );
    let conversation: Value = serde_json::from_str(between(&asked, "conversation")).unwrap();
    let expected = json!([
        {"role": "user", "content": "first \"quoted\""},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "third"},
    ]);
    assert_eq!(conversation, expected);
}

#[tokio::test]
async fn orchestrator_gets_a_route_per_line_and_the_first_of_its_list_counts() {
    let server = Server::model(r#"{"route": ["reasoning", "it's \"code\""]}"#).await;
    let router = LlmRouter::new(server.url("/v1/"), "Plano-Orchestrator-4B", routes());
    let decided = router.oneshot(chat("hello")).await.unwrap();
    assert_eq!(decided.route.unwrap().as_str(), "reasoning");

    let (line, headers, _) = server.only();
    assert_eq!(line, "POST /v1/chat/completions");
    assert!(!headers.contains_key("authorization"));
    let asked = server.only_json();
    let lines: Vec<Value> =
        between(&asked, "routes").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["name"], "it's \"code\"");
}

#[tokio::test]
async fn the_format_can_be_chosen() {
    let server = Server::model(r#"{"route": []}"#).await;
    let router = LlmRouter::new(server.url("/v1"), "gpt-4o-mini", routes())
        .format(PromptFormat::Orchestrator);
    let decided = router.oneshot(chat("hello")).await.unwrap();
    assert!(decided.models.is_empty() && decided.route.is_none());
    assert_eq!(between(&server.only_json(), "routes").lines().count(), 2);
}

#[tokio::test]
async fn every_protocol_is_read() {
    let anthropic = json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "question"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "hidden"}]},
    ]});
    let responses = json!({"input": [
        {"role": "user", "content": [{"type": "input_text", "text": "question"}]},
        {"type": "function_call_output", "output": "hidden"},
    ]});
    for (path, body) in [("/v1/messages", anthropic), ("/v1/responses", responses)] {
        let server = Server::model(r#"{"route": "other"}"#).await;
        let router = LlmRouter::new(server.url("/v1"), "Arch-Router", routes());
        let decided = router.oneshot(question(path, &body)).await.unwrap();
        assert!(decided.models.is_empty(), "{path}");
        let expected = r#"[{"role":"user","content":"question"}]"#;
        assert_eq!(between(&server.only_json(), "conversation"), expected, "{path}");
    }
}

#[tokio::test]
async fn a_long_conversation_is_cut_to_the_newest_messages() {
    let messages: Vec<_> = (0..1000)
        .map(|n| json!({"role": "user", "content": format!("{n} {}", "x".repeat(100))}))
        .collect();
    for (model, tokens) in [("Arch-Router", 2048), ("Plano-Orchestrator", 8192)] {
        let server = Server::model(r#"{"route": "reasoning"}"#).await;
        let router = LlmRouter::new(server.url("/v1"), model, routes());
        let body = json!({"messages": messages});
        router.oneshot(question("/v1/chat/completions", &body)).await.unwrap();

        let asked = server.only_json();
        assert!(asked["messages"][0]["content"].as_str().unwrap().len() <= tokens * 4);
        let kept: Vec<Value> = serde_json::from_str(between(&asked, "conversation")).unwrap();
        let first = 1000 - kept.len();
        assert!(kept.len() > 10 && first > 0, "{model}: {}", kept.len());
        for (n, message) in kept.iter().enumerate() {
            let number = format!("{} ", first + n);
            assert!(message["content"].as_str().unwrap().starts_with(&number));
        }
    }
}

#[tokio::test]
async fn the_newest_message_is_kept_even_when_it_is_cut() {
    let server = Server::model(r#"{"route": "reasoning"}"#).await;
    let router = LlmRouter::new(server.url("/v1"), "Arch-Router", routes());
    router.oneshot(chat(&format!("start {} end", "é".repeat(1_000_000)))).await.unwrap();
    let asked = server.only_json();
    let kept: Vec<Value> = serde_json::from_str(between(&asked, "conversation")).unwrap();
    let text = kept[0]["content"].as_str().unwrap();
    assert!(text.starts_with("start ") && text.ends_with(" end") && text.len() <= 8192);
}

#[tokio::test]
async fn with_nothing_to_ask_the_model_is_not_asked() {
    let server = Server::model(r#"{"route": "reasoning"}"#).await;
    let router = LlmRouter::new(server.url("/v1"), "Arch-Router", routes());
    let mut not_json = chat("hello");
    not_json.body = "not json".into();
    assert!(router.clone().oneshot(not_json).await.unwrap().models.is_empty());
    let mut no_routes = chat("hello");
    no_routes.parts.extensions.insert(Preferences::default());
    assert!(router.oneshot(no_routes).await.unwrap().models.is_empty());
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn inline_preferences_take_the_place_of_the_configured_ones() {
    let server = Server::model(r#"{"route": "inline"}"#).await;
    let router = LlmRouter::new(server.url("/v1"), "Arch-Router", routes());
    let mut request = chat("hello");
    request.parts.extensions.insert(preferences(&[("inline", "d", &["x/y"])]));
    let decided = router.oneshot(request).await.unwrap();
    assert_eq!(decided.models[0].as_str(), "x/y");
    let expected = r#"[{"name":"inline","description":"d"}]"#;
    assert_eq!(between(&server.only_json(), "routes"), expected);
}

/// A model that takes none of `refused`, and thinks for longer than `tokens` of an answer.
async fn reasoning_model(refused: &'static [&'static str], tokens: u64) -> Server {
    Server::start_with(move |asked: &Value| {
        if let Some(param) = refused.iter().find(|param| asked.get(**param).is_some()) {
            let message = format!("Unsupported parameter: '{param}' is not supported");
            let error = json!({"error": {"message": message, "param": param}}).to_string();
            return (StatusCode::BAD_REQUEST, error).into_response();
        }
        let limits = ["max_tokens", "max_completion_tokens"].map(|name| asked[name].as_u64());
        if limits.into_iter().flatten().any(|limit| limit < tokens) {
            let choice = json!({"message": {"content": "<think>well"}, "finish_reason": "length"});
            return json!({"choices": [choice]}).to_string().into_response();
        }
        let thoughts = "<think>\nIs it {\"route\": \"reasoning\"}? No.\n</think>";
        let answer = format!("{thoughts}\nThe route is: {{\"route\": \"it's \\\"code\\\"\"}}");
        completion(&format!("{answer}<|im_end|>")).into_response()
    })
    .await
}

#[tokio::test]
async fn a_reasoning_model_is_asked_with_what_it_takes_and_that_is_remembered() {
    for (refused, tokens, questions) in [
        (&[][..], 0, 1),
        (&["temperature"], 0, 2),
        (&["max_tokens"], 0, 2),
        (&["max_tokens", "temperature"], 0, 3),
        (&["max_tokens", "max_completion_tokens"], 0, 3),
        (&[], 2000, 2),
        (&["max_tokens", "temperature"], 2000, 4),
        (&["max_tokens", "max_completion_tokens", "temperature"], 2000, 4),
    ] {
        let server = reasoning_model(refused, tokens).await;
        let router = LlmRouter::new(server.url("/v1"), "reasoner", routes());
        for n in 0..3 {
            let decided = router.clone().oneshot(chat("hello")).await.unwrap();
            assert_eq!(decided.route.unwrap().as_str(), "it's \"code\"", "{refused:?}");
            assert_eq!(server.count(), questions + n, "{refused:?} {tokens}");
        }
    }
}

#[tokio::test]
async fn a_model_that_thinks_without_end_is_asked_twice() {
    let server = reasoning_model(&[], u64::MAX).await;
    let router = LlmRouter::new(server.url("/v1"), "reasoner", routes());
    let error = router.clone().oneshot(chat("hello")).await.unwrap_err();
    assert_eq!((error.kind(), server.count()), (ErrorKind::Malformed, 2));
    // It took the second question, so the next one is put in the same way.
    router.oneshot(chat("hello")).await.unwrap_err();
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_refusal_is_not_remembered_unless_it_helped() {
    let server = Server::start(|n| match n {
        0 | 1 => (StatusCode::BAD_REQUEST, "temperature").into_response(),
        _ => completion(r#"{"route": "reasoning"}"#).into_response(),
    })
    .await;
    let router = LlmRouter::new(server.url("/v1"), "m", routes());
    let error = router.clone().oneshot(chat("hello")).await.unwrap_err();
    assert_eq!((error.kind(), server.count()), (ErrorKind::Status(400), 2));
    router.oneshot(chat("hello")).await.unwrap();
    assert_eq!(server.json(2)["temperature"], 0.01);
}

#[tokio::test]
async fn a_client_cannot_make_a_routing_model_read_a_book_of_preferences() {
    let server = Server::model(r#"{"route": "route-0"}"#).await;
    let router = LlmRouter::new(server.url("/v1"), "Arch-Router", routes());
    let mut request = chat("hello");
    let names: Vec<_> = (0..10_000).map(|n| format!("route-{n}")).collect();
    let description = "x".repeat(1000);
    let inline: Vec<_> = names.iter().map(|name| (&**name, &*description, &["x/y"][..])).collect();
    request.parts.extensions.insert(preferences(&inline));
    let decided = router.oneshot(request).await.unwrap();
    assert_eq!(decided.route.unwrap().as_str(), "route-0");
    assert!(between(&server.only_json(), "routes").len() <= 4096);
    assert!(server.only().2.len() <= 16 * 1024);
}
