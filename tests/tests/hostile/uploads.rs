//! Requests that pass to a provider while they arrive: nothing of them is held, and they are bounded all the
//! same.

use std::time::Duration;

use affinity_tests::{Connection, Gateway, Setup, Upstream, get, ok_json, post};
use serde_json::json;

const MIB: usize = 1 << 20;

/// A provider that takes any upload, and a gateway that passes up to 8 MiB on.
async fn start(limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(|seen| ok_json(&json!({"id": "file-1", "n": seen.body.len()})));
    let upstream = upstream.await;
    let setup = Setup::new(&upstream.url()).line("passthrough: openai");
    let setup = setup.line(&format!("limits: {{upload_bytes: {}{limits}}}", 8 * MIB));
    let setup = setup.listener("client_keys: [{name: a, key: hush-key}]");
    (upstream, setup.start().await)
}

fn head(framing: &str) -> String {
    format!(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\nx-api-key: hush-key\r\n\
         content-type: multipart/form-data; boundary=b\r\n{framing}\r\n\r\n"
    )
}

/// Begins an upload.
async fn begin(gateway: &Gateway, framing: &str) -> Connection {
    let mut connection = gateway.connect().await;
    connection.wire.write(head(framing).as_bytes()).await.unwrap();
    connection
}

#[tokio::test]
async fn an_upload_that_is_too_large_is_cut_off() {
    let (upstream, gateway) = start("").await;
    let mut declared = begin(&gateway, &format!("content-length: {}", 8 * MIB + 1)).await;
    assert_eq!(declared.answer().await.refusal(), (413, "request_too_large".to_owned()));
    assert_eq!(upstream.count(), 0, "not one byte was asked for");
    let mut endless = begin(&gateway, "transfer-encoding: chunked").await;
    let chunk = format!("{MIB:x}\r\n{}\r\n", "x".repeat(MIB));
    for _ in 0..9 {
        endless.wire.write(chunk.as_bytes()).await.unwrap();
    }
    assert_eq!(endless.answer().await.refusal(), (413, "request_too_large".to_owned()));
    assert!(upstream.seen().iter().all(|seen| !seen.complete), "the provider sees it break");
    let whole = begin(&gateway, &format!("content-length: {}", 8 * MIB)).await;
    let mut whole = whole;
    whole.wire.write(&vec![b'x'; 8 * MIB]).await.unwrap();
    let answer = whole.answer().await;
    assert_eq!((answer.status, &answer.json()["n"]), (200, &json!(8 * MIB)));
}

#[tokio::test]
async fn an_upload_that_stops_or_drips_is_a_408() {
    let (upstream, gateway) = start(", body_timeout_ms: 1000").await;
    let mut silent = begin(&gateway, "content-length: 100").await;
    silent.wire.write(b"x").await.unwrap();
    assert_eq!(silent.answer().await.refusal(), (408, "body_timeout".to_owned()));
    // No wait is long, and all of them together are.
    let mut dripping = begin(&gateway, "content-length: 100").await;
    for _ in 0..40 {
        if dripping.wire.write(b"x").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(dripping.answer().await.refusal(), (408, "body_timeout".to_owned()));
    assert!(upstream.seen().iter().all(|seen| !seen.complete));
}

#[tokio::test]
async fn large_uploads_take_no_memory() {
    let (upstream, gateway) = start(", body_memory_bytes: 1048576, body_bytes: 65536").await;
    let before = gateway.resident();
    let mut uploads = Vec::new();
    for _ in 0..8 {
        let mut upload = begin(&gateway, &format!("content-length: {}", 8 * MIB)).await;
        upload.wire.write(&vec![b'x'; 7 * MIB]).await.unwrap();
        uploads.push(upload);
    }
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "{} MiB for 56 MiB that pass", grown / MIB as u64);
    for mut upload in uploads {
        upload.wire.write(&vec![b'x'; MIB]).await.unwrap();
        assert_eq!(upload.answer().await.status, 200);
    }
    assert_eq!(upstream.count(), 8);
}

#[tokio::test]
async fn paths_that_can_be_read_in_two_ways_go_nowhere() {
    let (upstream, gateway) = start("").await;
    for path in [
        "/v1/files/../admin",
        "/v1/files/./x",
        "/v1/files/..%2fadmin",
        "/v1/files/%2e%2e/admin",
        "/v1/files/%2E%2E%2Fadmin",
        "/v1/files/x%5c..%5cadmin",
        "/v1/files/%252e%252e/admin",
        "/v1/files/x%0d%0ax-evil:%201",
        "/v1/files/%00",
        "/v1/responses/..%2ffiles",
        "/v1/responses/%2e%2e/cancel",
        "/v1/%72esponses/resp_1",
        "/v1/organiz%61tion/admin_api_keys",
        "/v1/batche%73/b1/cancel",
        "/v1/organization;x/users",
    ] {
        for method in ["GET", "DELETE", "POST"] {
            let request = get(path).method(method).header("x-api-key", "hush-key");
            let answer = gateway.ask(&request).await;
            let is_wrong_method = answer.status == 405 && path.starts_with("/v1/responses");
            let expected = (400, "invalid_path".to_owned());
            assert!(is_wrong_method || answer.refusal() == expected, "{method} {path}");
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn no_credential_is_passed_on_and_the_query_is() {
    let (upstream, gateway) = start("").await;
    // The answer to a TRACE would show the provider's key.
    for method in ["TRACE", "OPTIONS", "QUERY"] {
        let request = get("/v1/files").method(method).header("x-api-key", "hush-key");
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.refusal(), (405, "method_not_allowed".to_owned()));
        assert_eq!(answer.header("allow"), Some("GET,HEAD,POST,PUT,PATCH,DELETE"));
    }
    assert_eq!(upstream.count(), 0);
    let path = "/v1/files?limit=2&key=hush-other&api_key=hush-key&after=hush-key&order=asc";
    for request in [get(path), post(path, "x").header("content-type", "text/plain")] {
        let request = request
            .header("authorization", "Bearer hush-key")
            .header("cookie", "hush=1")
            .header("x-goog-api-key", "hush-other")
            .header("x-plano-affinity", "refresh");
        assert_eq!(gateway.ask(&request).await.status, 200);
        let sent = upstream.last();
        assert!(sent.line.contains(" /v1/files?limit=2&order=asc "), "{}", sent.line);
        assert!(!format!("{sent:?}").contains("hush"), "{sent:?}");
        assert!(!sent.has("x-plano-affinity"));
    }
}
