//! The ledger against what the provider itself has counted.

use std::collections::BTreeMap;
use std::time::Duration;

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{
    Gateway, ModelRouter, Piece, Refusing, Request, Scrape, Setup, Upstream, get, post, until,
};
use example_gateway::lab::provider::{self, Options, Stats, Usage};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::{Admin, with_admin};

/// The simulated provider, in this process, and a gateway with the embedded router before it.
struct Scene {
    stats: Stats,
    gateway: Gateway,
    admin: Admin,
    _provider: JoinSet<()>,
}

impl Scene {
    /// With so much time between two events of a stream.
    async fn start(chunk_delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stats = Stats::default();
        let options = Options { stats: stats.clone(), chunk_delay, ..Options::default() };
        let mut _provider = JoinSet::new();
        _provider.spawn(provider::serve(listener, options, std::future::pending()));
        let gateway = with_admin(Setup::new(&url)).start().await;
        let admin = Admin::of(&gateway).await;
        Self { stats, gateway, admin, _provider }
    }

    /// The books, once so many turns have ended.
    async fn books(&self, turns: u64) -> Value {
        let path = "/admin/v1/ledger";
        until(async || self.admin.get(path).await["totals"]["turns"] == turns).await;
        self.admin.get(path).await
    }
}

/// The next turn of a conversation; its prompt holds all that came before.
fn turn(path: &str, topic: &str, length: usize, stream: bool) -> Request {
    let messages = (0..=2 * length).map(|n| {
        let role = if n % 2 == 0 { "user" } else { "assistant" };
        json!({"role": role, "content": format!("{topic}, part {n}")})
    });
    let messages: Value = messages.collect();
    let list = if path.ends_with("/responses") { "input" } else { "messages" };
    let mut body = json!({"model": "auto", "max_tokens": 99, "stream": stream, list: messages});
    if path.ends_with("/completions") {
        body["stream_options"] = json!({"include_usage": stream});
    }
    post(path, body)
}

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/messages", "/v1/responses"];

/// The rows of the ledger as the provider counts, by the provider's names.
fn by_model(books: &Value) -> BTreeMap<String, Usage> {
    let rows = books["models"].as_array().unwrap().iter().map(|row| {
        let number = |pointer: &str| row.pointer(pointer).unwrap().as_u64().unwrap();
        let (_, id) = row["model"].as_str().unwrap().split_once('/').unwrap();
        let usage = Usage {
            calls: number("/turns"),
            prompt_tokens: number("/tokens/prompt"),
            cached_tokens: number("/tokens/cached"),
            output_tokens: number("/tokens/output"),
        };
        (id.to_owned(), usage)
    });
    rows.collect()
}

#[tokio::test]
async fn the_books_are_those_of_the_provider() {
    let scene = Scene::start(Duration::ZERO).await;
    let (mut turns, mut expected) = (0, BTreeMap::<&str, u64>::new());
    for length in 0..3 {
        for (path, stream) in PATHS.into_iter().flat_map(|path| [(path, false), (path, true)]) {
            for session in [None, Some(format!("hush-{path}-{stream}"))] {
                // Without a session each turn is routed by its own words.
                let topics = ["writing poems", "solving equations", "zzz"];
                let topic = if session.is_some() { topics[0] } else { topics[length] };
                let mut request = turn(path, topic, length, stream);
                if let Some(session) = &session {
                    request = request.session(session);
                }
                let answer = scene.gateway.ask(&request).await;
                let (pinned, _, model) = answer.affinity();
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(pinned == "true", session.is_some() && length > 0);
                assert_eq!(
                    model,
                    if session.is_some() { ONE } else { [ONE, TWO, DEFAULT][length] }
                );
                *expected.entry(if pinned == "true" { "saved" } else { "asked" }).or_default() += 1;
                turns += 1;
            }
        }
    }
    let books = scene.books(turns).await;
    assert_eq!(by_model(&books), scene.stats.usage());
    let totals = &books["totals"];
    assert_eq!(
        totals["turns_without"],
        json!({"prompt": 0, "cached": 0, "written": 0, "output": 0, "cost": turns})
    );
    assert!(totals["tokens"]["cached"].as_u64().unwrap() > 0, "{books}");
    assert_eq!(totals["pinned_turns"], expected["saved"]);
    assert_eq!(totals["router"]["calls_saved"], expected["saved"]);
    assert_eq!(totals["router"]["calls"], expected["asked"]);
    assert_eq!((&totals["switches"], &totals["incomplete_turns"]), (&json!(0), &json!(0)));
    let (made, saved) = (&totals["router"]["time_us"], &totals["router"]["time_saved_us"]);
    let estimate = expected["saved"] * made.as_u64().unwrap() / expected["asked"];
    assert_eq!(saved.as_u64().unwrap(), estimate);

    let scrape = Scrape::of(&scene.gateway).await;
    for (kind, sum) in totals["tokens"].as_object().unwrap() {
        let counted = scrape.sum("gateway_tokens_total", &[("kind", kind)]);
        assert_eq!(counted, sum.as_f64().unwrap(), "{kind}");
    }
    assert_eq!(scrape.sum("affinity_router_calls_total", &[]), expected["asked"] as f64);

    let sessions = scene.admin.get("/admin/v1/ledger/sessions").await;
    let rows = sessions["sessions"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        assert_eq!(
            (&row["turns"], &row["model"], &row["route"]),
            (&json!(3), &json!(ONE), &json!("one"))
        );
        assert_eq!((&row["pinned_turns"], &row["switches"]), (&json!(2), &json!(0)));
    }
    assert!(!sessions.to_string().contains("hush"), "{sessions}");
    let one = scene.admin.get("/admin/v1/ledger/sessions?limit=1").await;
    assert_eq!(one["sessions"][0]["session"], rows[0]["session"]);
    let bad = scene.admin.ask(get("/admin/v1/ledger/sessions?limit=x")).await;
    assert_eq!(bad.refusal(), (400, "invalid_value".to_owned()));
}

#[tokio::test]
async fn what_a_client_did_not_wait_for_is_unknown() {
    // Long enough that the last event is never there when the client leaves.
    let scene = Scene::start(Duration::from_millis(300)).await;
    for path in PATHS {
        let mut connection = scene.gateway.connect().await;
        connection.write(&turn(path, "writing poems", 0, true)).await;
        connection.head().await;
        assert!(matches!(connection.piece().await, Piece::Data(_)), "{path}");
    }
    let books = scene.books(3).await;
    let totals = &books["totals"];
    assert_eq!(totals["incomplete_turns"], 3);
    // Messages tells of the prompt in its first event.
    assert_eq!(
        totals["turns_without"],
        json!({"prompt": 2, "cached": 2, "written": 2, "output": 3, "cost": 3})
    );
    let provider = scene.stats.usage()["gpt-4o"];
    assert_eq!(provider.calls, 3);
    let told = totals["tokens"]["prompt"].as_u64().unwrap();
    assert!(0 < told && told < provider.prompt_tokens, "{told} of {provider:?}");
    assert_eq!(totals["tokens"]["output"], 0);

    let mut silent = turn(PATHS[0], "writing poems", 0, true);
    silent = silent.bytes(br#"{"model":"auto","stream":true,"messages":[]}"#.to_vec());
    assert_eq!(scene.gateway.ask(&silent).await.status, 200);
    let books = scene.books(4).await;
    assert_eq!(books["totals"]["turns_without"]["prompt"], 3, "nobody asked for its usage");
    assert_eq!(books["totals"]["incomplete_turns"], 3);
    let scrape = Scrape::of(&scene.gateway).await;
    assert_eq!(scrape.sum("gateway_turns_without_usage_total", &[]), 3.0);
}

#[tokio::test]
async fn a_switch_within_a_session_and_a_refusal_are_told() {
    let scene = Scene::start(Duration::ZERO).await;
    let ask = async |topic: &str, control: Option<&str>| {
        let mut request = turn(PATHS[1], topic, 0, false).session("s");
        if let Some(control) = control {
            request = request.header("x-plano-affinity", control);
        }
        scene.gateway.ask(&request).await.affinity().2.to_owned()
    };
    assert_eq!(ask("writing poems", None).await, ONE);
    assert_eq!(ask("solving equations", None).await, ONE);
    assert_eq!(ask("solving equations", Some("refresh")).await, TWO);
    assert_eq!(ask("writing poems", None).await, TWO);
    let totals = &scene.books(4).await["totals"];
    assert_eq!((&totals["switches"], &totals["router"]["calls"]), (&json!(1), &json!(2)));
    let sessions = scene.admin.get("/admin/v1/ledger/sessions").await;
    assert_eq!(sessions["sessions"][0]["switches"], 1, "{sessions}");
    assert_eq!(sessions["sessions"][0]["model"], TWO);

    let nobody = Refusing::new();
    let gateway = with_admin(Setup::new(&nobody.url()).routing("failover: false")).start().await;
    let admin = Admin::of(&gateway).await;
    assert_eq!(gateway.ask(&turn(PATHS[0], "zzz", 0, false)).await.status, 502);
    until(async || admin.get("/admin/v1/ledger").await["totals"]["turns"] == 1).await;
    let books = admin.get("/admin/v1/ledger").await;
    assert_eq!(books["totals"]["turns_without"]["prompt"], 0, "a refusal costs nothing");
}

#[tokio::test]
async fn regret_stands_with_the_route_of_the_pin() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router).routing("regret_sample: 1");
    let gateway = with_admin(setup).start().await;
    let admin = Admin::of(&gateway).await;
    let regret = async || admin.get("/admin/v1/ledger").await["routes"][0]["regret"].clone();
    // The routing model names `one`, then `two` and `one` by turns.
    for (otherwise, agreed) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
        let request = turn(PATHS[0], "hello", 0, false).session("s");
        assert_eq!(gateway.ask(&request).await.affinity().2, ONE);
        let told = json!({"agreed": agreed, "otherwise": otherwise, "no_match": 0, "failed": 0});
        until(async || regret().await == told).await;
    }
    let books = admin.get("/admin/v1/ledger").await;
    assert_eq!(
        (&books["routes"][0]["route"], &books["totals"]["regret"]),
        (&json!("one"), &regret().await)
    );
    let made = &books["totals"]["router"];
    assert_eq!(
        (&made["calls"], &made["calls_saved"]),
        (&json!(1), &json!(3)),
        "the shadow is none"
    );
}
