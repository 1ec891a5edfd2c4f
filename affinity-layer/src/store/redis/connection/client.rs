//! The clients of the library, with the settings that keep its calls within bounds.
//!
//! | setting | value | without it |
//! |---|---|---|
//! | time for a command | `command_timeout` | a call waits for as long as the server is silent |
//! | time to connect, time for the library's own commands | 500 ms | a half-open server holds up the connection |
//! | attempts of a command | 1 | a command is sent again after a reconnect, long after its caller gave up |
//! | silence while commands are under way | 500 ms, checked every 100 ms | a frozen server keeps its connection |
//! | `TCP_USER_TIMEOUT` | 1 s | bytes to a lost host are sent again for many minutes |
//! | `TCP_NODELAY` | on | small commands wait to be sent together |

use std::time::Duration;

use fred::prelude::{Builder, Client, Server, ServerConfig};
use fred::types::config::{TcpConfig, UnresponsiveConfig};

use super::super::errors::RedisConfigError;
use super::super::options::RedisOptions;

/// The settings that were found to bound every call.
///
/// `server` overrides the address: in a cluster, each node gets a client that takes it for the only
/// one.
fn builder(options: &RedisOptions, server: Option<&Server>) -> Builder {
    let mut config = options.config.clone();
    if let Some(server) = server {
        config.server = ServerConfig::Centralized { server: server.clone() };
    }
    let mut builder = Builder::from_config(config);
    builder.with_performance_config(|config| {
        config.default_command_timeout = options.command_timeout;
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
        config.tcp = TcpConfig {
            nodelay: Some(true),
            user_timeout: Some(Duration::from_secs(1)),
            ..TcpConfig::default()
        };
    });
    builder
}

/// A client for `server`, or for what the address names, that ends with its connection. It
/// buffers at most `events` unread events of each kind, about 0.9 KB each.
pub(super) fn client(
    options: &RedisOptions,
    server: Option<&Server>,
    events: usize,
) -> Result<Client, RedisConfigError> {
    let mut builder = builder(options, server);
    // Without it the client would go by its policy for new connections, and has none.
    builder.with_config(|config| config.fail_fast = true);
    builder.with_performance_config(|config| config.broadcast_channel_capacity = events);
    builder.build().map_err(|error| refused(&error))
}

fn refused(error: &fred::error::Error) -> RedisConfigError {
    RedisConfigError(format!("the Redis client was refused: {error}"))
}
