//! Where sessions are kept, as configured.
//!
//! The affinity layer sees a [`SharedStore`] and does not know which one it has. The rest of the gateway has
//! to: readiness, metrics and the admin API ask things that only one kind of store can answer, and ask them
//! here.

use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

use affinity_layer::{
    MemoryStore, RedisOptions, RedisStore, SharedStore, TieredStore,
    admin::Inspect,
    store::{NameSecret, StoreStats, Unready},
};
use secrecy::ExposeSecret;

use crate::config::{CertificateFiles, Config, Durability, RedisCache, SessionCache};

/// Time for Redis at the start, so that the first request finds it. Without it, we serve anyway.
const START: Duration = Duration::from_millis(300);

/// The same where we do not serve without it: enough for a Sentinel to name its primary.
const REQUIRED_START: Duration = Duration::from_secs(3);

/// The store of a gateway.
#[derive(Clone, Debug)]
pub(crate) enum Sessions {
    /// In this process.
    Own(MemoryStore),
    /// In Redis, with near copies here.
    Shared(TieredStore),
}

impl Sessions {
    /// # Errors
    ///
    /// When certificates cannot be read, or the client refuses the settings.
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        let capacity = config.routing.max_entries;
        match &config.routing.cache {
            SessionCache::Memory => Ok(Self::Own(MemoryStore::new(capacity))),
            SessionCache::Redis(redis) => {
                let store = RedisStore::new(&options(redis)?).map_err(io::Error::other)?;
                let tiered =
                    if redis.near_copies { TieredStore::new } else { TieredStore::always_read };
                Ok(Self::Shared(tiered(store, capacity)))
            }
        }
    }

    pub(crate) fn store(&self) -> SharedStore {
        match self {
            Self::Own(store) => SharedStore::new(store.clone()),
            Self::Shared(store) => SharedStore::new(store.clone()),
        }
    }

    /// The store as an administrator sees it.
    pub(crate) fn inspect(&self) -> &dyn Inspect {
        match self {
            Self::Own(store) => store,
            Self::Shared(store) => store,
        }
    }

    /// Whether sessions are kept where the configuration says.
    pub(crate) fn are_shared(&self) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Shared(store) => store.is_ready(),
        }
    }

    /// The type of the store, as the configuration calls it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Own(_) => "memory",
            Self::Shared(_) => "redis",
        }
    }

    /// What holds the pins of this process.
    pub(crate) fn place(&self) -> &'static str {
        match self {
            Self::Own(_) => "memory",
            Self::Shared(_) => "near",
        }
    }

    /// How many pins this process holds.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Own(store) => store.len(),
            Self::Shared(store) => store.near_len(),
        }
    }

    /// How calls to Redis ended, if there is one.
    pub(crate) fn stats(&self) -> Option<StoreStats> {
        match self {
            Self::Own(_) => None,
            Self::Shared(store) => Some(store.stats()),
        }
    }

    /// Why the shared store cannot be used as it should, if so.
    pub(crate) fn unready(&self) -> Option<Unready> {
        match self {
            Self::Own(_) => None,
            Self::Shared(store) => store.unready(),
        }
    }

    /// Whether sessions are refused while their store is away.
    pub(crate) fn are_required(&self) -> bool {
        matches!(self, Self::Shared(store) if store.is_strict())
    }

    /// Takes over what a reload may change of the store.
    ///
    /// # Errors
    ///
    /// When the address of Redis is not understood.
    pub(crate) fn reconfigure(&self, config: &Config) -> io::Result<()> {
        if let (Self::Shared(store), SessionCache::Redis(redis)) = (self, &config.routing.cache) {
            let url = redis.url.expose_secret();
            store.redis().set_credentials(url).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Gives Redis a moment to answer for the first time.
    ///
    /// # Errors
    ///
    /// [`StoreMissing`], if it is required and has not answered.
    pub(crate) async fn start(&self) -> io::Result<()> {
        match self {
            Self::Own(_) => {}
            Self::Shared(store) if store.is_strict() => {
                if !store.wait_ready(REQUIRED_START).await {
                    return Err(io::Error::other(StoreMissing(store.unready())));
                }
            }
            // The store logs the cause itself.
            Self::Shared(store) => drop(store.wait_ready(START).await),
        }
        Ok(())
    }
}

/// The store that is required cannot be used at the start.
#[derive(Clone, Debug)]
pub(crate) struct StoreMissing(Option<Unready>);

impl StoreMissing {
    /// Whether this is why a start has failed.
    pub(crate) fn is_why(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|error| error.is::<Self>())
    }
}

impl fmt::Display for StoreMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, cause) = (REQUIRED_START.as_secs(), self.0.as_ref());
        let cause = cause.map_or_else(|| "redis is not ready".to_owned(), ToString::to_string);
        write!(f, "{cause} (after {limit} s), and routing.session_cache.require_store is set")
    }
}

impl std::error::Error for StoreMissing {}

/// What all store calls of one request may take together.
pub(crate) fn budget(config: &Config) -> Duration {
    match &config.routing.cache {
        SessionCache::Memory => Duration::from_millis(50),
        SessionCache::Redis(redis) => redis.command_timeout,
    }
}

/// Whether the store can be set up as configured; nothing is connected to.
///
/// # Errors
///
/// When certificates cannot be read, or the address has options that are not known.
pub(crate) fn check(config: &Config) -> io::Result<()> {
    match &config.routing.cache {
        SessionCache::Memory => Ok(()),
        SessionCache::Redis(redis) => options(redis).map(drop),
    }
}

/// What `CLIENT LIST` shows: which replica this is.
fn client_name() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    format!("example-gateway:{host}:{}", std::process::id())
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot read {}: {error}", file.display()))
    })
}

fn options(redis: &RedisCache) -> io::Result<RedisOptions> {
    let mut options = RedisOptions::from_url(redis.url.expose_secret())
        .map_err(io::Error::other)?
        .key_prefix(&redis.key_prefix)
        .command_timeout(redis.command_timeout)
        .replicated(redis.durability == Durability::Replicated)
        .strict(redis.require_store)
        .client_name(&client_name());
    if let Some(file) = &redis.ca_file {
        options = options.ca_certificates(&read(file)?).map_err(io::Error::other)?;
    }
    if let Some(CertificateFiles { certificates, key }) = &redis.client_certificate {
        let (certificates, key) = (read(certificates)?, read(key)?);
        options = options.client_certificate(&certificates, &key).map_err(io::Error::other)?;
    }
    let secret = |text: &secrecy::SecretString| NameSecret::new(text.expose_secret());
    if let Some(current) = &redis.key_secret {
        options = options.hash_names(secret(current));
    }
    Ok(match (&redis.previous_key_secret, &redis.key_secret) {
        (Some(previous), _) => options.previous_secret(secret(previous)),
        // Without another secret, the other names are the readable ones.
        (None, Some(_)) => options.previous_plain(),
        (None, None) => options,
    })
}
