//! What a server is started with.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::RedisServer;
use super::port;
use super::tls::{Authority, Identity};
use crate::WrongClock;

/// The settings of a [`RedisServer`], by default: no persistence, no password, no TLS.
#[derive(Clone, Default)]
#[must_use]
pub struct Builder {
    appendonly: bool,
    password: Option<String>,
    tls: Option<Tls>,
    settings: Vec<(String, String)>,
    variables: Vec<(&'static str, String)>,
    role: Role,
}

#[derive(Clone)]
struct Tls {
    authority: String,
    certificate: String,
    key: String,
    asks_for_certificates: bool,
}

/// What the process is, which decides about its ports and its command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    #[default]
    Server,
    ClusterNode,
    Sentinel,
}

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// Where clients connect, with TLS if it is on.
    pub(crate) client: u16,
    /// Where the other nodes of a cluster connect.
    pub(crate) bus: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        Self { client: port::free(), bus: port::free() }
    }
}

impl Builder {
    /// Keeps the data over [`RedisServer::restart`] in an append-only file that is synced on every
    /// write.
    pub fn appendonly(mut self, on: bool) -> Self {
        self.appendonly = on;
        self
    }

    /// Evicts above `limit`, for example `2mb`; the policy is the setting `maxmemory-policy`.
    pub fn maxmemory(self, limit: &str) -> Self {
        self.setting("maxmemory", limit)
    }

    /// Asks clients for this password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Serves TLS only, with a certificate for `127.0.0.1` and `localhost` by `authority`. Clients
    /// need no certificate.
    pub fn tls(mut self, authority: &Authority) -> Self {
        let Identity { certificate, key } = authority.issue();
        let authority = authority.pem();
        self.tls = Some(Tls { authority, certificate, key, asks_for_certificates: false });
        self
    }

    /// As [`tls`](Self::tls), and clients need a certificate by `authority`.
    pub fn mutual_tls(self, authority: &Authority) -> Self {
        let mut builder = self.tls(authority);
        if let Some(tls) = &mut builder.tls {
            tls.asks_for_certificates = true;
        }
        builder
    }

    /// Any line of `redis.conf`: `value` is written as it is, quoting included.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// By this wall clock.
    pub fn clock(mut self, clock: &WrongClock) -> Self {
        self.variables.extend(clock.with_plain_memory());
        self
    }

    pub(crate) fn variables(&self) -> &[(&'static str, String)] {
        &self.variables
    }

    pub(crate) fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When `redis-server` is not installed, or does not come up with these settings.
    pub async fn start(self) -> RedisServer {
        RedisServer::launch(self).await
    }

    pub(crate) fn role_of(&self) -> Role {
        self.role
    }

    pub(crate) fn password_of(&self) -> Option<&str> {
        self.password.as_deref()
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Writes `redis.conf`, and the certificates if there are any, into `dir`.
    pub(crate) fn write(&self, dir: &Path, ports: Ports, socket: &Path) -> std::io::Result<()> {
        if let Some(tls) = &self.tls {
            fs::write(dir.join("ca.pem"), &tls.authority)?;
            fs::write(dir.join("server.pem"), &tls.certificate)?;
            fs::write(dir.join("server.key"), &tls.key)?;
        }
        fs::write(dir.join("redis.conf"), self.render(dir, ports, socket))
    }

    fn render(&self, dir: &Path, ports: Ports, socket: &Path) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} {value}");
        };
        // Where there is no IPv6, `-` makes that no error.
        line("bind", "127.0.0.1 -::1");
        line("dir", &quoted(&dir.to_string_lossy()));
        line("unixsocket", &quoted(&socket.to_string_lossy()));
        if self.role != Role::Sentinel {
            line("save", "\"\"");
            line("appendonly", if self.appendonly { "yes" } else { "no" });
            line("appendfsync", "always");
            // Otherwise a replica waits five seconds for others to join it.
            line("repl-diskless-sync-delay", "0");
        }
        if self.role == Role::ClusterNode {
            line("cluster-enabled", "yes");
            line("cluster-config-file", "nodes.conf");
            line("cluster-port", &ports.bus.to_string());
        }
        if let Some(password) = &self.password {
            line("requirepass", &quoted(password));
            line("masterauth", &quoted(password));
        }
        if let Some(tls) = &self.tls {
            line("port", "0");
            line("tls-port", &ports.client.to_string());
            line("tls-cert-file", "server.pem");
            line("tls-key-file", "server.key");
            line("tls-ca-cert-file", "ca.pem");
            line("tls-auth-clients", if tls.asks_for_certificates { "yes" } else { "no" });
            if self.role == Role::ClusterNode {
                line("tls-cluster", "yes");
                line("tls-replication", "yes");
            }
        } else {
            line("port", &ports.client.to_string());
        }
        for (name, value) in &self.settings {
            line(name, value);
        }
        text
    }
}

/// A value as one word of `redis.conf`.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
