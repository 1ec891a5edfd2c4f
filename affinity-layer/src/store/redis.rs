//! Pins in Redis, shared by all replicas.

mod breaker;
mod claim;
mod clients;
mod clock;
mod confirm;
mod conn;
mod connection;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
mod inspect;
mod link;
mod map;
mod names;
mod node;
mod notes;
mod options;
mod pace;
mod readers;
mod refresh;
mod scripts;
mod servers;
mod slots;
mod stats;
#[cfg(feature = "redis-rustls")]
mod tls;
mod value;
mod verbs;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use tokio::task::AbortHandle;

use self::clock::RedisClock;
pub(crate) use self::map::Map;
pub use self::names::NameSecret;
use self::names::Names;
pub(crate) use self::node::Node;
pub use self::options::{RedisConfigError, RedisOptions};
use self::servers::Servers;
use self::stats::Counters;
pub use self::stats::StoreStats;
pub(crate) use self::verbs::Found;
use crate::store::{AffinityStore, Claim};
use crate::{AffinityKey, BoxError, Epoch, Expiry, Pin, Selection, StoreError, StoreErrorKind};

/// Pins in a Redis 7.0 or later, or a Valkey: one server, Sentinel or Cluster. Cloning shares it.
///
/// - A claim is one atomic command, `SET name value NX GET PX ttl`: of any number of replicas that
///   claim a session at once, one wins and all learn of it. Moves and releases are scripts that
///   compare the epoch.
/// - Every call is bounded in time, and none is queued: while Redis does not answer, a breaker
///   refuses calls at once and lets one through every 250 ms to see whether it is back; a
///   [`TieredStore`](crate::TieredStore) looks for that itself, and no call waits for it. The client
///   reconnects by itself, and need not be connected at the start.
/// - A command is sent once. After an outage nothing is applied whose caller had given up before it
///   was sent.
/// - The value is JSON with `model_name` and `route_name`, as the older system writes it; values of
///   that system are understood. A value that cannot be read counts as none, and the next claim
///   replaces it; one of more than 2 MiB is removed when it is read, since a claim would fetch it whole.
/// - Redis replicates asynchronously. When a primary is lost, the changes of its last moment are lost
///   with it, unless [`RedisOptions::replicated`] is set.
///
/// Each read is one round trip. [`TieredStore`](crate::TieredStore) keeps near copies.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

pub(crate) struct Inner {
    servers: Arc<Servers>,
    names: Names,
    counters: Arc<Counters>,
    clock: Arc<RedisClock>,
    /// How long a claim or a move waits for a replica, in milliseconds.
    wait: Option<i64>,
    /// Near copies do not stand in for Redis.
    strict: bool,
    tasks: Vec<AbortHandle>,
}

impl RedisStore {
    /// A store that connects in the background. It must be made within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the client refuses the settings. A Redis that cannot be reached is no error.
    pub fn new(options: &RedisOptions) -> Result<Self, RedisConfigError> {
        let counters = Arc::new(Counters::default());
        let servers = Arc::new(Servers::new(options, &counters)?);
        let clock = Arc::new(RedisClock::default());
        let timed = connection::keep_time(servers.clone(), clock.clone());
        let mut tasks = vec![tokio::spawn(timed).abort_handle()];
        if options.is_cluster() {
            let mapped = refresh::keep_map(servers.clone(), options.seeds());
            tasks.push(tokio::spawn(mapped).abort_handle());
        }
        let half = i64::try_from(options.command_timeout.as_millis() / 2).unwrap_or(i64::MAX);
        Ok(Self(Arc::new(Inner {
            servers,
            names: options.names.clone(),
            counters,
            clock,
            wait: options.replicated.then_some(half.max(1)),
            strict: options.strict,
            tasks,
        })))
    }

    /// The servers, and which of them has the pin of a name.
    pub(crate) fn servers(&self) -> &Servers {
        &self.0.servers
    }

    /// What became of the calls so far.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.0.counters.stats()
    }

    /// The longest wait for one command.
    pub(crate) fn command_timeout(&self) -> Duration {
        self.0.servers.limit()
    }

    /// Whether nothing may be decided or served without Redis.
    pub(crate) fn is_strict(&self) -> bool {
        self.0.strict
    }

    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    /// A pin that can be claimed: with an epoch greater than all that are known.
    pub(crate) fn new_pin(&self, selection: Arc<Selection>) -> Pin {
        Pin { selection, epoch: self.0.clock.next(), claimed_at: self.0.clock.now() }
    }

    /// A pin that can take the place of the one of epoch `from`.
    pub(crate) fn pin_after(&self, from: Epoch, selection: Arc<Selection>) -> Pin {
        let epoch = self.0.clock.after(from);
        Pin { epoch, ..self.new_pin(selection) }
    }

    /// Goes by the clock of Redis from now on, if it tells the time.
    pub(crate) async fn set_clock(&self) {
        if let Some(node) = self.0.servers.first() {
            let set = connection::set_clock(&node, &self.0.servers, &self.0.clock).await;
            if let Err(error) = set {
                tracing::debug!(%error, "the shared session store does not tell the time");
            }
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("names", &self.0.names).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A time span as Redis takes it, in milliseconds: at least one, at most a hundred years.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX).clamp(1, 1 << 42)
}

/// Whether Redis answered and said no.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        // What an access list forbids counts as a matter of authentication.
        ErrorKind::Auth
            | ErrorKind::InvalidCommand
            | ErrorKind::InvalidArgument
            | ErrorKind::Config
            | ErrorKind::Unknown
    )
}

fn failed(error: Error) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::Timeout => StoreErrorKind::Timeout,
        _ if error.details().starts_with("WRONGTYPE") => StoreErrorKind::Invalid,
        ErrorKind::Parse => StoreErrorKind::Invalid,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, BoxError::from(error))
}

impl AffinityStore for RedisStore {
    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<Option<Pin>, StoreError> {
        Ok(self.fetch(key, expiry).await?.map(|found| found.pin))
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        self.claim_pin(key, self.new_pin(selection), expiry.initial()).await
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        self.move_pin(key, from, &self.pin_after(from, selection), expiry).await
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        self.release_pin(key, epoch).await
    }
}
