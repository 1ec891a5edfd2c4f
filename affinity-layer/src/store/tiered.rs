//! Near copies in front of Redis, and what Redis has not heard yet.
//!
//! A pinned turn should cost no round trip, and an outage of Redis should not be seen by sessions
//! that are known here. Both need copies of pins in this process, and copies can be wrong. The
//! rules below keep them right; their numbers are those of `docs/protocol.md`, where a model
//! checker has visited what they allow.
//!
//! | rule | where |
//! |---|---|
//! | 6. an invalidation drops the copy, and what is being read meanwhile does not become one | `near.rs` |
//! | 6. a replica drops its own copy before it sends a change | `near.rs`, `Near::change` |
//! | 7. a copy never outlives its pin | `shared.rs`, `Shared::keep_found` |
//! | 8. a broken connection puts every copy in doubt | `follow.rs`, `heartbeat.rs` |
//! | 9. without Redis, what is known serves, and what is decided is this replica's own | `TieredStore::known`, `settle.rs` |
//! | 10. Redis learns of it once it is back | `settle.rs`, `pending.rs`, `reconcile.rs` |
//!
//! # What a copy can be
//!
//! 1. **Fresh**: Redis said so, and no invalidation can have been missed since. Only such a copy
//!    answers `peek`.
//! 2. **Known**: Redis said so once. It serves when Redis does not answer, and a read confirms or
//!    replaces it.
//! 3. **Own**: this replica decided so while Redis did not answer. Redis has to be told.
//!
//! # How a read goes
//!
//! 1. `peek` finds a fresh copy: that is the answer, and Redis hears nothing. If the pin slides and a
//!    quarter of its idle time is over, Redis is told of the use in the background; see `renew.rs`.
//! 2. `get` first sends what Redis has not heard about this name, then reads it. The copy is kept
//!    with the time left that Redis reported, counted from before the read.
//! 3. Redis has no pin, and a copy is known here: either the pin was released or has expired, or
//!    Redis has lost its data. The run id of the server decides. In the second case the session is
//!    claimed again, as it was.
//! 4. Redis does not answer: what is known serves, and if nothing is, the error goes to the layer,
//!    which has the router decide.
//!
//! # Dropped futures
//!
//! A client may hang up while a command is under way, and the command may have been applied or not.
//! Each change therefore has a guard in `settle.rs` that acts when the future is dropped: a claim
//! becomes this replica's own, a move gives its copy back, a release is noted to be sent again.

mod follow;
mod heartbeat;
mod inspect;
mod near;
mod pending;
mod reconcile;
mod renew;
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
use super::redis::{RedisStore, Renewals, StoreStats, Unready};
use super::{AffinityStore, AnswerState, Claim, PinRead};
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError, StoreErrorKind};

/// How long the invalidation of a change is under way while all is well: 3 ms was the longest seen in
/// some 200,000 turns on a busy machine.
///
/// A longer bound, such as the lease of a second that holds even when a connection dies silently,
/// would delay the answer of each first turn by as much; `docs/decisions/0005-coherence-delay.md`.
const COHERENCE: Duration = Duration::from_millis(5);

/// Pins in Redis, answered from this process where it is sure of them. Cloning shares it.
///
/// - A pinned turn costs no round trip. Redis itself reports every change (client tracking, RESP3),
///   and a copy is served only while the connection that brings the news is alive: at most
///   1 s can pass until a change by another replica is seen, and usually less than a millisecond
///   does. A copy never outlives its pin in Redis.
/// - When that connection breaks, no copy is served until Redis has confirmed it.
/// - While Redis is away, what this replica knows keeps serving. What it decides keeps the session's
///   model on this replica as [`PinRead::Decided`], which is not reported as a pin. When Redis is
///   back, those decisions are claimed there, and the winner counts. With
///   [`RedisOptions::replicated`](crate::RedisOptions::replicated) no move is made without Redis.
/// - Where Redis is there and refuses a write (it is full, read-only, or forbids it), a claim is kept in
///   the same way, and a move is an error and nothing else.
/// - With [`RedisOptions::strict`](crate::RedisOptions::strict) neither happens: while Redis is away,
///   every call fails once the copies are not fresh any more.
/// - When Redis comes back without its data, sessions that are known here are claimed again as they
///   were, by their next request.
/// - In a cluster each node reports changes of its own pins. While one of them is away, no copy is
///   served before its pin was read.
/// - If an ACL forbids client tracking or `INFO`, every turn reads from Redis, and so does every turn of
///   a pin under the name of a previous secret; copies then serve only while Redis is away.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
///
/// use affinity_layer::{RedisOptions, RedisStore, TieredStore};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = RedisStore::new(&RedisOptions::from_url("redis://localhost:6379")?)?;
/// let store = TieredStore::new(redis, 100_000);
/// // The store serves from the start; a program that needs Redis waits for it.
/// if !store.wait_ready(Duration::from_secs(3)).await {
///     let cause = store.unready().map(|cause| cause.to_string());
///     eprintln!("the sessions are not shared yet: {}", cause.unwrap_or_default());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Limits
///
/// | what | how much |
/// |---|---|
/// | a near copy in memory | some 104 to 150 bytes; at most `capacity` of them |
/// | a change that Redis has not heard of | at most `capacity`; beyond that, a session is claimed again by its next request |
/// | a change by another replica unseen, while all is well | usually less than 1 ms; responses allow for 5 ms ([`coherence`](AffinityStore::coherence)) |
/// | the same, if a connection dies silently | 1 s |
/// | until Redis counts as away | three signs of life missed, asked for every 250 ms |
/// | renewals of pins that are in use, in the background | one for each quarter of the idle time; 65,536 wait at most |
/// | a release that waits for Redis | 1 hour |
#[derive(Clone)]
pub struct TieredStore {
    shared: Arc<Shared>,
    /// They end with the last clone of the store.
    _tasks: Arc<BackgroundTasks>,
}

/// The tasks that follow Redis and tell it what it missed, aborted on drop.
///
/// `follow_all`, `reconcile` and what renews. They hold the shared state but not the store, so the last clone of
/// the store ends them.
struct BackgroundTasks([AbortHandle; 3]);

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
    ///
    /// Choose `capacity` above the number of sessions that are in use at once: a session without a
    /// copy costs a round trip for each turn, and is unknown here while Redis is away.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(redis: RedisStore, capacity: usize) -> Self {
        Self::with(redis, capacity, false)
    }

    /// As [`new`](Self::new), and every turn reads from Redis: a change by another replica is seen at
    /// once, for a round trip. Copies only serve while Redis is away.
    ///
    /// For programs that cannot accept that a change goes unseen for the time of an invalidation.
    /// Redis needs no right to track clients then, and [`coherence`](AffinityStore::coherence) is
    /// zero.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn always_read(redis: RedisStore, capacity: usize) -> Self {
        Self::with(redis, capacity, true)
    }

    fn with(redis: RedisStore, capacity: usize, always_read: bool) -> Self {
        let (renewals, queue) = Renewals::new();
        let shared = Arc::new(Shared::new(redis, capacity, always_read, renewals.clone()));
        let followed = tokio::spawn(follow::follow_all(shared.clone())).abort_handle();
        let reconciled = tokio::spawn(reconcile::reconcile(shared.clone())).abort_handle();
        let renewing = shared.clone();
        let renew = move |renewal| renew::send(renewing.clone(), renewal);
        let renewed = tokio::spawn(renewals.work(queue, renew)).abort_handle();
        let tasks = BackgroundTasks([followed, reconciled, renewed]);
        Self { shared, _tasks: Arc::new(tasks) }
    }

    /// Whether pins can be read and written, in a cluster at each node.
    ///
    /// Unlike [`unready`](Self::unready), it is `true` where Redis only does not report changes:
    /// pins then work as they should, for a round trip each.
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
    ///
    /// It returns as soon as that is so, and at once if it is so already. The store works without
    /// it: until Redis can be reached, requests are served as during an outage, and until it is
    /// followed, no copy is fresh.
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
    ///
    /// That is [`RedisOptions::strict`](crate::RedisOptions::strict), as it was set.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.shared.redis.is_strict()
    }

    /// What became of the calls to Redis so far; turns that were answered here made none.
    ///
    /// In counts since the store was made. Divide by time to see how many turns the copies do not
    /// answer.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.shared.redis.stats()
    }

    /// The store behind the copies, for anything that is not a pin.
    ///
    /// Such as [`note`](RedisStore::note). A pin that is changed through it directly leaves the
    /// copy here stale until Redis reports the change; if the change went over the connection that
    /// brings the reports, it never does.
    #[must_use]
    pub fn redis(&self) -> &RedisStore {
        &self.shared.redis
    }

    /// How many near copies are held.
    ///
    /// Decisions of this replica are among them, and so are copies that are not fresh.
    #[must_use]
    pub fn near_len(&self) -> usize {
        self.shared.near.len()
    }

    /// What serves when Redis does not: nothing if Redis is required. A decision of this replica is used
    /// but not reported as a pin: another replica may have decided differently, and whose decision
    /// becomes the pin is for Redis to say.
    fn known(&self, spot: Spot, error: StoreError) -> Result<PinRead, StoreError> {
        match self.shared.near.get(spot).filter(|_| !self.shared.redis.is_strict()) {
            Some(held) if Near::is_own(&held) => {
                Ok(PinRead::Decided { selection: held.pin.selection, failure: error.kind() })
            }
            Some(held) => Ok(PinRead::Pinned(held.pin)),
            None => Err(error),
        }
    }

    /// Redis has no pin. Whether to believe it depends on what it has been through.
    ///
    /// A copy that is still here although Redis has no pin is unusual, since an invalidation would
    /// have dropped it. So it is worth a question which run of Redis answered; the usual miss has
    /// no copy and costs nothing more.
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
        if let Some((idle, _)) = expiry.limits()
            && held.left <= idle - idle / 4
        {
            renew::used(&self.shared, key, expiry, &held.pin, held.left);
        }
        Some(held.pin)
    }

    fn renew(&self, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) -> bool {
        renew::answers(&self.shared, key, expiry, answer);
        true
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        let name = self.shared.redis.names().current(key);
        let (spot, asked) = (self.shared.near.spot_for(key, &name), Instant::now());
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
                renew::used(&self.shared, key, expiry, &found.pin, found.left);
                Ok(PinRead::Pinned(found.pin))
            }
            Ok(None) => Box::pin(self.absent(key, &name, spot)).await,
            Err(error) => {
                // A Redis that is only slow is read to the end, or the next turn would know no more.
                if error.kind() == StoreErrorKind::Timeout && self.shared.is_there(&name) {
                    renew::changed(&self.shared, &name, spot.digest());
                }
                self.known(spot, error)
            }
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
        let (spot, asked) = (self.shared.near.spot_for(key, &name), Instant::now());
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
        let spot = self.shared.near.spot_for(key, &name);
        let (held, asked) = (self.shared.near.get(spot), Instant::now());
        let mut withheld = Withheld { shared: &self.shared, spot, held };
        let changing = self.shared.near.change(&name);
        let moved = self.shared.redis.move_pin(key, from, &to, expiry).await;
        drop(changing);
        let held = withheld.held.take();
        drop(withheld);
        let spot = self.shared.near.spot_for(key, &name);
        match (moved, held) {
            // Not fresh, because it may have been moved again before an invalidation could reach the copy.
            // Little is lost: Redis reports a script's changes to its caller, too.
            (Ok(Some(claim)), _) if claim.won => {
                let left = ttl.saturating_sub(asked.elapsed());
                self.shared.near.keep_known(spot, &claim.pin, left);
                Ok(Some(claim))
            }
            (Ok(standing), _) => Ok(standing),
            // The session moves on this replica, and in Redis when it is back; until then that is no
            // pin, and is not reported as one. A move that Redis has refused is not a move: every other
            // replica continues with the pin in Redis.
            (Err(error), Some(held))
                if held.pin.epoch == from && !error.is_refusal() && self.shared.moves_alone() =>
            {
                let to = Pin { claimed_at: held.pin.claimed_at, ..to };
                self.shared.near.keep_own(spot, &to, ttl);
                self.shared.note(name, key, Kind::Move { from, to }, ttl);
                Err(error)
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
        let held = self.shared.near.get(self.shared.near.spot_for(key, &name));
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
