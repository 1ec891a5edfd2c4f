//! A gateway in a process of its own.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::Authority;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::child::Process;
use super::settings::{CONFIG, Settings};

/// Time for a replica that serves to reach Redis, and how often it is asked.
const READY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Largest answer to that, in bytes.
const BODY_LIMIT: usize = 64 << 10;

/// A running replica, killed on drop.
#[derive(Debug)]
pub(super) struct Replica {
    process: Process,
    authority: Authority,
}

impl Replica {
    /// Starts this program once more, on a free port and with every provider at `upstream`, and waits
    /// until it serves and has reached Redis. `number` marks its log lines.
    ///
    /// # Errors
    ///
    /// When it does not come up; the error says what it said.
    pub(super) async fn start(
        number: usize,
        settings: &Settings,
        upstream: Uri,
    ) -> io::Result<Self> {
        let started = Self::try_start(number, settings, upstream).await;
        started.map_err(|error| io::Error::other(format!("replica {number}: {error}")))
    }

    async fn try_start(number: usize, settings: &Settings, upstream: Uri) -> io::Result<Self> {
        let mut process = Process::spawn(
            Command::new(std::env::current_exe()?)
                .args(["serve", "--config", "/dev/stdin", "--listen", "127.0.0.1:0"])
                .args(["--upstream", &upstream.to_string(), "--log-format", "json"])
                .envs(settings.variables())
                .env("RUST_LOG", "warn,example_gateway=info")
                // The simulated provider is on this machine.
                .env("no_proxy", "*")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        )?;
        let mut input = process.stdin()?;
        input.write_all(CONFIG.as_bytes()).await?;
        drop(input);
        let mut lines = process.stderr()?;
        let authority = lines.find(listening).await?;
        lines.drain(move |line| repeat(number, line));
        let replica = Self { process, authority };
        let ready = timeout(READY, replica.ready()).await;
        ready.map_err(|_| io::Error::other("it does not reach Redis"))??;
        Ok(replica)
    }

    /// Its host and port.
    pub(super) fn authority(&self) -> Authority {
        self.authority.clone()
    }

    /// Its process id; 0 when it has ended.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks until it has reached Redis: before, it would keep sessions to itself.
    async fn ready(&self) -> io::Result<()> {
        let client: Client<HttpConnector, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let url: Uri =
            format!("http://{}/readyz", self.authority).parse().map_err(io::Error::other)?;
        loop {
            let answer = client.get(url.clone()).await.map_err(io::Error::other)?;
            let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await;
            let body = body.map_err(io::Error::other)?.to_bytes();
            let body: Value = serde_json::from_slice(&body)?;
            if body.get("status").is_some_and(|status| status == "ready") {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }
}

/// The address in the log line that reports it.
fn listening(line: &str) -> Option<Authority> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    let told = fields.get("message")? == "listening";
    fields.get("address")?.as_str().filter(|_| told)?.parse().ok()
}

/// Repeats what a replica warns of.
fn repeat(number: usize, line: &str) {
    let Ok(line) = serde_json::from_str::<Value>(line) else { return };
    let message = line.pointer("/fields/message").and_then(Value::as_str).unwrap_or_default();
    match line.get("level").and_then(Value::as_str) {
        Some("WARN") => tracing::warn!(replica = number, "{message}"),
        Some("ERROR") => tracing::error!(replica = number, "{message}"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let line = |message: &str| {
            serde_json::json!({
                "level": "INFO",
                "fields": {"message": message, "address": "127.0.0.1:4000"},
                "target": "example_gateway::cli",
            })
            .to_string()
        };
        assert_eq!(listening(&line("listening")).unwrap(), "127.0.0.1:4000");
        for other in [line("simulated provider"), "listening".to_owned(), "{}".to_owned()] {
            assert_eq!(listening(&other), None, "{other}");
        }
    }
}
