//! Bodies that two readers would understand in two ways, and bodies that do not come.

use affinity_tests::models::ONE;
use affinity_tests::{post, within};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{chat, is, start, turn, with};

#[tokio::test]
async fn values_that_cannot_be_meant() {
    let (upstream, gateway) = start().await;
    for (member, param) in [
        (r#""max_tokens":1e400"#, "max_tokens"),
        (r#""max_tokens":-0"#, "max_tokens"),
        (r#""max_tokens":18446744073709551616"#, "max_tokens"),
        (r#""max_tokens":-0.0"#, "max_tokens"),
        (r#""max_completion_tokens":"7""#, "max_completion_tokens"),
        (r#""max_output_tokens":[]"#, "max_output_tokens"),
        (r#""stream":"yes""#, "stream"),
        (r#""stream":1"#, "stream"),
        (r#""messages":{}"#, "messages"),
        (r#""messages":"hello""#, "messages"),
    ] {
        let body = format!(r#"{{"model":"{ONE}",{member}}}"#);
        for path in ["/v1/chat/completions", "/v1/responses", "/routing/v1/chat/completions"] {
            let answer = gateway.ask(&post(path, &body).session("s")).await;
            assert_eq!(answer.refusal(), is(400, "invalid_value"), "{member}");
            assert_eq!(answer.json()["error"]["param"], param, "{member}");
        }
        let answer = gateway.ask(&post("/v1/messages", &body)).await;
        assert_eq!((answer.status, answer.json()["type"].as_str()), (400, Some("error")));
    }
    assert_eq!(upstream.count(), 0);
    // What is missing or empty is the provider's to refuse.
    let many = format!(r#"{{"model":"{ONE}","messages":[{}]}}"#, vec!["{}"; 100_000].join(","));
    for body in
        [format!(r#"{{"model":"{ONE}"}}"#), format!(r#"{{"model":"{ONE}","messages":[]}}"#), many]
    {
        assert_eq!(gateway.ask(&post("/v1/chat/completions", body)).await.status, 200);
    }
}

#[tokio::test]
async fn overlong_utf8_and_a_byte_order_mark() {
    let (upstream, gateway) = start().await;
    for bytes in
        [&b"{\"model\":\"\xc0\xaf\"}"[..], b"\xef\xbb\xbf{\"model\":\"gpt-4o\"}", b"\xff\xfe{\0}\0"]
    {
        let answer = gateway.ask(&turn().bytes(bytes)).await;
        assert_eq!(answer.refusal(), is(400, "invalid_json"), "{bytes:?}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_body_that_stops_is_a_408_at_its_time_limit() {
    let (upstream, gateway) = with(|setup| setup.line("limits: {body_timeout_ms: 300}")).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let mut connection = gateway.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             x-model-affinity: s\r\ncontent-length: 100\r\n\r\n{{\"model\""
        );
        let began = Instant::now();
        connection.wire.write(head.as_bytes()).await.unwrap();
        let answer = within(connection.answer()).await;
        assert!(began.elapsed().as_millis() >= 300);
        assert_eq!(answer.status, 408);
        match path {
            "/v1/messages" => assert_eq!(answer.json()["error"]["type"], "invalid_request_error"),
            _ => assert_eq!(answer.refusal(), is(408, "body_timeout")),
        }
        assert!(connection.wire.head().await.is_none(), "the connection is open");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.ask(&turn().session("s")).await.affinity().1, "claimed");
}

/// What can be told by order and by counts: a thread that checks a body answers nobody meanwhile.
#[tokio::test]
async fn others_are_served_while_long_bodies_are_checked() {
    const LONG: usize = 16;
    let (upstream, gateway) = start().await;
    // Numbers that take a second look, and at their end no JSON.
    let numbers = "1e1,".repeat(1 << 20);
    let long = post("/v1/chat/completions", format!(r#"{{"model":"{ONE}","x":[{numbers}"#));
    let mut checked = JoinSet::new();
    for _ in 0..LONG {
        let (mut connection, long) = (gateway.connect().await, long.clone());
        checked.spawn(async move { connection.ask(&long).await.refusal() });
    }
    let mut other = gateway.connect().await;
    let mut during = 0;
    while !checked.is_empty() {
        assert_eq!(within(other.ask(&turn())).await.status, 200);
        during += 1;
        while let Some(refused) = checked.try_join_next() {
            assert_eq!(refused.unwrap(), is(400, "invalid_json"));
        }
    }
    println!("{during} requests served during the checks of {LONG} bodies");
    assert!(during > 5 * LONG, "{during}");
    assert_eq!(upstream.count(), during);
}

#[tokio::test]
async fn a_client_that_leaves_amid_its_body_leaves_nothing() {
    let (upstream, gateway) = start().await;
    let request = turn().session("s").wire();
    for _ in 0..100 {
        let mut connection = gateway.connect().await;
        connection.wire.write(&request[..request.len() - 10]).await.unwrap();
        connection.wire.reset();
    }
    assert_eq!(gateway.ask(&turn().session("s")).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(upstream.count(), 1);
    assert!(!gateway.log().contains("WARN"), "{}", gateway.log());
}

#[tokio::test]
async fn eighty_mebibytes_are_refused_and_not_held() {
    let (upstream, gateway) = start().await;
    assert_eq!(gateway.ask(&turn()).await.status, 200);
    let before = gateway.resident();
    let length = 80 << 20;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    let mut connection = gateway.connect().await;
    connection.wire.write(head.as_bytes()).await.unwrap();
    let mebibyte = vec![b' '; 1 << 20];
    for _ in 0..length >> 20 {
        // It may hang up when it has answered.
        if connection.wire.write(&mebibyte).await.is_err() {
            break;
        }
    }
    assert_eq!(connection.told().await, is(413, "request_too_large"));
    let after = gateway.resident();
    assert!(after < before + 4 * 1024, "{before} KiB, then {after} KiB");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn the_limit_of_a_body_is_configured() {
    let (_upstream, gateway) = with(|setup| setup.line("limits: {body_bytes: 2048}")).await;
    let sized = |length: usize| {
        let body = chat();
        turn().bytes(format!("{body}{}", " ".repeat(length - body.len())))
    };
    assert_eq!(gateway.ask(&sized(2048)).await.status, 200);
    assert_eq!(gateway.ask(&sized(2049)).await.refusal(), is(413, "request_too_large"));
}
