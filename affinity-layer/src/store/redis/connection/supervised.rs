//! A connection that is replaced when it is lost.
//!
//! Each supervised connection has a task: connect a client, wait until the connection ends or is in
//! doubt for good, make another client, wait as `backoff.rs` says, and begin again. Users take the
//! present client for each command; those that follow it, such as near copies, are told of each new
//! one.

use std::sync::{Arc, OnceLock};

use fred::prelude::{Client, ClientLike, Server};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::super::errors::RedisConfigError;
use super::super::options::RedisOptions;
use super::super::unready::Unready;
use super::backoff::Backoff;
use super::client::RelayedClient;
use super::doubt::ConnectionDoubt;

/// Keeps one client connected for as long as this lives, and replaces it when it is lost.
///
/// A client is never connected twice. The commands that it had not sent when its connection ended stay
/// in its count of queued ones, and while that count is not zero the library does not flush what it
/// writes.
pub(crate) struct SupervisedConnection {
    make: Arc<Make>,
    client: watch::Sender<RelayedClient>,
    doubt: Arc<ConnectionDoubt>,
    task: OnceLock<AbortHandle>,
}

/// Makes a client.
type Make = dyn Fn() -> Result<RelayedClient, RedisConfigError> + Send + Sync;

impl SupervisedConnection {
    /// To `server`, or to what the options name, buffering at most `events`. It is not started yet.
    pub(crate) fn new(
        options: &RedisOptions,
        server: Option<&Server>,
        events: usize,
    ) -> Result<Self, RedisConfigError> {
        let (options, server) = (options.clone(), server.cloned());
        let make: Arc<Make> =
            Arc::new(move || RelayedClient::new(&options, server.as_ref(), events));
        let (client, doubt) = (watch::Sender::new(make()?), Arc::default());
        Ok(Self { make, client, doubt, task: OnceLock::new() })
    }

    /// Connects in the background, unless it was started before.
    ///
    /// It spawns a task, so it needs a tokio runtime. A connection that is rarely needed is started
    /// by its first use.
    pub(crate) fn start(&self) {
        self.task.get_or_init(|| {
            let (make, client, doubt) =
                (self.make.clone(), self.client.clone(), self.doubt.clone());
            tokio::spawn(supervise(make, client, doubt)).abort_handle()
        });
    }

    /// Whether the connection is in doubt, and why it could not be made.
    pub(crate) fn doubt(&self) -> &Arc<ConnectionDoubt> {
        &self.doubt
    }

    /// The current client.
    pub(crate) fn client(&self) -> Client {
        self.client.borrow().client().clone()
    }

    /// The current client, and each that replaces it.
    pub(crate) fn clients(&self) -> watch::Receiver<RelayedClient> {
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

/// Keeps one client connected and replaces it when it is lost.
///
/// A client that was connected once is not used again; one that never was, is.
async fn supervise(
    make: Arc<Make>,
    place: watch::Sender<RelayedClient>,
    doubt: Arc<ConnectionDoubt>,
) {
    let mut backoff = Backoff::default();
    loop {
        let (relayed, since) = (place.borrow().clone(), Instant::now());
        let client = relayed.client().clone();
        let failure = tokio::select! {
            cause = relayed.run() => cause,
            () = doubt.is_lost(&client) => Unready::Unreachable,
        };
        // The state outlives the task.
        let was_connected = client.is_connected();
        if was_connected {
            tracing::warn!(cause = %failure, "a connection to Redis is lost");
        } else {
            tracing::debug!(cause = %failure, "Redis cannot be reached");
        }
        doubt.set_failure(Some(failure));
        // It cannot fail: the same settings have made a client before.
        if let Some(Ok(next)) = was_connected.then(&*make) {
            place.send_replace(next);
        }
        drop(client);
        sleep(backoff.after(was_connected.then(|| since.elapsed()))).await;
    }
}
