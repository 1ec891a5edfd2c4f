//! A look into Redis from outside, as `redis-cli` takes it.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use affinity_layer::admin::StoredKey;
use affinity_layer::store::StoredText;
use affinity_layer::{RedisOptions, RedisStore};
use secrecy::ExposeSecret;

use super::settings::Settings;

/// Time for a connection, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to the Redis of a run.
pub(super) struct Reader<'a> {
    store: RedisStore,
    shown: &'a str,
}

impl<'a> Reader<'a> {
    /// Connects, once pins can be kept there.
    ///
    /// # Errors
    ///
    /// When they cannot; the error shows no password.
    pub(super) async fn connect(settings: &'a Settings) -> io::Result<Self> {
        let shown = settings.redis_shown();
        let options = RedisOptions::from_url(settings.redis().expose_secret())
            .map_err(|why| cannot(shown, &why))?
            .key_prefix(settings.prefix())
            .command_timeout(TIMEOUT);
        let store = RedisStore::new(&options).map_err(|why| cannot(shown, &why))?;
        if store.wait_ready(TIMEOUT).await {
            return Ok(Self { store, shown });
        }
        Err(match store.unready() {
            Some(cause) => cannot(shown, &cause),
            None => cannot(shown, &format!("no answer within {} s", TIMEOUT.as_secs())),
        })
    }

    /// What rests in Redis for a session, whose id must need no encoding.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(super) async fn stored(&self, session: &str) -> io::Result<Option<StoredText>> {
        let stored = self.store.stored_text(&StoredKey::new(session)).await;
        stored.map_err(|error| cannot(self.shown, &error))
    }
}

fn cannot(shown: &str, why: &dyn Display) -> io::Error {
    io::Error::other(format!("cannot use {shown}: {why}"))
}
