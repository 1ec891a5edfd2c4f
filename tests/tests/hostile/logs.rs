//! What a client can do to the log, and a log to clients.

use std::process::Stdio;

use affinity_tests::{Connection, Refusing, Scrape, Setup, get, until, within};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::{is, turn};

const LOST: &str = "gateway_log_lines_lost_total";

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let nobody = Refusing::new();
    std::fs::write(&file, Setup::new(&nobody.url()).yaml()).unwrap();
    let mut gateway = Command::new(affinity_tests::gateway())
        .args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        // Each connection and each request is worth some lines, with those of the libraries.
        .env("RUST_LOG", "debug,hyper=debug,hyper_util=debug")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(gateway.stderr.take().unwrap()).lines();
    let address = loop {
        let line = within(log.next_line()).await.unwrap().expect("a line");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["fields"]["message"] == "listening" {
            break line["fields"]["address"].as_str().unwrap().parse().unwrap();
        }
    };
    // From here on the pipe is open, and nobody reads it.
    for _ in 0..2500 {
        let mut connection = Connection::open(address).await;
        connection.wire.write(b"nonsense\r\n\r\n").await.unwrap();
        let _ = connection.told().await;
        let mut connection = Connection::open(address).await;
        connection.write(&turn()).await;
        assert_eq!(within(connection.told()).await, is(502, "upstream_unreachable"));
    }
    let health =
        within(async { Connection::open(address).await.ask(&get("/healthz")).await }).await;
    assert_eq!(health.status, 200);
    let metrics = Connection::open(address).await.ask(&get("/metrics")).await.text();
    let lost = Scrape::read(metrics).sum(LOST, &[("why", "unread")]);
    assert!(lost > 0.0, "the pipe holds all of it");
    let id = gateway.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().await.unwrap().success());
    assert_eq!(within(gateway.wait()).await.unwrap().code(), Some(0));
    drop(log);
}

#[tokio::test]
async fn what_clients_cause_a_thousand_times_is_logged_some_times_and_counted() {
    let nobody = Refusing::new();
    let gateway = Setup::new(&nobody.url()).start().await;
    for _ in 0..1000 {
        assert_eq!(gateway.ask(&turn()).await.refusal(), is(502, "upstream_unreachable"));
    }
    let said = gateway.log().matches("upstream cannot be reached").count();
    // Some at once, then one a second.
    assert!((20..60).contains(&said), "{said}");
    let held = Scrape::of(&gateway).await.sum(LOST, &[("why", "repeated")]);
    assert!(held >= 900.0, "{held}");
    until(async || gateway.log().contains("log lines of one kind held back")).await;
}
