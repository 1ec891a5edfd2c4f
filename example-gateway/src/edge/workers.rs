//! The threads that serve clients.
//!
//! A connection is served by one thread from its first byte to its last, and so are the calls of providers
//! for it, whose [pools](crate::upstream::proxy) are kept by thread. A runtime that moves tasks between
//! threads would wake one for another in the middle of a request.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// As many threads as there are processors, each with its own runtime. A connection stays on its first
/// thread, and the work for it, calls of providers included, wakes no other thread: a wake-up between
/// threads costs more than a whole pinned request.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Vec<Worker>,
    _stop: DropGuard,
}

/// One of the threads.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) runtime: Handle,
    /// Shared by all that this thread serves.
    load: Arc<()>,
}

impl Workers {
    /// Starts the threads. They end when this is dropped, with whatever still runs there.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or no means to wait for sockets.
    pub(crate) fn start() -> io::Result<Self> {
        let stop = CancellationToken::new();
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let workers = (0..count).map(|_| Worker::start(&stop)).collect::<io::Result<_>>()?;
        Ok(Self { workers, _stop: stop.drop_guard() })
    }

    /// The one that serves the fewest connections.
    pub(super) fn least_busy(&self) -> Option<Worker> {
        self.workers.iter().min_by_key(|worker| Arc::strong_count(&worker.load)).cloned()
    }
}

/// After so many tasks a thread looks at its sockets again. A client that always has something to read makes
/// its task run at once after the others, so this is how often those tasks may run before anybody else is heard.
const TASKS_A_LOOK: u32 = 8;

impl Worker {
    fn start(stop: &CancellationToken) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().event_interval(TASKS_A_LOOK).build()?;
        let worker = Self { runtime: runtime.handle().clone(), load: Arc::new(()) };
        let stopped = stop.clone().cancelled_owned();
        let serving = thread::Builder::new().name("worker".to_owned());
        serving.spawn(move || runtime.block_on(stopped))?;
        Ok(worker)
    }
}
