//! One server: its connections, its breakers, and how well its changes are seen here.
//!
//! | connection | carries | why apart |
//! |---|---|---|
//! | `first`, and `more` | calls in turn; the first one also brings invalidations | |
//! | `per_thread` | reads of threads that have a runtime of their own | a call over another thread's connection has to wake that thread |
//! | `asking` | what a cluster redirects here by `ASK` | `ASKING` applies to the next command of the connection, whoever sent it |
//! | `waiting` | `WAIT`, and what follows from it | it holds up everything behind it |
//!
//! Everything about a server is here and nothing is shared between servers but the counters. So in
//! a cluster a node that is lost or frozen is refused by its own breaker, and the others do not
//! notice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::prelude::ClientLike;
use fred::types::config::Server;
use tokio::time::Instant;

use super::condition::Condition;
use super::connection::{Commands, ReplicaWait, SupervisedConnection, ThreadConnections};
use super::errors::RedisConfigError;
use super::freshness::Freshness;
use super::guard::{Counters, Guard};
use super::options::RedisOptions;
use super::unready::Unready;

/// How long a node that no list names is remembered after a redirection to it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The least time for what is read in the background.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a burst of invalidations may fill before the near copy has to be doubted.
///
/// Each unread one takes some 0.9 KB. A longer queue would only defer the doubt.
const INVALIDATIONS: usize = 512;

/// A server, or the primary that Sentinels name.
///
/// `Servers` keeps them; a node lives as long as the topology or a call holds it, and its
/// connections end with it.
pub(crate) struct Node {
    /// Its address in a cluster.
    server: Option<Server>,
    /// Near copies follow this one.
    first: SupervisedConnection,
    more: Vec<SupervisedConnection>,
    /// Counts calls: they go over the connections in turn.
    turn: AtomicUsize,
    per_thread: ThreadConnections,
    /// For commands that the cluster redirects here by `ASK`; started by the first of them.
    asking: SupervisedConnection,
    /// For `WAIT`, which holds up everything behind it.
    waiting: SupervisedConnection,
    pub(super) replica_wait: ReplicaWait,
    named: Mutex<Option<Instant>>,
    pub(super) guard: Guard,
    pub(crate) freshness: Freshness,
    pub(crate) condition: Arc<Condition>,
}

impl Node {
    /// Connects in the background, to `server` or to what the options name.
    pub(super) fn new(
        options: &RedisOptions,
        server: Option<Server>,
        counters: &Arc<Counters>,
    ) -> Result<Arc<Self>, RedisConfigError> {
        let first = SupervisedConnection::new(options, server.as_ref(), INVALIDATIONS)?;
        let connection = || SupervisedConnection::new(options, server.as_ref(), 1);
        let (asking, waiting) = (connection()?, connection()?);
        let more: Vec<_> =
            (1..options.connections).map(|_| connection()).collect::<Result<_, _>>()?;
        let waits = options.replicated.then_some(&waiting);
        [&first].into_iter().chain(&more).chain(waits).for_each(SupervisedConnection::start);
        let condition = Arc::new(Condition::default());
        let per_thread = ThreadConnections::new(options, server.as_ref());
        Ok(Arc::new(Self {
            server,
            first,
            more,
            turn: AtomicUsize::new(0),
            per_thread,
            asking,
            waiting,
            replica_wait: ReplicaWait::default(),
            named: Mutex::new(None),
            guard: Guard::new(counters.clone(), condition.clone(), options.command_timeout / 4),
            freshness: Freshness::default(),
            condition,
        }))
    }

    /// Whether it was found as a node of a cluster.
    pub(crate) fn is_of_cluster(&self) -> bool {
        self.server.is_some()
    }

    /// Its address in a cluster; `None` for the only server.
    pub(super) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// The shared connections in turn.
    fn shared(&self) -> &SupervisedConnection {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.more.len() + 1);
        turn.checked_sub(1).and_then(|turn| self.more.get(turn)).unwrap_or(&self.first)
    }

    /// One of the shared connections.
    pub(super) fn commands(&self, limit: Duration) -> Commands {
        over(self.shared(), limit)
    }

    /// One of the shared connections, for what no request waits for: a slow server is heard out.
    pub(super) fn patient(&self, limit: Duration) -> Commands {
        self.commands(limit.max(PATIENCE))
    }

    /// This thread's own connection for reads, else a shared one.
    ///
    /// Only reads that change nothing go over it. A change sent from here would be reported to the
    /// connection that near copies follow, and would drop the copy that its maker has just kept.
    pub(super) fn reader(&self, limit: Duration) -> Commands {
        match self.per_thread.here(&self.first.client()) {
            Some((own, doubt)) => Commands::new(&own, limit).doubting(&doubt),
            None => self.commands(limit),
        }
    }

    /// The connection that near copies follow, for a command that must not void the copy here: Redis
    /// does not report it to its sender.
    pub(super) fn followed_commands(&self, limit: Duration) -> Commands {
        over(&self.first, limit)
    }

    /// A connection for commands that another node has redirected here by `ASK`.
    pub(super) fn asking(&self, limit: Duration) -> Commands {
        self.asking.start();
        Commands::asking(&self.asking.client(), limit).doubting(self.asking.doubt())
    }

    /// The connection that waits for replicas of Redis. It is started only where pins wait for them.
    pub(super) fn waiting(&self, limit: Duration) -> Commands {
        over(&self.waiting, limit)
    }

    /// The connection that near copies follow. If it is the only one, Redis does not report to it the
    /// changes that are made here.
    pub(crate) fn followed(&self) -> &SupervisedConnection {
        &self.first
    }

    /// Whether the shared connection is there.
    pub(super) fn is_connected(&self) -> bool {
        self.first.client().is_connected()
    }

    /// Why the server cannot be used as it should, if so. Before the first attempt to connect has
    /// ended, nothing is known.
    pub(crate) fn unready(&self) -> Option<Unready> {
        if self.is_connected() { self.condition.unready() } else { self.first.doubt().failure() }
    }

    /// The same before it was tried, for who has no other sign that it is there: a server that was
    /// never tried is as good as away.
    pub(super) fn untried_or_unready(&self) -> Option<Unready> {
        let untried = || (!self.condition.is_tried()).then_some(Unready::Unreachable);
        match self.is_connected() {
            true => self.condition.unready().or_else(untried),
            false => Some(self.first.doubt().failure().unwrap_or(Unready::Unreachable)),
        }
    }

    /// Leaves a read-only server for the one that the address, Sentinel or cluster names now.
    pub(crate) fn leave(&self) {
        if self.condition.leaves() {
            let all = [&self.first, &self.asking, &self.waiting].into_iter().chain(&self.more);
            all.for_each(|connection| connection.doubt().replace());
        }
    }

    /// The server was seen to answer: calls do not have to wait for the breaker to try it.
    pub(crate) fn is_back(&self) {
        self.guard.close();
    }

    /// Until the returned guard is dropped, calls do not try a server that gives no sign of life.
    pub(crate) fn watch(&self) -> impl Drop {
        self.guard.watch()
    }

    /// Whether [`watch`](Self::watch) is held.
    pub(super) fn is_watched(&self) -> bool {
        self.guard.is_watched()
    }

    /// The server has given a sign of life.
    pub(crate) fn is_alive(&self) {
        self.guard.is_alive();
    }

    /// A redirection has named this node.
    pub(super) fn was_named(&self) {
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a redirection has named it lately.
    pub(super) fn is_remembered(&self) -> bool {
        let named = *self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.is_some_and(|named| named.elapsed() < REMEMBERED)
    }
}

/// Commands on the present client of a connection; an answer that makes no sense puts the
/// connection in doubt.
fn over(connection: &SupervisedConnection, limit: Duration) -> Commands {
    Commands::new(&connection.client(), limit).doubting(connection.doubt())
}
