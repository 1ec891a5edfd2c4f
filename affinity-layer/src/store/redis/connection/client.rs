//! A client of the library, with the settings that keep its calls within bounds, and the relay that
//! it reaches its server through.
//!
//! | setting | value | without it |
//! |---|---|---|
//! | time for a command | `command_timeout` | a call waits for as long as the server is silent |
//! | time to connect, time for the library's own commands | 500 ms | a half-open server holds up the connection |
//! | attempts of a command | 1 | a command is sent again after a reconnect, long after its caller gave up |
//! | silence while commands are under way | 500 ms, checked every 100 ms | a frozen server keeps its connection |
//!
//! `dial.rs` has those of the socket.

use std::sync::Arc;
use std::time::Duration;

use fred::error::Error;
use fred::prelude::{Builder, Client, ClientLike, Config, Server, ServerConfig};
use fred::types::RespVersion;
use fred::types::config::UnresponsiveConfig;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::errors::RedisConfigError;
use super::super::options::RedisOptions;
use super::super::unready::Unready;
use super::dial::Target;
use super::relay::{RelaySocket, relay};

/// How long the library may take to notice that its connection has ended.
const NOTICED: Duration = Duration::from_secs(1);

/// A client of the library, and how it reaches its server.
#[derive(Clone)]
pub(crate) struct RelayedClient {
    client: Client,
    socket: RelaySocket,
    target: Arc<Target>,
}

impl RelayedClient {
    /// For `server`, or for what the address names. It buffers at most `events` unread events of each
    /// kind, about 0.9 KB each.
    pub(super) fn new(
        options: &RedisOptions,
        server: Option<&Server>,
        events: usize,
    ) -> Result<Self, RedisConfigError> {
        let socket = RelaySocket::new();
        let client = builder(options, &socket, events).build().map_err(|error| refused(&error))?;
        Ok(Self { client, socket, target: Arc::new(Target::new(options, server)) })
    }

    /// What commands are sent with.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Connects, and gives the cause once the connection has ended or could not be made.
    ///
    /// Dropped, it ends the connection.
    pub(super) async fn run(self) -> Unready {
        let stream = match self.target.open().await {
            Ok(stream) => stream,
            Err(cause) => {
                // Nothing listens, so this fails at once, and whoever waits for the client learns it.
                let _ = self.client.connect().await;
                return cause;
            }
        };
        let Ok(socket) = self.socket.open() else { return Unready::Unreachable };
        let running = ClientTask(self.client.connect());
        let inside = match timeout(NOTICED, socket.accept()).await {
            Ok(Ok(inside)) => inside,
            Ok(Err(_)) | Err(_) => return Unready::Unreachable,
        };
        tokio::pin! {
            let ended = running.ended();
        }
        let cause = tokio::select! {
            cause = relay(inside, stream) => cause,
            cause = &mut ended => return cause,
        };
        match cause {
            Some(cause) => cause,
            None => timeout(NOTICED, ended).await.unwrap_or(Unready::Unreachable),
        }
    }
}

/// The settings that were found to bound every call.
fn builder(options: &RedisOptions, socket: &RelaySocket, events: usize) -> Builder {
    let mut builder = Builder::from_config(Config {
        server: ServerConfig::Unix { path: socket.path().to_owned() },
        database: options.database,
        version: RespVersion::RESP3,
        // Without it the client would go by its policy for new connections, and has none.
        fail_fast: true,
        ..Config::default()
    });
    builder.with_performance_config(|config| {
        config.default_command_timeout = options.command_timeout;
        config.broadcast_channel_capacity = events;
    });
    builder.with_connection_config(|config| {
        config.connection_timeout = Duration::from_millis(500);
        config.internal_command_timeout = Duration::from_millis(500);
        // A command is sent once: none is applied long after its caller gave up.
        config.max_command_attempts = 1;
        config.unresponsive = UnresponsiveConfig {
            max_timeout: Some(Duration::from_millis(500)),
            interval: Duration::from_millis(100),
        };
    });
    builder
}

fn refused(error: &Error) -> RedisConfigError {
    RedisConfigError(format!("the Redis client was refused: {error}"))
}

/// The task of a client, aborted on drop.
struct ClientTask(JoinHandle<Result<(), Error>>);

impl ClientTask {
    /// Waits for the end of the connection, and gives the cause of it.
    async fn ended(mut self) -> Unready {
        match (&mut self.0).await {
            Ok(Err(error)) => Unready::of(&error),
            Ok(Ok(())) | Err(_) => Unready::Unreachable,
        }
    }
}

impl Drop for ClientTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
