//! Requests that cannot be served, each with its exact answer; none of them reaches a provider.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Connection, Gateway, Request, Response, Setup, Upstream, get, post};
use serde_json::json;

use crate::chat;

const LIMIT: usize = 32 << 20;

async fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).start().await;
    (upstream, gateway)
}

fn turn() -> Request {
    post("/v1/chat/completions", chat(ONE, "hello"))
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn session_ids_that_are_none() {
    let (upstream, gateway) = start().await;
    let long = "x".repeat(257);
    let huge = "x".repeat(60_000);
    for id in ["", "  \t ", "a,b", "a b", "a\tb", "é", "😀", &long, &huge] {
        for path in ["/v1/chat/completions", "/routing/v1/responses"] {
            let answer = gateway.ask(&post(path, chat(ONE, "hello")).session(id)).await;
            assert_eq!(answer.refusal(), refused(400, "invalid_session_id"), "{id:.9}");
            // The message names the rule and not the value.
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.len() < 200 && !message.contains(&long), "{message}");
        }
    }
    let two = turn().session("a").session("b");
    assert_eq!(gateway.ask(&two).await.refusal(), refused(400, "invalid_session_id"));
    let messages = post("/v1/messages", chat(ONE, "hello")).session("a b");
    let answer = gateway.ask(&messages).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (400, Some("error")));
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    assert_eq!(upstream.count(), 0);

    let longest = "x".repeat(256);
    let odd = "implicit:{a}/../x*'%00$(x)";
    for id in [&longest, odd, "  trimmed \t", "plano:affinity:x", "sk-secret"] {
        let answer = gateway.ask(&turn().session(id)).await;
        assert_eq!(answer.affinity(), ("false", "claimed", ONE), "{id}");
        let again = turn().session(id.trim()).session(id.trim());
        assert_eq!(gateway.ask(&again).await.affinity(), ("true", "hit", ONE), "{id}");
    }
    assert!(!gateway.log().contains("sk-secret"));
}

#[tokio::test]
async fn bodies_that_are_no_request() {
    let (upstream, gateway) = start().await;
    let deep = format!(r#"{{"model":"{ONE}","a":{}{}}}"#, "[".repeat(9999), "]".repeat(9999));
    let lone = r#"{"model":"gpt-4o","a":"\ud800"}"#;
    for (body, code) in [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        (r#"{"model":"gpt-4o",}"#, "invalid_json"),
        (r#"{"model":"gpt-4o","n":NaN}"#, "invalid_json"),
        ("{'model':'gpt-4o'}", "invalid_json"),
        ("{} trailing", "invalid_json"),
        ("\u{feff}{\"model\":\"gpt-4o\"}", "invalid_json"),
        (lone, "invalid_json"),
        (&*deep, "invalid_json"),
        ("[]", "invalid_json_type"),
        (r#""x""#, "invalid_json_type"),
        ("null", "invalid_json_type"),
        ("1", "invalid_json_type"),
        (r#"{"model":"gpt-4o","model":"gpt-4o-mini"}"#, "duplicate_key"),
        (r#"{"model":"gpt-4o","mode\u006c":"gpt-4o"}"#, "duplicate_key"),
        (r#"{"messages":[]}"#, "missing_model"),
        (r#"{"model":null}"#, "missing_model"),
        (r#"{"model":1}"#, "missing_model"),
        (r#"{"model":""}"#, "missing_model"),
    ] {
        let answer = gateway.ask(&post("/v1/chat/completions", body).session("s")).await;
        assert_eq!(answer.refusal(), refused(400, code), "{body:.60}");
        if code == "missing_model" || code == "duplicate_key" {
            assert_eq!(answer.json()["error"]["param"], "model", "{body}");
        }
        let messages = gateway.ask(&post("/v1/messages", body)).await;
        assert_eq!(messages.status, 400);
        assert_eq!(messages.json()["error"]["type"], "invalid_request_error");
    }
    // The place is told, the body is not.
    let answer = gateway.ask(&post("/v1/chat/completions", "{\n \"model\": secret}")).await;
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("line 2") && !message.contains("secret"), "{message}");
    let broken = turn().bytes(&b"{\"model\":\"\xc3\x28\"}"[..]);
    assert_eq!(gateway.ask(&broken).await.refusal(), refused(400, "invalid_json"));
    assert_eq!(upstream.count(), 0);
    // Nothing of this made a pin.
    assert_eq!(gateway.ask(&turn().session("s")).await.affinity().1, "claimed");
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let (upstream, gateway) = start().await;
    for (name, value, code) in [
        ("content-type", "text/plain", "unsupported_media_type"),
        ("content-type", "multipart/form-data; boundary=x", "unsupported_media_type"),
        ("content-encoding", "compress", "unsupported_encoding"),
        ("content-encoding", "gzip, br", "unsupported_encoding"),
    ] {
        let answer = gateway.ask(&turn().header(name, value)).await;
        assert_eq!(answer.refusal(), refused(415, code), "{value}");
    }
    // A page of any site may have a browser send a body without a type.
    let mut connection = gateway.connect().await;
    let bare =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";
    connection.wire.write(bare.as_bytes()).await.unwrap();
    let answer = connection.answer().await;
    assert_eq!(answer.refusal(), refused(415, "unsupported_media_type"));
    assert_eq!(upstream.count(), 0);
    for value in [
        "application/json; charset=utf-8",
        "application/json;charset=UTF8",
        "application/json; Charset=\"Utf-8\"; profile=x",
        "application/json;",
        "Application/JSON",
        "application/x+json",
    ] {
        assert_eq!(gateway.ask(&turn().header("content-type", value)).await.status, 200, "{value}");
    }
}

/// What the gateway reads in one way and a reader behind it in another.
#[tokio::test]
async fn bodies_that_two_readers_would_understand_in_two_ways() {
    let (upstream, gateway) = start().await;
    for (key, ours) in [
        ("Model", "model"),
        ("\\u004dodel", "model"),
        ("model\\u0000", "model"),
        ("model\\u0000x", "model"),
        ("ſtream", "stream"),
        ("Max_Tokens", "max_tokens"),
        ("max_to\u{212a}ens", "max_tokens"),
        ("Messages", "messages"),
        ("INPUT", "input"),
        ("Routing_preferences", "routing_preferences"),
        ("Previous_Response_Id", "previous_response_id"),
    ] {
        for body in [
            format!(r#"{{"model":"{ONE}","messages":[],"{key}":"{TWO}"}}"#),
            format!(r#"{{"{key}":"{TWO}","model":"{ONE}","messages":[]}}"#),
        ] {
            for path in ["/v1/chat/completions", "/v1/responses", "/routing/v1/chat/completions"] {
                let answer = gateway.ask(&post(path, &body).session("s")).await;
                assert_eq!(answer.refusal(), refused(400, "ambiguous_key"), "{body}");
                assert_eq!(answer.json()["error"]["param"], ours, "{body}");
            }
            let answer = gateway.ask(&post("/v1/messages", &body)).await;
            assert_eq!((answer.status, answer.json()["type"].as_str()), (400, Some("error")));
        }
    }
    let alone = format!(r#"{{"\u006dodel":"{ONE}","messages":[]}}"#);
    let answer = gateway.ask(&post("/v1/chat/completions", alone)).await;
    assert_eq!(answer.refusal(), refused(400, "ambiguous_key"));
    for value in [
        "application/json; charset=utf-7",
        "application/json; charset=\"utf-16\"",
        "application/json;charset = latin1",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; charset*=utf-8''utf-7",
        "application/json; charset",
        "application/json; x=\";charset=utf-7",
    ] {
        let answer = gateway.ask(&turn().header("content-type", value)).await;
        assert_eq!(answer.refusal(), refused(400, "unsupported_charset"), "{value}");
    }
    for (name, value) in [("content-type", "application/json"), ("content-encoding", "identity")] {
        let answer = gateway.ask(&turn().header(name, value).header(name, value)).await;
        assert_eq!(answer.refusal(), refused(400, "repeated_header"), "{name}");
    }
    assert_eq!(upstream.count(), 0);
    // Nested keys, and keys that only begin like ours.
    let body = format!(
        r#"{{"model":"{ONE}","messages":[{{"Model":1,"content":""}}],"models":[],"Temperature":1}}"#
    );
    assert_eq!(gateway.ask(&post("/v1/chat/completions", body)).await.status, 200);
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_the_body() {
    let (upstream, gateway) = start().await;
    let mut connection = gateway.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        LIMIT + 1
    );
    connection.wire.write(head.as_bytes()).await.unwrap();
    // Not one byte of the body is sent.
    assert_eq!(connection.answer().await.refusal(), refused(413, "request_too_large"));
    assert_eq!(upstream.count(), 0);
}

/// As Python's http.client does: the whole body first, and only then a look for the answer.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_all_of_its_body_first() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url()).listener("client_keys: [{name: a, key: secret}]");
    let gateway = setup.start().await;
    let body = vec![b' '; 40 << 20];
    for (path, key, media, expected) in [
        ("/nowhere", "secret", "application/json", refused(404, "not_found")),
        ("/v1/chat/completions", "wrong", "application/json", refused(401, "invalid_api_key")),
        ("/v1/chat/completions", "secret", "text/plain", refused(415, "unsupported_media_type")),
        ("/v1/chat/completions", "secret", "application/json", refused(413, "request_too_large")),
    ] {
        let mut connection = gateway.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\
             content-type: {media}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.wire.write(head.as_bytes()).await.unwrap();
        connection.wire.write(&body).await.unwrap();
        assert_eq!(connection.answer().await.refusal(), expected, "{path}");
        // Read to its end, the connection is as good as new.
        let next = turn().header("x-api-key", "secret");
        assert_eq!(connection.ask(&next).await.status, 200, "{path}");
    }
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn what_is_read_of_a_refused_body_has_an_end() {
    let (_, gateway) = start().await;
    let mut connection = gateway.connect().await;
    let head = "POST /nowhere HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.wire.write(head.as_bytes()).await.unwrap();
    let data = " ".repeat(1 << 20);
    let chunk = format!("{:x}\r\n{data}\r\n", data.len());
    let mut sent = 0;
    while sent < 128 && connection.wire.write(chunk.as_bytes()).await.is_ok() {
        sent += 1;
    }
    assert!((64..96).contains(&sent), "{sent} MiB");
}

/// Writes an endless chunked body until the server answers.
async fn endless(mut connection: Connection) -> Response {
    let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.wire.write(head.as_bytes()).await.unwrap();
    let data = " ".repeat(1 << 20);
    let chunk = format!("{:x}\r\n{data}\r\n", data.len());
    for _ in 0..LIMIT >> 20 {
        connection.wire.write(chunk.as_bytes()).await.unwrap();
    }
    // One byte more than may be.
    connection.wire.write(b"1\r\n \r\n").await.unwrap();
    connection.answer().await
}

#[tokio::test]
async fn a_chunked_body_is_refused_when_it_crosses_the_limit() {
    let (upstream, gateway) = start().await;
    let answer = endless(gateway.connect().await).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (413, Some("error")));
    assert_eq!(answer.json()["error"]["type"], "request_too_large");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_body_with_a_broken_chunk_is_refused() {
    let (upstream, gateway) = start().await;
    let mut connection = gateway.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    connection.wire.write(head.as_bytes()).await.unwrap();
    assert_eq!(connection.answer().await.refusal(), refused(400, "invalid_body"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served() {
    let (upstream, gateway) = start().await;
    for (path, nearest) in [
        ("/", "/readyz"),
        ("/v1", "/v1/models"),
        ("/v1/chat", "/v1/chat/completions"),
        ("/v2/messages", "/v1/messages"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/openai/chat/completions", "/v1/chat/completions"),
        ("/routing/v1/x", "/routing/v1/messages"),
    ] {
        let answer = gateway.ask(&post(path, chat(ONE, "hello"))).await;
        assert_eq!(answer.refusal(), refused(404, "not_found"), "{path}");
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.ends_with(&format!(": {nearest}")), "{path}: {message}");
    }
    for (method, path, allowed) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/responses", "POST"),
        ("get", "/v1/chat/completions", "POST"),
        ("DELETE", "/routing/v1/responses", "POST"),
        ("POST", "/v1/models", "GET,HEAD"),
        ("DELETE", "/v1/models/openai/gpt-4o", "GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
    ] {
        let answer = gateway.ask(&get(path).method(method).session("s")).await;
        assert_eq!(answer.refusal(), refused(405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
    let answer = gateway.ask(&get("/v1/messages")).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (405, Some("error")));
    let unknown = gateway.ask(&post("/v1/messages/unknown", "{}")).await;
    assert_eq!(unknown.json()["error"]["type"], "not_found_error");
    for path in ["/healthz", "/readyz", "/v1/models"] {
        let answer = gateway.ask(&get(path).session("s")).await;
        assert_eq!((answer.status, answer.header("x-plano-affinity")), (200, None), "{path}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.ask(&turn().session("s")).await.affinity().1, "claimed");
}

#[tokio::test]
async fn an_address_in_the_request_is_never_dialled() {
    let (upstream, gateway) = start().await;
    let elsewhere = Upstream::echo().await;
    let absolute = post(&format!("{}/latest/meta-data", elsewhere.url()), chat(ONE, "hello"));
    assert_eq!(gateway.ask(&absolute).await.refusal(), refused(400, "invalid_target"));
    let connect = get(elsewhere.url().strip_prefix("http://").unwrap()).method("CONNECT");
    assert_eq!(gateway.ask(&connect).await.refusal(), refused(405, "method_not_allowed"));
    let url = elsewhere.url();
    let body = json!({"model": DEFAULT, "messages": [], "base_url": url, "api_base": url});
    assert_eq!(gateway.ask(&post("/v1/chat/completions", &body)).await.status, 200);
    assert_eq!((upstream.count(), elsewhere.count()), (1, 0));
}
