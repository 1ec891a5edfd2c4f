//! `demo --replicas` and `demo --redis` as a user runs them, against a real redis-server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports what is wrong by a panic"
)]

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fred::prelude::{Builder, ClientLike, Config, KeysInterface};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PASSWORD: &str = "hunter2";

/// Longest time for anything that is waited for.
const LIMIT: Duration = Duration::from_secs(60);

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-gateway"));
    command.arg("demo").args(arguments).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// A redis-server that asks for [`PASSWORD`], killed on drop.
struct Redis {
    process: tokio::process::Child,
    port: u16,
}

impl Redis {
    async fn start() -> Self {
        for _ in 0..5 {
            let port = free_port();
            let started = tokio::process::Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD])
                .args(["--port", &port.to_string(), "--dir"])
                .arg(std::env::temp_dir())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn();
            let mut process = started
                .expect("redis-server cannot be started; get it by `apt-get install redis-server`");
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
            while let Some(line) = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap() {
                if line.contains("Ready to accept connections") {
                    process.stdout = Some(lines.into_inner().into_inner());
                    return Self { process, port };
                }
            }
        }
        panic!("redis-server does not start");
    }

    fn url(&self) -> String {
        url(self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.start_kill().unwrap();
    }
}

fn url(port: u16) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{port}")
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Processes that were started with `text` in their environment.
fn processes_with(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environments =
        processes.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    let holds = |bytes: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    environments.filter(holds).count()
}

/// What stands between `before` and the end of the line.
fn after<'a>(text: &'a str, before: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text}"));
    rest.lines().next().unwrap()
}

fn switches_without_and_holds_with_affinity(out: &str) {
    let (without, with) = out.split_once("Run 2: WITH Model Affinity").unwrap();
    assert!(without.contains("✗ Without affinity: model switched 3 time(s)"), "{out}");
    assert!(with.contains("✓ With affinity: ") && with.contains(" for all 4 turns"), "{out}");
    assert!(!with.contains("NOT PINNED") && with.matches("\nPASS ").count() == 3, "{out}");
    assert_eq!(with.matches("[FIRST — sets affinity]").count(), 3, "{out}");
}

#[test]
fn with_replicas_alone_a_redis_is_started_and_ended() {
    let output = demo(&["--replicas", "3"]).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
    switches_without_and_holds_with_affinity(&out);
    // The second run goes on where the first one ended.
    let turns = out.lines().filter(|line| line.starts_with("turn "));
    let replicas: Vec<_> = turns.map(|line| after(line, "(replica ").split(')').next()).collect();
    let in_turn: Vec<_> = ["1", "2", "3"].into_iter().cycle().take(8).map(Some).collect();
    assert_eq!(replicas, in_turn, "{out}");
    let last = "✓ One model, 3 replicas, one Redis: ";
    assert!(out.lines().last().unwrap().starts_with(last), "{out}");
    assert!(!out.contains(['\u{1b}', '\r']), "{out:?}");

    let processes = out.lines().filter_map(|line| line.split_once("(process "));
    let ids: Vec<_> = processes.map(|(_, id)| id.trim_end_matches(')')).collect();
    assert_eq!(ids.len(), 3, "{out}");
    assert!(!ids.iter().any(|id| std::fs::exists(format!("/proc/{id}")).unwrap()), "{ids:?}");
    let redis = after(&out, "redis://").split(' ').next().unwrap();
    assert!(std::net::TcpStream::connect(redis).is_err(), "{redis} is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_given_redis_each_run_is_a_new_one_and_leaves_its_pins_to_be_read() {
    let redis = Redis::start().await;
    let mut config = Config::from_url(&redis.url()).unwrap();
    config.fail_fast = true;
    let client = Builder::from_config(config).build().unwrap();
    client.init().await.unwrap();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let output = demo(&["--redis", &redis.url()]).output().unwrap();
        let (out, err) = texts(&output);
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
        switches_without_and_holds_with_affinity(&out);
        assert!(out.contains("✓ One model, 2 replicas, one Redis: "), "{out}");
        assert!(!out.contains(PASSWORD), "{out}");
        assert!(out.contains(&format!("redis://127.0.0.1:{} (as given)", redis.port)), "{out}");

        let key = after(&out, "$ redis-cli GET ");
        assert!(key.starts_with("plano:affinity:demo-"), "{key}");
        let value: Value =
            serde_json::from_str(&client.get::<String, _>(key).await.unwrap()).unwrap();
        let passed = after(&out, "PASS demo-session-001 -> always routed to ");
        assert_eq!(format!("'{}'", value["model_name"].as_str().unwrap()), passed);
        // The JSON that is shown is the one that is there, the model first.
        let shown = out.split_once(&format!("GET {key}\n")).unwrap().1.split("\n\n").next();
        assert!(shown.unwrap().starts_with("{\n  \"model_name\": "), "{shown:?}");
        assert_eq!(serde_json::from_str::<Value>(shown.unwrap()).unwrap(), value);
        let ttl: i64 = client.ttl(key).await.unwrap();
        let shown = after(&out, &format!("TTL {key}\n")).split(' ').next().unwrap();
        let shown: i64 = shown.parse().unwrap();
        assert!(ttl <= shown && (1..=300).contains(&shown) && ttl > 0, "{ttl} and {shown}");
        keys.push(key.to_owned());
    }
    assert_ne!(keys[0], keys[1]);
    assert_eq!(processes_with(&redis.url()), 0);
}

#[test]
fn a_redis_that_is_not_there_is_told_without_its_password() {
    let port = free_port();
    let output = demo(&["--redis", &url(port)]).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{err}");
    assert!(
        err.contains(&format!("cannot use redis://127.0.0.1:{port}: redis is away: it cannot be")),
        "{err}"
    );
    assert!(!err.contains(PASSWORD), "{err}");
}

#[test]
fn wrong_usage_is_refused_without_repeating_a_password() {
    for (arguments, why) in [
        (["--redis", "http://:hunter2@h"], "must start with redis://"),
        (["--redis", "redis://:hunter2@h:99999"], "must"),
        (["--replicas", "1"], "2..=8"),
        (["--replicas", "9"], "2..=8"),
    ] {
        let output = demo(&arguments).output().unwrap();
        let (out, err) = texts(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains(why) && !err.contains(PASSWORD), "{err}");
    }
}

#[test]
fn without_redis_server_the_user_is_told_how_to_get_it() {
    let output = demo(&["--replicas", "2"]).env("PATH", "").output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("redis-server is not installed") && err.contains("--redis"), "{err}");
}

#[tokio::test]
async fn on_sigterm_no_replica_is_left_behind() {
    let redis = Redis::start().await;
    let front = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = url(front.local_addr().unwrap().port());
    let demo: Child = demo(&["--redis", &url]).spawn().unwrap();
    // The demo's own look at Redis is let through; the replicas are not answered, so that it waits
    // for them.
    let (mut first, _) = timeout(LIMIT, front.accept()).await.unwrap().unwrap();
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port)).await.unwrap();
    tokio::spawn(async move { copy_bidirectional(&mut first, &mut server).await });
    let held = timeout(LIMIT, front.accept()).await.unwrap().unwrap();
    assert_ne!(processes_with(&url), 0, "a replica runs");

    let id = demo.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| demo.wait_with_output().unwrap());
    let output = timeout(LIMIT, output).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(128 + 15), "{output:?}");
    assert_eq!(processes_with(&url), 0);
    drop(held);
}
