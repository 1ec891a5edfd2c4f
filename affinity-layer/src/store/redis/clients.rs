//! The clients of the library, with the settings that keep its calls within bounds.

use std::time::Duration;

use fred::prelude::{Builder, Client, Pool, ReconnectPolicy, Server, ServerConfig};
use fred::types::config::{TcpConfig, UnresponsiveConfig};

use super::options::{RedisConfigError, RedisOptions};

/// The clients for one server; see `Node` for what each is for.
pub(super) struct Clients {
    pub(super) pool: Pool,
    pub(super) asking: Client,
    pub(super) waiting: Client,
}

impl RedisOptions {
    /// These settings were found to bound every call.
    fn builder(&self, server: Option<&Server>) -> Builder {
        let mut config = self.config.clone();
        if let Some(server) = server {
            config.server = ServerConfig::Centralized { server: server.clone() };
        }
        let mut builder = Builder::from_config(config);
        builder.with_performance_config(|config| {
            config.default_command_timeout = self.command_timeout;
            // What a burst of invalidations may fill before the near copy has to be emptied.
            config.broadcast_channel_capacity = 4096;
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

    /// Clients for `server`, or for what the address names. None is connected yet.
    pub(super) fn clients(&self, server: Option<&Server>) -> Result<Clients, RedisConfigError> {
        let mut builder = self.builder(server);
        // They come back by themselves. The first pause comes before the first connection, too.
        builder.set_policy(ReconnectPolicy::Exponential {
            attempts: 0,
            max_attempts: 0,
            min_delay: 5,
            max_delay: 50,
            base: 2,
            jitter: 20,
        });
        Ok(Clients {
            pool: builder.build_pool(self.connections).map_err(|error| refused(&error))?,
            asking: builder.build().map_err(|error| refused(&error))?,
            waiting: builder.build().map_err(|error| refused(&error))?,
        })
    }

    /// A client for `server` that ends with its connection.
    pub(super) fn client_for_once(
        &self,
        server: Option<&Server>,
    ) -> Result<Client, RedisConfigError> {
        let mut builder = self.builder(server);
        // Without it the client would go by its policy for new connections, and has none.
        builder.with_config(|config| config.fail_fast = true);
        // Nobody listens to its events, and there are channels for many kinds of them.
        builder.with_performance_config(|config| config.broadcast_channel_capacity = 1);
        builder.build().map_err(|error| refused(&error))
    }
}

fn refused(error: &fred::error::Error) -> RedisConfigError {
    RedisConfigError(format!("the Redis client was refused: {error}"))
}
