//! The Redis of the demo: the user's, or a server that it starts.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use secrecy::SecretString;
use tokio::process::Command;
use uuid::Uuid;

use super::child::Process;

/// How often a start is tried; another process may be faster at the port.
const ATTEMPTS: usize = 3;

const NOT_INSTALLED: &str = "\
redis-server is not installed, and the replicas need a Redis to share. Install it \
(apt-get install redis-server, brew install redis), or name one that runs: --redis redis://HOST:6379";

/// A Redis that replicas share.
#[derive(Debug)]
pub(super) struct Redis {
    url: SecretString,
    own: Option<Server>,
}

/// A server that keeps nothing, killed on drop.
#[derive(Debug)]
struct Server {
    _process: Process,
    _folder: Folder,
}

impl Redis {
    /// The one at `url`.
    pub(super) fn at(url: SecretString) -> Self {
        Self { url, own: None }
    }

    /// A server that the demo starts.
    ///
    /// # Errors
    ///
    /// When `redis-server` is not installed or does not start.
    pub(super) async fn start() -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            match Server::start(port).await {
                Ok(server) => {
                    let url = SecretString::from(format!("redis://127.0.0.1:{port}"));
                    return Ok(Self { url, own: Some(server) });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound || attempt == ATTEMPTS => {
                    return Err(error);
                }
                Err(_) => attempt += 1,
            }
        }
    }

    pub(super) fn url(&self) -> &SecretString {
        &self.url
    }

    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }
}

impl Server {
    async fn start(port: u16) -> io::Result<Self> {
        let folder = Folder::new()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string()])
            .arg("--dir")
            .arg(&folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Process::spawn(&mut command).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), NOT_INSTALLED),
            _ => io::Error::new(error.kind(), format!("redis-server cannot be started: {error}")),
        })?;
        let mut lines = process.stdout()?;
        // Its own word is waited for: at the port, another server might answer.
        let ready = |line: &str| line.contains("Ready to accept connections").then_some(());
        let started = lines.find(ready).await;
        started.map_err(|why| io::Error::other(format!("redis-server did not start: {why}")))?;
        lines.drain(|_| {});
        Ok(Self { _process: process, _folder: folder })
    }
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// An empty folder, removed on drop.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("affinity-demo-{}", Uuid::new_v4().simple()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // At worst an empty folder stays behind, which is not worth an error.
        let _ = fs::remove_dir_all(&self.0);
    }
}
