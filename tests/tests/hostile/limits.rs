//! No place left: said at once, in a form that clients understand.

use affinity_tests::{
    Answer, Gateway, ModelRouter, Response, Setup, Upstream, get, post, run, until, within,
};

use crate::{chat, is, turn};

/// A gateway with these limits whose provider never answers.
async fn silent(limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(|_| Answer::Silence).await;
    let gateway = Setup::new(&upstream.url()).line(&format!("limits: {{{limits}}}"));
    let gateway = gateway.start().await;
    (upstream, gateway)
}

fn assert_overloaded(answer: &Response) {
    assert_eq!(answer.refusal(), is(503, "overloaded"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("x-should-retry"), None);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_shed_at_once() {
    let (upstream, gateway) = silent("max_requests: 3").await;
    let mut running = Vec::new();
    for _ in 0..3 {
        let mut connection = gateway.connect().await;
        connection.write(&turn()).await;
        running.push(connection);
    }
    until(async || upstream.count() == 3).await;
    for _ in 0..20 {
        assert_overloaded(&gateway.ask(&turn().session("s")).await);
    }
    let messages = gateway.ask(&post("/v1/messages", chat())).await;
    assert_eq!((messages.status, messages.header("retry-after")), (503, Some("1")));
    assert_eq!(messages.json()["error"]["type"], "overloaded_error");
    // Who asks after the gateway's health is told.
    assert_eq!(gateway.ask(&get("/healthz")).await.status, 200);
    assert_eq!(upstream.count(), 3);
    let metrics = gateway.ask(&get("/metrics")).await.text();
    assert!(metrics.contains(r#"gateway_shed_requests_total{reason="requests"} 21"#), "{metrics}");
    // A place is free when its client is gone.
    running.pop().unwrap().wire.reset();
    until(async || gateway.ask(&get("/v1/models")).await.status == 200).await;
}

/// Clients behind one proxy, each of which sends a body of 200 KiB where one client holds 256 KiB at most.
/// Those who are refused are told so; the others wait for the provider.
async fn sent_through_a_proxy(listener: &str, clients: &[&str]) -> Vec<&'static str> {
    let upstream = Upstream::start(|_| Answer::Silence).await;
    let setup = Setup::new(&upstream.url()).line("limits: {body_memory_bytes: 1048576}");
    let gateway = setup.listener(listener).start().await;
    let (mut kept, mut fates) = (Vec::new(), Vec::new());
    for client in clients {
        let mut connection = gateway.connect().await;
        let body = format!("{}{}", chat(), " ".repeat(200 * 1024));
        connection.write(&turn().bytes(body).header("x-forwarded-for", client)).await;
        let served = upstream.count() + 1;
        let fate = tokio::select! {
            () = until(async || upstream.count() == served) => "served",
            answer = connection.answer() => {
                assert_eq!(answer.refusal(), is(503, "overloaded"));
                "refused"
            }
        };
        fates.push(fate);
        kept.push(connection);
    }
    fates
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_each_have_their_own_share_of_memory() {
    let clients = ["192.0.2.1", "192.0.2.1", "192.0.2.9, 192.0.2.1, 10.1.1.1", "192.0.2.2:80"];
    for trusted in [
        "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]",
        "trusted_proxies: ['::ffff:127.0.0.1', 10.1.1.1]",
    ] {
        let fates = sent_through_a_proxy(trusted, &clients).await;
        assert_eq!(fates, ["served", "refused", "refused", "served"], "{trusted}");
    }
    // Garbage is the proxy's own, and so is everything where it is not trusted.
    let trusted = "trusted_proxies: [127.0.0.1]";
    let fates = sent_through_a_proxy(trusted, &["unknown", "192.0.2.1", "192.0.2.2, -"]).await;
    assert_eq!(fates, ["served", "served", "refused"]);
    for untrusted in ["", "trusted_proxies: []", "trusted_proxies: [10.0.0.0/8]"] {
        let fates = sent_through_a_proxy(untrusted, &["192.0.2.1", "192.0.2.2"]).await;
        assert_eq!(fates, ["served", "refused"], "{untrusted}");
    }
}

#[tokio::test]
async fn a_stream_holds_its_place_until_its_end() {
    let (steps, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let setup = Setup::new(&upstream.url()).line("limits: {max_requests: 1}");
    let gateway = setup.start().await;
    let mut stream = gateway.connect().await;
    stream.write(&turn()).await;
    steps.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into()).unwrap();
    stream.head().await;
    assert_overloaded(&gateway.ask(&turn()).await);
    steps.send("0\r\n\r\n".into()).unwrap();
    assert_eq!(stream.piece().await, affinity_tests::Piece::End);
    until(async || gateway.ask(&get("/v1/models")).await.status == 200).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_without_being_asked() {
    let (_upstream, gateway) = silent("max_connections: 2").await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut connection = gateway.connect().await;
        assert_eq!(connection.ask(&get("/healthz")).await.status, 200);
        kept.push(connection);
    }
    for _ in 0..20 {
        let mut connection = gateway.connect().await;
        let answer = within(connection.answer()).await;
        assert_overloaded(&answer);
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // An orchestrator that heard nothing would end the process.
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gateway.ask(&get(path)).await.status, 200, "{path}");
    }
    assert_eq!(
        gateway.connect().await.ask(&get("/v1/models")).await.refusal(),
        is(503, "overloaded")
    );
    // Those that have a place keep it.
    let metrics = kept[0].ask(&get("/metrics")).await.text();
    assert!(metrics.contains(r#"{reason="connections"} 21"#), "{metrics}");
    kept.pop();
    until(async || {
        let mut connection = gateway.connect().await;
        connection.write(&get("/v1/models")).await;
        connection.told().await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn requests_of_one_session_beyond_those_that_may_wait() {
    let (upstream, router) =
        (Upstream::echo().await, ModelRouter::failing_with(Answer::Silence).await);
    let setup = Setup::new(&upstream.url()).router(&router.url(), 60_000);
    let gateway = setup.line("limits: {max_waiters: 3}").start().await;
    router.fail(true);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut connection = gateway.connect().await;
        connection.write(&turn().session("s")).await;
        waiting.push(connection);
        // None that gives up below may be the one that asks the router.
        until(async || router.calls() == 1).await;
    }
    // The others may still be on their way.
    let mut refused = None;
    until(async || {
        let mut connection = gateway.connect().await;
        connection.write(&turn().session("s")).await;
        let told = tokio::time::timeout(std::time::Duration::from_millis(200), connection.answer());
        refused = told.await.ok();
        refused.is_some()
    })
    .await;
    assert_overloaded(&refused.unwrap());
    assert_eq!(router.calls(), 1);
}

#[tokio::test]
async fn every_limit_is_shown_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let yaml = Setup::new("http://127.0.0.1:9").line("limits: {max_requests: 77}").yaml();
    std::fs::write(&file, yaml).unwrap();
    let output = run(&["check", file.to_str().unwrap()], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for shown in ["max_requests 77", "body_bytes 33554432", "idle_timeout_ms 90000"] {
        assert!(output.out.contains(shown), "{}", output.out);
    }
}
