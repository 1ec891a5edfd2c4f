//! One `redis-server` process.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Signal;
use tempfile::TempDir;

use super::builder::{Builder, Ports, Role};
use super::process::Process;
use super::wait;

/// How long a server may take until it answers, the loading of its data included.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a server may take to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How often a start is tried when another process was faster at the port.
const START_ATTEMPTS: usize = 5;

/// A Redis server on loopback, killed when dropped.
///
/// The harness talks to it over a Unix socket in the server's own directory, so that neither
/// another server nor TLS nor a fault on the TCP side comes between.
pub struct RedisServer {
    settings: Builder,
    ports: Ports,
    process: Mutex<Option<Process>>,
    // Dropped after the process, which writes into it.
    dir: TempDir,
}

impl RedisServer {
    /// A server with the default settings.
    ///
    /// # Panics
    /// When `redis-server` is not installed or does not start.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn launch(settings: Builder) -> Self {
        let mut last_words = String::new();
        for _ in 0..START_ATTEMPTS {
            let server = Self::prepare(settings.clone());
            server.spawn();
            if server.answers().await {
                return server;
            }
            last_words = server.log();
            if !last_words.contains("Address already in use") {
                break;
            }
        }
        panic!("redis-server did not come up; it said:\n{last_words}");
    }

    fn prepare(settings: Builder) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("affinity-redis-")
            .tempdir()
            .expect("making a temporary directory");
        let server = Self { settings, ports: Ports::free(), process: Mutex::new(None), dir };
        server
            .settings
            .write(server.dir.path(), server.ports, &server.socket())
            .expect("writing redis.conf");
        server
    }

    fn spawn(&self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("opening the server's log");
        let mut command = Command::new("redis-server");
        command
            .arg("redis.conf")
            .current_dir(self.dir.path())
            .envs(self.settings.variables().iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("sharing the server's log"))
            .stderr(log);
        if self.settings.role_of() == Role::Sentinel {
            command.arg("--sentinel");
        }
        *self.process() = Some(Process::spawn(&mut command));
    }

    /// Waits until the server answers; false when it ended instead, or took too long.
    async fn answers(&self) -> bool {
        wait::holds_within(START_LIMIT, || async {
            !self.is_running() || self.cmd(&["PING"]).await.is_ok()
        })
        .await
            && self.is_running()
    }

    /// What a client is configured with: `redis://` or `rediss://`, the password included, percent-encoded.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.settings.has_tls() { "rediss" } else { "redis" };
        match self.settings.password_of() {
            Some(password) => {
                let password = utf8_percent_encode(password, NON_ALPHANUMERIC);
                format!("{scheme}://:{password}@127.0.0.1:{}", self.port())
            }
            None => format!("{scheme}://127.0.0.1:{}", self.port()),
        }
    }

    /// `127.0.0.1` and the port.
    #[must_use]
    pub fn addr(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The port of clients, with TLS if the server has it. The same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.client
    }

    pub(crate) fn bus_port(&self) -> u16 {
        self.ports.bus
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.settings.password_of()
    }

    /// The process id, `None` while the server is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    /// Whether the process lives; a frozen one does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|process| process.exit_status().is_none())
    }

    /// Whether the process lives and is not frozen.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.is_running() && !self.process().as_ref().is_some_and(Process::is_frozen)
    }

    /// The server's directory, with its `redis.conf`, log and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Stops the process in its tracks (SIGSTOP): its sockets stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process (SIGKILL) and waits for its end. No effect when it is down.
    pub fn kill(&self) {
        self.process().take();
    }

    /// Asks the process to end (SIGTERM) and waits until it has. No effect when it is down.
    ///
    /// # Panics
    /// When it still runs after five seconds.
    pub async fn terminate(&self) {
        if self.is_running() {
            self.signal(Signal::TERM);
            wait::until("the server ends on SIGTERM", STOP_LIMIT, || async { !self.is_running() })
                .await;
        }
        self.kill();
    }

    /// Starts the process again on the same port and directory, after killing it if it runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&self) {
        self.kill();
        self.spawn();
        assert!(self.answers().await, "redis-server did not come back:\n{}", self.log());
    }

    fn signal(&self, signal: Signal) {
        let mut process = self.process();
        process.as_mut().expect("a signal to a server that is down").signal(signal);
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("redis.log")
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("port", &self.port())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
