//! Pins in Redis, shared by all replicas.
//!
//! | wing | holds |
//! |---|---|
//! | `protocol/` | what is said to Redis: how a pin is read, claimed, moved, released and confirmed, and the JSON in which it rests |
//! | `cluster/` | which server hears it: the only one, or the one that serves the slot; redirections are followed here |
//! | `connection/` | over which connection: how one is made, checked, replaced, and bounded in time |
//! | `guard/` | whether it is said at all: a bound on calls under way, and breakers |
//! | `node.rs` | one server with everything that belongs to it |
//! | `renewals.rs` | the uses of pins that Redis has not heard of yet |
//! | `epochs.rs`, `names.rs`, `options.rs`, `tls.rs` | where epochs come from; under which name a pin rests; the settings |
//! | `freshness.rs`, `condition.rs`, `unready.rs`, `errors.rs` | how well a server is heard, whether it can be used, and why not |
//! | `probing.rs` | tries the servers that no near copies follow |
//! | `inspect.rs`, `notes.rs` | the listing of pins; notes of replicas to each other |
//!
//! # How a call travels
//!
//! `RedisStore::get` → `protocol::read_pin` names the pin → `Servers::call` finds the node → its
//! guard lets the call through or refuses it → `Servers::run` sends the commands and follows
//! redirections → the answer is decoded.
//!
//! The guard surrounds the whole call and not each command. A call of several commands, such as a
//! claim that a replica has to confirm, counts once.
//!
//! # What keeps it correct
//!
//! 1. Each verb is one atomic command or one script.
//! 2. A command is sent once. A client library that sends it again after a reconnect could claim a
//!    session long after its request was answered.
//! 3. Answers are paired with commands by their order alone, so a connection that lost one answer
//!    is replaced before a session is served another session's pin; see `connection/doubt.rs`. As a
//!    second line, each value names the hash of its own name.
//! 4. Epochs come from the clock of Redis; see `epochs.rs`.

mod cluster;
mod condition;
mod connection;
mod epochs;
mod errors;
mod freshness;
#[cfg(feature = "__fuzzing")]
pub mod fuzzing;
mod guard;
mod inspect;
mod names;
mod node;
mod notes;
mod options;
mod probing;
mod protocol;
mod renewals;
#[cfg(feature = "redis-rustls")]
mod tls;
mod unready;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use self::cluster::Servers;
pub(crate) use self::cluster::Topology;
pub(crate) use self::connection::echo;
use self::epochs::EpochClock;
pub use self::errors::RedisConfigError;
pub(crate) use self::errors::is_refusal;
use self::guard::Counters;
pub use self::guard::StoreStats;
pub use self::inspect::StoredText;
pub use self::names::NameSecret;
use self::names::Names;
pub(crate) use self::node::Node;
pub use self::options::RedisOptions;
pub(crate) use self::protocol::FoundPin;
use self::protocol::Protocol;
pub(crate) use self::renewals::{Cause, Renewal, Renewals};
pub use self::unready::Unready;
use super::inspect::age;
use super::{AffinityStore, AnswerState, Claim, PinRead};
use crate::admin::StoredKey;
use crate::telemetry::Call;
use crate::{AffinityKey, Epoch, Expiry, Pin, Selection, StoreError};

/// Between two attempts of [`RedisStore::wait_ready`].
const WAIT: Duration = Duration::from_millis(50);

/// Pins in a Redis 7.0 or later, or a Valkey: one server, Sentinel or Cluster. Cloning shares it.
///
/// - A claim is one atomic command, `SET name value NX GET PX ttl`: of any number of replicas that
///   claim a session at once, one wins and all learn of it. Moves and releases are scripts that
///   compare the epoch.
/// - Every call is bounded in time, and none is queued: while Redis does not answer, a breaker
///   refuses calls at once and lets one through every 250 ms to see whether it is back; a
///   [`TieredStore`](crate::TieredStore) looks for that itself, and no call waits for it. The client
///   reconnects on its own, and does not have to be connected at the start.
/// - A command is sent once. If its caller gave up before it was sent, it is not applied after an
///   outage.
/// - The value is JSON with `model_name` and `route_name`, as the older system writes it; values of
///   that system are understood. A value that cannot be read counts as none, and the next claim
///   replaces it; one of more than 2 MiB is removed when it is read, since a claim would fetch it whole.
/// - Redis replicates asynchronously. When a primary is lost, the changes of its last moment are lost
///   with it, unless [`RedisOptions::replicated`] is set.
///
/// Each read is one round trip. [`TieredStore`](crate::TieredStore) keeps near copies.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
///
/// use affinity_layer::{AffinityKey, AffinityStore, Expiry, RedisOptions, RedisStore};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new(&RedisOptions::from_url("redis://localhost:6379")?)?;
/// if !store.wait_ready(Duration::from_secs(3)).await {
///     let cause = store.unready().map(|cause| cause.to_string());
///     eprintln!("no pins can be kept yet: {}", cause.unwrap_or_default());
/// }
/// let found = store.get(&AffinityKey::new("task-1")?, &Expiry::default()).await?;
/// if let Some(pin) = found.pin() {
///     println!("{} since epoch {}", pin.selection.model(), pin.epoch);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Limits
///
/// | what | how much |
/// |---|---|
/// | the wait for one command | [`RedisOptions::command_timeout`], 50 ms unless set |
/// | calls under way to one server | 4,096; a further one fails at once |
/// | failures in a row after which calls are refused | 5 |
/// | a value that is read | 64 KiB; ours have some hundred bytes |
/// | a session in Redis | some 370 bytes |
///
/// # When to use it alone
///
/// Where each turn must read what Redis holds at that moment.
/// [`TieredStore::always_read`](crate::TieredStore::always_read) does so too, and in addition knows
/// what to do while Redis is away; this store then only returns errors.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

/// What all clones share. Its tasks end with it.
struct Inner {
    protocol: Arc<Protocol>,
    counters: Arc<Counters>,
    clock: Arc<EpochClock>,
    renewals: Arc<Renewals>,
    /// Near copies do not replace Redis.
    strict: bool,
    /// Those of all connections.
    options: RedisOptions,
    tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl RedisStore {
    /// A store that connects in the background. It must be made within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the client refuses the settings. A Redis that cannot be reached is not an error.
    ///
    /// It returns before anything is connected. Calls until then fail at once, with an error of
    /// kind [`Unavailable`](crate::StoreErrorKind::Unavailable).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(options: &RedisOptions) -> Result<Self, RedisConfigError> {
        let counters = Arc::new(Counters::default());
        let options = options.detached();
        let servers = Arc::new(Servers::new(&options, &counters)?);
        let clock = Arc::new(EpochClock::default());
        let timed = epochs::keep_time(servers.clone(), clock.clone());
        let mut tasks = vec![tokio::spawn(timed).abort_handle()];
        if options.is_cluster() {
            let topology = cluster::keep_topology(servers.clone(), options.seeds());
            tasks.push(tokio::spawn(topology).abort_handle());
        }
        let half = i64::try_from(options.command_timeout.as_millis() / 2).unwrap_or(i64::MAX);
        let replica_wait = options.replicated.then_some(half.max(1));
        let replica = RandomState::new().hash_one(());
        let protocol = Protocol { servers, names: options.names.clone(), replica, replica_wait };
        let (protocol, strict) = (Arc::new(protocol), options.strict);
        tasks.push(tokio::spawn(probing::keep_probing(protocol.clone())).abort_handle());
        let (renewals, queue) = Renewals::new();
        let told = (protocol.clone(), clock.clone(), counters.clone(), renewals.clone());
        let renew = move |renewal: Renewal| {
            let (protocol, clock, counters, renewals) = told.clone();
            async move {
                if renew_counted(&protocol, &clock, &counters, &renewal).await.is_err() {
                    renewals.failed();
                }
            }
        };
        tasks.push(tokio::spawn(renewals.clone().work(queue, renew)).abort_handle());
        Ok(Self(Arc::new(Inner { protocol, counters, clock, renewals, strict, options, tasks })))
    }

    /// Logs in with user and password of `url` from now on; the rest of it is not looked at.
    ///
    /// Connections that are open stay as they are: Redis asks for credentials only at the beginning. So
    /// first let Redis take both passwords, then set the new one here, then take the old one out.
    ///
    /// # Errors
    ///
    /// When `url` is no address.
    pub fn set_credentials(&self, url: &str) -> Result<(), RedisConfigError> {
        self.0.options.set_credentials(url)
    }

    /// What became of the calls so far.
    ///
    /// All servers of the store together, and all clones.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.0.counters.stats()
    }

    /// All notes of a board: what programs that share this Redis tell each other apart from pins, as a
    /// few fields of text in one hash, `{prefix}%{board}`. They stay until they are removed. A field
    /// whose name is longer than 256 bytes or whose text is longer than 1,024 is left out.
    ///
    /// Calls about notes are bounded by the command timeout and go past the breaker: they are few.
    ///
    /// # Errors
    ///
    /// When Redis does not answer in time or refuses, and when there are more than 1,024 notes.
    pub async fn notes(&self, board: &str) -> Result<Vec<(String, String)>, StoreError> {
        notes::read(self.protocol(), board).await
    }

    /// Writes a note, replacing one with the same field.
    ///
    /// # Errors
    ///
    /// When it is not sure to be written, and when it is beyond the limits of [`notes`](Self::notes).
    pub async fn note(&self, board: &str, field: &str, text: &str) -> Result<(), StoreError> {
        notes::write(self.protocol(), board, field, text).await
    }

    /// Removes a note; says whether there was one.
    ///
    /// # Errors
    ///
    /// When it is not sure to be gone.
    pub async fn remove_note(&self, board: &str, field: &str) -> Result<bool, StoreError> {
        notes::remove(self.protocol(), board, field).await
    }

    /// The value under a stored key as it rests in Redis, whatever it is: for tools that show what
    /// `redis-cli` would. It does not count as a use.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no string.
    pub async fn stored_text(&self, key: &StoredKey) -> Result<Option<StoredText>, StoreError> {
        inspect::stored_text(self.protocol(), &self.whole_name(key)).await
    }

    /// What the functions of `protocol/` take.
    fn protocol(&self) -> &Arc<Protocol> {
        &self.0.protocol
    }

    /// The servers, and which of them holds the pin of a name.
    pub(crate) fn servers(&self) -> &Servers {
        &self.0.protocol.servers
    }

    /// How names are made.
    pub(crate) fn names(&self) -> &Names {
        &self.0.protocol.names
    }

    /// The longest wait for one command.
    pub(crate) fn command_timeout(&self) -> Duration {
        self.servers().command_timeout()
    }

    /// Whether nothing may be decided or served without Redis.
    pub(crate) fn is_strict(&self) -> bool {
        self.0.strict
    }

    /// Whether pins count only once a replica of Redis holds them.
    pub(crate) fn is_replicated(&self) -> bool {
        self.protocol().is_replicated()
    }

    /// The name of a stored key with its prefix.
    pub(crate) fn whole_name(&self, key: &StoredKey) -> String {
        format!("{}{}", self.names().prefix(), key.as_str())
    }

    /// A pin that can be claimed: its epoch is greater than all that are known.
    ///
    /// The epoch is drawn before the claim is sent; if the claim loses, nobody sees it.
    pub(crate) fn new_pin(&self, selection: Arc<Selection>) -> Pin {
        Pin { selection, epoch: self.0.clock.next(), claimed_at: self.0.clock.now() }
    }

    /// A pin that can take the place of the one of epoch `from`.
    pub(crate) fn pin_after(&self, from: Epoch, selection: Arc<Selection>) -> Pin {
        let epoch = self.0.clock.after(from);
        Pin { epoch, ..self.new_pin(selection) }
    }

    /// Follows the clock of Redis from now on, if Redis reports the time.
    ///
    /// Called by whoever follows a server, before the server counts as there: `keep_time` alone
    /// might set the clock a moment after the first claim.
    pub(crate) async fn set_clock(&self) {
        if let Some(node) = self.servers().first() {
            let set = epochs::set_clock(&node, self.servers(), &self.0.clock).await;
            if let Err(error) = set {
                tracing::debug!(%error, "the shared session store does not report its time");
            }
        }
    }

    /// Whether pins can be read and written, in a cluster at each node.
    ///
    /// As [`unready`](Self::unready) says.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unready().is_none()
    }

    /// Why pins cannot be read and written, if so; in a cluster the first cause of a node.
    ///
    /// The commands of the protocol are tried at the start of each connection, after each refusal, and
    /// twice a minute, by this store or by the [`TieredStore`](crate::TieredStore) over it. Nothing is
    /// sent by this call.
    #[must_use]
    pub fn unready(&self) -> Option<Unready> {
        let nodes = self.servers().topology().borrow().nodes.clone();
        if nodes.is_empty() {
            return Some(Unready::Unreachable);
        }
        let cause = |node: &Arc<Node>| {
            // That changes are not reported is the business of near copies.
            node.untried_or_unready().filter(|cause| !cause.only_degrades())
        };
        nodes.iter().find_map(cause)
    }

    /// Waits until pins can be read and written, at most `limit`; says whether they can.
    ///
    /// A store serves without it; a program that needs Redis waits for it.
    pub async fn wait_ready(&self, limit: Duration) -> bool {
        let ready = async {
            loop {
                let nodes = self.servers().topology().borrow().nodes.clone();
                for node in nodes.iter().filter(|node| node.is_connected()) {
                    probing::try_node(self.protocol(), node).await;
                }
                if self.is_ready() {
                    break;
                }
                sleep(WAIT).await;
            }
        };
        timeout(limit, ready).await.is_ok()
    }

    /// Why pins cannot be read and written at `node`, if so. Silence is no cause: whoever follows a node
    /// knows of it by other means.
    pub(crate) async fn probe(&self, node: &Node) -> Option<Unready> {
        let found = protocol::probe(self.protocol(), node).await;
        found.filter(|cause| *cause != Unready::Unreachable)
    }

    /// The pin of `key` and its time left, in one round trip.
    ///
    /// Each epoch that is read is noted, so that those made here are greater even if another
    /// replica's clock was ahead.
    pub(crate) async fn read_pin(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
    ) -> Result<Option<FoundPin>, StoreError> {
        let found = protocol::read_pin(self.protocol(), key, expiry).await?;
        match &found {
            Some(FoundPin { pin, .. }) => {
                self.0.clock.saw(pin.epoch);
                self.0.counters.found.add();
            }
            None => self.0.counters.absent.add(),
        }
        Ok(found)
    }

    /// Renews a pin, and returns it as Redis holds it then.
    pub(crate) async fn renew_pin(
        &self,
        renewal: &Renewal,
    ) -> Result<Option<FoundPin>, StoreError> {
        let Inner { protocol, clock, counters, .. } = &*self.0;
        renew_counted(protocol, clock, counters, renewal).await
    }

    /// Whether a use of `pin` is to be told to Redis, where it has `left`: it has used up a quarter of its
    /// idle time, and its maximum age leaves it more than that.
    pub(crate) fn is_due(&self, expiry: &Expiry, pin: &Pin, left: Duration) -> bool {
        let is_used_up = |(idle, max_age)| {
            left <= idle - idle / 4
                && left + idle / 4 <= self.until(max_age, pin).unwrap_or_default()
        };
        expiry.limits().is_some_and(is_used_up)
    }

    /// The time until a pin has its maximum age, by the clock of Redis; `None` if nobody knows when it
    /// was claimed.
    pub(crate) fn until(&self, max_age: Duration, pin: &Pin) -> Option<Duration> {
        self.0.clock.until(max_age, pin.claimed_at)
    }

    /// How old a pin is by the clock of Redis, which noted when it was claimed.
    fn age(&self, pin: &Pin) -> Option<Duration> {
        age(pin.claimed_at, self.0.clock.now())
    }

    /// What to tell Redis of a use of `key` at this moment.
    pub(crate) fn renewal(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
        claimed_at: Option<SystemTime>,
        answer: Option<AnswerState>,
    ) -> Renewal {
        let (name, previous) = (self.names().current(key), self.names().previous(key));
        let cause = Cause::Used { expiry: *expiry, claimed_at, at: Instant::now(), answer };
        Renewal { name, previous, copy: None, cause }
    }

    /// Claims `key` for `pin`, unless there is a pin.
    pub(crate) async fn claim_pin(
        &self,
        key: &AffinityKey,
        pin: Pin,
        ttl: Duration,
    ) -> Result<Claim, StoreError> {
        let claim = protocol::claim_pin(self.protocol(), key, pin, ttl).await?;
        self.0.clock.saw(claim.pin.epoch);
        Ok(claim)
    }

    /// Moves the pin of `key` to `pin` if its epoch is still `from`.
    pub(crate) async fn move_pin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        pin: &Pin,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        Ok(self.seen(protocol::move_pin(self.protocol(), key, from, pin, expiry).await?))
    }

    /// Removes the pin of `key`; with `epoch`, only that generation.
    pub(crate) async fn release_pin(
        &self,
        key: &AffinityKey,
        epoch: Option<Epoch>,
    ) -> Result<bool, StoreError> {
        protocol::release_pin(self.protocol(), key, epoch).await
    }

    /// Moves the pin under a stored key.
    async fn move_stored(
        &self,
        key: &StoredKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let (name, pin) = (self.whole_name(key), self.pin_after(from, selection));
        Ok(self.seen(protocol::move_name(self.protocol(), &name, from, &pin, expiry).await?))
    }

    /// Future epochs are greater than that of the stored pin.
    fn seen(&self, standing: Option<Claim>) -> Option<Claim> {
        if let Some(claim) = &standing {
            self.0.clock.saw(claim.pin.epoch);
        }
        standing
    }
}

/// Renews a pin, which is counted apart from the calls of requests.
async fn renew_counted(
    protocol: &Protocol,
    clock: &EpochClock,
    counters: &Counters,
    renewal: &Renewal,
) -> Result<Option<FoundPin>, StoreError> {
    let call = Call::store(match renewal.cause {
        Cause::Used { .. } => "renew",
        Cause::Changed => "reread",
    });
    counters.renewals.add();
    let renewed = protocol::renew(protocol, clock, renewal).await;
    call.answered(&renewed, |found| if found.is_some() { "found" } else { "absent" });
    match &renewed {
        Ok(Some(found)) => clock.saw(found.pin.epoch),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "a pin could not be renewed"),
    }
    renewed
}

impl AffinityStore for RedisStore {
    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        let found = self.read_pin(key, expiry).await?;
        if let Some(found) = &found
            && self.is_due(expiry, &found.pin, found.left)
        {
            let claimed_at = Some(found.pin.claimed_at);
            self.0.renewals.soon(self.renewal(key, expiry, claimed_at, None));
        }
        Ok(found.map(|found| found.pin).into())
    }

    fn renew(&self, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) -> bool {
        if let Some((idle, _)) = expiry.limits() {
            let renewal = self.renewal(key, expiry, None, Some(answer));
            match answer {
                AnswerState::Running => self.0.renewals.soon(renewal),
                AnswerState::Ended => self.0.renewals.later(renewal, idle / 4),
            }
        }
        true
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

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("names", self.names()).finish_non_exhaustive()
    }
}
