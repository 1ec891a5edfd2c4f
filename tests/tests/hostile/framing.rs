//! HTTP/1.1 that could be read in two ways, or in none.

use affinity_tests::get;
use affinity_tests::models::ONE;

use crate::{chat, is, serves, start, told, turn, with};

const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n";
const JSON: &str = "content-type: application/json\r\n";

/// A request with these fields and this body, as it stands.
fn with_fields(fields: &str, body: &str) -> Vec<u8> {
    format!("{HEAD}{JSON}{fields}\r\n{body}").into_bytes()
}

/// A whole request that would be served, but for these fields.
pub(crate) fn served_but_for(fields: &[u8]) -> Vec<u8> {
    let body = chat();
    let end = format!("content-length: {}\r\n\r\n{body}", body.len());
    [HEAD.as_bytes(), JSON.as_bytes(), fields, end.as_bytes()].concat()
}

#[tokio::test]
async fn bytes_that_cannot_stand_in_a_head() {
    let (upstream, mut gateway) = start().await;
    for fields in [
        &b"x-model-affinity: a\0b\r\n"[..],
        b"x-model-affinity: a\rb\r\n",
        b"x-model-affinity: a\x1b[2Jb\r\n",
        b"x-model-affinity: a\x7fb\r\n",
        b"x-model-affinity: a\r\n b\r\n",
        b"x-model-affinity : a\r\n",
    ] {
        let shown = String::from_utf8_lossy(fields).into_owned();
        assert_eq!(told(&gateway, &served_but_for(fields)).await, is(400, ""), "{shown:?}");
    }
    let path = b"GET /v1/\xffmodels HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(told(&gateway, path).await, is(400, ""));
    assert!(!gateway.log().contains('\u{1b}') && !gateway.log().contains("u001b"));
    assert_eq!(upstream.count(), 0);
    serves(&mut gateway).await;
}

#[tokio::test]
async fn a_bare_line_feed_is_a_line_end_and_what_follows_is_not_ours() {
    let (upstream, gateway) = start().await;
    let fields = b"x-model-affinity: a\nx-plano-pinned: true\nX-Evil: 1\r\n";
    let mut connection = gateway.connect().await;
    connection.wire.write(&served_but_for(fields)).await.unwrap();
    assert_eq!(connection.answer().await.affinity(), ("false", "claimed", ONE));
    let seen = upstream.last();
    assert!(!seen.has("x-plano-pinned"), "{:?}", seen.fields);
    assert_eq!((seen.all("x-model-affinity"), seen.all("x-evil")), (vec!["a"], vec!["1"]));
    assert_eq!(gateway.ask(&turn().session("a")).await.affinity(), ("true", "hit", ONE));
}

#[tokio::test]
async fn a_host_is_there_once() {
    let (upstream, gateway) = start().await;
    for (hosts, answer) in [
        ("", is(400, "missing_host")),
        ("host:\r\n", is(400, "missing_host")),
        ("host: a\r\nhost: b\r\n", is(400, "invalid_host")),
        ("host: a\r\nhost: a\r\n", is(400, "invalid_host")),
        ("host: a, b\r\n", is(400, "invalid_host")),
        ("host: user@a\r\n", is(400, "invalid_host")),
        ("host: a:1\r\n", is(403, "host_not_allowed")),
        ("host: localhost:1\r\n", is(200, "")),
    ] {
        let request = format!("GET /v1/models HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        assert_eq!(told(&gateway, request.as_bytes()).await, answer, "{hosts:?}");
    }
    let older = "GET /v1/models HTTP/1.0\r\n\r\n";
    assert_eq!(told(&gateway, older.as_bytes()).await, is(200, ""));
    let metrics = gateway.ask(&get("/metrics")).await.text();
    for counted in [r#"{code="missing_host"} 2"#, r#"{code="invalid_host"} 4"#] {
        assert!(metrics.contains(counted), "{metrics}");
    }
    let messages = "POST /v1/messages HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(told(&gateway, messages.as_bytes()).await, is(400, "invalid_request_error"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn request_lines_of_other_kinds() {
    let (upstream, gateway) = start().await;
    let line =
        |line: &str| format!("{line}\r\nhost: localhost\r\nconnection: close\r\n\r\n").into_bytes();
    for (request, answer) in [
        (line(&format!("GET /{} HTTP/1.1", "a".repeat(70_000))), is(414, "")),
        (line("GET http://169.254.169.254/latest/meta-data HTTP/1.1"), is(400, "invalid_target")),
        (line("GET http://g/v1/models HTTP/1.1"), is(400, "invalid_target")),
        (line("CONNECT 10.0.0.1:22 HTTP/1.1"), is(405, "method_not_allowed")),
        (line("get /v1/models HTTP/1.1"), is(405, "method_not_allowed")),
        (line("GET /v1/models HTTP/2.0"), is(400, "")),
        (line("GET /v1/models HTTP/1.0"), is(200, "")),
        (line("OPTIONS * HTTP/1.1"), is(404, "not_found")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), is(400, "")),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert_eq!(told(&gateway, &request).await, answer, "{shown:?}");
    }
    assert_eq!(upstream.count(), 0);
    assert!(gateway.log().lines().count() < 20, "{}", gateway.log());
}

#[tokio::test]
async fn more_fields_than_allowed() {
    let (_upstream, gateway) = start().await;
    let fields = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    // Three are there already.
    assert_eq!(told(&gateway, &served_but_for(fields(97).as_bytes())).await.0, 200);
    assert_eq!(told(&gateway, &served_but_for(fields(98).as_bytes())).await, is(431, ""));
    let (_upstream, gateway) = with(|setup| setup.line("limits: {header_count: 20}")).await;
    assert_eq!(told(&gateway, &served_but_for(fields(17).as_bytes())).await.0, 200);
    assert_eq!(told(&gateway, &served_but_for(fields(18).as_bytes())).await, is(431, ""));
}

#[tokio::test]
async fn lengths_that_disagree_or_are_none() {
    let (upstream, gateway) = start().await;
    for fields in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2, 3\r\n",
        "content-length: +2\r\n",
        "content-length: -1\r\n",
        "content-length: 0x2\r\n",
        "content-length: 18446744073709551616\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: identity\r\n",
    ] {
        assert_eq!(told(&gateway, &with_fields(fields, "{}")).await, is(400, ""), "{fields:?}");
    }
    let older =
        "POST /v1/messages HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(told(&gateway, older.as_bytes()).await, is(400, ""));
    assert_eq!(upstream.count(), 0);
    let twice = format!("content-length: {}\r\n", chat().len());
    let request = with_fields(&twice.repeat(2), &chat());
    assert_eq!(told(&gateway, &request).await.0, 200);
    assert_eq!(upstream.last().all("content-length").len(), 1);
}

#[tokio::test]
async fn chunks_that_are_none() {
    let (upstream, gateway) = start().await;
    let long = format!("2;{}\r\n{{}}\r\n", "x".repeat(100_000));
    for chunks in
        ["fffffffffffffffff\r\n{}\r\n", "zz\r\n", "-1\r\n", "2\r\n{}x\r\n0\r\n\r\n", &*long]
    {
        let request = with_fields("transfer-encoding: chunked\r\n", chunks);
        let answer = told(&gateway, &request).await;
        assert_eq!(answer, is(400, "invalid_body"), "{chunks:.20}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let (upstream, gateway) = start().await;
    let body = chat();
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let smuggled =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    let mut connection = gateway.connect().await;
    let both = "content-length: 4\r\ntransfer-encoding: chunked\r\n";
    connection.wire.write(&with_fields(both, &format!("{chunk}{smuggled}"))).await.unwrap();
    assert_eq!(connection.answer().await.status, 200);
    assert!(connection.wire.head().await.is_none(), "the connection goes on");
    assert_eq!(upstream.count(), 1);
    let seen = upstream.last();
    assert_eq!(seen.all("content-length").len(), 1);
    assert!(!seen.has("transfer-encoding") && seen.body.len() == body.len() - "openai/".len());
}

#[tokio::test]
async fn what_stands_behind_a_body_is_a_request_of_its_own() {
    let (upstream, gateway) = start().await;
    let mut connection = gateway.connect().await;
    let first = turn().wire();
    connection.wire.write(&[&first[..], b"trailing"].concat()).await.unwrap();
    assert_eq!(connection.answer().await.status, 200);
    connection.wire.write(b" bytes\r\n\r\n").await.unwrap();
    assert_eq!(connection.told().await, is(400, ""));
    assert_eq!(upstream.count(), 1);
    let body = String::from_utf8(upstream.last().body).unwrap();
    assert!(!body.contains("trailing"), "{body}");
}

#[tokio::test]
async fn a_name_with_an_underscore_is_another_name_and_ends_here() {
    let (upstream, gateway) = start().await;
    let request = turn().header("X_Model_Affinity", "s").header("x_plano_pinned", "true");
    assert_eq!(gateway.ask(&request).await.affinity(), ("false", "none", ONE));
    let seen = upstream.last();
    let odd = seen.fields.iter().filter(|(name, _)| name.contains('_')).count();
    assert_eq!(odd, 0, "{:?}", seen.fields);
}
