//! From the start of the program to its first answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::body::conversation;
use super::connection::{Connection, Message, micros};
use super::subject::config;
use crate::within;

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_micros(200);

struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Milliseconds until a request was routed, proxied and answered, for each of `count` starts.
pub(super) async fn cold_starts(program: &Path, upstream: SocketAddr, count: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(cold_start(program, upstream).await.expect("the gateway starts"));
    }
    times
}

async fn cold_start(program: &Path, upstream: SocketAddr) -> io::Result<f64> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config(upstream, ""))?;
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
    let body = conversation(1 << 10);
    let message = Message { path: "/v1/chat/completions", accept: "application/json", body: &body };
    let begun = Instant::now();
    let _process = Started(
        Command::new(program)
            .args(["serve", "--listen", &address.to_string(), "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let mut connection = within(async {
        loop {
            match Connection::open(address, message, "cold-start").await {
                Ok(connection) => return connection,
                Err(_) => sleep(RETRY).await,
            }
        }
    })
    .await;
    assert!(connection.exchange().await?, "the first request is answered");
    Ok(micros(begun.elapsed()) / 1e3)
}
