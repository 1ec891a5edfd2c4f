//! Opens a stream to a server: resolves its name, connects, agrees on TLS, and logs in.
//!
//! The client library could do this too. It is done here because the stream has to pass
//! `relay.rs`, and it has advantages of its own: user and password may hold any byte, an IPv6
//! address may be used with TLS, and the cause of a failure is known here and need not be guessed
//! from an error.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fred::types::config::{Server, ServerConfig};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::super::options::{Credentials, RedisOptions};
use super::super::unready::Unready;
use super::greeting::{Greeting, role, sentinel_primary};
use super::stream::ServerStream;

/// The longest wait for a stream, TLS included, and again for the answers to the greeting.
const LIMIT: Duration = Duration::from_millis(500);

/// After this, bytes that a lost host does not confirm are not sent again.
const UNCONFIRMED: Duration = Duration::from_secs(1);

/// Where a connection leads, and how it logs in.
pub(super) struct Target {
    at: At,
    options: RedisOptions,
}

/// The ways to name a server.
enum At {
    Server(Server),
    Socket(PathBuf),
    /// The primary that the first sentinel to answer names.
    Sentinels {
        sentinels: Vec<Server>,
        service: String,
        credentials: Credentials,
    },
}

impl Target {
    /// `server`, or what the options name.
    pub(super) fn new(options: &RedisOptions, server: Option<&Server>) -> Self {
        let at = match (server, &options.server) {
            (Some(server), _) | (None, ServerConfig::Centralized { server }) => {
                At::Server(server.clone())
            }
            (None, ServerConfig::Unix { path }) => At::Socket(path.clone()),
            (None, ServerConfig::Sentinel { hosts, service_name, username, password }) => {
                let credentials = Credentials {
                    user: username.clone().map(String::into_bytes),
                    password: password.clone().map(String::into_bytes),
                };
                let service = service_name.clone();
                At::Sentinels { sentinels: hosts.clone(), service, credentials }
            }
            // Each node of a cluster is given by its address.
            (None, ServerConfig::Clustered { hosts, .. }) => {
                At::Server(hosts.first().cloned().unwrap_or_else(|| Server::new("", 0)))
            }
        };
        Self { at, options: options.clone() }
    }

    /// A stream on which the server has accepted the credentials and speaks RESP3.
    ///
    /// # Errors
    ///
    /// The cause, as `/readyz` shows it.
    pub(super) async fn open(&self) -> Result<ServerStream, Unready> {
        let credentials = &self.options.credentials();
        match &self.at {
            At::Server(server) => {
                let mut stream = self.connect(server).await?;
                self.log_in(&mut stream, credentials).await?;
                Ok(stream)
            }
            At::Socket(path) => {
                let stream = within(async { Ok(UnixStream::connect(path).await?) }).await?;
                let mut stream: ServerStream = Box::new(stream);
                self.log_in(&mut stream, credentials).await?;
                Ok(stream)
            }
            At::Sentinels { sentinels, service, credentials: their } => {
                let primary = self.primary(sentinels, service, their).await?;
                let mut stream = self.connect(&primary).await?;
                self.log_in(&mut stream, credentials).await?;
                // A sentinel that was cut off names a primary that is none any more.
                within(role(&mut stream)).await?;
                Ok(stream)
            }
        }
    }

    /// What the first sentinel that answers names.
    async fn primary(
        &self,
        sentinels: &[Server],
        service: &str,
        credentials: &Credentials,
    ) -> Result<Server, Unready> {
        let mut cause = Unready::Unreachable;
        for sentinel in sentinels {
            let asked = async {
                let mut stream = self.connect(sentinel).await?;
                self.log_in(&mut stream, credentials).await?;
                within(sentinel_primary(&mut stream, service)).await
            };
            match asked.await {
                Ok(primary) => return Ok(primary),
                Err(failure) => cause = failure,
            }
        }
        Err(cause)
    }

    async fn log_in(
        &self,
        stream: &mut ServerStream,
        credentials: &Credentials,
    ) -> Result<(), Unready> {
        let greeting = Greeting { credentials, name: &self.options.client_name };
        within(greeting.exchange(stream)).await
    }

    async fn connect(&self, server: &Server) -> Result<ServerStream, Unready> {
        within(async {
            // As a URL spells an address of IPv6.
            let host = server.host.trim_start_matches('[').trim_end_matches(']');
            let stream = tcp(host, server.port).await?;
            #[cfg(feature = "redis-rustls")]
            if let Some(tls) = &self.options.tls {
                return Ok(Box::new(tls.connect(host, stream).await?) as ServerStream);
            }
            Ok(Box::new(stream) as ServerStream)
        })
        .await
    }
}

/// Resolves the host and tries its addresses in turn.
async fn tcp(host: &str, port: u16) -> Result<TcpStream, Unready> {
    let addresses = lookup_host((host, port)).await.map_err(|_| Unready::UnknownHost)?;
    let stream = TcpStream::connect(&*addresses.collect::<Vec<SocketAddr>>()).await?;
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNCONFIRMED))?;
    Ok(stream)
}

/// Ends what takes too long.
async fn within<T>(step: impl Future<Output = Result<T, Unready>>) -> Result<T, Unready> {
    timeout(LIMIT, step).await.unwrap_or(Err(Unready::Unreachable))
}

impl From<io::Error> for Unready {
    fn from(error: io::Error) -> Self {
        Self::of_io(&error)
    }
}
