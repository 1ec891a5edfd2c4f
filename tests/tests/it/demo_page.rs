//! `demo --ui`: the runs of the demo on the live page.

use std::process::Stdio;
use std::time::Duration;

use affinity_tests::{Connection, Piece, gateway, get, until, within};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::Instant;

type Out = Lines<BufReader<ChildStdout>>;

/// The next line of the demo that begins with `start`, without that.
async fn line(out: &mut Out, start: &str) -> String {
    loop {
        let line = within(out.next_line()).await.unwrap().expect("a further line");
        if let Some(rest) = line.strip_prefix(start) {
            return rest.to_owned();
        }
    }
}

/// The turns of a lane: model, outcome, and whether the model switched.
fn turns(lane: &Value) -> Vec<(&str, &str, bool)> {
    let turns = lane["turns"].as_array().unwrap().iter();
    let turns = turns.map(|turn| {
        let text = |name: &str| turn[name].as_str().unwrap();
        (text("model"), text("outcome"), turn["switched"].as_bool().unwrap())
    });
    turns.collect()
}

/// What the page is told when it is opened.
async fn seen(address: &str, token: &str) -> Value {
    let mut connection = Connection::open(address.parse().unwrap()).await;
    let asked = get("/admin/v1/events").header("authorization", &format!("Bearer {token}"));
    connection.write(&asked).await;
    connection.head().await;
    let Piece::Data(snapshot) = connection.piece().await else { panic!("no snapshot") };
    let snapshot = String::from_utf8(snapshot.to_vec()).unwrap();
    serde_json::from_str(snapshot.strip_prefix("event: snapshot\ndata: ").unwrap()).unwrap()
}

#[tokio::test]
async fn a_signal_ends_the_demo_at_once() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut demo = Command::new(gateway())
            .args(["demo", "--pace", "60000"])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(demo.stdout.take().unwrap()).lines();
        line(&mut out, "turn 1").await;
        let id = demo.id().unwrap().to_string();
        let began = Instant::now();
        within(Command::new("kill").args(["-s", signal, &id]).status()).await.unwrap();
        assert_eq!(within(demo.wait()).await.unwrap().code(), Some(code));
        assert!(began.elapsed() < Duration::from_secs(5), "it does not wait for its turn");
    }
}

#[tokio::test]
async fn both_runs_stand_on_the_page_until_the_demo_is_stopped() {
    let mut demo = Command::new(gateway())
        .args(["demo", "--ui"])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = BufReader::new(demo.stdout.take().unwrap()).lines();
    let page = line(&mut out, "Live page: http://").await;
    let (address, token) = page.split_once("/ui#token=").unwrap();
    line(&mut out, "Both runs are on the live page").await;

    let mut snapshot = Value::Null;
    // The last turn may be on its way.
    until(async || {
        snapshot = seen(address, token).await;
        turns(&snapshot["lanes"][0]).len() == 4
    })
    .await;
    assert_eq!(snapshot["lanes"].as_array().unwrap().len(), 2, "{snapshot}");
    let (with, without) = (turns(&snapshot["lanes"][0]), turns(&snapshot["lanes"][1]));

    let scope = |lane: usize| snapshot["lanes"][lane]["scope"].as_str().unwrap();
    assert_eq!([scope(0), scope(1)], ["with-affinity", "without-affinity"]);
    let (claude, gpt) = ("anthropic/claude-sonnet-5-5", "openai/gpt-6.1-sol");
    let switching = [(claude, false), (gpt, true), (claude, true), (gpt, true)];
    assert_eq!(without, switching.map(|(model, switched)| (model, "bypass", switched)));
    let outcomes = ["claimed", "hit", "hit", "hit"];
    assert_eq!(with, outcomes.map(|outcome| (claude, outcome, false)));

    let id = demo.id().unwrap().to_string();
    let stopped = within(Command::new("kill").args(["-s", "INT", &id]).status()).await;
    assert!(stopped.unwrap().success());
    assert_eq!(within(demo.wait()).await.unwrap().code(), Some(130), "as a shell tells of Ctrl-C");
}
