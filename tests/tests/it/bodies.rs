//! What the client wrote reaches the provider as it was written, but for the model.

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Gateway, Setup, Upstream, get, post, within};

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::chat;

/// A gateway whose provider is the test, at `base_url` below the upstream's address.
async fn at(path: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&format!("{}{path}", upstream.url())).start().await;
    (upstream, gateway)
}

#[tokio::test]
async fn every_byte_but_the_model_goes_through() {
    let (upstream, gateway) = at("").await;
    // The model stands in the middle, first, and last; the rest is JSON as nobody writes it.
    let odd = "{\t\"z\" : 1.500e0 ,\r\n \"a\":\"\\u00e9\\/\\ud83d\\ude00 é\" , \"model\"  :  \
               \"MODEL\",\n\"messages\":[ {\"content\":\"x\",\"role\":\"user\",\"role\":\"user\",\
               \"model\":\"inner\"} ], \"prompt_cache_key\":null,\"big\":12345678901234567890,\
               \"empty\":{ }, \"reasoning_content\":\"\" }  \n";
    let first = r#"{"model":"MODEL","stream":false,"messages":[],"x":[1,2 ,3]}"#;
    let last = r#"{"input":"hi \"model\": 1","metadata":{"b":1,"a":2},"model":"MODEL"}"#;
    let nested =
        r#"{"model":"MODEL","messages":[],"x":{"Model":1,"mod\u0065l":2,"model\u0000":3}}"#;
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
        for template in [odd, first, last, nested] {
            let sent = template.replace("MODEL", ONE);
            let answer = gateway.ask(&post(path, &sent)).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let seen = upstream.last();
            let expected = template.replace("MODEL", "gpt-4o");
            assert_eq!(String::from_utf8(seen.body.clone()).unwrap(), expected, "{path}");
            assert_eq!(seen.line, format!("POST {path} HTTP/1.1"));
            assert_eq!(seen.all("content-length"), [expected.len().to_string()]);
            assert!(seen.complete && !seen.has("transfer-encoding"));
            assert_eq!(seen.all("host"), [upstream.url().strip_prefix("http://").unwrap()]);
        }
    }
}

#[tokio::test]
async fn a_pinned_body_goes_through_as_well() {
    let (upstream, gateway) = at("").await;
    let body = |model: &str| format!(r#"{{ "messages" : [ ] , "model" : "{model}" , "n" : 1.0 }}"#);
    for expected in ["claimed", "hit"] {
        let answer = gateway.ask(&post("/v1/chat/completions", body(TWO)).session("s")).await;
        assert_eq!(answer.affinity().1, expected);
        let id = TWO.split_once('/').unwrap().1;
        assert_eq!(String::from_utf8(upstream.last().body).unwrap(), body(id));
    }
}

/// Bodies beyond a mebibyte are checked apart from the threads that serve.
#[tokio::test]
async fn a_long_body_is_answered_as_a_short_one() {
    let (upstream, gateway) = at("").await;
    let (short, long) = ("x".repeat(10), "x".repeat(3 << 20));
    let mut connection = gateway.connect().await;
    for outcome in ["claimed", "hit"] {
        for (text, session) in [(&short, "short"), (&long, "long")] {
            let request = post("/v1/chat/completions", chat(ONE, text)).session(session);
            let answer = within(connection.ask(&request)).await;
            assert_eq!((answer.status, answer.affinity().1), (200, outcome), "{session}");
            assert!(upstream.last().body == chat("gpt-4o", text).as_bytes(), "{session}: differs");
        }
    }
    let served = upstream.count();
    for (body, code) in [
        // Both end in a line of their own, so that the place of the error is the same.
        ("{\"model\": \"MODEL\", \"text\": \"TEXT\",\n", "invalid_json"),
        ("{\"text\": \"TEXT\",\n\"model\": \"MODEL\" ]", "invalid_json"),
        (r#"["TEXT"]"#, "invalid_json_type"),
        (r#"{"text": "TEXT", "model": "MODEL", "model": "MODEL"}"#, "duplicate_key"),
        (r#"{"text": "TEXT"}"#, "missing_model"),
        (r#"{"text": "TEXT", "model": "nobodys"}"#, "model_not_found"),
    ] {
        let mut told = Vec::new();
        for text in [&short, &long] {
            let body = body.replace("MODEL", ONE).replace("TEXT", text);
            let answer = within(connection.ask(&post("/v1/chat/completions", body))).await;
            assert_eq!(answer.refusal().1, code);
            told.push((answer.status, answer.text()));
        }
        assert_eq!(told[0], told[1], "{code}");
    }
    assert_eq!(upstream.count(), served);
}

#[tokio::test]
async fn a_chunked_body_of_a_mebibyte_arrives_with_one_framing() {
    let (upstream, gateway) = at("").await;
    let text = "0123456789abcdef".repeat(64 * 1024);
    let body = chat(ONE, &text);
    let mut connection = gateway.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.wire.write(head.as_bytes()).await.unwrap();
    for chunk in body.as_bytes().chunks(100_000) {
        let size = format!("{:x}\r\n", chunk.len());
        let chunk = [size.as_bytes(), chunk, b"\r\n"].concat();
        connection.wire.write(&chunk).await.unwrap();
    }
    connection.wire.write(b"0\r\n\r\n").await.unwrap();
    assert_eq!(connection.answer().await.status, 200);
    let seen = upstream.last();
    let expected = chat("gpt-4o", &text);
    assert!(seen.body == expected.as_bytes(), "the bodies differ");
    assert_eq!(seen.all("content-length"), [expected.len().to_string()]);
    assert!(!seen.has("transfer-encoding"));
}

#[tokio::test]
async fn the_query_and_the_base_url_make_the_target() {
    for (base, path, target) in [
        ("", "/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("/", "/v1/messages", "/v1/messages"),
        ("/v1", "/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("/v1/", "/v1/responses", "/v1/responses"),
        ("/other/prefix", "/v1/chat/completions", "/other/prefix/chat/completions"),
        ("/other/prefix", "/v1/messages?a=%2F&b", "/other/prefix/messages?a=%2F&b"),
    ] {
        let (upstream, gateway) = at(base).await;
        assert_eq!(gateway.ask(&post(path, chat(ONE, "hi"))).await.status, 200);
        assert_eq!(upstream.last().line, format!("POST {target} HTTP/1.1"), "{base}");
    }
}

#[tokio::test]
async fn a_model_may_be_asked_for_in_several_ways() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url())
        .line(&format!("model_aliases: {{quick: {{target: {ONE}}}, 'a.b': {{target: {TWO}}}}}"));
    let gateway = setup.start().await;
    for (asked, model) in [
        (ONE, ONE),
        ("gpt-4o", ONE),
        ("claude-sonnet-4-20250514", TWO),
        ("quick", ONE),
        ("a.b", TWO),
        ("auto", DEFAULT),
    ] {
        let answer = gateway.ask(&post("/v1/chat/completions", chat(asked, "hi"))).await;
        assert_eq!(answer.affinity(), ("false", "none", model), "{asked}");
        assert_eq!(upstream.last().json()["model"], model.split_once('/').unwrap().1);
    }
    // `auto` lets the router choose.
    let chosen = post("/v1/chat/completions", chat("auto", "writing poems"));
    assert_eq!(gateway.ask(&chosen).await.affinity().2, ONE);

    for unknown in ["openai/gpt-9", "gpt-9", "openai", "quick/", "Auto", " gpt-4o"] {
        let refused = gateway.ask(&post("/v1/chat/completions", chat(unknown, "hi"))).await;
        assert_eq!(refused.refusal(), (404, "model_not_found".to_owned()), "{unknown}");
        assert_eq!(refused.json()["error"]["param"], "model");
    }

    let list = gateway.ask(&get("/v1/models")).await;
    assert_eq!((list.status, list.json()["object"].as_str()), (200, Some("list")));
    let list = list.json();
    let models = list["data"].as_array().unwrap().iter();
    let ids = models.map(|model| model["id"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(ids, [DEFAULT, ONE, TWO, "a.b", "quick", "auto"]);
}

#[tokio::test]
async fn all_that_may_be_asked_for_is_listed_and_shown() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url());
    let gateway =
        setup.line("model_aliases: {quick: {target: anthropic/claude-sonnet-4-20250514}}");
    let gateway = gateway.start().await;
    for (asked, id, owner) in [
        ("openai/gpt-4o", "openai/gpt-4o", "openai"),
        ("openai%2Fgpt-4o", "openai/gpt-4o", "openai"),
        ("gpt-4o", "gpt-4o", "openai"),
        ("quick", "quick", "anthropic"),
        ("auto/", "auto", "gateway"),
    ] {
        let path = format!("/v1/models/{asked}");
        let model = gateway.ask(&get(&path)).await.json();
        assert_eq!((&model["id"], &model["owned_by"]), (&json!(id), &json!(owner)), "{asked}");
        assert_eq!(model["object"], "model");
        let anthropic = get(&path).header("anthropic-version", "2023-06-01");
        let model = gateway.ask(&anthropic).await.json();
        assert_eq!((&model["id"], &model["type"]), (&json!(id), &json!("model")), "{asked}");
        assert!(model["display_name"].is_string() && model["created_at"].is_string());
    }
    for unknown in ["openai/gpt-9", "x", "%FF", "openai%2Fgpt-4o%2F"] {
        let answer = gateway.ask(&get(&format!("/v1/models/{unknown}"))).await;
        assert_eq!(answer.refusal(), (404, "model_not_found".to_owned()), "{unknown}");
    }
    let anthropic = |path: &str| get(path).header("anthropic-version", "2023-06-01");
    let refused = gateway.ask(&anthropic("/v1/models/x")).await;
    assert_eq!(refused.json()["error"]["type"], "not_found_error");
    let list = gateway.ask(&anthropic("/v1/models")).await.json();
    assert_eq!(list["has_more"], false);
    assert_eq!((&list["first_id"], &list["last_id"]), (&json!(DEFAULT), &json!("auto")));
    assert_eq!(list["data"].as_array().unwrap().len(), 5);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn what_a_base_url_adds_to_a_path_is_taken_as_if_it_were_not_there() {
    let (upstream, gateway) = at("").await;
    for (asked, sent) in [
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1//chat/completions", "/v1/chat/completions"),
        ("/openai/v1/responses", "/v1/responses"),
        ("/anthropic/v1/messages?beta=true", "/v1/messages?beta=true"),
    ] {
        let answer = gateway.ask(&post(asked, chat(ONE, "hello")).session(asked)).await;
        assert_eq!(answer.affinity(), ("false", "claimed", ONE), "{asked}");
        assert_eq!(upstream.last().line, format!("POST {sent} HTTP/1.1"), "{asked}");
    }
    let decided = post("/openai/routing/v1/responses/", chat(ONE, "hello"));
    assert_eq!(gateway.ask(&decided).await.json()["model"], ONE);
    assert_eq!(gateway.ask(&get("/healthz/")).await.status, 200);
}

#[tokio::test]
async fn two_requests_in_one_packet_are_two_requests() {
    let (upstream, gateway) = at("").await;
    let one = post("/v1/chat/completions", chat(ONE, "first"));
    let two = post("/v1/chat/completions", chat(DEFAULT, "second"));
    let mut connection = gateway.connect().await;
    connection.wire.write(&[one.wire(), two.wire()].concat()).await.unwrap();
    assert_eq!(within(connection.answer()).await.affinity().2, ONE);
    assert_eq!(within(connection.answer()).await.affinity().2, DEFAULT);
    let bodies = upstream.seen().into_iter().map(|seen| String::from_utf8(seen.body).unwrap());
    assert!(bodies.eq([chat("gpt-4o", "first"), chat("gpt-4o-mini", "second")]));
}

async fn written<W: AsyncWrite + Unpin>(mut encoder: W, text: &[u8]) -> W {
    encoder.write_all(text).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder
}

async fn compressed(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => written(GzipEncoder::new(Vec::new()), text).await.into_inner(),
        "deflate" => written(ZlibEncoder::new(Vec::new()), text).await.into_inner(),
        "br" => written(BrotliEncoder::new(Vec::new()), text).await.into_inner(),
        "zstd" => written(ZstdEncoder::new(Vec::new()), text).await.into_inner(),
        _ => text.to_vec(),
    }
}

#[tokio::test]
async fn a_compressed_body_is_inflated_and_goes_on_as_it_was_meant() {
    let (upstream, gateway) = at("").await;
    let text = chat(ONE, &"hello ".repeat(50_000)).to_string();
    for coding in ["gzip", "deflate", "br", "zstd", "", "identity", "utf-8"] {
        for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
            let sent = compressed(coding, text.as_bytes()).await;
            let request = post(path, "").bytes(sent).header("content-encoding", coding);
            let answer = gateway.ask(&request.session(&format!("s{coding}"))).await;
            assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
            let seen = upstream.last();
            let expected = text.replace(ONE, "gpt-4o");
            assert_eq!(String::from_utf8(seen.body.clone()).unwrap(), expected, "{coding}");
            assert_eq!(seen.all("content-length"), [expected.len().to_string()]);
            assert!(!seen.has("content-encoding"), "{coding}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_compressed_as_it_says_is_refused() {
    let (upstream, gateway) = at("").await;
    let text = chat(ONE, "hello").to_string();
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let mut cut = compressed(coding, text.as_bytes()).await;
        cut.truncate(cut.len() - 3);
        for sent in [text.clone().into_bytes(), cut] {
            let request = post("/v1/chat/completions", "").bytes(sent);
            let answer = gateway.ask(&request.header("content-encoding", coding)).await;
            assert_eq!(answer.refusal(), (400, "invalid_body".to_owned()), "{coding}");
            assert!(answer.text().contains("content-encoding"), "{}", answer.text());
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_body_may_not_be_inflated_beyond_the_limit() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url()).line("limits: {body_bytes: 1048576}");
    let gateway = setup.start().await;
    let bomb = chat(ONE, &" ".repeat(64 << 20)).to_string();
    for coding in ["gzip", "br", "zstd"] {
        let sent = compressed(coding, bomb.as_bytes()).await;
        assert!(sent.len() < 1 << 20);
        let request = post("/v1/chat/completions", "").bytes(sent);
        let answer = gateway.ask(&request.header("content-encoding", coding)).await;
        assert_eq!(answer.refusal(), (413, "request_too_large".to_owned()), "{coding}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.ask(&post("/v1/chat/completions", chat(ONE, "hello"))).await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said() {
    let (upstream, gateway) = at("").await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127));
    for (body, told) in [
        ("\u{feff}{}", "byte order mark"),
        ("{\"temperature\":1e400}", "number that is out of range"),
        (&deep, "more than 127 levels"),
        ("{", "not JSON"),
    ] {
        let answer = gateway.ask(&post("/v1/chat/completions", body)).await;
        assert_eq!(answer.refusal(), (400, "invalid_json".to_owned()), "{told}");
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    assert_eq!(upstream.count(), 0);
    for count in ["-1", "4096.0"] {
        let body = format!(r#"{{"model":"{ONE}","messages":[],"max_tokens":{count}}}"#);
        assert_eq!(gateway.ask(&post("/v1/chat/completions", &body)).await.status, 200, "{count}");
        assert!(upstream.last().body.ends_with(format!("{count}}}").as_bytes()));
    }
}
