//! A look into Redis from outside, as `redis-cli` takes it.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fred::prelude::{Builder, Client, ClientLike, Config, KeysInterface};
use fred::types::config::TlsConnector;
use hyper_rustls::ConfigBuilderExt;
use rustls::ClientConfig;
use rustls::crypto::ring::default_provider;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::settings::Settings;

/// Time for a connection, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to Redis.
pub(super) struct Reader {
    client: Client,
    shown: String,
}

/// What is under a key.
pub(super) struct Stored {
    /// The value, `None` when there is none.
    pub(super) value: Option<String>,
    /// Seconds left; -1 without an end, -2 when there is no value.
    pub(super) ttl: i64,
}

impl Reader {
    /// Connects and asks for a first answer.
    ///
    /// # Errors
    ///
    /// When Redis cannot be reached or refuses us; the error shows no password.
    pub(super) async fn connect(settings: &Settings) -> io::Result<Self> {
        let shown = settings.redis_shown().to_owned();
        let client = client(settings.redis().expose_secret(), &shown)?;
        let reader = Self { client, shown };
        let answer = async {
            reader.client.init().await?;
            reader.client.ping::<()>(None).await
        };
        match timeout(TIMEOUT, answer).await {
            Ok(Ok(())) => Ok(reader),
            Ok(Err(error)) => Err(reader.failed(&error.details())),
            Err(_) => Err(reader.failed(&format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    /// What is under `key`.
    ///
    /// # Errors
    ///
    /// When Redis does not answer.
    pub(super) async fn pin(&self, key: &str) -> io::Result<Stored> {
        let value = self.client.get(key).await.map_err(|error| self.failed(&error.details()))?;
        let ttl = self.client.ttl(key).await.map_err(|error| self.failed(&error.details()))?;
        Ok(Stored { value, ttl })
    }

    fn failed(&self, why: &dyn Display) -> io::Error {
        cannot(&self.shown, why)
    }
}

fn cannot(shown: &str, why: &dyn Display) -> io::Error {
    io::Error::other(format!("cannot use {shown}: {why}"))
}

fn client(url: &str, shown: &str) -> io::Result<Client> {
    // The plain form is parsed, because the client's own choice of a TLS provider may panic.
    let (plain, tls) = match url.strip_prefix("rediss") {
        Some(rest) => (format!("redis{rest}"), true),
        None => (url.to_owned(), false),
    };
    let address = |_| cannot(shown, &"the address cannot be understood");
    let mut config = Config::from_url(&plain).map_err(address)?;
    if tls {
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_native_roots()?
            .with_no_client_auth();
        config.tls = Some(TlsConnector::from(client).into());
    }
    let mut builder = Builder::from_config(config);
    builder.with_performance_config(|config| config.default_command_timeout = TIMEOUT);
    builder.build().map_err(|error| cannot(shown, &error.details()))
}
