//! One server of pins: its connections, its breaker, and how well its changes are seen here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::types::config::Server;
use tokio::time::Instant;

use super::confirm::Barrier;
use super::conn::Conn;
use super::connection::Connection;
use super::guard::Guard;
use super::link::Link;
use super::options::{RedisConfigError, RedisOptions};
use super::readers::Readers;
use super::stats::Counters;

/// How long a node is remembered that no list names, after a redirection to it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What a burst of invalidations may fill before the near copy has to be doubted.
const INVALIDATIONS: usize = 512;

/// A server, or what a Sentinel set says is the primary.
pub(crate) struct Node {
    /// In a cluster.
    server: Option<Server>,
    /// What near copies follow goes over this one.
    first: Connection,
    more: Vec<Connection>,
    /// Counts calls: each goes over another connection.
    turn: AtomicUsize,
    readers: Readers,
    /// For commands that its cluster redirects to it for once; started by the first of them.
    asking: Connection,
    /// For waits for a replica, which hold up everything behind them.
    waiting: Connection,
    pub(super) barrier: Barrier,
    named: Mutex<Option<Instant>>,
    pub(super) guard: Guard,
    pub(crate) link: Link,
}

impl Node {
    /// Connects in the background, to `server` or to what the options name.
    pub(super) fn new(
        options: &RedisOptions,
        server: Option<Server>,
        counters: &Arc<Counters>,
    ) -> Result<Arc<Self>, RedisConfigError> {
        let first = Connection::new(options, server.as_ref(), INVALIDATIONS)?;
        let connection = || Connection::new(options, server.as_ref(), 1);
        let (asking, waiting) = (connection()?, connection()?);
        let more: Vec<_> =
            (1..options.connections).map(|_| connection()).collect::<Result<_, _>>()?;
        let waits = options.replicated.then_some(&waiting);
        [&first].into_iter().chain(&more).chain(waits).for_each(Connection::start);
        let readers = Readers::new(options, server.as_ref());
        Ok(Arc::new(Self {
            server,
            first,
            more,
            turn: AtomicUsize::new(0),
            readers,
            asking,
            waiting,
            barrier: Barrier::default(),
            named: Mutex::new(None),
            guard: Guard::new(counters.clone(), options.command_timeout / 4),
            link: Link::default(),
        }))
    }

    pub(super) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// One of the connections, each in its turn.
    fn shared(&self) -> &Connection {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.more.len() + 1);
        turn.checked_sub(1).and_then(|turn| self.more.get(turn)).unwrap_or(&self.first)
    }

    /// One of the connections.
    pub(super) fn conn(&self, limit: Duration) -> Conn {
        Conn::new(&self.shared().client(), limit)
    }

    /// The connection for reads on this thread, else one of the others.
    pub(super) fn reader(&self, limit: Duration) -> Conn {
        match self.readers.here(&self.first.client()) {
            Some(reader) => Conn::new(&reader, limit),
            None => self.conn(limit),
        }
    }

    /// A connection for commands that another node has redirected here by `ASK`.
    pub(super) fn asking(&self, limit: Duration) -> Conn {
        self.asking.start();
        Conn::asking(&self.asking.client(), limit)
    }

    /// The connection that waits for replicas of Redis; there is one where pins wait for them.
    pub(super) fn waiting(&self, limit: Duration) -> Conn {
        Conn::new(&self.waiting.client(), limit)
    }

    /// The connection that near copies follow. Where it is the only one, it is not told of the
    /// changes that are made here.
    pub(crate) fn followed(&self) -> &Connection {
        &self.first
    }

    /// The server was seen to answer: calls need not wait for the breaker to try it.
    pub(crate) fn is_back(&self) {
        self.guard.close();
    }

    /// Until what is given back is dropped, calls do not try a server that gives no sign of life.
    pub(crate) fn watch(&self) -> impl Drop {
        self.guard.watch()
    }

    /// The server has given a sign of life.
    pub(crate) fn is_alive(&self) {
        self.guard.is_alive();
    }

    /// A redirection has named this node.
    pub(super) fn was_named(&self) {
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether one has lately.
    pub(super) fn is_remembered(&self) -> bool {
        let named = *self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.is_some_and(|named| named.elapsed() < REMEMBERED)
    }
}
