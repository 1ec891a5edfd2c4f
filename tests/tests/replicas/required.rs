//! `require_store: true`: no session is told a model that Redis does not hold.

use std::time::Duration;

use affinity_tests::models::DEFAULT;
use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, Request, Response, Setup, get, post, run, until};
use serde_json::json;
use tokio::time::Instant;

use crate::{Replicas, ids, is_ready, turn};

/// With a budget for the store that a busy machine keeps: beyond it this is a refusal.
const REQUIRED: &str = ", require_store: true, command_timeout_ms: 5000";

fn messages(session: &str) -> Request {
    let message = json!({"role": "user", "content": "hello"});
    let body = json!({"model": DEFAULT, "max_tokens": 9, "messages": [message]});
    post("/v1/messages", body).session(session)
}

/// Refused for now, and in a way that makes clients try again.
fn is_refused(answer: &Response, told: &str, session: &str) {
    assert_eq!(answer.status, 503, "{session}: {}", answer.text());
    assert_eq!(answer.header("x-should-retry"), None, "it is temporary");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let error = &answer.json()["error"];
    assert!([&error["code"], &error["type"]].contains(&&json!(told)), "{session}: {error}");
    assert_eq!(error["message"], "the session store does not answer");
}

async fn model(gateway: &Gateway, session: &str) -> String {
    let answer = gateway.ask(&turn(session)).await;
    assert_eq!(answer.status, 200, "{session}: {}", answer.text());
    answer.header("x-plano-model").unwrap().to_owned()
}

#[tokio::test]
async fn while_redis_is_away_sessions_are_refused_and_then_hold() {
    let redis = RedisServer::builder().appendonly(true).start().await;
    let replicas = Replicas::start(&redis, REQUIRED).await;
    let (known, new) = (ids("known", 10), ids("new", 10));
    let mut models = Vec::new();
    for session in &known {
        models.push(model(&replicas.a, session).await);
    }
    redis.kill();
    for gateway in [&replicas.a, &replicas.b] {
        // Ends with the lease of the copies: then nothing is fresh.
        until(async || gateway.ask(&get("/readyz")).await.status == 503).await;
        let ready = gateway.ask(&get("/readyz")).await.json();
        assert_eq!(ready["status"], "not ready");
        let said = ready["parts"]["store"].as_str().unwrap();
        assert!(said.ends_with("sessions are refused until it is ready"), "{said}");
    }
    let (asked, served) = (replicas.router.calls(), replicas.upstream.count());
    for session in known.iter().chain(&new) {
        for gateway in [&replicas.a, &replicas.b] {
            let chat = gateway.ask(&turn(session)).await;
            is_refused(&chat, "store_unavailable", session);
            is_refused(&gateway.ask(&messages(session)).await, "overloaded_error", session);
        }
    }
    assert_eq!((replicas.router.calls(), replicas.upstream.count()), (asked, served));
    let message = json!({"role": "user", "content": "hello"});
    let alone = post("/v1/chat/completions", json!({"model": DEFAULT, "messages": [message]}));
    assert_eq!(replicas.a.ask(&alone).await.status, 200, "it names no session");
    redis.restart().await;
    for gateway in [&replicas.a, &replicas.b] {
        is_ready(gateway).await;
    }
    assert_eq!(redis.run(&["DBSIZE"]).await.integer(), Some(10), "the known ones and no other");
    for (session, expected) in known.iter().zip(&models) {
        for gateway in [&replicas.b, &replicas.a] {
            assert_eq!(model(gateway, session).await, *expected, "{session}");
        }
    }
    for session in &new {
        assert_eq!(model(&replicas.a, session).await, model(&replicas.b, session).await);
    }
}

#[tokio::test]
async fn without_redis_at_the_start_it_ends_and_says_why() {
    let redis = RedisServer::builder().password("hush").start().await;
    let wrong = redis.url().replace("hush", "hasty");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let file = file.to_str().unwrap();
    let write = |url: &str, cache: &str| {
        let cache = format!("session_cache: {{type: redis, url: '{url}'{cache}}}");
        let yaml = Setup::new("http://127.0.0.1:9").routing(&cache).yaml();
        std::fs::write(file, yaml).unwrap();
    };
    write(&wrong, REQUIRED);
    let check = run(&["check", file], &[]).await;
    assert_eq!(check.code, Some(0), "it can be served, with a Redis: {check:?}");
    assert!(check.out.contains(" (required), at most"), "{}", check.out);
    for away in [false, true] {
        if away {
            redis.kill();
            write(&redis.url(), REQUIRED);
        }
        let started = Instant::now();
        let output = run(&["serve", "--listen", "127.0.0.1:0", "--config", file], &[]).await;
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(output.code, Some(2), "{output:?}");
        let said: Vec<_> =
            output.err.lines().filter(|line| line.contains("require_store")).collect();
        assert_eq!(said.len(), 1, "{}", output.err);
        let cause = match away {
            true => "redis is away: it cannot be connected to (after 3 s)",
            false => "redis refuses the user or the password (after 3 s)",
        };
        assert!(said[0].starts_with(cause), "{}", said[0]);
        assert!(!output.err.contains("hush") && !output.err.contains("hasty"), "{}", output.err);
        assert!(!output.err.contains("listening"), "{}", output.err);
    }
    // By default it serves, see `outages`.
    write(&redis.url(), "");
    let config = std::fs::read_to_string(file).unwrap();
    assert_eq!(Gateway::start(&config).await.ask(&turn("s")).await.status, 502);
}
