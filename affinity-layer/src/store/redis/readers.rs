//! Connections for reads, on threads that have a runtime of their own.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::prelude::{Client, ClientLike, EventInterface};
use thread_local::ThreadLocal;
use tokio::runtime::{self, Handle, RuntimeFlavor};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::connection;

/// Longer than any read that is worth waiting for.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// The connections to one server that belong to single threads.
///
/// A call over a connection that lives in another thread wakes that thread, and is woken by it, which
/// takes longer than the call. Changes go over the shared connections all the same: near copies follow
/// one of these and are not told of what it changes itself.
pub(super) struct Readers {
    /// The runtime of the shared connections.
    home: Option<runtime::Id>,
    readers: ThreadLocal<RefCell<Option<Reader>>>,
    generation: Arc<AtomicU64>,
}

impl Readers {
    /// For a server whose other connections are made in the runtime of now.
    pub(super) fn new() -> Self {
        let home = Handle::try_current().ok().map(|home| home.id());
        Self { home, readers: ThreadLocal::new(), generation: Arc::default() }
    }

    /// The connection of this thread, once there is one; it is made like `shared`.
    pub(super) fn here(&self, shared: &Client) -> Option<Client> {
        let runtime = Handle::try_current().ok()?;
        let is_of_one_thread = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        if !is_of_one_thread || self.home == Some(runtime.id()) {
            return None;
        }
        let place = (runtime.id(), self.generation.load(Ordering::Acquire));
        let mut reader = self.readers.get_or_default().try_borrow_mut().ok()?;
        if reader.as_ref().is_none_or(|reader| reader.place != place) {
            let one = Reader::start(shared.clone_new(), place);
            if let Some(former) = reader.replace(one) {
                tokio::spawn(former.retire());
            }
        }
        let client = &reader.as_ref()?.client;
        client.is_connected().then(|| client.clone())
    }

    /// Has the connections made anew whenever `shared` was: behind a Sentinel it may have gone to
    /// another server, and reads are to go where changes do.
    pub(super) fn follow(&self, shared: &Client) -> impl Future<Output = ()> + Send + 'static {
        let (mut reconnected, generation) = (shared.reconnect_rx(), self.generation.clone());
        async move {
            while !matches!(reconnected.recv().await, Err(RecvError::Closed)) {
                generation.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

struct Reader {
    client: Client,
    /// The runtime that it lives in, and the generation.
    place: (runtime::Id, u64),
    task: AbortHandle,
}

impl Reader {
    fn start(client: Client, place: (runtime::Id, u64)) -> Self {
        let task = tokio::spawn(connection::stay(client.clone())).abort_handle();
        Self { client, place, task }
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
