//! What may be seen nowhere: keys, passwords, and the names of sessions and tenants.

use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, Setup, Upstream, get, post};

use crate::{chat, turn};

/// Everything that the tests below give away, in all its parts.
const HIDDEN: [&str; 7] = [
    "provider-secret",
    "client-secret",
    "redis-secret",
    "name-secret",
    "session-secret",
    "tenant-secret",
    "header-secret",
];

fn assert_hidden(place: &str, text: &str, but_for: &[&str]) {
    for hidden in HIDDEN.iter().filter(|hidden| !but_for.contains(hidden)) {
        let found = text.lines().find(|line| line.contains(hidden));
        assert_eq!(found, None, "{hidden} in {place}");
    }
}

#[tokio::test]
async fn not_one_byte_of_a_secret_is_logged_told_or_stored() {
    let redis = RedisServer::builder().password("redis-secret").start().await;
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url())
        .provider("headers: {x-team: header-secret}")
        .listener("client_keys:")
        .listener("  - {name: a, key: client-secret-a, scope: tenant-secret-a}")
        .routing(&format!(
            "session_cache: {{type: redis, url: '{}', key_secret: name-secret, \
             command_timeout_ms: 1000}}",
            redis.url()
        ))
        .routing("forward_session_header: false");
    let config = setup.yaml().replace("openai-secret", "provider-secret");
    let gateway = Gateway::prepared(&config, "export RUST_LOG=trace").await;
    let keyed = |request: affinity_tests::Request| {
        request.header("authorization", "Bearer client-secret-a")
    };
    let mut told = String::new();
    let mut ask = async |request: affinity_tests::Request| {
        let answer = gateway.ask(&request).await;
        told.push_str(&format!("{:?} {}\n", answer.fields, answer.text()));
        answer.status
    };
    for id in ["session-secret-1", "session-secret-1", "session-secret-2"] {
        assert_eq!(ask(keyed(turn().session(id))).await, 200);
        assert_eq!(ask(keyed(post("/v1/messages", chat()).header("x-session-id", id))).await, 200);
        let moved = turn().session(id).header("x-plano-affinity", "refresh");
        assert_eq!(ask(keyed(moved)).await, 200);
    }
    // Refused, in each of the ways that know a secret.
    for (request, status) in [
        (turn().session("session-secret").header("authorization", "Bearer client-secret-b"), 401),
        (keyed(turn().session("session-secret,2")), 400),
        (keyed(turn().session(&"session-secret".repeat(20))), 400),
        (keyed(turn().session("session-secret").header("x-plano-affinity", "header-secret")), 400),
        (keyed(turn().session("session-secret").bytes("{\"model\": session-secret}")), 400),
        (keyed(post("/v1/messages", "{\"model\":\"session-secret\"}")), 404),
        (keyed(get("/v1/session-secret")), 404),
    ] {
        assert_eq!(ask(request).await, status);
    }
    let names = redis.run(&["KEYS", "*"]).await;
    let mut stored = String::new();
    for name in names.items() {
        let name = name.text().unwrap();
        let value = redis.run(&["GET", name]).await;
        stored.push_str(&format!("{name} {}\n", value.text().unwrap()));
    }
    assert!(stored.lines().count() >= 2, "{stored}");
    // And when it is gone.
    redis.kill();
    assert_eq!(ask(keyed(turn().session("session-secret-3"))).await, 200);

    assert_hidden("redis", &stored, &[]);
    assert_hidden("an answer", &told, &[]);
    let log = gateway.log();
    assert!(log.contains("TRACE") && log.lines().count() > 100, "the log is not at TRACE");
    assert_hidden("the log", &log, &[]);
    for seen in upstream.seen() {
        // The provider gets its own key and header, and nothing of ours or the client's.
        let sent = format!("{} {:?}", seen.line, seen.fields);
        assert_hidden("a request to the provider", &sent, &["provider-secret", "header-secret"]);
    }
}
