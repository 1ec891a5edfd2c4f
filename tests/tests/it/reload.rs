//! SIGHUP: another configuration without a lost request, stream or session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::redis::RedisServer;
use affinity_tests::{Answer, Gateway, Piece, Request, Setup, Upstream, get, ok_json, post, until};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep};

use crate::chat;

fn turn(model: &str) -> Request {
    post("/v1/chat/completions", chat(model, "hello"))
}

async fn configuration(gateway: &Gateway) -> Value {
    gateway.ask(&get("/readyz")).await.json()["configuration"].take()
}

#[tokio::test]
async fn a_reload_changes_models_and_limits_and_loses_no_stream_session_or_connection() {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream = Upstream::start(move |seen| match seen.json()["stream"].as_bool() {
        Some(true) => Answer::Steps(receiver.lock().unwrap().take().unwrap()),
        _ => ok_json(&json!({"choices": []})),
    })
    .await;
    let setup = Setup::new(&upstream.url());
    let gateway = setup.start().await;
    let mut kept = gateway.connect().await;
    assert_eq!(kept.ask(&turn(ONE).session("s")).await.affinity(), ("false", "claimed", ONE));
    let mut stream = gateway.connect().await;
    let body = json!({"model": ONE, "stream": true, "messages": []});
    stream.write(&post("/v1/chat/completions", body)).await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    steps.send(head.into()).unwrap();
    stream.head().await;
    assert_eq!(stream.piece().await, Piece::Data("one".into()));
    assert_eq!(gateway.ask(&turn("quick")).await.status, 404);
    assert_eq!(configuration(&gateway).await["last_reload"], Value::Null);

    let aliased = setup.clone().line(&format!("model_aliases: {{quick: {{target: {TWO}}}}}"));
    gateway.reload(&aliased.line("limits: {body_bytes: 2048, max_requests: 3}").yaml()).await;
    assert_eq!(configuration(&gateway).await["last_reload"]["result"], "applied");
    assert_eq!(gateway.ask(&turn("quick")).await.affinity(), ("false", "none", TWO));
    // Over the connection that was open before: the new names, the session of before.
    assert_eq!(kept.ask(&turn("quick").session("s")).await.affinity(), ("true", "hit", ONE));
    let long = post("/v1/chat/completions", chat(ONE, &"x".repeat(3000)));
    assert_eq!(kept.ask(&long).await.status, 413);
    steps.send("3\r\ntwo\r\n0\r\n\r\n".into()).unwrap();
    assert_eq!(stream.piece().await, Piece::Data("two".into()));
    assert_eq!(stream.piece().await, Piece::End);

    gateway.reload(&setup.yaml()).await;
    assert_eq!(kept.ask(&turn("quick")).await.status, 404);
    assert_eq!(kept.ask(&turn(TWO).session("s")).await.affinity(), ("true", "hit", ONE));
}

#[tokio::test]
async fn a_file_with_errors_changes_nothing_and_each_error_is_logged() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url());
    let gateway = setup.start().await;
    let before = configuration(&gateway).await["read_at"].clone();
    let wrong = setup.clone().line("limits: {body_bytes: 1}").line("mode_aliases: {}");
    gateway.reload(&wrong.yaml()).await;
    until(async || gateway.log().matches("is not reloaded").count() == 2).await;
    let log = gateway.log();
    assert!(log.contains("limits.body_bytes") && log.contains("mode_aliases"), "{log}");
    let told = configuration(&gateway).await;
    assert_eq!((&told["last_reload"]["result"], &told["read_at"]), (&json!("rejected"), &before));
    assert_eq!(told["last_reload"]["errors"], 2);
    assert_eq!(gateway.ask(&turn(ONE)).await.status, 200);
    let text = gateway.ask(&get("/metrics")).await.text();
    assert!(text.contains("gateway_config_last_reload_successful 0"), "{text}");
    gateway.reload(&setup.yaml()).await;
    assert_eq!(configuration(&gateway).await["last_reload"]["result"], "applied");
}

#[tokio::test]
async fn a_change_that_needs_a_restart_rejects_the_whole_reload_and_is_named() {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let aliased = format!("model_aliases: {{quick: {{target: {TWO}}}}}");
    let changed = Setup::new(&upstream.url()).line(&aliased).routing("session_max_entries: 7");
    gateway.reload(&changed.yaml()).await;
    let log = gateway.log();
    let named = "routing.session_max_entries: a change from 10000 to 7 needs a restart";
    assert!(log.contains(named), "{log}");
    assert_eq!(gateway.ask(&turn("quick")).await.status, 404, "half of the file is served");
    assert_eq!(gateway.ask(&turn(ONE)).await.status, 200);
}

#[tokio::test]
async fn keys_in_files_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let [client, provider] = ["client", "provider"].map(|name| folder.path().join(name));
    let write = |key: &str| {
        std::fs::write(&client, format!("client-{key}\n")).unwrap();
        std::fs::write(&provider, format!("provider-{key}\n")).unwrap();
    };
    write("old");
    let upstream = Upstream::echo().await;
    let of = |path: &std::path::Path| format!("{{file: '{}'}}", path.display());
    let yaml = Setup::new(&upstream.url())
        .listener(&format!("client_keys: [{{name: team, key: {}}}]", of(&client)))
        .yaml()
        .replace("access_key: openai-secret", &format!("access_key: {}", of(&provider)));
    let gateway = Gateway::start(&yaml).await;
    let keyed = |key: &str| turn(ONE).header("authorization", &format!("Bearer client-{key}"));
    assert_eq!(gateway.ask(&keyed("old")).await.status, 200);
    assert_eq!(gateway.ask(&keyed("new")).await.status, 401);
    write("new");
    assert_eq!(gateway.ask(&keyed("new")).await.status, 401, "nobody asked for a reload");
    gateway.reload(&yaml).await;
    assert_eq!(gateway.ask(&keyed("old")).await.status, 401);
    assert_eq!(gateway.ask(&keyed("new")).await.status, 200);
    assert_eq!(upstream.last().all("authorization"), ["Bearer provider-new"]);
    std::fs::remove_file(&client).unwrap();
    gateway.reload(&yaml).await;
    assert!(gateway.log().contains("client_keys[0].key.file: cannot be read"), "{}", gateway.log());
    assert_eq!(gateway.ask(&keyed("new")).await.status, 200);
}

const CLIENTS: usize = 8;

#[tokio::test]
async fn under_load_no_request_is_lost_and_no_session_changes_its_model() {
    let upstream = Upstream::echo().await;
    let setup = Setup::new(&upstream.url());
    let gateway = Arc::new(setup.start().await);
    let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (gateway, stop, served) = (gateway.clone(), stop.clone(), served.clone());
            tokio::spawn(async move {
                let session = format!("session-{number}");
                let mut connection = gateway.connect().await;
                let asked = [DEFAULT, ONE, TWO];
                let mut model = None;
                while !stop.load(Ordering::Relaxed) {
                    let asked = asked[served.fetch_add(1, Ordering::Relaxed) % 3];
                    let answer = connection.ask(&turn(asked).session(&session)).await;
                    assert_eq!(answer.status, 200);
                    let by = answer.affinity().2.to_owned();
                    assert_eq!(*model.get_or_insert_with(|| by.clone()), by);
                }
            })
        })
        .collect();
    let other = setup.clone().line(&format!("model_aliases: {{quick: {{target: {TWO}}}}}"));
    for number in 0..20 {
        let config = if number % 2 == 0 { &other } else { &setup };
        let before = served.load(Ordering::Relaxed);
        gateway.reload(&config.yaml()).await;
        until(async || served.load(Ordering::Relaxed) > before + CLIENTS).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(configuration(&gateway).await["last_reload"]["result"], "applied");
    assert!(!gateway.log().contains("is not reloaded"));
}

#[tokio::test]
async fn from_the_signal_on_it_is_not_ready_and_goes_on_while_requests_run() {
    let (steps, receiver) = unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let limits = "limits: {drain_delay_ms: 60000}";
    let mut gateway = Setup::new(&upstream.url()).line(limits).start().await;
    let mut stream = gateway.connect().await;
    stream.write(&turn(ONE)).await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    steps.send(head.into()).unwrap();
    stream.head().await;
    assert_eq!(stream.piece().await, Piece::Data("one".into()));
    let mut kept = gateway.connect().await;
    assert_eq!(kept.ask(&get("/v1/models")).await.header("connection"), None);
    gateway.signal("TERM").await;
    until(async || gateway.ask(&get("/readyz")).await.status == 503).await;
    assert_eq!(gateway.ask(&get("/readyz")).await.json()["status"], "draining");
    assert_eq!(gateway.ask(&get("/healthz")).await.status, 200);
    assert_eq!(gateway.ask(&get("/v1/models")).await.status, 200, "it serves those who still come");
    let last = kept.ask(&get("/v1/models")).await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    steps.send("0\r\n\r\n".into()).unwrap();
    assert_eq!(stream.piece().await, Piece::End);
    assert_eq!(gateway.ended().await.code(), Some(0), "it waits for nothing that does not run");
}

#[tokio::test]
async fn who_asks_whether_it_is_ready_is_waited_for_although_nothing_runs() {
    let upstream = Upstream::echo().await;
    let limits = "limits: {drain_delay_ms: 1500}";
    let mut gateway = Setup::new(&upstream.url()).line(limits).start().await;
    assert_eq!(gateway.ask(&get("/readyz")).await.status, 200);
    let mut kept = gateway.connect().await;
    assert_eq!(kept.ask(&get("/v1/models")).await.header("connection"), None);
    let signalled = Instant::now();
    gateway.signal("TERM").await;
    until(async || gateway.ask(&get("/readyz")).await.status == 503).await;
    // Longer than a process waits that nobody asks.
    sleep(Duration::from_millis(600)).await;
    let last = kept.ask(&get("/v1/models")).await;
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close")),
        "an idle connection"
    );
    assert_eq!(gateway.ask(&get("/v1/models")).await.status, 200, "and a new one");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(signalled.elapsed() >= Duration::from_millis(1500), "{:?}", signalled.elapsed());
}

#[tokio::test]
async fn a_router_that_fails_is_told_and_does_not_make_it_unready() {
    let upstream = Upstream::echo().await;
    let gateway = Setup::new(&upstream.url()).router("http://127.0.0.1:9", 500).start().await;
    let part = async || gateway.ask(&get("/readyz")).await;
    assert_eq!(part().await.json()["parts"]["router"], "not asked yet");
    assert_eq!(gateway.ask(&turn(ONE).session("s")).await.status, 200);
    let said = part().await;
    assert_eq!((said.status, &said.json()["status"]), (200, &json!("degraded")));
    let router = said.json()["parts"]["router"].as_str().unwrap().to_owned();
    assert!(router.starts_with("not ready: failing for"), "{router}");
}

#[tokio::test]
async fn a_password_of_redis_changes_under_load_and_no_request_is_lost() {
    let (upstream, redis) = (Upstream::echo().await, RedisServer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    let host = redis.url().trim_start_matches("redis://").to_owned();
    let password = async |password: &str| {
        let secret = format!(">{password}");
        let user = ["ACL", "SETUSER", "gateway", "on", "resetpass", &secret, "~*", "&*", "+@all"];
        redis.run(&user).await;
    };
    let told = |password: &str| {
        std::fs::write(&file, format!("redis://gateway:{password}@{host}\n")).unwrap();
    };
    password("first-secret").await;
    told("first-secret");
    let store = format!(
        "session_cache: {{type: redis, url: {{file: '{}'}}, command_timeout_ms: 2000}}",
        file.display()
    );
    let setup = Setup::new(&upstream.url()).routing(&store);
    let gateway = Arc::new(setup.start().await);
    let store = async || gateway.ask(&get("/readyz")).await.json()["parts"]["store"].take();
    until(async || store().await == "ready").await;
    let sessions = ["0", "1", "2", "3"];
    for session in sessions {
        let first = gateway.ask(&turn(ONE).session(session)).await;
        assert_eq!(first.affinity(), ("false", "claimed", ONE));
    }
    let ended = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for session in sessions {
        let (gateway, ended) = (gateway.clone(), ended.clone());
        clients.spawn(async move {
            let (mut client, mut asked) = (gateway.connect().await, 0);
            while !ended.load(Ordering::SeqCst) {
                let answer = client.ask(&turn(DEFAULT).session(session)).await;
                assert_eq!((answer.status, answer.affinity().2), (200, ONE), "session {session}");
                asked += 1;
            }
            asked
        });
    }

    // As an operator does it: both at once, and connections go when they go.
    password("second-secret").await;
    told("second-secret");
    gateway.reload(&setup.yaml()).await;
    assert_eq!(configuration(&gateway).await["last_reload"]["result"], "applied");
    redis.run(&["CLIENT", "KILL", "USER", "gateway"]).await;
    let claimed = async |session: &str| {
        let answer = gateway.ask(&turn(TWO).session(session)).await;
        assert_eq!(answer.status, 200);
        answer.affinity() == ("false", "claimed", TWO)
    };
    let mut number = 0;
    until(async || {
        number += 1;
        claimed(&format!("second-{number}")).await
    })
    .await;
    assert_eq!(store().await, "ready");

    // The gateway hears of it last: its connections are gone, and the old password is wrong.
    password("third-secret").await;
    redis.run(&["CLIENT", "KILL", "USER", "gateway"]).await;
    until(async || store().await != "ready").await;
    until(async || store().await.as_str().is_some_and(|said| said.contains("password"))).await;
    assert!(!claimed("in-between").await);
    told("third-secret");
    gateway.reload(&setup.yaml()).await;
    until(async || store().await == "ready").await;
    until(async || {
        number += 1;
        claimed(&format!("third-{number}")).await
    })
    .await;

    ended.store(true, Ordering::SeqCst);
    let asked: Vec<usize> = clients.join_all().await;
    assert!(asked.iter().all(|asked| *asked > 10), "{asked:?}");
    for session in sessions {
        let last = gateway.ask(&turn(DEFAULT).session(session)).await;
        assert_eq!(last.affinity(), ("true", "hit", ONE));
    }
    let log = gateway.log();
    assert!(
        !["first-", "second-secret", "third-secret"].iter().any(|part| log.contains(part)),
        "{log}"
    );
}
