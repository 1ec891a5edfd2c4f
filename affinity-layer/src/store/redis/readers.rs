//! Connections for reads, on threads that have a runtime of their own.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::error::Error;
use fred::prelude::{Client, ClientLike, EventInterface, Server};
use thread_local::ThreadLocal;
use tokio::runtime::{self, Handle, RuntimeFlavor};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::options::RedisOptions;

/// Between two connections of a thread. Until then, its reads go over a shared one.
const PAUSE: Duration = Duration::from_secs(1);

/// Longer than any read that is worth waiting for.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// The connections to one server that belong to single threads.
///
/// A call over a connection that lives in another thread wakes that thread, and is woken by it, which
/// takes longer than the call. Changes go over the shared connections all the same: near copies follow
/// one of these and are not told of what it changes itself.
pub(super) struct Readers {
    options: RedisOptions,
    server: Option<Server>,
    /// The runtime of the shared connections.
    home: Option<runtime::Id>,
    readers: ThreadLocal<RefCell<Option<Reader>>>,
    generation: Arc<AtomicU64>,
}

impl Readers {
    /// For a server whose other connections are made in the runtime of now.
    pub(super) fn new(options: &RedisOptions, server: Option<&Server>) -> Self {
        let home = Handle::try_current().ok().map(|home| home.id());
        let (options, server) = (options.clone(), server.cloned());
        Self { options, server, home, readers: ThreadLocal::new(), generation: Arc::default() }
    }

    /// The connection of this thread, while there is one. One is made where there is a `shared` one: a
    /// server that is away is looked for by that, and not by every thread.
    pub(super) fn here(&self, shared: &Client) -> Option<Client> {
        let runtime = Handle::try_current().ok()?;
        let is_of_one_thread = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        if !is_of_one_thread || self.home == Some(runtime.id()) {
            return None;
        }
        let place = (runtime.id(), self.generation.load(Ordering::Acquire));
        let mut reader = self.readers.get_or_default().try_borrow_mut().ok()?;
        if reader.as_ref().is_none_or(|reader| reader.is_over(place)) {
            if !shared.is_connected() {
                return None;
            }
            let client = self.options.client(self.server.as_ref(), 1).ok()?;
            if let Some(former) = reader.replace(Reader::start(client, place)) {
                tokio::spawn(former.retire());
            }
        }
        reader.as_ref()?.connected().cloned()
    }

    /// Has the connections made anew when `shared` has gone to another server, as it may behind a
    /// Sentinel: reads are to go where changes do.
    pub(super) fn follow(&self, shared: &Connection) -> impl Future<Output = ()> + Send + 'static {
        let (clients, generation) = (shared.clients(), self.generation.clone());
        async move {
            let (mut reconnected, mut last) = (clients.borrow().reconnect_rx(), None);
            loop {
                let server = match reconnected.recv().await {
                    Ok(server) => Some(server),
                    Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => {
                        // Another client has taken its place.
                        reconnected = clients.borrow().reconnect_rx();
                        continue;
                    }
                };
                if server.is_none() || server != last {
                    generation.fetch_add(1, Ordering::AcqRel);
                }
                last = server;
            }
        }
    }
}

struct Reader {
    client: Client,
    /// The runtime that it lives in, and the generation.
    place: (runtime::Id, u64),
    since: Instant,
    /// Ends with the connection.
    task: JoinHandle<Result<(), Error>>,
}

impl Reader {
    fn start(client: Client, place: (runtime::Id, u64)) -> Self {
        let task = client.connect();
        Self { client, place, since: Instant::now(), task }
    }

    /// Whether it is time for another one.
    fn is_over(&self, place: (runtime::Id, u64)) -> bool {
        self.place != place || self.task.is_finished() && self.since.elapsed() >= PAUSE
    }

    fn connected(&self) -> Option<&Client> {
        (!self.task.is_finished() && self.client.is_connected()).then_some(&self.client)
    }

    /// Ends when what is under way has come to its end.
    async fn retire(self) {
        sleep(UNDER_WAY).await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
