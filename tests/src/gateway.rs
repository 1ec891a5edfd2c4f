//! The gateway as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::client::{Connection, Request, Response};
use crate::{binary, until, within};

/// The proxies of the machine, which no test is to meet.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// A program that listens; it is killed when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    folder: Option<TempDir>,
}

impl Gateway {
    /// Serves a configuration.
    pub async fn start(config: &str) -> Self {
        Self::serve(config, &[]).await
    }

    /// Serves a configuration with further arguments of the command line.
    pub async fn serve(config: &str, arguments: &[&str]) -> Self {
        Self::serve_by(&binary::gateway(), config, arguments).await
    }

    /// As [`serve`](Self::serve), by the gateway `program`.
    pub async fn serve_by(program: &Path, config: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config).expect("a file");
        let file = file.to_str().expect("a path in UTF-8");
        let fixed = ["serve", "--listen", "127.0.0.1:0", "--config", file];
        let log = ["--log-format", "json"];
        let mut gateway = Self::spawn(program, &[&fixed, arguments, &log].concat()).await;
        gateway.folder = Some(folder);
        gateway
    }

    /// Serves a configuration in a process that a shell has prepared, such as by `ulimit -n 256`.
    pub async fn prepared(config: &str, commands: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config).expect("a file");
        let file = file.to_str().expect("a path in UTF-8");
        let (program, script) = (binary::gateway(), format!("{commands}; exec \"$0\" \"$@\""));
        let program = program.to_str().expect("a path in UTF-8");
        let shell = ["-c", &script, program, "serve", "--listen", "127.0.0.1:0"];
        let serve = ["--config", file, "--log-format", "json"];
        let mut gateway =
            Self::spawn(Path::new("/bin/sh"), &[shell.as_slice(), &serve].concat()).await;
        gateway.folder = Some(folder);
        gateway
    }

    /// Starts the gateway with these arguments, which must make it listen.
    pub async fn command(arguments: &[&str]) -> Self {
        Self::spawn(&binary::gateway(), &[arguments, &["--log-format", "json"]].concat()).await
    }

    /// Starts any program that logs the address where it listens, and waits until it does.
    pub async fn spawn(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        for name in PROXIES {
            command.env_remove(name);
        }
        let mut child = command
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let log = Arc::<Mutex<String>>::default();
        let (copy, (found, address)) = (log.clone(), oneshot::channel());
        tokio::spawn(async move {
            let mut found = Some(found);
            // Read to the end: a full pipe would stop the program.
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = listening(&line)
                    && let Some(found) = found.take()
                {
                    let _ = found.send(address);
                }
                let mut log = copy.lock().expect("no panic");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let Ok(address) = within(address).await else {
            panic!("it does not listen: {}", log.lock().expect("no panic"));
        };
        Self { child, address, log, folder: None }
    }

    /// Replaces the file of its configuration, and waits until it has read that.
    ///
    /// # Panics
    ///
    /// When it has none.
    pub async fn reload(&self, config: &str) {
        let folder = self.folder.as_ref().expect("a configuration");
        std::fs::write(folder.path().join("config.yaml"), config).expect("a file");
        let before = self.reloads();
        self.signal("HUP").await;
        until(async || self.reloads() > before).await;
    }

    /// Replaces the process, which has ended or is killed, by another one with the same address and
    /// configuration.
    ///
    /// # Panics
    ///
    /// When it has no configuration.
    pub async fn restart(&mut self) {
        let folder = self.folder.take().expect("a configuration");
        let file = folder.path().join("config.yaml");
        let file = file.to_str().expect("a path in UTF-8");
        let address = self.address.to_string();
        let _ = self.child.kill().await;
        let arguments = ["serve", "--listen", &address, "--config", file, "--log-format", "json"];
        let mut next = Self::spawn(&binary::gateway(), &arguments).await;
        next.folder = Some(folder);
        *self = next;
    }

    /// How often it has said that it reloaded its configuration, or why not.
    fn reloads(&self) -> usize {
        self.log().matches("\"target\":\"reload\"").count()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin API listens, once it says so.
    pub async fn admin(&self) -> SocketAddr {
        let said = "the admin API listens";
        until(async || self.log().contains(said)).await;
        let log = self.log();
        let line = log.lines().find(|line| line.contains(said)).expect("a line");
        let line: Value = serde_json::from_str(line).expect("a log in JSON");
        line["fields"]["address"]
            .as_str()
            .and_then(|address| address.parse().ok())
            .expect("address")
    }

    /// Its address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// A new connection to it.
    pub async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// The answer to a request on a connection of its own.
    pub async fn ask(&self, request: &Request) -> Response {
        self.connect().await.ask(request).await
    }

    /// The id of its process.
    ///
    /// # Panics
    ///
    /// When it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Whether the process runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a process").is_none()
    }

    /// The memory that it holds, in KiB.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// How many sockets it has open.
    #[must_use]
    pub fn sockets(&self) -> usize {
        let id = self.child.id().expect("it runs");
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).expect("a process");
        let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// Sends a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = within(Command::new("kill").args(["-s", name, &id]).status()).await;
        assert!(status.expect("kill runs").success());
    }

    /// The status with which it ends.
    pub async fn ended(&mut self) -> ExitStatus {
        within(self.child.wait()).await.expect("a process")
    }
}

/// The address in a log line that says `listening`, in either form of the log.
fn listening(line: &str) -> Option<SocketAddr> {
    if let Ok(line) = serde_json::from_str::<Value>(line) {
        let fields = &line["fields"];
        let address = fields["address"].as_str().filter(|_| fields["message"] == "listening");
        return address?.parse().ok();
    }
    line.split_once("listens address=")?.1.trim().parse().ok()
}

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

/// Runs the gateway's command to its end, with these variables in its environment.
pub async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary::gateway());
    for name in PROXIES {
        command.env_remove(name);
    }
    command.args(arguments).env_remove("RUST_LOG").envs(variables.iter().copied());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within(output).await.expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Output { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
