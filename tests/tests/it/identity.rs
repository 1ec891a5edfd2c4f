//! Sessions that no header names: ids in the body, conversations of Responses, guesses.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{
    Answer, Gateway, ModelRouter, Request, Response, Setup, Upstream, ok_json, post,
};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const UUID: &str = "3f1c0d52-8a77-4e0b-9c11-0123456789ab";
const ALL: &str = "body_ids: [session_id, metadata.session_id, prompt_cache_key, conversation, metadata.user_id, \
    previous_response_id]";

struct Served {
    gateway: Gateway,
    router: ModelRouter,
    upstream: Upstream,
}

async fn start(routing: &[&str]) -> Served {
    let upstream = Upstream::start(|seen| answered(&seen.json()));
    let (upstream, router) = (upstream.await, ModelRouter::start().await);
    let mut setup = Setup::routed(&upstream, &router);
    for line in routing {
        setup = setup.routing(line);
    }
    Served { gateway: setup.start().await, router, upstream }
}

/// A response whose id tells the turn, plain or in a stream. The model of the route `two` fails if it
/// is told to.
fn answered(body: &Value) -> Answer {
    let (_, two) = TWO.split_once('/').unwrap();
    if body["input"] == "fail" && body["model"] == two {
        return Answer::Bytes(b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n".to_vec());
    }
    let id = format!("resp_{}", body["metadata"]["turn"].as_str().unwrap_or("0"));
    let whole = json!({"output": [], "id": id, "model": body["model"]});
    if body["stream"] != true {
        return ok_json(&whole);
    }
    let event = |kind: &str| {
        let data = json!({"type": kind, "response": whole});
        format!("event: {kind}\r\ndata: {data}\r\n\r\n")
    };
    let events = event("response.created") + &event("response.completed");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length:";
    Answer::Bytes(format!("{head} {}\r\n\r\n{events}", events.len()).into_bytes())
}

fn asking(path: &str, members: &Value) -> Request {
    let message = json!({"role": "user", "content": "hello"});
    let mut body = json!({"model": DEFAULT, "messages": [message], "input": "hello"});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    post(path, body)
}

/// A turn that gets the response `resp_TURN`, after the response `previous`.
fn turn(turn: &str, previous: Option<&str>) -> Value {
    let mut members = json!({"metadata": {"turn": turn}});
    if let Some(previous) = previous {
        members["previous_response_id"] = json!(format!("resp_{previous}"));
    }
    members
}

#[tokio::test]
async fn each_member_alone_holds_one_model() {
    let claude_code = json!({"session_id": UUID}).to_string();
    for (source, path, members) in [
        ("session_id", CHAT, json!({"session_id": "run 1"})),
        ("metadata.session_id", RESPONSES, json!({"metadata": {"session_id": "run 1"}})),
        ("prompt_cache_key", CHAT, json!({"prompt_cache_key": "any text, of the app's"})),
        ("conversation", RESPONSES, json!({"conversation": "conv_1"})),
        ("conversation", RESPONSES, json!({"conversation": {"id": "conv_1"}})),
        ("metadata.user_id", "/v1/messages", json!({"metadata": {"user_id": claude_code}})),
        (
            "metadata.user_id",
            "/v1/messages",
            json!({"metadata": {"user_id": format!("user_1_account__session_{UUID}")}}),
        ),
    ] {
        let served = start(&[&format!("body_ids: [{source}]")]).await;
        let ask = || asking(path, &members);
        let first = served.gateway.ask(&ask()).await;
        assert_eq!(first.affinity(), ("false", "claimed", ONE), "{members}");
        for _ in 0..3 {
            assert_eq!(served.gateway.ask(&ask()).await.affinity(), ("true", "hit", ONE));
        }
        assert_eq!(served.router.calls(), 1, "{members}");
        let sent =
            &served.upstream.last().json()[members.as_object().unwrap().keys().next().unwrap()];
        assert_eq!(sent, members.as_object().unwrap().values().next().unwrap(), "it goes through");
    }
}

#[tokio::test]
async fn headers_of_the_configuration_come_first() {
    let served = start(&["session_headers: [x-run-id]", "session_baggage: true"]).await;
    let ask = async |headers: &[(&str, &str)]| {
        let request = asking(CHAT, &json!({}));
        let request = headers.iter().fold(request, |request, (name, id)| request.header(name, id));
        served.gateway.ask(&request).await
    };
    let own = ask(&[("x-run-id", "r"), ("x-model-affinity", "s")]).await;
    assert_eq!(own.affinity(), ("false", "claimed", ONE));
    let feature = ask(&[("x-model-affinity", "s")]).await;
    assert_eq!(feature.affinity(), ("false", "claimed", TWO));
    let again = ask(&[("x-run-id", "r"), ("x-model-affinity", "s")]).await;
    assert_eq!(again.affinity(), ("true", "hit", ONE));
    assert_eq!(ask(&[("baggage", "session.id=s")]).await.affinity(), ("true", "hit", TWO));
    assert_eq!(ask(&[("x-client-request-id", "r")]).await.affinity().1, "none");
}

/// goose as it comes: a counter that strangers share, and a block with a clock in its messages.
#[tokio::test]
async fn a_counted_session_is_held_and_strangers_stay_apart() {
    let served = start(&[]).await;
    let ask = async |opening: &str, later: Option<&str>| {
        let clock = |time| format!("<info-msg>It is {time}</info-msg>\n");
        let mut messages = vec![json!({"role": "user", "content": opening})];
        match later {
            None => messages[0]["content"] = json!(clock("12:00") + opening),
            Some(later) => {
                messages.push(json!({"role": "assistant", "content": "yes"}));
                messages.push(json!({"role": "user", "content": clock("12:01") + later}));
            }
        }
        let request = asking(CHAT, &json!({"messages": messages}));
        let request = request.header("agent-session-id", "20261130_1");
        served.gateway.ask(&request).await
    };
    assert_eq!(ask("hello", None).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(ask("bye", None).await.affinity(), ("false", "claimed", TWO));
    assert_eq!(ask("hello", Some("and?")).await.affinity(), ("true", "hit", ONE));
    assert_eq!(ask("bye", Some("and?")).await.affinity(), ("true", "hit", TWO));
    assert_eq!(served.upstream.last().all("agent-session-id"), ["20261130_1"]);
}

#[tokio::test]
async fn without_the_setting_nothing_of_a_body_names_a_session() {
    let served = start(&[]).await;
    for model in [ONE, TWO, ONE] {
        let answer = served.gateway.ask(&asking(CHAT, &json!({"prompt_cache_key": "s"}))).await;
        assert_eq!(answer.affinity(), ("false", "none", model));
    }
}

#[tokio::test]
async fn a_header_comes_first_and_kinds_do_not_meet() {
    let served = start(&[ALL]).await;
    let ask = async |request: &Request| served.gateway.ask(request).await;
    let body = asking(RESPONSES, &json!({"conversation": "s"}));
    assert_eq!(ask(&body).await.affinity(), ("false", "claimed", ONE));
    let both = body.clone().session("s");
    assert_eq!(ask(&both).await.affinity(), ("false", "claimed", TWO));
    assert_eq!(ask(&body).await.affinity(), ("true", "hit", ONE));
    for forged in ["%conversation=s", "%25conversation=s", "conversation=s"] {
        let header = asking(RESPONSES, &json!({})).session(forged);
        assert_eq!(ask(&header).await.affinity().1, "claimed", "{forged}");
        let cached = asking(RESPONSES, &json!({"prompt_cache_key": forged}));
        assert_eq!(ask(&cached).await.affinity().1, "claimed", "{forged}");
    }
    assert_eq!(ask(&body).await.affinity(), ("true", "hit", ONE));
    assert_eq!(ask(&both).await.affinity(), ("true", "hit", TWO));
}

#[tokio::test]
async fn the_decision_api_and_the_proxy_share_the_session() {
    let served = start(&[ALL]).await;
    let body = json!({"conversation": "conv_1"});
    let decided = served.gateway.ask(&asking("/routing/v1/responses", &body)).await.json();
    assert_eq!((&decided["model"], &decided["session_id"]), (&json!(ONE), &json!("conv_1")));
    let proxied = served.gateway.ask(&asking(RESPONSES, &body)).await;
    assert_eq!(proxied.affinity(), ("true", "hit", ONE));
    // A decision is no response that anybody could go on with.
    let begins = served.gateway.ask(&asking("/routing/v1/responses", &turn("1", None))).await;
    assert_eq!(begins.affinity(), ("false", "none", TWO));
    assert_eq!(begins.json().get("session_id"), None);
}

#[tokio::test]
async fn a_conversation_of_responses_holds_its_model_with_its_branches() {
    for stream in [false, true] {
        let served = start(&[ALL]).await;
        let ask = async |mut members: Value| -> Response {
            members["stream"] = json!(stream);
            // The SDKs offer compression, and the answer must be readable.
            let request = asking(RESPONSES, &members).header("accept-encoding", "gzip");
            served.gateway.ask(&request).await
        };
        assert_eq!(ask(turn("a", None)).await.affinity(), ("false", "claimed", ONE));
        assert_eq!(ask(turn("x", None)).await.affinity(), ("false", "claimed", TWO));
        assert!(!served.upstream.last().has("accept-encoding"));
        for (name, previous) in [("b", "a"), ("c", "b"), ("fork", "a"), ("d", "c"), ("e", "fork")] {
            let answer = ask(turn(name, Some(previous))).await;
            assert_eq!(answer.affinity(), ("true", "hit", ONE), "{name}, stream: {stream}");
        }
        assert_eq!(ask(turn("y", Some("x"))).await.affinity(), ("true", "hit", TWO));
        assert_eq!(served.router.calls(), 2);
        assert_eq!(ask(turn("z", Some("nobody"))).await.affinity(), ("false", "claimed", ONE));
    }
}

#[tokio::test]
async fn a_response_that_is_followed_binds_its_session_to_its_provider() {
    let served = start(&[ALL]).await;
    let ask = async |members: &Value| served.gateway.ask(&asking(RESPONSES, members)).await;
    // The route `two` has a second candidate, which is not asked.
    assert_eq!(ask(&turn("x", None)).await.affinity().2, ONE);
    assert_eq!(ask(&turn("a", None)).await.affinity(), ("false", "claimed", TWO));
    assert_eq!(ask(&turn("b", Some("a"))).await.affinity(), ("true", "hit", TWO));
    let mut fails = turn("c", Some("a"));
    fails["input"] = json!("fail");
    // No other provider has the response.
    let answer = ask(&fails).await;
    assert_eq!((answer.status, answer.affinity()), (503, ("true", "bound", TWO)));
    for previous in ["a", "b"] {
        let answer = ask(&turn("d", Some(previous))).await;
        assert_eq!(answer.affinity(), ("true", "hit", TWO), "{previous}");
    }
}

#[tokio::test]
async fn tenants_do_not_follow_each_other() {
    let served = start(&[ALL, "session_cache: {type: memory, tenant_header: x-tenant}"]).await;
    let ask = async |tenant: &str, members: &Value| {
        let request = asking(RESPONSES, members).header("x-tenant", tenant);
        served.gateway.ask(&request).await
    };
    assert_eq!(ask("a", &turn("1", None)).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(ask("b", &turn("2", Some("1"))).await.affinity(), ("false", "claimed", TWO));
    assert_eq!(ask("a", &turn("3", Some("1"))).await.affinity(), ("true", "hit", ONE));
    let without = served.gateway.ask(&asking(RESPONSES, &turn("4", Some("1")))).await;
    assert_eq!(without.refusal(), (400, "missing_scope".to_owned()));
    let begins = served.gateway.ask(&asking(RESPONSES, &turn("5", None))).await;
    assert_eq!(begins.affinity().1, "none", "nobody asked for a session");
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_known_by_what_was_said() {
    let served = start(&["fingerprint: {}"]).await;
    let chat = |opening: &str, turns: usize| {
        let mut messages = vec![json!({"role": "system", "content": "be brief"})];
        messages.push(json!({"role": "user", "content": opening}));
        for n in 0..turns {
            messages.push(json!({"role": "assistant", "content": format!("{n}")}));
            messages.push(json!({"role": "user", "content": format!("and {n}?")}));
        }
        asking(CHAT, &json!({"messages": messages}))
    };
    assert_eq!(served.gateway.ask(&chat("hello", 0)).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(served.gateway.ask(&chat("bye", 0)).await.affinity(), ("false", "claimed", TWO));
    for turns in 1..4 {
        let (hello, bye) = (chat("hello", turns), chat("bye", turns));
        assert_eq!(served.gateway.ask(&hello).await.affinity(), ("true", "hit", ONE));
        assert_eq!(served.gateway.ask(&bye).await.affinity(), ("true", "hit", TWO));
    }
    assert_eq!(served.router.calls(), 2);
    let decided = asking("/routing/v1/chat/completions", &json!({}));
    assert_eq!(served.gateway.ask(&decided).await.json().get("session_id"), None);
}
