//! `/metrics`, and what is made of it.

use std::collections::BTreeSet;
use std::path::Path;

use affinity_tests::models::{DEFAULT, ONE};
use affinity_tests::{
    Answer, Gateway, ModelRouter, Refusing, Request, Scrape, Setup, Upstream, ok_json, post,
    promtool, until,
};
use serde_json::{Value, json};

use crate::chat;

const OBSERVABILITY: &str = "../example-gateway/observability";

fn turn() -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "hello"))
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A gateway that counts all that it can.
async fn counting(upstream: &Upstream, router: &ModelRouter) -> Gateway {
    let setup = Setup::routed(upstream, router).routing("regret_sample: 1");
    setup.line("admin: {address: '127.0.0.1:0', token: hush}").start().await
}

/// Sends something of everything.
async fn use_it(gateway: &Gateway) {
    for outcome in ["claimed", "hit", "hit"] {
        assert_eq!(gateway.ask(&turn().session("hush-1")).await.affinity().1, outcome);
    }
    assert_eq!(gateway.ask(&turn()).await.affinity().1, "none");
    let bypass = turn().session("hush-1").header("x-plano-affinity", "bypass");
    assert_eq!(gateway.ask(&bypass).await.affinity().1, "bypass");
    let last = turn().session("hush-1").header("x-plano-affinity", "final");
    assert_eq!(gateway.ask(&last).await.affinity().1, "hit");
    assert_eq!(gateway.ask(&turn().session("hush,2")).await.status, 400);
    let decision = post("/routing/v1/chat/completions", chat(DEFAULT, "hello"));
    assert_eq!(gateway.ask(&decision.session("hush-3")).await.status, 200);
}

#[tokio::test]
async fn what_happened_is_counted() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    use_it(&gateway).await;
    let scrape = Scrape::of(&gateway).await;

    let outcome = |outcome| scrape.sum("affinity_requests_total", &[("outcome", outcome)]);
    let found = ["claimed", "hit", "none", "bypass"].map(outcome);
    assert_eq!(found, [2.0, 3.0, 1.0, 1.0], "{}", scrape.text());
    assert_eq!(scrape.sum("affinity_requests_total", &[]), 7.0);
    assert_eq!(scrape.sum("affinity_router_calls_saved_total", &[]), 3.0);
    assert_eq!(scrape.sum("affinity_router_calls_total", &[("result", "decided")]), 4.0);
    assert_eq!(scrape.sum("affinity_router_duration_seconds_count", &[]), 4.0);
    assert_eq!(router.calls(), 4);
    let refused = [("code", "invalid_session_id")];
    assert_eq!(scrape.sum("affinity_refused_requests_total", &refused), 1.0);
    assert_eq!(scrape.sum("affinity_releases_total", &[]), 1.0);
    let claims = [("operation", "claim"), ("result", "won")];
    assert_eq!(scrape.sum("affinity_store_operations_total", &claims), 2.0);
    assert_eq!(scrape.sum("gateway_sessions", &[("store", "memory")]), 1.0);
    assert_eq!(scrape.sum("gateway_store_ready", &[]), 1.0);

    let asked = |path, status: &str| {
        scrape.sum("gateway_requests_total", &[("path", path), ("status", status)])
    };
    assert_eq!(asked("/v1/chat/completions", "200"), 6.0);
    assert_eq!(asked("/v1/chat/completions", "400"), 1.0);
    assert_eq!(asked("/routing/v1/chat/completions", "200"), 1.0);
    assert_eq!(scrape.sum("gateway_upstream_requests_total", &[("status", "200")]), 6.0);
    let pinned =
        |pinned| scrape.sum("gateway_time_to_first_byte_seconds_count", &[("pinned", pinned)]);
    assert_eq!((pinned("true"), pinned("false")), (3.0, 3.0));
    assert!(!scrape.text().contains("hush"), "{}", scrape.text());
}

#[tokio::test]
async fn concurrent_first_requests_count_as_coalesced() {
    let (steps, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let slow =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url()).router(&format!("{}/v1", slow.url()), 20_000);
    let gateway = setup.start().await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut connection = gateway.connect().await;
        connection.write(&turn().session("s")).await;
        waiting.push(connection);
    }
    // All of them have found no pin, so all are in one flight.
    until(async || {
        Scrape::of(&gateway).await.sum("affinity_store_operations_total", &[("operation", "get")])
            == 5.0
    })
    .await;
    let decided =
        r#"{"choices":[{"message":{"role":"assistant","content":"{\"route\":\"one\"}"}}]}"#;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", decided.len());
    steps.send((head + decided).into()).unwrap();
    for mut connection in waiting {
        assert_eq!(connection.answer().await.affinity().2, ONE);
    }
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.sum("affinity_coalesced_requests_total", &[]), 4.0);
    assert_eq!(scrape.sum("affinity_requests_total", &[("outcome", "joined")]), 4.0);
    assert_eq!(scrape.sum("affinity_router_calls_saved_total", &[]), 4.0);
    assert_eq!(slow.count(), 1);
}

#[tokio::test]
async fn a_failover_and_a_dead_provider_are_counted() {
    let bad = "HTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::start(move |seen| match seen.json()["model"].as_str() {
        Some("gpt-4o") => ok_json(&json!({"model": "gpt-4o"})),
        _ => Answer::Bytes(bad.into()),
    });
    let (upstream, router, nobody) = (upstream.await, ModelRouter::start().await, Refusing::new());
    let gateway = Setup::routed(&upstream, &router).start().await;
    // The router's first answer is `one`, which works; its second `two`, which fails over to it.
    assert_eq!(gateway.ask(&turn().session("a")).await.affinity().1, "claimed");
    assert_eq!(gateway.ask(&turn().session("b")).await.affinity(), ("false", "repinned", ONE));
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.sum("affinity_repins_total", &[("reason", "failover")]), 1.0);
    let failed = [("status", "429"), ("model", "anthropic/claude-sonnet-4-20250514")];
    assert_eq!(scrape.sum("gateway_upstream_requests_total", &failed), 1.0);

    let gateway = Setup::new(&nobody.url()).routing("failover: false").start().await;
    assert_eq!(gateway.ask(&turn()).await.status, 502);
    let scrape = Scrape::of(&gateway).await;
    let failed = [("status", "upstream_unreachable"), ("model", DEFAULT)];
    assert_eq!(scrape.sum("gateway_upstream_requests_total", &failed), 1.0, "{}", scrape.text());
}

#[tokio::test]
async fn a_redis_that_is_away_shows() {
    let (upstream, nobody) = (Upstream::echo().await, Refusing::new());
    let redis = nobody.url().replace("http:", "redis:");
    let cache = format!("session_cache: {{type: redis, url: '{redis}'}}");
    let gateway = Setup::new(&upstream.url()).routing(&cache).start().await;
    assert_eq!(gateway.ask(&turn().session("s")).await.affinity().1, "store-unavailable");
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.sum("gateway_store_ready", &[]), 0.0);
    assert_eq!(scrape.sum("gateway_sessions", &[("store", "near")]), 1.0, "{}", scrape.text());
    let failed = [("operation", "get"), ("result", "unavailable")];
    assert_eq!(scrape.sum("affinity_store_operations_total", &failed), 1.0, "{}", scrape.text());
}

#[tokio::test]
async fn clients_make_no_series_by_the_names_they_choose() {
    let upstream = Upstream::echo().await;
    let wild = format!("  - {{model: wild/*, base_url: {}}}\n", upstream.url());
    let yaml = Setup::new(&upstream.url()).yaml();
    let yaml = yaml.replace("routing_preferences:", &(wild + "routing_preferences:"));
    let gateway = Gateway::start(&yaml).await;
    for n in 0..20 {
        let turn = post("/v1/chat/completions", chat(&format!("wild/hush-{n}"), "zzz"));
        let turn = turn.session(&format!("hush-{n}")).header(&format!("x-hush-{n}"), "hush");
        assert_eq!(gateway.ask(&turn).await.status, 200);
        gateway.ask(&post(&format!("/hush-{n}"), "{}")).await;
    }
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.sum("gateway_upstream_requests_total", &[("model", "wild/*")]), 20.0);
    assert!(!scrape.text().contains("hush"), "{}", scrape.text());
}

#[tokio::test]
async fn prometheus_takes_the_metrics_and_the_rules() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = counting(&upstream, &router).await;
    use_it(&gateway).await;
    let (good, told) = promtool(&["check", "metrics"], Scrape::of(&gateway).await.text()).await;
    assert!(good && told.is_empty(), "{told}");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(OBSERVABILITY).join("alerts.yaml");
    let (good, told) = promtool(&["check", "rules", rules.to_str().unwrap()], "").await;
    assert!(good && told.contains("SUCCESS"), "{told}");
}

#[tokio::test]
async fn alerts_fire_in_time_and_name_what_they_are_about() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(OBSERVABILITY).join("alerts.yaml");
    let cooling = |kind, target, values| {
        let series =
            format!("gateway_target_cooling{{instance='a',kind='{kind}',target='{target}'}}");
        json!({"series": series, "values": values})
    };
    let proxy = "http://proxy.example:3128";
    let fires = |at: &str, name: &str, labels: Value, summary: &str| {
        let mut all = json!({"severity": "warning", "instance": "a"});
        all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        let fired = json!({"exp_labels": all, "exp_annotations": {"summary": summary}});
        json!({"eval_time": at, "alertname": name, "exp_alerts": [fired]})
    };
    let silent =
        |at: &str, name: &str| json!({"eval_time": at, "alertname": name, "exp_alerts": []});
    let away = "a keeps sessions on its own: its store is not ready (password).";
    let cools = format!("a passes over the proxy {proxy}, which has failed for minutes.");
    let rejected = "a serves its previous configuration: the last reload was rejected, and the log \
                    says why.";
    let of_proxy = json!({"kind": "proxy", "target": proxy});
    let test = json!({
        "rule_files": [rules],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": [
                {"series": "gateway_store_ready{instance='a'}", "values": "1 0+0x30"},
                {"series": "gateway_store_unready{instance='a',cause='connect'}", "values": "0+0x31"},
                {"series": "gateway_store_unready{instance='a',cause='password'}", "values": "0 1+0x30"},
                {"series": "gateway_config_last_reload_successful{instance='a'}", "values": "1 0+0x30"},
                {"series": "gateway_store_ready{instance='b'}", "values": "1+0x31"},
                {"series": "gateway_config_last_reload_successful{instance='b'}", "values": "1+0x31"},
                cooling("proxy", proxy, "0 1+0x30"),
                cooling("model", "openai/gpt", "1+0x3 0+0x27"),
            ],
            "alert_rule_test": [
                silent("1m", "AffinityStoreAway"),
                fires("3m", "AffinityStoreAway", json!({}), away),
                silent("1m", "GatewayReloadRejected"),
                fires("3m", "GatewayReloadRejected", json!({}), rejected),
                silent("3m", "GatewayTargetCools"),
                fires("30m", "GatewayTargetCools", of_proxy, &cools),
            ],
        }],
    });
    // JSON is YAML.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.yaml");
    std::fs::write(&path, test.to_string()).unwrap();
    let (good, told) = promtool(&["test", "rules", path.to_str().unwrap()], "").await;
    assert!(good, "{told}");
}

#[tokio::test]
async fn prometheus_understands_the_questions_of_the_dashboard() {
    let dashboard = file(&format!("{OBSERVABILITY}/dashboard.json"));
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let asked = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules: Vec<_> = asked
        .map(|target| target["expr"].as_str().unwrap())
        .map(|expr| expr.replace("$__rate_interval", "5m").replace("$__range", "1h"))
        .enumerate()
        .map(|(n, expr)| json!({"record": format!("asked:{n}"), "expr": expr}))
        .collect();
    assert!(rules.len() > 20);
    // Rules may hold any question, and JSON is YAML.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&path, groups.to_string()).unwrap();
    let (good, told) = promtool(&["check", "rules", path.to_str().unwrap()], "").await;
    assert!(good && told.contains(&format!("{} rules found", rules.len())), "{told}");
}

/// Every name of a metric in a text, without what a histogram adds to it.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    let ours = words.filter(|word| word.starts_with("affinity_") || word.starts_with("gateway_"));
    ours.map(|word| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)
    })
    .collect()
}

#[tokio::test]
async fn dashboard_rules_and_documents_name_the_metrics_there_are() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = counting(&upstream, &router).await;
    use_it(&gateway).await;
    let scrape = Scrape::of(&gateway).await;
    let there = scrape.names();
    let dashboard = file(&format!("{OBSERVABILITY}/dashboard.json"));
    serde_json::from_str::<Value>(&dashboard).unwrap();
    let rules = file(&format!("{OBSERVABILITY}/alerts.yaml"));
    for text in [&dashboard, &rules] {
        let unknown = named(text).into_iter().filter(|name| !there.contains(name));
        assert_eq!(unknown.collect::<Vec<_>>(), [""; 0]);
    }
    let table = file("../docs/telemetry.md");
    let told = named(&table);
    let untold = there.iter().filter(|name| !told.contains(**name));
    assert_eq!(untold.collect::<Vec<_>>(), Vec::<&&str>::new(), "not in docs/telemetry.md");
}
