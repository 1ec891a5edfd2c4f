mod follow;
mod heartbeat;
mod inspect;
mod near;
mod pending;
mod reconcile;
mod settle;
mod shared;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use self::near::{Near, Spot};
use self::pending::Kind;
use self::settle::{Ending, Unconfirmed, Withheld, settle};
use self::shared::Shared;
use super::redis::{RedisStore, StoreStats, Unready};
use super::{AffinityStore, Claim, PinRead};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError, StoreErrorKind};

/// How long the invalidation of a change is under way while all is well: 3 ms was the longest seen in
/// some 200,000 turns on a busy machine.
const COHERENCE: Duration = Duration::from_millis(5);

/// Pins in Redis, answered from this process where it is sure of them. Cloning shares it.
///
/// - A pinned turn costs no round trip. Redis itself reports every change (client tracking, RESP3),
///   and a copy is served only while the connection that brings the news is alive: at most
///   1 s can pass until a change by another replica is seen, and usually less than a millisecond
///   does. A copy never outlives its pin in Redis.
/// - When that connection breaks, no copy is served until Redis has confirmed it.
/// - While Redis is away, what this replica knows keeps serving, and what it decides is kept as its
///   own: the deciding request reports `store-unavailable`, later ones on this replica hit. When
///   Redis is back, those decisions are claimed there, and the winner counts. With
///   [`RedisOptions::replicated`](crate::RedisOptions::replicated) they are never reported as pins
///   before that, and no move is made without Redis.
/// - Where Redis is there and refuses a write (it is full, read-only, or forbids it), a move is an error
///   and nothing else. What a claim decided keeps the session's model on this replica as
///   [`PinRead::Decided`], which is not reported as a pin, until Redis takes it or has another pin.
/// - With [`RedisOptions::strict`](crate::RedisOptions::strict) neither happens: while Redis is away,
///   every call fails once the copies are not fresh any more.
/// - When Redis comes back without its data, sessions that are known here are claimed again as they
///   were, by their next request.
/// - In a cluster each node reports changes of its own pins. While one of them is away, no copy is
///   served before its pin was read.
/// - If an ACL forbids client tracking or `INFO`, every turn reads from Redis, and so does every turn of
///   a pin under the name of a previous secret; copies then serve only while Redis is away.
#[derive(Clone)]
pub struct TieredStore {
    shared: Arc<Shared>,
    /// They end with the last clone of the store.
    _tasks: Arc<BackgroundTasks>,
}

/// The tasks that follow Redis and tell it what it missed, aborted on drop.
struct BackgroundTasks([AbortHandle; 2]);

impl Drop for BackgroundTasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl TieredStore {
    /// Near copies of at most `capacity` pins in front of `redis`. It must be made within a tokio
    /// runtime.
    #[must_use]
    pub fn new(redis: RedisStore, capacity: usize) -> Self {
        Self::with(redis, capacity, false)
    }

    /// As [`new`](Self::new), and every turn reads from Redis: a change by another replica is seen at
    /// once, for a round trip. Copies only serve while Redis is away.
    #[must_use]
    pub fn always_read(redis: RedisStore, capacity: usize) -> Self {
        Self::with(redis, capacity, true)
    }

    fn with(redis: RedisStore, capacity: usize, always_read: bool) -> Self {
        let shared = Arc::new(Shared::new(redis, capacity, always_read));
        let followed = tokio::spawn(follow::follow_all(shared.clone()));
        let reconciled = tokio::spawn(reconcile::reconcile(shared.clone()));
        let tasks = BackgroundTasks([followed.abort_handle(), reconciled.abort_handle()]);
        Self { shared, _tasks: Arc::new(tasks) }
    }

    /// Whether pins can be read and written, in a cluster at each node.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unready().is_none_or(|cause| cause.only_degrades())
    }

    /// Why Redis cannot be used as it should, if so: what was found by the commands of the protocol,
    /// tried at the start of each connection, after each refusal, and twice a minute. `None` means that
    /// pins can be read and written, and that Redis tells of every change.
    #[must_use]
    pub fn unready(&self) -> Option<Unready> {
        self.shared.unready()
    }

    /// Waits until Redis is there and followed, in a cluster each node, at most `limit`; says whether it
    /// is. It may still refuse to write, see [`unready`](Self::unready).
    pub async fn wait_ready(&self, limit: Duration) -> bool {
        let ready = async {
            loop {
                let came_up = self.shared.came_up.notified();
                if self.shared.is_followed() {
                    break;
                }
                came_up.await;
            }
        };
        timeout(limit, ready).await.is_ok()
    }

    /// Whether nothing is decided or served without Redis.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.shared.redis.is_strict()
    }

    /// What became of the calls to Redis so far; turns that were answered here made none.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.shared.redis.stats()
    }

    /// The store behind the copies, for anything that is not a pin.
    #[must_use]
    pub fn redis(&self) -> &RedisStore {
        &self.shared.redis
    }

    /// How many near copies are held.
    #[must_use]
    pub fn near_len(&self) -> usize {
        self.shared.near.len()
    }

    /// What serves when Redis does not: nothing if Redis is required. A decision of this replica is used
    /// but not reported as a pin if Redis has refused it, or if pins count only once a replica of Redis
    /// holds them.
    fn known(&self, spot: Spot, error: StoreError) -> Result<PinRead, StoreError> {
        let is_no_pin = error.is_refusal() || self.shared.redis.is_replicated();
        match self.shared.near.get(spot).filter(|_| !self.shared.redis.is_strict()) {
            Some(held) if is_no_pin && Near::is_own(&held) => {
                Ok(PinRead::Decided { selection: held.pin.selection, failure: error.kind() })
            }
            Some(held) => Ok(PinRead::Pinned(held.pin)),
            None => Err(error),
        }
    }

    /// Redis has no pin. Whether to believe it depends on what it has been through.
    async fn absent(
        &self,
        key: &AffinityKey,
        name: &str,
        spot: Spot,
    ) -> Result<PinRead, StoreError> {
        let Some(held) = self.shared.near.get(spot) else {
            return Ok(PinRead::Absent);
        };
        if !self.shared.is_there(name) {
            return self.known(spot, StoreErrorKind::Unavailable.into());
        }
        // A copy is dropped when its pin is. Where it was not, this may be another Redis.
        let lost =
            self.shared.near.is_lost(&held) || follow::has_restarted(&self.shared, name).await;
        if !lost {
            self.shared.near.forget(name.as_bytes());
            return Ok(PinRead::Absent);
        }
        // A failure leaves the copy as it is, for the next request to try.
        let claim = match self.shared.redis.claim_pin(key, held.pin.clone(), held.left).await {
            Ok(claim) => claim,
            Err(error) => return self.known(spot, error),
        };
        if claim.won {
            self.shared.keep(spot, &claim.pin, held.left);
        } else {
            self.shared.near.forget(name.as_bytes());
        }
        Ok(PinRead::Pinned(claim.pin))
    }
}

impl AffinityStore for TieredStore {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        if !self.shared.is_fresh() {
            return None;
        }
        let names = self.shared.redis.names();
        // A hit needs the name only to find its copy: it is hashed, and never put together.
        let spot =
            self.shared.near.spot_of(|hash| names.pieces(key, &mut |piece| hash(piece.as_bytes())));
        let held = self.shared.near.fresh(spot)?;
        // A sliding pin is used up at Redis meanwhile; now and then it must hear of the use.
        let idle = expiry.limits().map_or(Duration::ZERO, |(idle, _)| idle);
        (held.left > idle / 2).then_some(held.pin)
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        let name = self.shared.redis.names().current(key);
        let (spot, asked) = (self.shared.near.spot(&name), Instant::now());
        let fetched = async {
            let refusal = match self.shared.is_there(&name) {
                true => settle(&self.shared, &name).await.err(),
                false => None,
            };
            let refusal = match refusal {
                Some(error) if !error.is_refusal() => return Err(error),
                refusal => refusal,
            };
            // A Redis that refuses writes may still be read, and another replica's pin counts.
            let found = self.shared.redis.read_pin(key, expiry).await?;
            refusal.filter(|_| found.is_none()).map_or(Ok(found), Err)
        };
        // Whoever asks may give up before Redis' time is over, and then goes without what is known.
        let fetched = match self.shared.near.get(spot) {
            Some(_) if !self.shared.redis.is_strict() => {
                let fetched = timeout(self.shared.redis.command_timeout() / 3, fetched).await;
                fetched.unwrap_or_else(|_| Err(StoreErrorKind::Timeout.into()))
            }
            _ => fetched.await,
        };
        match fetched {
            Ok(Some(found)) => {
                self.shared.keep_found(spot, &found, asked);
                Ok(PinRead::Pinned(found.pin))
            }
            Ok(None) => Box::pin(self.absent(key, &name, spot)).await,
            Err(error) => self.known(spot, error),
        }
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        let (name, pin) =
            (self.shared.redis.names().current(key), self.shared.redis.new_pin(selection));
        let ttl = expiry.initial();
        let (spot, asked) = (self.shared.near.spot(&name), Instant::now());
        let mut unconfirmed =
            Unconfirmed { shared: &self.shared, key, name, spot, pin, ttl, done: false };
        let claim = self.shared.redis.claim_pin(key, unconfirmed.pin.clone(), ttl).await?;
        unconfirmed.done = true;
        if claim.won {
            self.shared.keep(spot, &claim.pin, ttl.saturating_sub(asked.elapsed()));
        }
        Ok(claim)
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let (name, ttl) = (self.shared.redis.names().current(key), expiry.initial());
        let to = self.shared.redis.pin_after(from, selection);
        let (held, asked) = (self.shared.near.get(self.shared.near.spot(&name)), Instant::now());
        let mut withheld = Withheld { shared: &self.shared, name: &name, held };
        let changing = self.shared.near.change(&name);
        let moved = self.shared.redis.move_pin(key, from, &to, expiry).await;
        drop(changing);
        let held = withheld.held.take();
        drop(withheld);
        let spot = self.shared.near.spot(&name);
        match (moved, held) {
            // Not fresh, because it may have been moved again before an invalidation could reach the copy.
            // Little is lost: Redis reports a script's changes to its caller, too.
            (Ok(Some(claim)), _) if claim.won => {
                let left = ttl.saturating_sub(asked.elapsed());
                self.shared.near.keep_known(spot, &claim.pin, left);
                Ok(Some(claim))
            }
            (Ok(standing), _) => Ok(standing),
            // The session moves on this replica, and in Redis when it is back. A move that Redis has
            // refused is not a move: every other replica continues with the pin in Redis.
            (Err(error), Some(held))
                if held.pin.epoch == from && !error.is_refusal() && self.shared.moves_alone() =>
            {
                let to = Pin { claimed_at: held.pin.claimed_at, ..to };
                self.shared.near.keep_own(spot, &to, ttl);
                self.shared.note(name, key, Kind::Move { from, to: to.clone() }, ttl);
                Ok(Some(Claim { pin: to, won: true }))
            }
            (Err(error), held) => {
                if let Some(held) = held {
                    self.shared.near.keep_again(spot, &held);
                }
                Err(error)
            }
        }
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        let name = self.shared.redis.names().current(key);
        let held = self.shared.near.get(self.shared.near.spot(&name));
        let mut ending =
            Ending { shared: &self.shared, key, name: &name, held, epoch, done: false };
        let changing = self.shared.near.change(&name);
        let released = self.shared.redis.release_pin(key, epoch).await?;
        drop(changing);
        ending.done = true;
        drop(self.shared.pending.take(&name));
        Ok(released)
    }

    fn coherence(&self) -> Duration {
        // Without fresh copies every replica reads from Redis.
        if self.shared.is_fresh() { COHERENCE } else { Duration::ZERO }
    }
}

impl fmt::Debug for TieredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis = &self.shared.redis;
        f.debug_struct("TieredStore").field("redis", redis).finish_non_exhaustive()
    }
}
