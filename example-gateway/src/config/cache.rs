//! Where pins are kept.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::at::At;
use super::url;

const DEFAULT_PREFIX: &str = "plano:affinity:";
const MAX_PREFIX_LEN: usize = 128;
const DEFAULT_COMMAND_TIMEOUT_MS: u64 = 50;

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
    /// What is shown to a Redis that asks for a certificate, for `rediss://`.
    pub client_certificate: Option<CertificateFiles>,
    /// Names keys by a keyed hash of this secret, so that Redis holds no session id; without it,
    /// names are readable.
    pub key_secret: Option<SecretString>,
    /// Another secret; pins under its names are found too. Without it, pins under readable names are.
    pub previous_key_secret: Option<SecretString>,
}

/// The files of a client certificate, both PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate, and those that lead from it to its authority.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
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
    let is_redis = at.get("type").and_then(|kind| kind.one_of(&kinds)).unwrap_or(false);
    read_redis(at, is_redis).map_or(SessionCache::Memory, SessionCache::Redis)
}

fn read_redis(at: &At<'_>, is_redis: bool) -> Option<RedisCache> {
    let why = "has no effect without type: redis";
    let get = |key| at.get_if(is_redis, key, why);
    let flag = |key| get(key).and_then(|flag| flag.flag());
    let levels = [("primary", Durability::Primary), ("replicated", Durability::Replicated)];
    let timeout = get("command_timeout_ms")
        .and_then(|at| at.integer(1..=10_000, " of milliseconds"))
        .unwrap_or(DEFAULT_COMMAND_TIMEOUT_MS);
    let url = at.require_if(is_redis, "url", why).and_then(|at| {
        let secret = at.secret()?;
        let checked = url::redis(secret.expose_secret()).map(drop);
        checked.map_err(|why| at.error(why)).ok().map(|()| secret)
    });
    let prefix = match get("key_prefix") {
        Some(prefix) => key_prefix(&prefix),
        None => Some(DEFAULT_PREFIX.to_owned()),
    };
    let secret = |key| get(key).and_then(|secret| secret.secret());
    let read = RedisCache {
        command_timeout: Duration::from_millis(timeout),
        durability: get("durability").and_then(|level| level.one_of(&levels)).unwrap_or_default(),
        near_copies: flag("near_copies").unwrap_or(true),
        require_store: flag("require_store").unwrap_or(false),
        ca_file: get("ca_file").and_then(|file| readable(&file)),
        client_certificate: client_certificate(get("cert_file"), get("key_file")),
        key_secret: secret("key_secret"),
        previous_key_secret: secret("previous_key_secret"),
        key_prefix: prefix?,
        url: url?,
    };
    Some(read)
}

fn key_prefix(at: &At<'_>) -> Option<String> {
    let prefix = at.text_or_empty()?;
    if prefix.len() > MAX_PREFIX_LEN || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        at.error(format!("must be at most {MAX_PREFIX_LEN} visible ASCII bytes"));
    }
    Some(prefix)
}

/// A certificate and its key: both, or none.
fn client_certificate(
    certificates: Option<At<'_>>,
    key: Option<At<'_>>,
) -> Option<CertificateFiles> {
    match (certificates, key) {
        (Some(certificates), Some(key)) => {
            Some(CertificateFiles { certificates: readable(&certificates)?, key: readable(&key)? })
        }
        (Some(certificates), None) => {
            certificates.error("needs key_file too");
            None
        }
        (None, Some(key)) => {
            key.error("needs cert_file too");
            None
        }
        (None, None) => None,
    }
}

/// Whether it holds what it should is for the store to tell.
fn readable(at: &At<'_>) -> Option<PathBuf> {
    let file = PathBuf::from(at.text()?);
    if let Err(why) = File::open(&file) {
        at.error(format!("cannot be read: {why}"));
    }
    Some(file)
}
