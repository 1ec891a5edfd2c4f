//! How a Redis is reached, and how pins are named and kept there.
//!
//! Two parts of the address are not left to the client library: a password need not be text, and the
//! library's choice of a TLS provider may panic. So credentials are cut off here, and `rediss` is
//! parsed as `redis`, with TLS added by `tls.rs`.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fred::prelude::{Config, Server, ServerConfig};
use percent_encoding::percent_decode_str;

use super::errors::RedisConfigError;
use super::names::{NameSecret, Names, Scheme};
#[cfg(feature = "redis-rustls")]
use super::tls::Tls;

/// The settings of a [`RedisStore`](super::RedisStore).
///
/// ```
/// use std::time::Duration;
///
/// use affinity_layer::{RedisOptions, store::NameSecret};
///
/// let options = RedisOptions::from_url("redis://gateway:p%40ss@redis.internal:6379/2")?
///     .key_prefix("staging:affinity:")
///     .hash_names(NameSecret::new("0f2c9b6a41d873e55e8a17c09d64b3f2"))
///     .command_timeout(Duration::from_millis(30))
///     .client_name("my-service:host-1");
/// // Neither the password nor the secret is shown.
/// let shown = format!("{options:?}");
/// assert!(!shown.contains("p@ss") && !shown.contains("0f2c9b6a"));
/// # Ok::<(), affinity_layer::store::RedisConfigError>(())
/// ```
///
/// All processes that share pins must agree on the prefix, the secrets, and
/// [`replicated`](Self::replicated). The time limit, the number of connections,
/// [`strict`](Self::strict) and the name are each process's own.
#[derive(Clone)]
#[must_use]
pub struct RedisOptions {
    pub(super) server: ServerConfig,
    pub(super) database: Option<u8>,
    /// All clones have the same: a store may get others while it serves.
    pub(super) credentials: Arc<RwLock<Credentials>>,
    #[cfg(feature = "redis-rustls")]
    pub(super) tls: Option<Tls>,
    pub(super) names: Names,
    pub(super) command_timeout: Duration,
    pub(super) replicated: bool,
    pub(super) strict: bool,
    pub(super) connections: usize,
    pub(super) client_name: String,
}

/// What a server is logged in to with. Without a password nothing is sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Option<Vec<u8>>,
    pub(super) password: Option<Vec<u8>>,
}

impl RedisOptions {
    /// A Redis at `url`:
    ///
    /// - `redis://[user:password@]host[:port][/db]`: one server;
    /// - `unix://[user:password@]/path[?db=N]`: one server, by its socket;
    /// - `redis-sentinel://host:port?sentinelServiceName=mymaster[&node=host:port]`: the primary
    ///   that the sentinels name;
    /// - `redis-cluster://host:port[?node=host:port]`: a cluster;
    /// - `rediss`, `rediss-sentinel`, `rediss-cluster`: the same over TLS, with the system's
    ///   certificates unless [`ca_certificates`](Self::ca_certificates) are given (feature
    ///   `redis-rustls`).
    ///
    /// User and password may hold any byte, percent-encoded. The sentinels' own are the parameters
    /// `sentinelUsername` and `sentinelPassword`.
    ///
    /// # Errors
    ///
    /// When the address is not of this form, or asks for TLS and that is not compiled in.
    pub fn from_url(url: &str) -> Result<Self, RedisConfigError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let (credentials, rest) = split_credentials(rest);
        // The plain form is parsed, because the client's own choice of a TLS provider may panic.
        let (kind, tls) = match scheme.strip_prefix("rediss") {
            Some(kind) => (format!("redis{kind}"), true),
            None => (scheme.to_owned(), false),
        };
        let (server, database) = match kind.as_str() {
            "redis" | "redis-cluster" | "redis-sentinel" => {
                let plain = format!("{kind}://{rest}");
                let config = Config::from_url(&plain).map_err(|_| wrong("cannot be understood"))?;
                (config.server, config.database)
            }
            "unix" => unix(rest)?,
            _ => return Err(wrong("must start with redis://, rediss:// or unix://")),
        };
        let options = Self {
            server,
            database,
            credentials: Arc::new(RwLock::new(Credentials::of(credentials))),
            #[cfg(feature = "redis-rustls")]
            tls: None,
            names: Names {
                prefix: "plano:affinity:".to_owned(),
                current: Scheme::Plain,
                previous: None,
            },
            command_timeout: Duration::from_millis(50),
            replicated: false,
            strict: false,
            connections: 1,
            client_name: "affinity".to_owned(),
        };
        if tls { options.with_tls() } else { Ok(options) }
    }

    #[cfg(feature = "redis-rustls")]
    fn with_tls(mut self) -> Result<Self, RedisConfigError> {
        self.tls = Some(Tls::system()?);
        Ok(self)
    }

    #[cfg(not(feature = "redis-rustls"))]
    fn with_tls(self) -> Result<Self, RedisConfigError> {
        Err(RedisConfigError("TLS to Redis needs the feature redis-rustls".to_owned()))
    }

    /// Trusts the certificate authorities in `pem` and no others, where TLS is used.
    ///
    /// # Errors
    ///
    /// When `pem` holds no certificate.
    #[cfg(feature = "redis-rustls")]
    pub fn ca_certificates(mut self, pem: &[u8]) -> Result<Self, RedisConfigError> {
        self.tls = self.tls.map(|tls| tls.trusting(pem)).transpose()?;
        Ok(self)
    }

    /// Shows a server that asks for one the first certificate in `certificates`, followed by those
    /// that lead to its authority, and proves it by `key`. Both are PEM. Used where TLS is used.
    ///
    /// # Errors
    ///
    /// When there is no certificate or no key, or they do not belong together.
    #[cfg(feature = "redis-rustls")]
    pub fn client_certificate(
        mut self,
        certificates: &[u8],
        key: &[u8],
    ) -> Result<Self, RedisConfigError> {
        self.tls = self.tls.map(|tls| tls.showing(certificates, key)).transpose()?;
        Ok(self)
    }

    /// What all names in Redis start with; it may be empty. Default: `plano:affinity:`.
    ///
    /// Two prefixes are two sets of sessions. Near copies are told of all changes under the prefix,
    /// and only those: with an empty one, of every change in the database. In a cluster, do not put
    /// a part in braces into it: all pins would be in one slot.
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.names.prefix);
        self
    }

    /// Names pins by a keyed hash, so that Redis holds no id. Default: readable names.
    ///
    /// It costs a hash for each turn, and listings can no longer say whose pin is whose. A lost
    /// secret loses the pins, not the service: sessions are decided again.
    pub fn hash_names(mut self, secret: NameSecret) -> Self {
        self.names.current = Scheme::Hashed(secret);
        self
    }

    /// Still finds pins under the names of an older secret, for the time of a change.
    ///
    /// To change without a split session, first give all replicas the new secret here, then swap
    /// the two, then drop the older one once its pins have expired. In a cluster, sessions whose very
    /// first requests race over two replicas in the moment of the swap may still get two models.
    ///
    /// While it is set, a read that goes to Redis asks for two names, and pins found under the
    /// older one are not served from a near copy.
    pub fn previous_secret(mut self, secret: NameSecret) -> Self {
        self.names.previous = Some(Scheme::Hashed(secret));
        self
    }

    /// Still finds pins under readable names, for the time of a change to hashed ones.
    ///
    /// There is one previous scheme: this replaces [`previous_secret`](Self::previous_secret), and
    /// is replaced by it.
    pub fn previous_plain(mut self) -> Self {
        self.names.previous = Some(Scheme::Plain);
        self
    }

    /// The longest wait for one command. Default: 50 ms.
    ///
    /// At least 1 ms, redirections in a cluster included. Keep it within the layer's store budget,
    /// which ends a call in any case, and above what Redis needs under load: a shorter one opens
    /// the breaker without need.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Whether a claim or a move counts only once a replica of Redis holds it (`WAIT`), so that a
    /// failover cannot lose it. One that no replica confirms within half of the command timeout is
    /// undone, and returned as an error of kind [`Unconfirmed`](crate::StoreErrorKind::Unconfirmed).
    /// Pins that were confirmed are read without any replica. All processes that share pins must agree
    /// on this. Default: no.
    ///
    /// The wait is for one replica. With three servers that is a majority of them; with more, the
    /// failover must choose an up-to-date replica.
    pub fn replicated(mut self, replicated: bool) -> Self {
        self.replicated = replicated;
        self
    }

    /// Whether a [`TieredStore`](crate::TieredStore) without Redis fails, instead of deciding alone and
    /// serving what it knows: then nothing is reported as a pin that Redis does not hold, except a
    /// fresh copy, which may be 1 s old. A release that fails is still made when Redis is back. For
    /// use with [`AffinityLayer::require_store`](crate::AffinityLayer::require_store), which makes
    /// the failure a 503. Default: no.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Connections to each server. One carries some 100,000 pins a second. Default: 1.
    ///
    /// A thread with a runtime of its own (`new_current_thread`), other than that in which the store was
    /// made, has one more for its reads of pins with a fixed lifetime: a call over another thread's connection would have to wake that.
    ///
    /// Between 1 and 64; each has a socket and a task. Invalidations come over the first.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, 64);
        self
    }

    /// The name that `CLIENT LIST` shows for each connection. What is no letter, digit or one of
    /// `-_.:` becomes `-`, and what exceeds 64 bytes is cut. Default: `affinity`.
    ///
    /// A name that tells host and process apart makes it easy to see which replica holds which
    /// connection.
    pub fn client_name(mut self, name: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '-' };
        self.client_name = name.chars().map(plain).take(64).collect();
        self
    }

    /// The same with credentials of its own.
    pub(super) fn detached(&self) -> Self {
        Self { credentials: Arc::new(RwLock::new(self.credentials())), ..self.clone() }
    }

    /// What the next connection logs in with.
    pub(super) fn credentials(&self) -> Credentials {
        self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes user and password of `url` for all connections from now on.
    pub(super) fn set_credentials(&self, url: &str) -> Result<(), RedisConfigError> {
        let (_, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let credentials = Credentials::of(split_credentials(rest).0);
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
        Ok(())
    }

    /// Whether the address is of a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.server.is_clustered()
    }

    /// The servers that the address names.
    pub(super) fn seeds(&self) -> Vec<Server> {
        self.server.hosts()
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("names", &self.names)
            .field("command_timeout", &self.command_timeout)
            .field("replicated", &self.replicated)
            .field("strict", &self.strict)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// A refusal that says what is wrong with the address and never repeats it.
fn wrong(why: &str) -> RedisConfigError {
    RedisConfigError(format!("the address of Redis {why}"))
}

/// What stands before the `@` of an address without its scheme, and the rest.
///
/// The last `@` before the path counts, so that a password may hold one.
fn split_credentials(rest: &str) -> (Option<&str>, &str) {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) => (rest.get(..at), rest.get(at + 1..).unwrap_or_default()),
        None => (None, rest),
    }
}

impl Credentials {
    /// What a URL holds, percent-encoded.
    fn of(credentials: Option<&str>) -> Self {
        credentials.map(Self::decoded).unwrap_or_default()
    }

    fn decoded(credentials: &str) -> Self {
        let bytes = |encoded: &str| percent_decode_str(encoded).collect::<Vec<u8>>();
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        Self { user: (!user.is_empty()).then(|| bytes(user)), password: password.map(bytes) }
    }
}

/// The socket at `path[?db=N]`.
fn unix(rest: &str) -> Result<(ServerConfig, Option<u8>), RedisConfigError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err(wrong("must name the socket by its whole path"));
    }
    let path = String::from_utf8(percent_decode_str(path).collect());
    let path = path.map_err(|_| wrong("names no socket"))?;
    let database = match query.strip_prefix("db=") {
        Some(number) => Some(number.parse().map_err(|_| wrong("has no number of a database"))?),
        None if query.is_empty() => None,
        None => return Err(wrong("has an unknown parameter")),
    };
    Ok((ServerConfig::Unix { path: path.into() }, database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_kind_are_understood() {
        for url in [
            "redis://localhost",
            "redis://:p%40ss@127.0.0.1:6380/2",
            "unix:///run/redis.sock",
            "unix://u:p%20w@/run/redis.sock?db=2",
            "redis://u:p@ss@[::1]:6379",
            "redis-cluster://a:7000?node=b:7001",
            "redis-sentinel://a:26379?sentinelServiceName=mymaster&node=b:26379",
        ] {
            assert!(RedisOptions::from_url(url).is_ok(), "{url}");
        }
        assert_eq!(RedisOptions::from_url("rediss://h").is_ok(), cfg!(feature = "redis-rustls"));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_address() {
        for url in [
            "",
            "localhost:6379",
            "http://u:secret@h",
            "redis://u:secret@h:99999",
            "redis://",
            "unix://u:secret@relative",
            "unix://u:secret@/socket?db=x",
        ] {
            if let Err(error) = RedisOptions::from_url(url) {
                assert!(!error.to_string().contains("secret"), "{error}");
            } else {
                assert_eq!(url, "redis://");
            }
        }
        let shown = format!("{:?}", RedisOptions::from_url("redis://u:secret@h").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn user_and_password_may_hold_any_byte() {
        for (credentials, user, password) in [
            (":plain1", None, Some(b"plain1".as_slice())),
            ("user:a%20b", Some(b"user".as_slice()), Some(b"a b")),
            ("u%00:%22%ff%0d%0a", Some(b"u\0"), Some(b"\"\xff\r\n")),
            ("u:", Some(b"u"), Some(b"")),
            ("u", Some(b"u"), None),
        ] {
            let (user, password) = (user.map(<[u8]>::to_vec), password.map(<[u8]>::to_vec));
            assert!(Credentials::decoded(credentials) == Credentials { user, password });
        }
    }
}
