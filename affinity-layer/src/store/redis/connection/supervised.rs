//! A connection that is replaced when it is lost.

use std::sync::{Arc, OnceLock};

use fred::error::Error;
use fred::prelude::{Client, ClientLike, Server};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep};

use super::super::errors::RedisConfigError;
use super::super::options::RedisOptions;
use super::backoff::Backoff;
use super::client::client;

/// Keeps one client connected for as long as this lives, and replaces it when it is lost.
///
/// A client is never connected twice. The commands that it had not sent when its connection ended stay
/// in its count of queued ones, and while that count is not zero the library does not flush what it
/// writes.
pub(crate) struct SupervisedConnection {
    make: Arc<Make>,
    client: watch::Sender<Client>,
    task: OnceLock<AbortHandle>,
}

/// Makes a client.
type Make = dyn Fn() -> Result<Client, RedisConfigError> + Send + Sync;

impl SupervisedConnection {
    /// To `server`, or to what the options name, buffering at most `events`. It is not started yet.
    pub(crate) fn new(
        options: &RedisOptions,
        server: Option<&Server>,
        events: usize,
    ) -> Result<Self, RedisConfigError> {
        let (options, server) = (options.clone(), server.cloned());
        let make: Arc<Make> = Arc::new(move || client(&options, server.as_ref(), events));
        Ok(Self { client: watch::Sender::new(make()?), make, task: OnceLock::new() })
    }

    /// Connects in the background, unless it was started before.
    pub(crate) fn start(&self) {
        self.task.get_or_init(|| {
            tokio::spawn(supervise(self.make.clone(), self.client.clone())).abort_handle()
        });
    }

    /// The current client.
    pub(crate) fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    /// The current client, and each that replaces it.
    pub(crate) fn clients(&self) -> watch::Receiver<Client> {
        self.client.subscribe()
    }
}

impl Drop for SupervisedConnection {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The task of a client, aborted on drop.
struct ClientTask(JoinHandle<Result<(), Error>>);

impl Drop for ClientTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps one client connected and replaces it when it is lost.
async fn supervise(make: Arc<Make>, place: watch::Sender<Client>) {
    let mut backoff = Backoff::default();
    loop {
        let (client, since) = (place.borrow().clone(), Instant::now());
        let mut running = ClientTask(client.connect());
        let ended = (&mut running.0).await;
        // The state outlives the task.
        let was_connected = client.is_connected();
        if was_connected {
            tracing::warn!(?ended, "a connection to Redis is lost");
        } else {
            tracing::debug!(?ended, "Redis cannot be reached");
        }
        // It cannot fail: the same settings have made a client before.
        if was_connected && let Ok(next) = make() {
            place.send_replace(next);
        }
        drop(client);
        sleep(backoff.after(was_connected.then(|| since.elapsed()))).await;
    }
}
