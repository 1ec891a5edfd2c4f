//! The older system's demos: its files, the simulated provider, and the agent server.

use affinity_tests::{Gateway, agent_server, post};
use serde_json::{Value, json};

use crate::chat;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../example-gateway/config");

async fn provider() -> Gateway {
    Gateway::command(&["provider", "--listen", "127.0.0.1:0"]).await
}

/// Serves a shipped file; the simulated provider stands for all others, so no keys are needed.
async fn serve(file: &str, provider: &Gateway) -> Gateway {
    let file = format!("{FOLDER}/{file}");
    let arguments =
        ["serve", "--listen", "127.0.0.1:0", "--upstream", &provider.url(), "--config", &file];
    Gateway::command(&arguments).await
}

/// Asks for the default model, as the demos' clients do.
async fn routes(file: &str, default: &str, expected: &[(&str, Option<&str>, &str)]) {
    let provider = provider().await;
    let gateway = serve(file, &provider).await;
    for (prompt, route, model) in expected {
        let request = post("/v1/chat/completions", chat(default, prompt));
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.affinity(), ("false", "none", *model), "{prompt}");
        assert_eq!(answer.header("x-plano-route"), *route, "{prompt}");
        assert_eq!(answer.json()["model"], model.split_once('/').unwrap().1);
    }
}

#[tokio::test]
async fn the_pinning_demo_and_the_starter_route() {
    for (file, [default, reasoning, code]) in [
        (
            "pinning-demo.yaml",
            ["openai/gpt-4o-mini", "openai/gpt-4o", "anthropic/claude-sonnet-4-20250514"],
        ),
        (
            "default.yaml",
            ["openai/gpt-6.1-terra", "openai/gpt-6.1-sol", "anthropic/claude-sonnet-5-5"],
        ),
    ] {
        let three = [
            (
                "Give me a multi-step analysis of this, with complex reasoning.",
                Some("complex_reasoning"),
                reasoning,
            ),
            ("Write a function and generate the boilerplate code.", Some("code_generation"), code),
            ("Hi!", None, default),
        ];
        routes(file, default, &three).await;
    }
}

#[tokio::test]
async fn the_redis_demo_routes() {
    let three = [
        ("A quick fact, in one line.", Some("fast_responses"), "openai/gpt-4o-mini"),
        (
            "Explain it in detail, with multi-step reasoning and mathematics.",
            Some("deep_reasoning"),
            "openai/gpt-5.2",
        ),
        ("Hi!", None, "openai/gpt-4o-mini"),
    ];
    routes("redis-demo.yaml", "openai/gpt-4o-mini", &three).await;
}

/// The `data:` of each event of a stream.
fn events(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_provider_speaks_all_protocols_plain_and_streamed() {
    let provider = provider().await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    for (path, body, text, last) in [
        (
            "/v1/chat/completions",
            json!({"model": "m1", "messages": messages}),
            "/choices/0/message/content",
            "[DONE]",
        ),
        (
            "/v1/messages",
            json!({"model": "m1", "max_tokens": 64, "messages": messages}),
            "/content/0/text",
            "message_stop",
        ),
        (
            "/v1/responses",
            json!({"model": "m1", "input": "hello"}),
            "/output/0/content/0/text",
            "response.completed",
        ),
    ] {
        let answer = provider.ask(&post(path, &body)).await;
        assert_eq!((answer.status, answer.json()["model"].as_str()), (200, Some("m1")), "{path}");
        let json = answer.json();
        let text = json.pointer(text).and_then(Value::as_str).unwrap();
        assert!(!text.is_empty(), "{json}");

        let mut body = body;
        body["stream"] = json!(true);
        let answer = provider.ask(&post(path, &body)).await;
        let media = answer.header("content-type").unwrap();
        assert!(media.starts_with("text/event-stream"), "{path}: {media}");
        assert!(answer.complete);
        let events = events(&answer.text());
        assert!(events.len() > 2 && events.iter().any(|event| event.contains("m1")), "{events:?}");
        assert!(events.last().unwrap().contains(last), "{events:?}");
        // The same text comes in pieces.
        let whole = events.iter().filter_map(|event| delta(event)).collect::<String>();
        assert_eq!(whole, text, "{path}");
    }
}

/// The piece of text in an event of any of the protocols.
fn delta(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    let places = ["/choices/0/delta/content", "/delta/text", "/delta"];
    let found = places.iter().find_map(|place| event.pointer(place)?.as_str());
    found.map(str::to_owned)
}

#[tokio::test]
async fn the_agent_server_passes_the_session_on() {
    let provider = provider().await;
    let gateway = serve("default.yaml", &provider).await;
    let arguments = ["--gateway", &gateway.url(), "--listen", "127.0.0.1:0"];
    let agent = Gateway::spawn(&agent_server(), &arguments).await;
    let task = json!({"messages": [{"role": "user", "content": "PostgreSQL or MongoDB?"}]});
    for header in ["x-model-affinity", "x-routing-session-id", "x-session-id"] {
        let answer = agent.ask(&post("/v1/chat/completions", &task).header(header, header)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        let turns = json["turns"].as_array().unwrap();
        let pinned = turns.iter().map(|turn| turn["pinned"] == true).collect::<Vec<_>>();
        assert_eq!(pinned, [false, true, true, true], "{json}");
        assert!(turns.iter().all(|turn| turn["model"] == turns[0]["model"]), "{json}");
        // The agent's session is the gateway's: who comes with the same id finds the pin.
        let direct = post("/routing/v1/chat/completions", chat("auto", "x")).header(header, header);
        assert_eq!(gateway.ask(&direct).await.json()["pinned"], true);
    }
    let loose = agent.ask(&post("/v1/chat/completions", &task)).await.json();
    assert!(loose["turns"].as_array().unwrap().iter().all(|turn| turn["pinned"] == false));
    let refused = agent.ask(&post("/v1/chat/completions", &task).session("a b")).await;
    assert_eq!(refused.refusal(), (400, "invalid_session_id".to_owned()));
}
