//! Which server has the pin of a name: the only one there is, or the one that a cluster says.
//!
//! The client library is asked for single connections only, and commands are redirected here, because
//! a claim stands or falls with the node that runs it. While a slot moves, both nodes know of it: the
//! old one runs commands for keys that it still has and sends away those for others (`ASK`), and the
//! new one runs what is announced by `ASKING`. Announced by mistake, a claim would win there although
//! the pin stands on the old node. Therefore:
//!
//! 1. A command goes to the node that serves its slot as far as is known, and on to another one only
//!    as an answer says, within the time of one call.
//! 2. `ASKING` goes over a connection of its own. It carries nothing that the old node did not send.
//! 3. A command that was not answered is not sent again.

use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::types::config::Server;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::conn::Conn;
use super::map::{Map, Range};
use super::node::Node;
use super::options::{RedisConfigError, RedisOptions};
use super::slots::{Redirection, Served, View};
use super::stats::Counters;

/// How often one command may be redirected.
const REDIRECTIONS: usize = 8;

/// The servers of a store.
pub(crate) struct Servers {
    options: RedisOptions,
    counters: Arc<Counters>,
    map: watch::Sender<Map>,
    /// The map may be out of date.
    doubt: Notify,
}

impl Servers {
    /// Connects in the background.
    pub(super) fn new(
        options: &RedisOptions,
        counters: &Arc<Counters>,
    ) -> Result<Self, RedisConfigError> {
        let mut map = Map::default();
        if !options.is_cluster() {
            map.nodes.push(Node::new(options, None, counters)?);
        }
        Ok(Self {
            options: options.clone(),
            counters: counters.clone(),
            map: watch::Sender::new(map),
            doubt: Notify::new(),
        })
    }

    /// The longest wait for one call, redirections included.
    pub(super) fn limit(&self) -> Duration {
        self.options.command_timeout
    }

    /// The node that has the pin of `name`, `None` while that is not known.
    pub(crate) fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.map.borrow().node(name).cloned()
    }

    /// The first node in order.
    pub(super) fn first(&self) -> Option<Arc<Node>> {
        self.map.borrow().nodes.first().cloned()
    }

    /// The nodes, and all that come and go.
    pub(crate) fn map(&self) -> watch::Receiver<Map> {
        self.map.subscribe()
    }

    /// Something was seen that may mean another map.
    pub(crate) fn suspect(&self) {
        self.doubt.notify_one();
    }

    /// Ends when something was.
    pub(super) async fn suspected(&self) {
        self.doubt.notified().await;
    }

    /// Runs commands where the pin of `name` is.
    pub(super) async fn run<T, F>(
        &self,
        name: &str,
        commands: impl Fn(Conn) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.run_over(Node::conn, name, commands).await
    }

    /// The same over a connection of choice.
    pub(super) async fn run_over<T, F>(
        &self,
        conn: fn(&Node, Duration) -> Conn,
        name: &str,
        commands: impl Fn(Conn) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let node = self.node(name).ok_or_else(unknown)?;
        let until = Instant::now() + self.limit();
        match commands(conn(&node, self.limit())).await {
            Ok(answer) => Ok(answer),
            Err(error) => Box::pin(self.redirect(node, error, until, commands)).await,
        }
    }

    /// Goes on with commands as far as answers say where.
    async fn redirect<T, F>(
        &self,
        mut node: Arc<Node>,
        mut error: Error,
        until: Instant,
        commands: impl Fn(Conn) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        for _ in 0..REDIRECTIONS {
            let Some(redirection) = self.redirected(&error, &node) else { break };
            node = self.named(&redirection.to)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // To the client it would mean no limit.
                return Err(too_long());
            }
            let conn = if redirection.ask { node.asking(left) } else { node.conn(left) };
            timeout_at(until, conn.connected()).await.map_err(|_| too_long())??;
            error = match commands(conn).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
        }
        Err(error)
    }

    /// Where an answer sends us. All but `ASK` may mean that slots have moved.
    fn redirected(&self, error: &Error, from: &Node) -> Option<Redirection> {
        let redirection = Redirection::of(error, from.server()?);
        let silent = matches!(
            error.kind(),
            ErrorKind::Timeout | ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Cluster
        );
        if silent && redirection.as_ref().is_none_or(|redirection| !redirection.ask) {
            self.suspect();
        }
        redirection
    }

    /// The node that a redirection names; it may be new.
    fn named(&self, server: &Server) -> Result<Arc<Node>, Error> {
        let mut found = self.map.borrow().at(server).cloned();
        if found.is_none() {
            let node = self.connect(server.clone()).map_err(|error| refused(&error))?;
            self.map.send_if_modified(|map| {
                found = map.at(server).cloned();
                let is_new = found.is_none();
                if is_new {
                    map.nodes.push(node.clone());
                }
                is_new
            });
            found = found.or(Some(node));
        }
        let node = found.ok_or_else(unknown)?;
        node.was_named();
        Ok(node)
    }

    pub(super) fn connect(&self, server: Server) -> Result<Arc<Node>, RedisConfigError> {
        Node::new(&self.options, Some(server), &self.counters)
    }

    /// Takes a view over. Nodes that it does not name are given up, unless a redirection did lately:
    /// no list names a node before it has a slot. `others` are used where they are named.
    pub(super) fn adopt(&self, view: View, others: &[Arc<Node>]) -> Result<(), RedisConfigError> {
        let known = [self.map.borrow().nodes.as_slice(), others].concat();
        let mut map = Map::default();
        for Served { first, last, by } in view.served {
            let found = map.at(&by).or(known.iter().find(|node| node.server() == Some(&by)));
            let node = found.cloned().map_or_else(|| self.connect(by.clone()), Ok)?;
            if map.at(&by).is_none() {
                map.nodes.push(node.clone());
            }
            map.ranges.push(Range { first, last, node });
        }
        map.nodes.sort_by(|a, b| a.server().cmp(&b.server()));
        for node in known {
            if node.is_remembered() && node.server().is_some_and(|server| map.at(server).is_none())
            {
                map.nodes.push(node);
            }
        }
        self.map.send_replace(map);
        Ok(())
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Cluster, "it is not known yet who has the pin")
}

fn too_long() -> Error {
    Error::new(ErrorKind::Timeout, "a redirection took too long")
}

fn refused(error: &RedisConfigError) -> Error {
    Error::new(ErrorKind::Config, error.to_string())
}
