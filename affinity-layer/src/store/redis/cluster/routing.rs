//! Sends each command to the server that holds the pin of a name, and follows redirections.
//!
//! The client library only supplies single connections. Commands are redirected here, because a claim
//! is only as good as the node that runs it. While a slot moves, both nodes serve it: the old one runs
//! commands for keys that it still holds and redirects the others (`ASK`), and the new one runs what
//! `ASKING` announces. A claim announced by mistake would win there although the pin is on the old
//! node. Therefore:
//!
//! 1. A command goes to the node that serves its slot as far as is known, and on to another one only
//!    as an answer says, within the time of one call.
//! 2. `ASKING` goes over a connection of its own. It carries nothing that the old node did not send.
//! 3. A command that was not answered is not sent again.

use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::prelude::FromValue;
use fred::types::Value;
use fred::types::config::Server;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::super::connection::Commands;
use super::super::errors::{RedisConfigError, store_error};
use super::super::guard::Counters;
use super::super::node::Node;
use super::super::options::RedisOptions;
use super::redirection::Redirection;
use super::topology::{Range, Topology};
use super::view::{Served, View};
use crate::{StoreError, StoreErrorKind};

/// How often one command may be redirected.
const REDIRECTIONS: usize = 8;

/// The servers of a store.
///
/// It makes the nodes, and says by `doubt` that the topology should be asked for again.
pub(crate) struct Servers {
    options: RedisOptions,
    counters: Arc<Counters>,
    topology: watch::Sender<Topology>,
    /// The topology may be out of date.
    doubt: Notify,
}

impl Servers {
    /// Connects in the background: to the one server at once, to the nodes of a cluster once they are known.
    pub(crate) fn new(
        options: &RedisOptions,
        counters: &Arc<Counters>,
    ) -> Result<Self, RedisConfigError> {
        let mut topology = Topology::default();
        if !options.is_cluster() {
            topology.nodes.push(Node::new(options, None, counters)?);
        }
        Ok(Self {
            options: options.clone(),
            counters: counters.clone(),
            topology: watch::Sender::new(topology),
            doubt: Notify::new(),
        })
    }

    /// The longest wait for one call, redirections included.
    pub(crate) fn command_timeout(&self) -> Duration {
        self.options.command_timeout
    }

    /// Whether two names may be on two servers.
    pub(crate) fn are_of_cluster(&self) -> bool {
        self.options.is_cluster()
    }

    /// The node that holds the pin of `name`, `None` while that is not known.
    pub(crate) fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.topology.borrow().node(name).cloned()
    }

    /// The first node in order.
    pub(crate) fn first(&self) -> Option<Arc<Node>> {
        self.topology.borrow().nodes.first().cloned()
    }

    /// The topology, and each one that replaces it.
    pub(crate) fn topology(&self) -> watch::Receiver<Topology> {
        self.topology.subscribe()
    }

    /// Something was seen that may mean a changed topology.
    pub(crate) fn suspect(&self) {
        self.doubt.notify_one();
    }

    /// Waits for [`suspect`](Self::suspect).
    pub(super) async fn suspected(&self) {
        self.doubt.notified().await;
    }

    /// Makes a call that is about `name`, unless its server was seen to fail.
    pub(crate) async fn call<T>(
        &self,
        name: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.node_of(name)?.guard.call(call).await
    }

    /// The same for a claim, a move or a renewal, unless its server was seen to refuse them.
    pub(crate) async fn write<T>(
        &self,
        name: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.node_of(name)?.guard.write(call).await
    }

    /// The same for a release: a server that refuses it still answers reads.
    pub(crate) async fn release<T>(
        &self,
        name: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.node_of(name)?.guard.release(call).await
    }

    /// The node that holds the pin of `name`; an error that is counted while that is not known.
    pub(crate) fn node_of(&self, name: &str) -> Result<Arc<Node>, StoreError> {
        self.node(name).ok_or_else(|| {
            self.suspect();
            self.counters.refused.add();
            StoreError::new(StoreErrorKind::Unavailable, "no server is known for it")
        })
    }

    /// Runs a script on the node that holds the pin of `name`.
    pub(crate) async fn eval<T: FromValue>(
        &self,
        script: &'static str,
        name: &str,
        args: Vec<Value>,
    ) -> Result<T, StoreError> {
        let run = |commands: Commands| {
            let args = args.clone();
            async move { commands.eval(script, name, args).await }
        };
        self.run(name, run).await.map_err(store_error)
    }

    /// Runs commands on the node that holds the pin of `name`.
    pub(crate) async fn run<T, F>(
        &self,
        name: &str,
        send: impl Fn(Commands) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.run_over(Node::commands, name, send).await
    }

    /// The same over a chosen connection of the node.
    ///
    /// # Errors
    ///
    /// That of the command, as the library gives it. Where the node is not known, a cluster error
    /// that says so.
    pub(crate) async fn run_over<T, F>(
        &self,
        over: fn(&Node, Duration) -> Commands,
        name: &str,
        send: impl Fn(Commands) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let node = self.node(name).ok_or_else(unknown)?;
        let until = Instant::now() + self.command_timeout();
        match send(over(&node, self.command_timeout())).await {
            Ok(answer) => Ok(answer),
            Err(error) => Box::pin(self.redirect(node, error, until, send)).await,
        }
    }

    /// Goes on with commands as far as answers say where.
    ///
    /// At most eight times, and within the time of the one call: two nodes that send a command to
    /// each other must not keep it for ever.
    async fn redirect<T, F>(
        &self,
        mut node: Arc<Node>,
        mut error: Error,
        until: Instant,
        send: impl Fn(Commands) -> F,
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
            let commands = if redirection.ask { node.asking(left) } else { node.commands(left) };
            timeout_at(until, commands.connected()).await.map_err(|_| too_long())??;
            error = match send(commands).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
        }
        Err(error)
    }

    /// Where a redirection sends us. All but `ASK` may mean that slots have moved.
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
        let mut found = self.topology.borrow().at(server).cloned();
        if found.is_none() {
            let node = self.connect(server.clone()).map_err(|error| refused(&error))?;
            self.topology.send_if_modified(|topology| {
                found = topology.at(server).cloned();
                let is_new = found.is_none();
                if is_new {
                    topology.nodes.push(node.clone());
                }
                is_new
            });
            found = found.or(Some(node));
        }
        let node = found.ok_or_else(unknown)?;
        node.was_named();
        Ok(node)
    }

    /// A node for a server of the cluster; it connects in the background.
    pub(super) fn connect(&self, server: Server) -> Result<Arc<Node>, RedisConfigError> {
        Node::new(&self.options, Some(server), &self.counters)
    }

    /// Adopts a view. Nodes that it does not name are dropped, unless a redirection named them lately: no
    /// list names a node before it has a slot. `others` are reused if the view names them.
    pub(super) fn adopt(&self, view: View, others: &[Arc<Node>]) -> Result<(), RedisConfigError> {
        let known = [self.topology.borrow().nodes.as_slice(), others].concat();
        let mut topology = Topology::default();
        for Served { first, last, by } in view.served {
            let found = topology.at(&by).or(known.iter().find(|node| node.server() == Some(&by)));
            let node = found.cloned().map_or_else(|| self.connect(by.clone()), Ok)?;
            if topology.at(&by).is_none() {
                topology.nodes.push(node.clone());
            }
            topology.ranges.push(Range { first, last, node });
        }
        topology.nodes.sort_by(|a, b| a.server().cmp(&b.server()));
        for node in known {
            if node.is_remembered()
                && node.server().is_some_and(|server| topology.at(server).is_none())
            {
                topology.nodes.push(node);
            }
        }
        self.topology.send_replace(topology);
        Ok(())
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Cluster, "no node is known yet to hold the pin")
}

fn too_long() -> Error {
    Error::new(ErrorKind::Timeout, "a redirection took too long")
}

fn refused(error: &RedisConfigError) -> Error {
    Error::new(ErrorKind::Config, error.to_string())
}
