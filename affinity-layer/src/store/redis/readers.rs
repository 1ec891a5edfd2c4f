//! Connections for reads, on threads that have a runtime of their own.

use std::cell::RefCell;
use std::time::Duration;

use fred::error::Error;
use fred::prelude::{Client, ClientLike, Server};
use thread_local::ThreadLocal;
use tokio::runtime::{self, Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

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
}

impl Readers {
    /// For a server whose other connections are made in the runtime of now.
    pub(super) fn new(options: &RedisOptions, server: Option<&Server>) -> Self {
        let home = Handle::try_current().ok().map(|home| home.id());
        let (options, server) = (options.clone(), server.cloned());
        Self { options, server, home, readers: ThreadLocal::new() }
    }

    /// The connection of this thread, while there is one. One is made where there is a `shared` one: a
    /// server that is away is looked for by that, and not by every thread. When another client has come
    /// in its place, this one is made anew, too: behind a Sentinel that may be at another server, and
    /// reads are to go where changes do.
    pub(super) fn here(&self, shared: &Client) -> Option<Client> {
        let runtime = Handle::try_current().ok()?;
        let is_of_one_thread = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        if !is_of_one_thread || self.home == Some(runtime.id()) {
            return None;
        }
        let place = (runtime.id(), shared.id());
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
        reader.as_ref()?.connected(place).cloned()
    }
}

struct Reader {
    client: Client,
    /// The runtime that it lives in.
    runtime: runtime::Id,
    /// The client that it goes with.
    shared: String,
    since: Instant,
    /// Ends with the connection.
    task: JoinHandle<Result<(), Error>>,
}

impl Reader {
    fn start(client: Client, (runtime, shared): (runtime::Id, &str)) -> Self {
        let task = client.connect();
        Self { client, runtime, shared: shared.to_owned(), since: Instant::now(), task }
    }

    /// Whether it is time for another one.
    fn is_over(&self, place: (runtime::Id, &str)) -> bool {
        (!self.is_at(place) || self.task.is_finished()) && self.since.elapsed() >= PAUSE
    }

    fn is_at(&self, place: (runtime::Id, &str)) -> bool {
        (self.runtime, self.shared.as_str()) == place
    }

    fn connected(&self, place: (runtime::Id, &str)) -> Option<&Client> {
        let stands = self.is_at(place) && !self.task.is_finished() && self.client.is_connected();
        stands.then_some(&self.client)
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
