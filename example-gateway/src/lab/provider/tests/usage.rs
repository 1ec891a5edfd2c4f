//! Tokens, and the prompt cache.

use super::*;

fn conversation(model: &str, turns: usize) -> Value {
    let messages = (0..=2 * turns).map(|n| {
        let role = if n % 2 == 0 { "user" } else { "assistant" };
        json!({"role": role, "content": format!("message {n} of a conversation")})
    });
    json!({"model": model, "max_tokens": 9, "messages": messages.collect::<Value>()})
}

#[tokio::test]
async fn a_conversation_on_one_model_reads_ever_more_from_the_cache() {
    let router = router(Options::default());
    let mut before = 0;
    for turn in 0..4 {
        let body = post(&router, "/v1/chat/completions", &conversation("m", turn)).await;
        let usage = &body["usage"];
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        assert_eq!(cached > before, turn > 0, "{usage}");
        assert!(cached < usage["prompt_tokens"].as_u64().unwrap());
        before = cached;
        let other = format!("m{turn}");
        let body = post(&router, "/v1/chat/completions", &conversation(&other, turn)).await;
        assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0, "a new model");
    }
}

#[tokio::test]
async fn each_protocol_tells_of_the_same_tokens_in_its_own_way() {
    let stats = Stats::default();
    let router = router(Options { stats: stats.clone(), ..Options::default() });
    let mut before = Usage::default();
    for (path, body) in [
        ("/v1/chat/completions", conversation("m", 2)),
        ("/v1/messages", conversation("m", 3)),
        ("/v1/responses", json!({"model": "m", "input": conversation("m", 4)["messages"]})),
    ] {
        let usage = post(&router, path, &body).await["usage"].clone();
        let now = stats.usage()["m"];
        assert_eq!(now.calls, before.calls + 1);
        let counted = [
            now.prompt_tokens - before.prompt_tokens,
            now.cached_tokens - before.cached_tokens,
            now.output_tokens - before.output_tokens,
        ];
        let number = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let told = match path {
            "/v1/messages" => [
                number("/input_tokens")
                    + number("/cache_read_input_tokens")
                    + number("/cache_creation_input_tokens"),
                number("/cache_read_input_tokens"),
                number("/output_tokens"),
            ],
            "/v1/responses" => [
                number("/input_tokens"),
                number("/input_tokens_details/cached_tokens"),
                number("/output_tokens"),
            ],
            _ => [
                number("/prompt_tokens"),
                number("/prompt_tokens_details/cached_tokens"),
                number("/completion_tokens"),
            ],
        };
        assert_eq!(told, counted, "{path}: {usage}");
        assert_eq!(told[0], body.to_string().len().div_ceil(4) as u64);
        before = now;
    }
    assert!(before.cached_tokens > 0);
}
