//! No place left: said at once, in a form that clients understand.

use affinity_tests::h2::{END_HEADERS, END_STREAM, Frames, Reply, fields, frame, kind};
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

/// A client behind a proxy: what the proxy sends before its request, and adds to it.
#[derive(Clone, Copy)]
enum Behind<'a> {
    /// `X-Forwarded-For`.
    Http(&'a str),
    /// The header of the PROXY protocol, and `X-Forwarded-For` as the client may send it.
    Tcp(&'a [u8], &'a str),
}

/// Clients behind one proxy, each of which sends a body of 200 KiB where one client holds 256 KiB at most.
/// Those who are refused are told so; the others wait for the provider.
async fn sent_through_a_proxy(listener: &str, clients: &[Behind<'_>]) -> Vec<&'static str> {
    let upstream = Upstream::start(|_| Answer::Silence).await;
    let setup = Setup::new(&upstream.url()).line("limits: {body_memory_bytes: 1048576}");
    let gateway = setup.listener(listener).start().await;
    let (mut kept, mut fates) = (Vec::new(), Vec::new());
    for client in clients {
        let mut connection = gateway.connect().await;
        let body = format!("{}{}", chat(), " ".repeat(200 * 1024));
        let (header, forwarded) = match *client {
            Behind::Http(forwarded) => (&b""[..], forwarded),
            Behind::Tcp(header, forwarded) => (header, forwarded),
        };
        connection.wire.write(header).await.unwrap();
        connection.write(&turn().bytes(body).header("x-forwarded-for", forwarded)).await;
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
        let fates = sent_through_a_proxy(trusted, &clients.map(Behind::Http)).await;
        assert_eq!(fates, ["served", "refused", "refused", "served"], "{trusted}");
    }
    // Garbage is the proxy's own, and so is everything where it is not trusted.
    let trusted = "trusted_proxies: [127.0.0.1]";
    let clients = ["unknown", "192.0.2.1", "192.0.2.2, -"].map(Behind::Http);
    let fates = sent_through_a_proxy(trusted, &clients).await;
    assert_eq!(fates, ["served", "served", "refused"]);
    for untrusted in ["", "trusted_proxies: []", "trusted_proxies: [10.0.0.0/8]"] {
        let clients = ["192.0.2.1", "192.0.2.2"].map(Behind::Http);
        let fates = sent_through_a_proxy(untrusted, &clients).await;
        assert_eq!(fates, ["served", "refused"], "{untrusted}");
    }
}

/// A header of the PROXY protocol, version 2, for a client with this IPv4 address.
fn binary_header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[10, 0, 0, 1, 0x10, 0, 0, 80]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &addresses[..]].concat()
}

#[tokio::test]
async fn a_trusted_proxy_that_speaks_no_http_names_its_clients_before_their_bytes() {
    let first = b"PROXY TCP4 192.0.2.1 10.0.0.1 4096 80\r\n";
    let second = binary_header([192, 0, 2, 2]);
    let clients = [
        Behind::Tcp(first, "192.0.2.7"),
        // What a client says of itself is not the word of its proxy.
        Behind::Tcp(first, "192.0.2.8"),
        Behind::Tcp(&second, "192.0.2.1"),
        // A proxy for the proxy.
        Behind::Tcp(b"PROXY TCP4 10.0.0.9 10.0.0.1 4096 80\r\n", "192.0.2.3"),
        Behind::Tcp(b"PROXY UNKNOWN\r\n", "-"),
        Behind::Tcp(b"", "-"),
    ];
    let trusted = "trusted_proxies: [127.0.0.1, 10.0.0.0/8]";
    let fates = sent_through_a_proxy(trusted, &clients).await;
    assert_eq!(fates, ["served", "refused", "served", "served", "served", "refused"]);
}

#[tokio::test]
async fn only_a_trusted_proxy_may_send_its_header_and_it_may_not_send_garbage() {
    let upstream = Upstream::echo().await;
    let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 4096 80\r\n";
    let start = async |listener: &str| {
        let limits = "limits: {header_timeout_ms: 400}";
        Setup::new(&upstream.url()).listener(listener).line(limits).start().await
    };
    let gateway = start("trusted_proxies: [10.0.0.0/8]").await;
    for header in [&line[..], &binary_header([192, 0, 2, 1])] {
        let mut connection = gateway.connect().await;
        let request = [header, &get("/healthz").wire()].concat();
        connection.wire.write(&request).await.unwrap();
        assert_eq!(connection.told().await.0, 400);
    }
    let gateway = start("trusted_proxies: [127.0.0.1]").await;
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&line[..], local, b"PROXY UNKNOWN\r\n", b""] {
        let mut connection = gateway.connect().await;
        for byte in header {
            connection.wire.write(&[*byte]).await.unwrap();
        }
        for _ in 0..2 {
            assert_eq!(connection.ask(&get("/healthz")).await.status, 200);
        }
    }
    // One that is sent twice is not the proxy's.
    let mut connection = gateway.connect().await;
    connection.wire.write(&[line, line, &get("/healthz").wire()[..]].concat()).await.unwrap();
    assert_eq!(connection.told().await.0, 400);
    let garbage = b"PROXY TCP4 192.0.2.1 nowhere 4096 80\r\n";
    let huge = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 70_000]].concat();
    for header in [&garbage[..], &huge, b"PROXY TCP4", b"PROX", b""] {
        let mut connection = gateway.connect().await;
        // It may be closed before all is sent.
        let _ = connection.wire.write(header).await;
        assert!(within(connection.wire.head()).await.is_none(), "{}", header.escape_ascii());
    }
    let mut connection = gateway.connect().await;
    connection.wire.write(line).await.unwrap();
    connection.write(&turn()).await;
    assert_eq!(connection.told().await.0, 200);
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
    // Over HTTP/2, too, where others hear why they are not served.
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/v1/models", 503)] {
        let mut frames = Frames::open(gateway.address()).await;
        let head = [(":method", "GET"), (":scheme", "http"), (":path", path)];
        let head = fields(&[&head[..], &[(":authority", "localhost")]].concat());
        frames.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &head)).await;
        // That no further request is taken may be said first.
        let replies = [frames.reply().await, frames.reply().await];
        assert!(replies.contains(&Reply::Status(status)), "{path}: {replies:?}");
        assert!(matches!(frames.end().await, Reply::GoAway(0) | Reply::Closed));
    }
    // Those that have a place keep it.
    let metrics = kept[0].ask(&get("/metrics")).await.text();
    assert!(metrics.contains(r#"{reason="connections"} 22"#), "{metrics}");
    kept.pop();
    until(async || {
        let mut connection = gateway.connect().await;
        connection.write(&get("/v1/models")).await;
        connection.told().await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_limit_cannot_keep_out_who_asks_after_our_health() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url()).line("limits: {max_connections: 1}");
    let gateway = setup.listener("trusted_proxies: [127.0.0.1]").start().await;
    let mut kept = gateway.connect().await;
    assert_eq!(kept.ask(&get("/healthz")).await.status, 200);
    // More than are answered at a time, and each of them as slow as it can be.
    let mut slow = Vec::new();
    for first in [&b"GET /healthz HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0\r\n\r\n", b"PROXY TCP4 "] {
        for _ in 0..250 {
            let mut connection = gateway.connect().await;
            connection.wire.write(first).await.unwrap();
            slow.push(connection);
        }
        for header in [&b""[..], b"PROXY UNKNOWN\r\n"] {
            let mut connection = gateway.connect().await;
            connection.wire.write(header).await.unwrap();
            assert_eq!(connection.ask(&get("/readyz")).await.status, 200);
        }
    }
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
