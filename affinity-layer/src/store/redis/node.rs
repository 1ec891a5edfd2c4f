//! One server of pins: its connections, its breaker, and how well its changes are seen here.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use fred::prelude::{Client, Pool};
use fred::types::config::Server;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::clients::Clients;
use super::confirm::Barrier;
use super::conn::Conn;
use super::connection;
use super::guard::Guard;
use super::link::Link;
use super::options::{RedisConfigError, RedisOptions};
use super::readers::Readers;
use super::stats::Counters;

/// How long a node is remembered that no list names, after a redirection to it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A server, or what a Sentinel set says is the primary.
pub(crate) struct Node {
    /// In a cluster.
    server: Option<Server>,
    pool: Pool,
    readers: Readers,
    /// For commands that its cluster redirects to it for once; connected by the first of them.
    asking: Client,
    asked: OnceLock<AbortHandle>,
    /// For waits for a replica, which hold up everything behind them.
    waiting: Client,
    pub(super) barrier: Barrier,
    named: Mutex<Option<Instant>>,
    tasks: Vec<AbortHandle>,
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
        let Clients { pool, asking, waiting } = options.clients(server.as_ref())?;
        let waits = options.replicated.then_some(&waiting);
        let mut tasks: Vec<_> = pool.clients().iter().chain(waits).map(start).collect();
        let readers = Readers::new(options, server.as_ref());
        tasks.push(tokio::spawn(readers.follow(pool.next())).abort_handle());
        Ok(Arc::new(Self {
            server,
            pool,
            readers,
            asking,
            asked: OnceLock::new(),
            waiting,
            barrier: Barrier::default(),
            named: Mutex::new(None),
            tasks,
            guard: Guard::new(counters.clone(), options.command_timeout / 4),
            link: Link::default(),
        }))
    }

    pub(super) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// One of the connections.
    pub(super) fn conn(&self, limit: Duration) -> Conn {
        Conn::new(self.pool.next(), limit)
    }

    /// The connection for reads on this thread, else one of the others.
    pub(super) fn reader(&self, limit: Duration) -> Conn {
        let shared = self.pool.next();
        match self.readers.here(shared) {
            Some(reader) => Conn::new(&reader, limit),
            None => Conn::new(shared, limit),
        }
    }

    /// A connection for commands that another node has redirected here by `ASK`.
    pub(super) fn asking(&self, limit: Duration) -> Conn {
        self.asked.get_or_init(|| start(&self.asking));
        Conn::asking(&self.asking, limit)
    }

    /// The connection that waits for replicas of Redis; there is one where pins wait for them.
    pub(super) fn waiting(&self, limit: Duration) -> Conn {
        Conn::new(&self.waiting, limit)
    }

    /// The connection that near copies follow. Where it is the only one, it is not told of the
    /// changes that are made here.
    pub(crate) fn followed(&self) -> &Client {
        self.pool.next()
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

impl Drop for Node {
    fn drop(&mut self) {
        for task in self.tasks.iter().chain(self.asked.get()) {
            task.abort();
        }
    }
}

fn start(client: &Client) -> AbortHandle {
    tokio::spawn(connection::stay(client.clone())).abort_handle()
}
