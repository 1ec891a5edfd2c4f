//! The servers of others, ended by the signal that they expect when they are dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Time until a server listens; Python reads in its libraries for some ten seconds.
const STARTING: Duration = Duration::from_secs(120);

/// How often a server is asked whether it has ended, and how many times.
const ENDING: (Duration, usize) = (Duration::from_millis(20), 150);

/// A running server.
pub(super) struct Foreign {
    pub(super) address: SocketAddr,
    pub(super) child: Child,
    _folder: TempDir,
}

impl Foreign {
    /// nginx as a reverse proxy of one upstream, with all that it has for speed.
    pub(super) async fn nginx(upstream: SocketAddr) -> io::Result<Self> {
        let (address, folder) = place().await?;
        let at = folder.path().display();
        let config = format!(
            "daemon off; worker_processes 2; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
             access_log off; tcp_nodelay on; keepalive_requests 100000000;\n\
             client_max_body_size 32m; client_body_buffer_size 1m;\n\
             client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             upstream provider {{ server {upstream}; keepalive 128; \
             keepalive_requests 100000000; }}\n\
             server {{ listen {address}; location / {{\n\
             proxy_pass http://provider; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_buffering off;\n\
             }} }} }}\n"
        );
        Self::start("nginx", address, folder, &config, &["-e", "stderr", "-c"]).await
    }

    /// HAProxy as a reverse proxy of one upstream.
    pub(super) async fn haproxy(upstream: SocketAddr) -> io::Result<Self> {
        let (address, folder) = place().await?;
        let config = format!(
            "global\n  nbthread 2\n\
             defaults\n  mode http\n  option http-no-delay\n  http-reuse always\n  timeout connect 2s\n  \
             timeout client 60s\n  timeout server 60s\n\
             listen bench\n  bind {address}\n  server provider {upstream}\n"
        );
        Self::start("haproxy", address, folder, &config, &["-db", "-f"]).await
    }

    /// LiteLLM's proxy, out of the Python environment at `environment`.
    pub(super) async fn litellm(environment: &Path, upstream: SocketAddr) -> io::Result<Self> {
        let (address, folder) = place().await?;
        let config = format!(
            "model_list:\n  - model_name: gpt-4o\n    litellm_params:\n      \
             model: openai/gpt-4o\n      api_base: http://{upstream}/v1\n      api_key: none\n\
             general_settings:\n  dangerously_permit_weak_or_unset_master_key: true\n\
             litellm_settings:\n  telemetry: false\n  num_retries: 0\n"
        );
        let port = address.port().to_string();
        let program: PathBuf = environment.join("bin/litellm");
        let program = program.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let host = Ipv4Addr::LOCALHOST.to_string();
        let arguments = ["--host", &host, "--port", &port, "--num_workers", "2", "--config"];
        Self::start(program, address, folder, &config, &arguments).await
    }

    async fn start(
        program: &str,
        address: SocketAddr,
        folder: TempDir,
        config: &str,
        arguments: &[&str],
    ) -> io::Result<Self> {
        let file = folder.path().join("config");
        std::fs::write(&file, config)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new(program)
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
            .args(arguments)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let mut server = Self { address, child, _folder: folder };
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("{program} ended: {status}")));
            }
            if begun.elapsed() > STARTING {
                return Err(io::Error::other(format!("{program} does not listen")));
            }
            tokio::time::sleep(ENDING.0).await;
        }
        Ok(server)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // Killed at once, a master could not end its workers.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        for _ in 0..ENDING.1 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            sleep(ENDING.0);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free address, and a folder for the files of the server that will listen there.
async fn place() -> io::Result<(SocketAddr, TempDir)> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    Ok((taken.local_addr()?, tempfile::tempdir()?))
}
