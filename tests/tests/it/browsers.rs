//! What a page in a browser may ask of the gateway.

use affinity_tests::models::ONE;
use affinity_tests::{Answer, Connection, Gateway, Request, Response, Setup, Upstream, get, post};

use crate::chat;

/// A provider that lets every page read its answers, and a gateway before it.
async fn with(lines: &[&str]) -> (Upstream, Gateway) {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\naccess-control-allow-origin: *\r\n\
                  x_plano_model: spoofed\r\n\r\n{}";
    let upstream = Upstream::start(move |_| Answer::Bytes(answer.into())).await;
    let setup = Setup::new(&upstream.url());
    let setup = lines.iter().fold(setup, |setup, line| setup.listener(line));
    let gateway = setup.start().await;
    (upstream, gateway)
}

fn turn() -> Request {
    post("/v1/chat/completions", chat(ONE, "hello"))
}

fn preflight(origin: &str) -> Request {
    let request = get("/v1/chat/completions").method("OPTIONS").header("origin", origin);
    // The answer may have no body, and so no length.
    request.header("access-control-request-method", "POST").header("connection", "close")
}

fn allowed(answer: &Response) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

const EVIL: &str = "https://evil.example";
const APP: &str = "http://localhost:3000";

#[tokio::test]
async fn a_page_of_another_site_spends_nothing_on_a_listener_without_keys() {
    let (upstream, gateway) = with(&[]).await;
    for request in [
        turn().header("origin", EVIL),
        turn().header("origin", "null"),
        turn().header("sec-fetch-site", "cross-site"),
        get("/v1/models").header("origin", EVIL),
        get("/metrics").header("sec-fetch-site", "cross-site"),
        preflight(EVIL),
    ] {
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.refusal(), (403, "cross_site".to_owned()), "{request:?}");
        assert_eq!(allowed(&answer), None);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.ask(&get("/healthz").header("origin", EVIL)).await.status, 200);
    // Its own pages, and programs, which send no origin.
    let own = turn().header("origin", "http://localhost").header("sec-fetch-site", "same-origin");
    for request in [own, turn()] {
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status, 200);
        assert_eq!((allowed(&answer), answer.header("x_plano_model")), (None, None));
    }
    let metrics = gateway.ask(&get("/metrics")).await.text();
    assert!(
        metrics.contains(r#"gateway_refused_requests_total{code="cross_site"} 6"#),
        "{metrics}"
    );
}

async fn by_name(gateway: &Gateway, path: &str, host: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let mut connection = Connection::open(gateway.address()).await;
    connection.wire.write(request.as_bytes()).await.unwrap();
    connection.answer().await
}

#[tokio::test]
async fn a_name_that_leads_here_is_served_once_it_is_listed() {
    let (_upstream, gateway) = with(&[]).await;
    let refused = by_name(&gateway, "/v1/models", "gw.example").await;
    assert_eq!(refused.refusal(), (403, "host_not_allowed".to_owned()));
    assert!(refused.text().contains("listeners[].hosts"), "{}", refused.text());
    for path in ["/healthz", "/readyz"] {
        assert_eq!(by_name(&gateway, path, "10.1.2.3").await.status, 200);
    }
    for (lines, name, status) in [
        ("hosts: [gw.example]", "gw.example:443", 200),
        ("hosts: [gw.example]", "localhost:1", 200),
        ("hosts: [gw.example]", "other.example", 403),
        ("hosts: ['*']", "other.example", 200),
    ] {
        let (_upstream, gateway) = with(&[lines]).await;
        assert_eq!(by_name(&gateway, "/v1/models", name).await.status, status, "{lines} {name}");
    }
}

#[tokio::test]
async fn an_origin_that_is_listed_may_ask_and_read_and_others_may_not() {
    let (_upstream, gateway) = with(&["cors: {origins: ['http://localhost:3000']}"]).await;
    let asks = preflight(APP).header("access-control-request-headers", "x-model-affinity");
    let answer = gateway.ask(&asks).await;
    assert_eq!((answer.status, allowed(&answer)), (204, Some(APP)));
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-model-affinity"));
    let answer = turn().header("origin", APP).header("sec-fetch-site", "same-site");
    let answer = gateway.ask(&answer).await;
    assert_eq!((answer.status, allowed(&answer)), (200, Some(APP)));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    assert!(
        exposed.contains("x-plano-pinned") && exposed.contains("x-plano-affinity"),
        "{exposed}"
    );
    assert_eq!(answer.header("vary"), Some("origin"));
    assert_eq!(gateway.ask(&turn().header("origin", EVIL)).await.status, 403);
}

#[tokio::test]
async fn a_listener_with_keys_leaves_it_to_them() {
    let keys = "client_keys: [{name: app, key: the-key}]";
    let keyed = |request: Request| request.header("authorization", "Bearer the-key");
    let (_upstream, gateway) = with(&[keys]).await;
    for origin in [EVIL, "null", "chrome-extension://abcdefghijklmnop"] {
        let answer = gateway.ask(&keyed(turn().header("origin", origin))).await;
        assert_eq!((answer.status, allowed(&answer)), (200, None), "{origin}");
        assert_eq!(gateway.ask(&turn().header("origin", origin)).await.status, 401);
        assert_eq!(gateway.ask(&preflight(origin)).await.status, 405);
    }
    let (_upstream, gateway) = with(&[keys, "cors: {origins: ['http://localhost:3000']}"]).await;
    // A browser asks without the key, and shows it once it may.
    assert_eq!(gateway.ask(&preflight(APP)).await.status, 204);
    let answer = gateway.ask(&keyed(turn().header("origin", APP))).await;
    assert_eq!((answer.status, allowed(&answer)), (200, Some(APP)));
    let refused = gateway.ask(&turn().header("origin", APP)).await;
    assert_eq!((refused.status, allowed(&refused)), (401, Some(APP)));
    let answer = gateway.ask(&keyed(turn().header("origin", EVIL))).await;
    assert_eq!((answer.status, allowed(&answer)), (200, None));
}
