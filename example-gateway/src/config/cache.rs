//! Where pins are kept.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::at::At;
use super::url;

const DEFAULT_PREFIX: &str = "plano:affinity:";
const MAX_PREFIX_LEN: usize = 128;
const DEFAULT_COMMAND_TIMEOUT_MS: u64 = 50;

/// What only counts with `type: redis`.
const REDIS_KEYS: [&str; 9] = [
    "url",
    "key_prefix",
    "command_timeout_ms",
    "durability",
    "near_copies",
    "require_store",
    "ca_file",
    "key_secret",
    "previous_key_secret",
];

/// Where pins are kept.
#[derive(Clone, Debug)]
pub enum SessionCache {
    /// In this process.
    Memory,
    /// In Redis, shared by all replicas.
    Redis(RedisCache),
}

/// How Redis is used.
#[derive(Clone, Debug)]
pub struct RedisCache {
    /// The address, which may hold a password.
    pub url: SecretString,
    /// What every key begins with; `plano:affinity:` by default, it may be empty.
    pub key_prefix: String,
    /// What all store calls of one request may take together; 50 ms by default.
    pub command_timeout: Duration,
    /// When a claim or a move counts.
    pub durability: Durability,
    /// Whether a pinned turn is answered from a copy in this process; true by default.
    pub near_copies: bool,
    /// Whether a session is refused while Redis is away, and the start fails without it; false by
    /// default.
    pub require_store: bool,
    /// A file of certificate authorities to trust, instead of the system's, for `rediss://`.
    pub ca_file: Option<PathBuf>,
    /// Names keys by a keyed hash of this secret, so that no session id rests in Redis.
    pub key_secret: Option<SecretString>,
    /// The secret of before; pins under its names are still found.
    pub previous_key_secret: Option<SecretString>,
}

/// When a claim counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the primary has it.
    #[default]
    Primary,
    /// When a replica has it too.
    Replicated,
}

impl SessionCache {
    /// Whether a session is refused without its store.
    pub(crate) fn is_required(&self) -> bool {
        matches!(self, Self::Redis(redis) if redis.require_store)
    }
}

impl fmt::Display for SessionCache {
    /// For people to read; an address without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redis(redis) => {
                f.write_str(&url::redis_without_secrets(redis.url.expose_secret()))?;
                f.write_str(if redis.require_store { " (required)" } else { "" })
            }
        }
    }
}

pub(super) fn read(at: &At<'_>) -> SessionCache {
    let kinds = [("memory", false), ("redis", true)];
    let redis = at.get("type").and_then(|kind| kind.one_of(&kinds)).unwrap_or(false);
    if redis {
        return read_redis(at).map_or(SessionCache::Memory, SessionCache::Redis);
    }
    for key in REDIS_KEYS {
        if let Some(unused) = at.get(key) {
            unused.warn("has no effect without type: redis");
        }
    }
    SessionCache::Memory
}

fn read_redis(at: &At<'_>) -> Option<RedisCache> {
    let timeout = at.get("command_timeout_ms");
    let timeout = timeout.and_then(|at| at.integer(1..=10_000, " of milliseconds"));
    let levels = [("primary", Durability::Primary), ("replicated", Durability::Replicated)];
    let durability = at.get("durability").and_then(|level| level.one_of(&levels));
    let key_prefix = match at.get("key_prefix") {
        Some(prefix) => key_prefix(&prefix)?,
        None => DEFAULT_PREFIX.to_owned(),
    };
    let url = at
        .require("url")
        .and_then(|url| url.parsed(|text| url::redis(text).map(SecretString::from)));
    Some(RedisCache {
        url: url?,
        key_prefix,
        command_timeout: Duration::from_millis(timeout.unwrap_or(DEFAULT_COMMAND_TIMEOUT_MS)),
        durability: durability.unwrap_or_default(),
        near_copies: at.get("near_copies").and_then(|flag| flag.flag()).unwrap_or(true),
        require_store: at.get("require_store").and_then(|flag| flag.flag()).unwrap_or(false),
        ca_file: at.get("ca_file").and_then(|file| file.text()).map(PathBuf::from),
        key_secret: at.get("key_secret").and_then(|secret| secret.secret()),
        previous_key_secret: previous_key_secret(at),
    })
}

fn key_prefix(at: &At<'_>) -> Option<String> {
    let prefix = at.text_or_empty()?;
    if prefix.len() > MAX_PREFIX_LEN || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        at.error(format!("must be at most {MAX_PREFIX_LEN} visible ASCII bytes"));
    }
    Some(prefix)
}

fn previous_key_secret(at: &At<'_>) -> Option<SecretString> {
    let previous = at.get("previous_key_secret")?;
    if at.get("key_secret").is_none() {
        previous.error("needs key_secret beside it");
    }
    previous.secret()
}
