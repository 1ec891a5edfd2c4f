//! What of the headers goes on, in both directions.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Answer, Gateway, Request, Setup, Upstream, ok_json, post};
use serde_json::json;

use crate::chat;

fn turn(model: &str) -> Request {
    post("/v1/chat/completions", chat(model, "hello"))
}

async fn with(setup: impl Fn(Setup) -> Setup) -> (Upstream, Gateway) {
    let upstream = Upstream::echo().await;
    let gateway = setup(Setup::new(&upstream.url())).start().await;
    (upstream, gateway)
}

#[tokio::test]
async fn the_provider_gets_its_own_key_and_not_the_clients() {
    let (upstream, gateway) = with(|setup| setup).await;
    let client = |path, model| {
        let request = post(path, chat(model, "hello"));
        request.header("authorization", "Bearer client-secret").header("x-api-key", "client-secret")
    };
    for (path, model, bearer, key, version) in [
        ("/v1/chat/completions", ONE, Some("Bearer openai-secret"), None, None),
        ("/v1/messages", ONE, Some("Bearer openai-secret"), None, None),
        ("/v1/messages", TWO, None, Some("anthropic-secret"), Some("2023-06-01")),
        ("/v1/chat/completions", TWO, Some("Bearer anthropic-secret"), None, None),
    ] {
        assert_eq!(gateway.ask(&client(path, model)).await.status, 200);
        let seen = upstream.last();
        assert_eq!(seen.all("authorization"), Vec::from_iter(bearer), "{path} {model}");
        assert_eq!(seen.all("x-api-key"), Vec::from_iter(key), "{path} {model}");
        assert_eq!(seen.all("anthropic-version"), Vec::from_iter(version), "{path} {model}");
        let fields = format!("{:?}", seen.fields);
        assert!(!fields.contains("client-secret"), "{fields}");
    }
    let newer = client("/v1/messages", TWO).header("anthropic-version", "2099-01-01");
    assert_eq!(gateway.ask(&newer).await.status, 200);
    assert_eq!(upstream.last().all("anthropic-version"), ["2099-01-01"]);
    assert!(!gateway.log().contains("secret"), "{}", gateway.log());
}

#[tokio::test]
async fn no_credential_of_a_client_reaches_a_provider() {
    let names = [
        "cookie",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "x-amz-security-token",
        "cf-aig-authorization",
        "x-portkey-api-key",
        "x-litellm-api-key",
        "ocp-apim-subscription-key",
    ];
    let path = "/v1/messages?a=1&key=client-secret&api_key=client-secret&beta=true";
    for (passes, target) in [(false, "/v1/messages?a=1&beta=true"), (true, path)] {
        let setting = format!("passthrough_auth: {passes}");
        let (upstream, gateway) = with(|setup| setup.provider(&setting)).await;
        let request = post(path, chat(ONE, "hello")).header("x-kept", "1");
        let request =
            names.iter().fold(request, |request, name| request.header(name, "client-secret"));
        assert_eq!(gateway.ask(&request).await.status, 200);
        let seen = upstream.last();
        for name in names {
            assert_eq!(seen.has(name), passes, "{name}");
        }
        assert_eq!(seen.line, format!("POST {target} HTTP/1.1"));
        assert!(seen.has("x-kept"));
    }
}

#[tokio::test]
async fn passthrough_auth_sends_the_clients_credential_instead() {
    let (upstream, gateway) = with(|setup| setup.provider("passthrough_auth: true")).await;
    let request = turn(ONE).header("authorization", "Bearer client-secret");
    assert_eq!(gateway.ask(&request).await.status, 200);
    assert_eq!(upstream.last().all("authorization"), ["Bearer client-secret"]);
    assert_eq!(gateway.ask(&turn(ONE)).await.status, 200);
    assert!(!upstream.last().has("authorization"));
}

#[tokio::test]
async fn a_provider_may_have_headers_of_its_own() {
    let (upstream, gateway) =
        with(|setup| setup.provider("headers: {x-team: blue, x-region: '1'}")).await;
    assert_eq!(gateway.ask(&turn(ONE).header("x-team", "red")).await.status, 200);
    let seen = upstream.last();
    assert_eq!((seen.all("x-team"), seen.all("x-region")), (vec!["blue"], vec!["1"]));
}

#[tokio::test]
async fn our_names_are_not_the_clients_to_send() {
    let (upstream, gateway) = with(|setup| setup).await;
    let request = turn(ONE)
        .header("x-plano-pinned", "true")
        .header("x-plano-model", "evil")
        .header("x-plano-route", "evil")
        .header("x-kept", "1");
    let answer = gateway.ask(&request).await;
    assert_eq!(answer.affinity(), ("false", "none", ONE));
    let seen = upstream.last();
    let ours = seen.fields.iter().filter(|(name, _)| name.starts_with("x-plano")).count();
    assert_eq!((ours, seen.all("x-kept")), (0, vec!["1"]));
}

#[tokio::test]
async fn our_names_are_not_the_upstreams_to_answer() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-plano-pinned: true\r\nx-plano-pinned: yes\r\n\
         x-plano-model: evil\r\nx-plano-route: evil\r\nx-plano-affinity: hit\r\nx-kept: 1\r\n\r\n{}",
    );
    let upstream = upstream.await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let answer = gateway.ask(&turn(ONE)).await;
    assert_eq!(answer.affinity(), ("false", "none", ONE));
    assert_eq!((answer.header("x-plano-route"), answer.header("x-kept")), (None, Some("1")));
}

#[tokio::test]
async fn hop_by_hop_headers_end_here_in_both_directions() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-named\r\nx-named: 1\r\n\
         keep-alive: timeout=5\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\n\
         trailer: x-late\r\nserver: provider\r\nx-request-id: r1\r\n\r\n{}",
    );
    let upstream = upstream.await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let request = turn(ONE)
        .header("connection", "X-Hop, keep-alive")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("proxy-authorization", "Basic Zm9v")
        .header("te", "trailers")
        .header("trailer", "x-late")
        .header("user-agent", "client/1")
        .header("accept", "a")
        .header("accept", "b");
    let answer = gateway.ask(&request).await;
    let seen = upstream.last();
    for name in ["x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer"]
    {
        assert!(!seen.has(name), "{name} was sent on");
    }
    assert_eq!((seen.all("user-agent"), seen.all("accept")), (vec!["client/1"], vec!["a", "b"]));

    for name in ["connection", "x-named", "keep-alive", "proxy-authenticate", "upgrade", "trailer"]
    {
        assert_eq!(answer.header(name), None, "{name} was sent back");
    }
    assert_eq!(answer.header("server"), Some("provider"));
    assert_eq!(answer.header("x-request-id"), Some("r1"));
}

#[tokio::test]
async fn two_cookies_are_two_headers() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=1; Path=/\r\nset-cookie: b=2\r\n\r\n{}",
    );
    let upstream = upstream.await;
    let gateway = Setup::new(&upstream.url()).start().await;
    for request in [turn(ONE), turn(ONE).session("s"), turn(ONE).session("s")] {
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.all("set-cookie"), ["a=1; Path=/", "b=2"]);
    }
}

#[tokio::test]
async fn the_session_header_goes_on_unless_configured_otherwise() {
    let (upstream, gateway) = with(|setup| setup).await;
    let request = turn(ONE).session("s").header("x-session-id", "t");
    assert_eq!(gateway.ask(&request).await.status, 200);
    let seen = upstream.last();
    assert_eq!((seen.all("x-model-affinity"), seen.all("x-session-id")), (vec!["s"], vec!["t"]));
    // Named as a header of this hop, it still pins, and ends here.
    let hop = turn(ONE).session("s").header("connection", "x-model-affinity");
    assert_eq!(gateway.ask(&hop).await.affinity(), ("true", "hit", ONE));
    assert!(!upstream.last().has("x-model-affinity"));

    let (upstream, gateway) = with(|setup| setup.routing("forward_session_header: false")).await;
    assert_eq!(gateway.ask(&request).await.affinity(), ("false", "claimed", ONE));
    let seen = upstream.last();
    assert!(!seen.has("x-model-affinity") && !seen.has("x-session-id"));
}

#[tokio::test]
async fn what_follows_from_the_session_id_is_withheld_with_it() {
    let trail = [
        "x-claude-code-session-id",
        "x-claude-code-agent-id",
        "x-claude-code-parent-agent-id",
        "session-id",
        "thread-id",
        "x-client-request-id",
        "x-codex-turn-metadata",
        "x-openai-subagent",
        "x-session-affinity",
        "x-parent-session-id",
        "x-task-id",
        "x-dynamo-session-id",
        "x-dynamo-parent-session-id",
        "x-dynamo-session-final",
        "agent-session-id",
        "x-affinity",
        "x-opencode-session",
        "x-litellm-session-id",
        "x-amp-thread-id",
        "x-hermes-session-id",
        "x-cagent-session-id",
        "x-grok-conv-id",
        "x-bf-session-id",
        "x-switchyard-session-id",
        "x-run-id",
        "baggage",
    ];
    for forwards in [true, false] {
        let setting = format!("forward_session_header: {forwards}");
        let own = "session_headers: [x-run-id]";
        let set =
            |setup: Setup| setup.routing(&setting).routing(own).routing("session_baggage: true");
        let (upstream, gateway) = with(set).await;
        let request = trail.iter().fold(turn(ONE), |request, name| request.header(name, "s"));
        let request = request.header("x-stainless-retry-count", "0");
        assert_eq!(gateway.ask(&request).await.status, 200);
        let seen = upstream.last();
        for name in trail {
            assert_eq!(seen.has(name), forwards, "{name}");
        }
        assert!(seen.has("x-stainless-retry-count"));
    }
}

#[tokio::test]
async fn a_control_is_not_sent_on() {
    let (upstream, gateway) = with(|setup| setup).await;
    let request = turn(DEFAULT).session("s").header("x-plano-affinity", "bypass");
    assert_eq!(gateway.ask(&request).await.affinity(), ("false", "bypass", DEFAULT));
    assert!(!upstream.last().has("x-plano-affinity"));
}

#[tokio::test]
async fn an_early_hint_does_not_stand_for_the_answer() {
    let upstream = Upstream::start(|_| {
        let Answer::Bytes(answer) = ok_json(&json!({"model": "m"})) else { unreachable!() };
        let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        Answer::Bytes([hint.as_slice(), &answer].concat())
    });
    let upstream = upstream.await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let answer = gateway.ask(&turn(ONE)).await;
    assert_eq!((answer.status, answer.json()["model"].as_str()), (200, Some("m")));
}
