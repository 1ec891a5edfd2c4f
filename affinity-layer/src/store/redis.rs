//! Pins in Redis, shared by all replicas.

mod claim;
mod clock;
mod connection;
mod guard;
mod names;
mod options;
mod scripts;
mod stats;
#[cfg(feature = "redis-rustls")]
mod tls;
mod value;
mod verbs;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fred::clients::WithOptions;
use fred::error::Error;
use fred::prelude::{Client, ClientLike, Options, Pool};
use tokio::task::AbortHandle;

use self::clock::RedisClock;
use self::guard::Guard;
pub use self::names::NameSecret;
use self::names::Names;
pub use self::options::{RedisConfigError, RedisOptions};
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
///   refuses calls at once and lets one through every 250 ms to see whether it is back. The client
///   reconnects by itself, and need not be connected at the start.
/// - A command is sent once. After an outage nothing is applied whose caller had given up before it
///   was sent.
/// - The value is JSON with `model_name` and `route_name`, as the older system writes it; values of
///   that system are understood. A value that cannot be read counts as none, and the next claim
///   replaces it.
/// - Redis replicates asynchronously. When a primary is lost, the claims of its last moment are lost
///   with it, unless [`RedisOptions::replicated`] is set.
///
/// Each read is one round trip. [`TieredStore`](crate::TieredStore) keeps near copies.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

pub(crate) struct Inner {
    pool: Pool,
    per_call: Options,
    command_timeout: Duration,
    names: Names,
    guard: Arc<Guard>,
    clock: Arc<RedisClock>,
    /// How long a claim waits for a replica, in milliseconds.
    wait: Option<i64>,
    tasks: Vec<AbortHandle>,
}

impl RedisStore {
    /// A store that connects in the background. It must be made within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the client refuses the settings. A Redis that cannot be reached is no error.
    pub fn new(options: &RedisOptions) -> Result<Self, RedisConfigError> {
        let pool = options.pool()?;
        let clock = Arc::new(RedisClock::default());
        let guard = Arc::new(Guard::default());
        let connected =
            |client: &Client| tokio::spawn(connection::stay(client.clone(), guard.clone()));
        let mut tasks: Vec<_> =
            pool.clients().iter().map(|client| connected(client).abort_handle()).collect();
        tasks.push(
            tokio::spawn(connection::keep_time(pool.next().clone(), clock.clone())).abort_handle(),
        );
        let limit = options.command_timeout;
        let half = i64::try_from(limit.as_millis() / 2).unwrap_or(i64::MAX).max(1);
        Ok(Self(Arc::new(Inner {
            pool,
            command_timeout: limit,
            per_call: Options { fail_fast: true, timeout: Some(limit), ..Options::default() },
            names: options.names.clone(),
            guard,
            clock,
            wait: options.replicated.then_some(half),
            tasks,
        })))
    }

    /// One of the connections, with the limits of a call.
    fn client(&self) -> WithOptions<Client> {
        self.0.pool.next().with_options(&self.0.per_call)
    }

    /// The connection that near copies follow. Where it is the only one, it is not told of the
    /// changes that are made here.
    pub(crate) fn followed(&self) -> &Client {
        self.0.pool.next()
    }

    /// Redis was seen to answer: calls need not wait for the breaker to try it.
    pub(crate) fn is_back(&self) {
        self.0.guard.close();
    }

    /// What became of the calls so far.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.0.guard.counters.stats()
    }

    /// The longest wait for one command.
    pub(crate) fn command_timeout(&self) -> Duration {
        self.0.command_timeout
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
        self.0.clock.saw(from);
        self.new_pin(selection)
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

fn failed(error: Error) -> StoreError {
    let kind = match error.kind() {
        fred::error::ErrorKind::Timeout => StoreErrorKind::Timeout,
        _ if error.details().starts_with("WRONGTYPE") => StoreErrorKind::Invalid,
        fred::error::ErrorKind::Parse => StoreErrorKind::Invalid,
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
