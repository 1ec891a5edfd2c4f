//! What turns cost, against a hand calculation.

use affinity_tests::models::ONE;
use affinity_tests::{Answer, Request, Scrape, Seen, Setup, Upstream, ok_json, post, until};
use serde_json::{Value, json};

use crate::{Admin, with_admin};

const PRICE: &str =
    "price: {input: 2, cached_input: 0.10, cache_write: 2.50, cache_write_1h: 4, output: 10}";

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/messages", "/v1/responses"];

/// 10,000 tokens, of which 6,000 came from the cache and 3,000 went into it, as each protocol counts them;
/// and 300 of the answer.
fn answer(seen: &Seen) -> Answer {
    let details = json!({"cached_tokens": 6000, "cache_write_tokens": 3000});
    let chat = json!({"prompt_tokens": 10_000, "completion_tokens": 300, "prompt_tokens_details": details});
    let responses =
        json!({"input_tokens": 10_000, "output_tokens": 300, "input_tokens_details": details});
    let creation = json!({"ephemeral_5m_input_tokens": 3000, "ephemeral_1h_input_tokens": 0});
    let input = json!({
        "input_tokens": 1000, "cache_read_input_tokens": 6000, "cache_creation_input_tokens": 3000,
        "cache_creation": creation, "output_tokens": 1
    });
    let mut messages = input.clone();
    messages["output_tokens"] = 300.into();
    let is = |path: &str| seen.line.contains(path);
    let body = seen.json();
    if body["stream"] != true {
        let usage = if is("messages") {
            messages
        } else if is("responses") {
            responses
        } else {
            chat
        };
        return ok_json(&json!({"usage": usage}));
    }
    let events = if is("messages") {
        vec![
            json!({"type": "message_start", "message": {"usage": input}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 300}}),
            json!({"type": "message_stop"}),
        ]
    } else if is("responses") {
        vec![json!({"type": "response.completed", "response": {"usage": responses}})]
    } else {
        let told = if body["stream_options"]["include_usage"] == true { chat } else { Value::Null };
        vec![
            json!({"choices": [{"delta": {"content": "x"}}]}),
            json!({"choices": [], "usage": told}),
        ]
    };
    let mut text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    if is("chat") {
        text += "data: [DONE]\n\n";
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length:";
    Answer::Bytes(format!("{head} {}\r\n\r\n{text}", text.len()).into_bytes())
}

fn turn(path: &str, stream: bool, with_usage: bool) -> Request {
    let list = if path.ends_with("/responses") { "input" } else { "messages" };
    let said = json!([{"role": "user", "content": "writing poems"}]);
    let mut body = json!({"model": "auto", "max_tokens": 9, "stream": stream, list: said});
    if with_usage && path.ends_with("/completions") {
        body["stream_options"] = json!({"include_usage": true});
    }
    post(path, body).session("s")
}

fn cost(spent: &str, saved: &str, premium: &str) -> Value {
    json!({"spent": spent, "saved_by_cache": saved, "cache_write_premium": premium})
}

/// In millionths of a dollar a turn costs 1,000 × 2 + 6,000 × 0.10 + 3,000 × 2.50 + 300 × 10 = 13,100. As plain
/// input, the cached tokens would have cost 6,000 × 1.90 = 11,400 more, and those written 3,000 × 0.50 less.
#[tokio::test]
async fn what_turns_cost_is_what_a_hand_calculates_in_each_protocol() {
    let upstream = Upstream::start(answer).await;
    let gateway = with_admin(Setup::new(&upstream.url()).provider(PRICE)).start().await;
    let admin = Admin::of(&gateway).await;
    for (path, stream) in PATHS.into_iter().flat_map(|path| [(path, false), (path, true)]) {
        let answer = gateway.ask(&turn(path, stream, true)).await;
        assert_eq!((answer.status, answer.affinity().2), (200, ONE), "{}", answer.text());
    }
    until(async || admin.get("/admin/v1/ledger").await["totals"]["turns"] == 6).await;
    let books = admin.get("/admin/v1/ledger").await;
    let model = books["models"].as_array().unwrap().iter().find(|row| row["model"] == ONE).unwrap();
    for row in [&books["totals"], &books["routes"][0], model] {
        assert_eq!(row["cost"], cost("0.0786", "0.0684", "0.009"), "six turns");
        assert_eq!(row["pinned"]["cost"], cost("0.0655", "0.057", "0.0075"), "all but the first");
        assert_eq!(row["unpinned"]["cost"], cost("0.0131", "0.0114", "0.0015"));
        assert_eq!(row["turns_without"]["cost"], 0);
        assert_eq!(
            row["pinned"]["tokens"],
            json!({"prompt": 50_000, "cached": 30_000, "written": 15_000, "output": 1_500})
        );
    }
    let sessions = admin.get("/admin/v1/ledger/sessions").await;
    assert_eq!(sessions["sessions"][0]["cost"], books["totals"]["cost"]);

    let untold = gateway.ask(&turn(PATHS[0], true, false)).await;
    assert_eq!(untold.status, 200);
    until(async || admin.get("/admin/v1/ledger").await["totals"]["turns"] == 7).await;
    let after = admin.get("/admin/v1/ledger").await;
    assert_eq!(after["totals"]["turns_without"]["cost"], 1, "nobody asked for its usage");
    assert_eq!(after["totals"]["cost"], books["totals"]["cost"], "unknown adds nothing");

    let scrape = Scrape::of(&gateway).await;
    let labels = |pinned| [("model", ONE), ("route", "one"), ("pinned", pinned)];
    let spent = |pinned| scrape.sum("gateway_spent_picodollars_total", &labels(pinned));
    assert_eq!((spent("true"), spent("false")), (65_500_000_000.0, 13_100_000_000.0));
    let saved = scrape.sum("gateway_saved_by_cache_picodollars_total", &labels("true"));
    assert_eq!(saved, 57_000_000_000.0);
    assert_eq!(scrape.sum("gateway_turns_without_cost_total", &[("model", ONE)]), 1.0);
}

#[tokio::test]
async fn a_model_without_a_price_costs_nobody_knows_what() {
    let upstream = Upstream::start(answer).await;
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    assert_eq!(gateway.ask(&turn(PATHS[1], false, true)).await.status, 200);
    until(async || admin.get("/admin/v1/ledger").await["totals"]["turns"] == 1).await;
    let totals = &admin.get("/admin/v1/ledger").await["totals"];
    assert_eq!(
        totals["turns_without"],
        json!({"prompt": 0, "cached": 0, "written": 0, "output": 0, "cost": 1})
    );
    assert_eq!(totals["cost"], cost("0", "0", "0"));
}
