//! A session whose conversation only its vendor can read: it goes on elsewhere, or stays, as configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use affinity_tests::{
    Answer, Connection, Gateway, Request, Response, Seen, Upstream, ok_json, post,
};
use serde_json::{Value, json};

const A: &str = "openai/one";
const B: &str = "groq/two";
const SSE_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// Two vendors. Each refuses what the other has made, as vendors do.
struct Vendors {
    a: Upstream,
    b: Upstream,
    /// Whether A is away.
    is_dead: Arc<AtomicBool>,
    gateway: Gateway,
}

impl Vendors {
    async fn start(routing: &str) -> Self {
        let is_dead = Arc::<AtomicBool>::default();
        let dead = is_dead.clone();
        let a = Upstream::start(move |seen| match dead.load(Ordering::SeqCst) {
            true => plain("503 Service Unavailable", r#"{"error":{"message":"away"}}"#),
            false => vendor(seen, "made-by-b"),
        });
        let (a, b) = (a.await, Upstream::start(|seen| vendor(seen, "made-by-a")).await);
        let provider = |model: &str, url: &str| {
            let protocols = "protocols: [chat, messages, responses]";
            format!("  - {{model: {model}, base_url: '{url}', access_key: key, {protocols}}}\n")
        };
        let (one, two) = (provider(A, &a.url()), provider(B, &b.url()));
        let yaml = format!(
            "version: v0.4.0\nlisteners: [{{type: model, name: l, port: 12000}}]\nmodel_providers:\n{one}{two}\
             routing_preferences:\n  - {{name: code, description: fix the code, models: [{A}, {B}]}}\n\
             routing:\n  session_ttl_seconds: 600\n{routing}"
        );
        Self { a, b, is_dead, gateway: Gateway::start(&yaml).await }
    }

    fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
    }

    async fn ask(&self, path: &str, body: &str) -> Response {
        self.gateway.ask(&turn(path, body)).await
    }

    /// How often A and B were asked.
    fn counts(&self) -> (usize, usize) {
        (self.a.count(), self.b.count())
    }
}

fn turn(path: &str, body: &str) -> Request {
    post(path, body.to_owned()).header("content-type", "application/json").session("s")
}

fn plain(status: &str, body: &str) -> Answer {
    let head = "content-type: application/json\r\ncontent-length:";
    let length = body.len();
    Answer::Bytes(format!("HTTP/1.1 {status}\r\n{head} {length}\r\n\r\n{body}").into_bytes())
}

/// Answers, unless the request holds what it cannot read, or Anthropic's rule for loops is broken.
fn vendor(seen: &Seen, foreign: &str) -> Answer {
    let text = String::from_utf8_lossy(&seen.body).into_owned();
    if text.contains(foreign) {
        let error = "messages.1.content.0: Invalid `signature` in `thinking` block";
        let error = json!({"error": {"type": "invalid_request_error", "message": error}});
        return plain("400 Bad Request", &error.to_string());
    }
    if text.contains("begin with an error") && foreign == "made-by-a" {
        return ok_json(&json!({"error": {"type": "overloaded_error", "message": "busy"}}));
    }
    let body = seen.json();
    if let Some(messages) = body["messages"].as_array()
        && body.get("thinking").is_some()
        && text.contains("tool_result")
    {
        let last = messages.iter().rev().find(|message| message["role"] == "assistant");
        if last.is_some_and(|last| last["content"][0]["type"] != "thinking") {
            let error = r#"{"error":{"message":"Expected `thinking`, but found `tool_use`"}}"#;
            return plain("400 Bad Request", error);
        }
    }
    if body["stream"] != true {
        return ok_json(&json!({"id": "x", "choices": [{"finish_reason": "stop"}]}));
    }
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    Answer::Bytes(format!("{SSE_HEAD}{:x}\r\n{event}\r\n0\r\n\r\n", event.len()).into_bytes())
}

/// Requests of one loop over one protocol.
struct Loop {
    path: &'static str,
    kinds: &'static str,
    /// The conversation up to the answer that A gave last, and what the client adds after B's.
    until_a: &'static str,
    until_b: &'static str,
    /// What B gets in their place.
    healed_a: &'static str,
    healed_b: &'static str,
}

const LOOPS: [Loop; 3] = [
    Loop {
        path: "/v1/messages",
        kinds: "thinking, redacted_thinking, thinking_mode",
        until_a: r#""thinking":{"type":"enabled","budget_tokens":1024},"messages":[ {"role":"user","content":"fix the code"},{"role":"assistant","content":[{"type":"thinking","thinking":"h\u006d","signature":"made-by-a-1"},{"type":"redacted_thinking","data":"made-by-a-2"}, {"type":"tool_use","id":"t1","name":"ls","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"caf\u00e9"}]}"#,
        until_b: r#",{"role":"assistant","content":[{"type":"tool_use","id":"t2","name":"ls","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2","content":"x"}]}"#,
        healed_a: r#""messages":[ {"role":"user","content":"fix the code"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"ls","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"caf\u00e9"}]}"#,
        healed_b: r#",{"role":"assistant","content":[{"type":"tool_use","id":"t2","name":"ls","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2","content":"x"}]}"#,
    },
    Loop {
        path: "/v1/responses",
        kinds: "reasoning, item_id",
        until_a: r#""input":[{"role":"user","content":"fix the code"} , {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"made-by-a-1"},{"type":"function_call","id":"fc_1","call_id":"c1","name":"ls","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"caf\u00e9"}"#,
        until_b: r#",{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"own-1"},{"type":"function_call","id":"fc_2","call_id":"c2","name":"ls","arguments":"{}"},{"type":"function_call_output","call_id":"c2","output":"x"}"#,
        healed_a: r#""input":[{"role":"user","content":"fix the code"},{"type":"function_call","call_id":"c1","name":"ls","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"caf\u00e9"}"#,
        healed_b: r#",{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"own-1"},{"type":"function_call","id":"fc_2","call_id":"c2","name":"ls","arguments":"{}"},{"type":"function_call_output","call_id":"c2","output":"x"}"#,
    },
    Loop {
        path: "/v1/chat/completions",
        kinds: "thought_signature",
        until_a: r#""messages":[{"role":"user","content":"fix the code"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"ls","arguments":"{}"},"extra_content":{"google":{"thought_signature":"made-by-a-1"}}}]},{"role":"tool","tool_call_id":"c1","content":"caf\u00e9"}"#,
        until_b: r#",{"role":"assistant","content":null,"tool_calls":[{"id":"c2","type":"function","function":{"name":"ls","arguments":"{}"},"extra_content":{"google":{"thought_signature":"own-1"}}}]},{"role":"tool","tool_call_id":"c2","content":"x"}"#,
        healed_a: r#""messages":[{"role":"user","content":"fix the code"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"ls","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"caf\u00e9"}"#,
        healed_b: r#",{"role":"assistant","content":null,"tool_calls":[{"id":"c2","type":"function","function":{"name":"ls","arguments":"{}"},"extra_content":{"google":{"thought_signature":"own-1"}}}]},{"role":"tool","tool_call_id":"c2","content":"x"}"#,
    },
];

fn body(model: &str, stream: bool, conversation: &str) -> String {
    format!(r#"{{"model":"{model}","stream":{stream},"max_tokens":2048,{conversation}]}}"#)
}

fn sent(upstream: &Upstream) -> String {
    String::from_utf8(upstream.last().body).unwrap()
}

#[tokio::test]
async fn a_loop_goes_on_at_another_vendor_with_one_extra_request_and_one_move() {
    for (Loop { path, kinds, until_a, until_b, healed_a, healed_b }, stream) in
        LOOPS.iter().flat_map(|each| [(each, false), (each, true)])
    {
        let vendors = Vendors::start("").await;
        let first = vendors.ask(path, &body("auto", stream, until_a)).await;
        assert_eq!((first.status, first.affinity()), (200, ("false", "claimed", A)), "{path}");
        let again = vendors.ask(path, &body("auto", stream, until_a)).await;
        assert_eq!(again.affinity(), ("true", "hit", A));
        assert_eq!(sent(&vendors.a), body("one", stream, until_a), "while A serves: byte for byte");
        assert!(again.all("x-plano-healed").is_empty());

        vendors.kill();
        let moved = vendors.ask(path, &body("auto", stream, until_a)).await;
        assert_eq!((moved.status, moved.affinity()), (200, ("false", "repinned", B)), "{path}");
        assert_eq!(moved.all("x-plano-healed"), [*kinds]);
        assert_eq!(vendors.counts(), (3, 1), "one extra request");
        assert_eq!(sent(&vendors.b), body("two", stream, healed_a));

        let both = format!("{until_a}{until_b}");
        for _ in 0..2 {
            let later = vendors.ask(path, &body("auto", stream, &both)).await;
            assert_eq!((later.status, later.affinity()), (200, ("true", "hit", B)), "{path}");
            let expected = body("two", stream, &format!("{healed_a}{healed_b}"));
            assert_eq!(sent(&vendors.b), expected, "one prefix, and B's own blocks");
        }
        assert_eq!(vendors.counts(), (3, 3));
    }
}

/// The control of the test above: a gateway that left nothing out would be refused.
#[tokio::test]
async fn what_is_left_out_is_what_the_other_vendor_refuses() {
    for Loop { path, until_a, healed_a, .. } in &LOOPS {
        let b = Upstream::start(|seen| vendor(seen, "made-by-a")).await;
        for (conversation, status) in [(until_a, 400), (healed_a, 200)] {
            let mut connection =
                Connection::open(b.url().trim_start_matches("http://").parse().unwrap()).await;
            let answer = connection.ask(&turn(path, &body("two", false, conversation))).await;
            assert_eq!(answer.status, status, "{path}");
        }
    }
}

#[tokio::test]
async fn a_new_decision_for_another_vendor_heals_before_it_is_refused() {
    let Loop { path, until_a, until_b, healed_a, healed_b, .. } = &LOOPS[1];
    let rather_b = json!([{"name": "b", "description": "fix the code", "models": [B, A]}]);
    let inline = |conversation: &str| {
        body("auto", false, &format!(r#""routing_preferences":{rather_b},{conversation}"#))
    };
    for (control, outcome) in [("refresh", "refreshed"), ("final", "claimed")] {
        let vendors = Vendors::start("").await;
        vendors.ask(path, &body("auto", false, until_a)).await;
        if control == "final" {
            let last =
                turn(path, &body("auto", false, until_a)).header("x-plano-affinity", "final");
            vendors.gateway.ask(&last).await;
        }
        let mut request = turn(path, &inline(until_a));
        if control == "refresh" {
            request = request.header("x-plano-affinity", "refresh");
        }
        let moved = vendors.gateway.ask(&request).await;
        assert_eq!((moved.status, moved.affinity()), (200, ("false", outcome, B)), "{control}");
        assert_eq!(sent(&vendors.b), body("two", false, healed_a));
        let later = vendors.ask(path, &body("auto", false, &format!("{until_a}{until_b}"))).await;
        assert_eq!((later.status, later.affinity()), (200, ("true", "hit", B)), "{control}");
        assert_eq!(sent(&vendors.b), body("two", false, &format!("{healed_a}{healed_b}")));
        assert_eq!(vendors.b.count(), 2, "B refused nothing");
    }
}

#[tokio::test]
async fn what_nobody_knows_is_tried_and_then_left_out_for_good() {
    for Loop { path, kinds, until_a, until_b, healed_a, healed_b } in &LOOPS {
        let vendors = Vendors::start("").await;
        let first =
            vendors.ask(path, &body(B, false, &until_a.replace("fix the code", "hello"))).await;
        assert_eq!((first.status, first.affinity()), (200, ("false", "claimed", B)), "{path}");
        assert_eq!(first.all("x-plano-healed"), [*kinds]);
        assert_eq!(vendors.counts(), (0, 2), "refused once, and then served");
        let both = format!("{until_a}{until_b}").replace("fix the code", "hello");
        let later = vendors.ask(path, &body(B, false, &both)).await;
        assert_eq!((later.status, later.affinity()), (200, ("true", "hit", B)), "{path}");
        let healed = format!("{healed_a}{healed_b}").replace("fix the code", "hello");
        assert_eq!(sent(&vendors.b), body("two", false, &healed));
        assert_eq!(vendors.counts(), (0, 3));
    }
}

/// A decision pins the session, so that nothing was served here when the pin is hit.
#[tokio::test]
async fn a_refusal_changes_nothing_while_the_pin_holds() {
    for Loop { path, until_a, .. } in &LOOPS {
        let vendors = Vendors::start("").await;
        let own = body("auto", false, until_a);
        let decided = vendors.ask(&format!("/routing{path}"), &own).await;
        assert_eq!(decided.status, 200, "{path}");
        let mistaken = own.replace("made-by-a", "made-by-b");
        let refused = vendors.ask(path, &mistaken).await;
        assert_eq!((refused.status, refused.affinity()), (400, ("true", "hit", A)), "{path}");
        assert_eq!(vendors.counts(), (1, 0), "{path}");
        let served = vendors.ask(path, &own).await;
        assert_eq!((served.status, served.affinity()), (200, ("true", "hit", A)), "{path}");
        assert_eq!(sent(&vendors.a), body("one", false, until_a));
    }
}

#[tokio::test]
async fn a_candidate_that_fails_with_a_200_has_not_served_the_session() {
    for Loop { path, until_a, .. } in &LOOPS {
        let vendors = Vendors::start("").await;
        let own = body("auto", false, until_a);
        assert_eq!(vendors.ask(path, &own).await.affinity(), ("false", "claimed", A), "{path}");
        vendors.kill();
        let failing = own.replace("fix the code", "fix the code, begin with an error");
        assert_eq!(vendors.ask(path, &failing).await.all("x-plano-affinity"), ["failed"], "{path}");
        assert_eq!(vendors.counts(), (2, 1), "{path}");
        vendors.is_dead.store(false, Ordering::SeqCst);
        let refresh = turn(path, &own).header("x-plano-affinity", "refresh");
        let served = vendors.gateway.ask(&refresh).await;
        assert_eq!((served.status, served.affinity().2), (200, A), "{path}");
        assert!(served.all("x-plano-healed").is_empty(), "{path}");
        assert_eq!(sent(&vendors.a), body("one", false, until_a));
    }
}

#[tokio::test]
async fn a_job_in_the_background_is_not_sent_once_more_after_a_refusal() {
    let Loop { path, until_a, .. } = &LOOPS[1];
    let vendors = Vendors::start("").await;
    let job = format!(r#""background":true,{until_a}"#).replace("fix the code", "hello");
    let refused = vendors.ask(path, &body(B, false, &job)).await;
    assert_eq!((refused.status, vendors.counts()), (400, (0, 1)));
}

#[tokio::test]
async fn a_refusal_that_healing_does_not_mend_is_the_providers_own() {
    let refusal = r#"{"error":{"message":"a signature is not served here"}}"#;
    let provider = Upstream::start(move |_| plain("400 Bad Request", refusal)).await;
    let yaml = format!(
        "version: v0.4.0\nlisteners: [{{type: model, name: l, port: 12000}}]\n\
         model_providers: [{{model: {A}, base_url: '{}', access_key: key}}]",
        provider.url()
    );
    let gateway = Gateway::start(&yaml).await;
    let asked = body(A, false, LOOPS[0].until_a);
    let answer = gateway.ask(&turn("/v1/messages", &asked)).await;
    assert_eq!((answer.status, &*answer.body), (400, refusal.as_bytes()));
    assert_eq!(provider.count(), 2);
    assert!(answer.all("x-plano-healed").is_empty());
    // Without such state there is nothing to try.
    let plain = body(A, false, r#""messages":[{"role":"user","content":"x"}"#);
    assert_eq!(gateway.ask(&turn("/v1/messages", &plain)).await.status, 400);
    assert_eq!(provider.count(), 3);
}

#[tokio::test]
async fn with_refuse_a_session_that_holds_state_stays_where_it_is() {
    let vendors = Vendors::start("  on_move: refuse\n").await;
    let Loop { path, until_a, .. } = &LOOPS[0];
    let asked = body("auto", false, until_a);
    assert_eq!(vendors.ask(path, &asked).await.affinity(), ("false", "claimed", A));
    vendors.kill();
    let failed = vendors.ask(path, &asked).await;
    assert_eq!((failed.status, failed.affinity()), (503, ("false", "failed", A)));
    assert_eq!(vendors.counts(), (2, 0));
    vendors.is_dead.store(false, Ordering::SeqCst);
    assert_eq!(vendors.ask(path, &asked).await.affinity(), ("true", "hit", A));
    // Nothing moves it, a new decision neither.
    let rather_b = json!([{"name": "b", "description": "fix the code", "models": [B, A]}]);
    let inline = body("auto", false, &format!(r#""routing_preferences":{rather_b},{until_a}"#));
    let request = turn(path, &inline).header("x-plano-affinity", "refresh");
    assert_eq!(vendors.gateway.ask(&request).await.affinity(), ("true", "hit", A));
    let last = turn(path, &asked).header("x-plano-affinity", "final");
    vendors.gateway.ask(&last).await;
    assert_eq!(vendors.ask(path, &inline).await.affinity(), ("false", "claimed", A));
    assert_eq!(vendors.b.count(), 0);
    // A session without such state moves as ever.
    vendors.kill();
    let plain = body("auto", false, r#""messages":[{"role":"user","content":"fix the code"}"#);
    let other = post(path, plain).header("content-type", "application/json").session("other");
    assert_eq!(vendors.gateway.ask(&other).await.affinity(), ("false", "repinned", B));
}

#[tokio::test]
async fn a_request_that_refers_to_its_provider_is_bound_to_it() {
    let user = r#"{"role":"user","content":"fix the code"}"#;
    for (path, conversation) in [
        ("/v1/responses", format!(r#""previous_response_id":"resp_1","input":[{user}"#)),
        ("/v1/responses", format!(r#""conversation":"conv_1","input":[{user}"#)),
        ("/v1/responses", format!(r#""input":[{user},{{"type":"item_reference","id":"msg_1"}}"#)),
        ("/v1/messages", format!(r#""container":"cont_1","messages":[{user}"#)),
        (
            "/v1/messages",
            r#""messages":[{"role":"user","content":[{"type":"text","text":"fix the code"},{"type":"document","source":{"type":"file","file_id":"file_1"}}]}"#.to_owned(),
        ),
    ] {
        let vendors = Vendors::start("").await;
        let asked = body("auto", false, &conversation);
        assert_eq!(vendors.ask(path, &asked).await.affinity(), ("false", "claimed", A));
        vendors.kill();
        let bound = vendors.ask(path, &asked).await;
        assert_eq!((bound.status, bound.affinity()), (503, ("true", "bound", A)), "{conversation}");
        assert_eq!(bound.json()["error"]["message"], Value::from("away"), "the provider's own answer");
        assert_eq!(vendors.counts(), (2, 0));
    }
}
