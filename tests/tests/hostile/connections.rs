//! Connections that become something else, or end before their time.

use affinity_tests::models::ONE;
use affinity_tests::{get, until, within};

use crate::framing::served_but_for;
use crate::{is, serves, start, told, turn};

#[tokio::test]
async fn http_1_0_is_served_and_closed() {
    let (_upstream, gateway) = start().await;
    let mut connection = gateway.connect().await;
    connection.wire.write(b"GET /v1/models HTTP/1.0\r\n\r\n").await.unwrap();
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.complete), (200, true));
    assert!(connection.wire.head().await.is_none(), "it is open");
}

#[tokio::test]
async fn expectations_and_upgrades() {
    let (upstream, gateway) = start().await;
    assert_eq!(
        told(&gateway, &served_but_for(b"expect: 200-ok\r\n")).await,
        is(417, "expectation_failed")
    );
    assert_eq!(upstream.count(), 0);
    let continued = turn().header("expect", "100-continue");
    assert_eq!(gateway.ask(&continued).await.status, 200);
    assert!(!upstream.last().has("expect"));
    // Nobody takes the offer up, and nobody hears of it.
    let offer = turn().header("upgrade", "h2c").header("connection", "upgrade, http2-settings");
    assert_eq!(gateway.ask(&offer.header("http2-settings", "AA")).await.status, 200);
    let seen = upstream.last();
    assert!(!seen.has("upgrade") && !seen.has("http2-settings") && !seen.has("connection"));
}

#[tokio::test]
async fn a_websocket_gets_no_pin_and_sends_nothing_on() {
    let (upstream, gateway) = start().await;
    let handshake = "GET /v1/responses HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
                     upgrade: websocket\r\nx-model-affinity: s\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nbytes of another protocol";
    let (status, _) = told(&gateway, handshake.as_bytes()).await;
    assert!([405, 426].contains(&status), "{status}");
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.ask(&turn().session("s")).await.affinity(), ("false", "claimed", ONE));
}

#[tokio::test]
async fn ten_thousand_resets_do_not_end_it() {
    let (_upstream, mut gateway) = start().await;
    let before = gateway.sockets();
    for _ in 0..10_000 {
        gateway.connect().await.wire.reset();
    }
    serves(&mut gateway).await;
    assert_eq!(gateway.ask(&get("/healthz")).await.status, 200);
    let lines = gateway.log().lines().count();
    assert!(lines < 20, "{lines} lines");
    // Nobody holds a place.
    until(async || gateway.sockets() <= before + 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_work_of_the_provider() {
    let upstream = affinity_tests::Upstream::start(|_| affinity_tests::Answer::Silence).await;
    let gateway = affinity_tests::Setup::new(&upstream.url()).start().await;
    let (before, mut waiting) = (gateway.sockets(), Vec::new());
    for _ in 0..50 {
        let mut connection = gateway.connect().await;
        connection.write(&turn()).await;
        waiting.push(connection);
    }
    within(until(async || upstream.count() == 50)).await;
    // One to the client and one to the provider each.
    assert!(gateway.sockets() >= before + 100);
    let left = tokio::time::Instant::now();
    for connection in waiting {
        connection.wire.reset();
    }
    until(async || gateway.sockets() == before).await;
    assert!(left.elapsed() < std::time::Duration::from_secs(5), "{:?}", left.elapsed());
}
