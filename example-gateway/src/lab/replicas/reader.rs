//! A look into Redis from outside, as `redis-cli` takes it.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fred::error::ErrorKind;
use fred::prelude::{Builder, Client, ClientLike, Config, Error, KeysInterface};
use fred::types::config::TlsConnector;
use hyper_rustls::ConfigBuilderExt;
use rustls::ClientConfig;
use rustls::crypto::ring::default_provider;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::settings::Settings;

/// Time for a connection, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What is under a key.
pub(super) struct Stored {
    /// The value, `None` when there is none.
    pub(super) value: Option<String>,
    /// Seconds left; -1 without an end, -2 when there is no value.
    pub(super) ttl: i64,
}

/// Asks Redis for a first answer.
///
/// # Errors
///
/// When it cannot be reached or refuses us; the error shows no password.
pub(super) async fn check(settings: &Settings) -> io::Result<()> {
    ask(settings, async |client| client.ping(None).await).await
}

/// What is under `key`.
///
/// # Errors
///
/// As for [`check`].
pub(super) async fn stored(settings: &Settings, key: &str) -> io::Result<Stored> {
    ask(settings, async |client| {
        Ok(Stored { value: client.get(key).await?, ttl: client.ttl(key).await? })
    })
    .await
}

/// Asks over a connection that is closed again, so that none is left to complain when a Redis of
/// our own ends.
async fn ask<T>(
    settings: &Settings,
    question: impl AsyncFnOnce(&Client) -> Result<T, Error>,
) -> io::Result<T> {
    let shown = settings.redis_shown();
    let client = client(settings.redis().expose_secret(), shown)?;
    let answer = timeout(TIMEOUT, async {
        client.init().await?;
        let answer = question(&client).await?;
        client.quit().await?;
        Ok::<_, Error>(answer)
    });
    match answer.await {
        Ok(Ok(answer)) => Ok(answer),
        // Its details would be those of the system's error as Rust spells it.
        Ok(Err(error)) if *error.kind() == ErrorKind::IO => {
            Err(cannot(shown, &"it cannot be reached"))
        }
        Ok(Err(error)) => Err(cannot(shown, &error.details())),
        Err(_) => Err(cannot(shown, &format!("no answer within {} s", TIMEOUT.as_secs()))),
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
