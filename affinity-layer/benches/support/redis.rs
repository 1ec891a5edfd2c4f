//! A `redis-server` of the bench's own, and a store with near copies of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use affinity_layer::{RedisOptions, RedisStore, TieredStore};

use crate::Failure;

/// Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    process: Child,
    url: String,
    options: RedisOptions,
}

impl Drop for Redis {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Redis {
    /// Starts it on a free port of loopback.
    ///
    /// # Errors
    ///
    /// When it is not installed, or the port was taken meanwhile.
    pub fn start() -> Result<Self, Failure> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server does not start: {error}"))?;
        // A program under valgrind is slow at everything.
        let url = format!("redis://127.0.0.1:{port}");
        let options = RedisOptions::from_url(&url)?.command_timeout(Duration::from_secs(10));
        Ok(Self { process, url, options })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it answers to `command`, which is a line; the answer is one string.
    ///
    /// # Errors
    ///
    /// When it does not answer, or answers something else.
    pub fn ask(&self, command: &str) -> Result<String, Failure> {
        let address = self.url.trim_start_matches("redis://");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "{command}\r\n")?;
        let (mut replies, mut line) = (BufReader::new(stream), String::new());
        replies.read_line(&mut line)?;
        let length = line.trim_end().strip_prefix('$').ok_or_else(|| line.clone())?;
        let mut text = vec![0; length.parse()?];
        replies.read_exact(&mut text)?;
        Ok(String::from_utf8(text)?)
    }

    /// A store without near copies. It must be made within a tokio runtime.
    ///
    /// # Errors
    ///
    /// None that is known: the address is our own.
    pub fn store(&self) -> Result<RedisStore, Failure> {
        Ok(RedisStore::new(&self.options)?)
    }

    /// A store that follows the server's changes.
    ///
    /// # Errors
    ///
    /// When the server is not there within 30 s.
    pub async fn tiered(&self, capacity: usize) -> Result<TieredStore, Failure> {
        let store = TieredStore::new(self.store()?, capacity);
        if store.wait_ready(Duration::from_secs(30)).await {
            Ok(store)
        } else {
            Err("redis-server was not there within 30 s".into())
        }
    }
}
