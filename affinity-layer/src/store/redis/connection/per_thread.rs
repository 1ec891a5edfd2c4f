//! Connections for reads on threads that have a runtime of their own.
//!
//! A server that runs one single-threaded runtime for each processor, as the gateway does, would
//! send each read to the thread where the shared connection lives: that thread is woken, writes, is
//! woken by the answer, and wakes the first one. With a connection of its own, the thread does all
//! of it in its own loop.
//!
//! 1. Only threads with a current-thread runtime get one, and not the thread where the store was
//!    made: there the shared connection is at home.
//! 2. It is made by the first read while the shared one is connected. Until it is ready, reads go
//!    over the shared one.
//! 3. It is replaced with the shared client, and at most once a second.
//! 4. Only reads use it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use fred::prelude::{Client, ClientLike, Server};
use thread_local::ThreadLocal;
use tokio::runtime::{self, Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::super::options::RedisOptions;
use super::client::RelayedClient;
use super::doubt::ConnectionDoubt;

/// Between two connections of a thread. Until then, its reads go over a shared one.
const PAUSE: Duration = Duration::from_secs(1);

/// Longer than any read that is worth waiting for.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// The connections to one server that belong to single threads.
///
/// A call over another thread's connection wakes that thread and is woken by it, which takes longer
/// than the call. Changes still go over the shared connections: near copies follow one of these, and
/// Redis does not report to a connection its own changes.
pub(crate) struct ThreadConnections {
    options: RedisOptions,
    server: Option<Server>,
    /// The runtime of the shared connections.
    home: Option<runtime::Id>,
    connections: ThreadLocal<RefCell<Option<ThreadConnection>>>,
}

impl ThreadConnections {
    /// For a server whose shared connections live in the current runtime.
    pub(crate) fn new(options: &RedisOptions, server: Option<&Server>) -> Self {
        let home = Handle::try_current().ok().map(|home| home.id());
        let (options, server) = (options.clone(), server.cloned());
        Self { options, server, home, connections: ThreadLocal::new() }
    }

    /// The connection of this thread, if there is one. It is made only while the `shared` one is
    /// connected, so that not every thread looks for a server that is away. When the shared client
    /// is replaced, this one is replaced too: behind a Sentinel the new one may be at another server,
    /// and reads must go where changes go.
    pub(crate) fn here(&self, shared: &Client) -> Option<(Client, Arc<ConnectionDoubt>)> {
        let runtime = Handle::try_current().ok()?;
        let is_of_one_thread = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        if !is_of_one_thread || self.home == Some(runtime.id()) {
            return None;
        }
        let place = (runtime.id(), shared.id());
        let mut own = self.connections.get_or_default().try_borrow_mut().ok()?;
        if own.as_ref().is_none_or(|own| own.is_over(place)) {
            if !shared.is_connected() {
                return None;
            }
            let client = RelayedClient::new(&self.options, self.server.as_ref(), 1).ok()?;
            if let Some(former) = own.replace(ThreadConnection::start(client, place)) {
                tokio::spawn(former.retire());
            }
        }
        own.as_ref()?.connected(place)
    }
}

/// One thread's connection, and the task that keeps it.
struct ThreadConnection {
    client: Client,
    /// The runtime that it lives in.
    runtime: runtime::Id,
    /// The shared client at the time it was made.
    shared: String,
    since: Instant,
    doubt: Arc<ConnectionDoubt>,
    /// Ends with the connection.
    task: JoinHandle<()>,
}

impl ThreadConnection {
    /// Connects on the present runtime.
    fn start(relayed: RelayedClient, (runtime, shared): (runtime::Id, &str)) -> Self {
        let doubt = Arc::<ConnectionDoubt>::default();
        let client = relayed.client().clone();
        let (checked, doubted) = (client.clone(), doubt.clone());
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = relayed.run() => {}
                () = doubted.is_lost(&checked) => {}
            }
        });
        Self { client, runtime, shared: shared.to_owned(), since: Instant::now(), doubt, task }
    }

    /// Whether it is time for another one.
    fn is_over(&self, place: (runtime::Id, &str)) -> bool {
        (!self.is_at(place) || self.task.is_finished()) && self.since.elapsed() >= PAUSE
    }

    /// Whether it was made in this runtime and beside this shared client.
    fn is_at(&self, place: (runtime::Id, &str)) -> bool {
        (self.runtime, self.shared.as_str()) == place
    }

    /// The client, if it can be used right now.
    fn connected(&self, place: (runtime::Id, &str)) -> Option<(Client, Arc<ConnectionDoubt>)> {
        let stands = self.is_at(place) && !self.task.is_finished() && self.client.is_connected();
        stands.then(|| (self.client.clone(), self.doubt.clone()))
    }

    /// Lets the reads that are under way end first.
    async fn retire(self) {
        sleep(UNDER_WAY).await;
    }
}

impl Drop for ThreadConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
