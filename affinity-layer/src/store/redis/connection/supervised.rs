//! A connection that is replaced when it is lost.
//!
//! Each supervised connection has a task: connect a client, wait until the connection ends or is in
//! doubt for good, make another client, wait as `backoff.rs` says, and begin again. Users take the
//! present client for each command; those that follow it, such as near copies, are told of each new
//! one.

use std::sync::{Arc, OnceLock};

use fred::error::Error;
use fred::prelude::{Client, ClientInterface, ClientLike, Server};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep};

use super::super::errors::RedisConfigError;
use super::super::options::RedisOptions;
use super::super::unready::Unready;
use super::backoff::Backoff;
use super::client::client;
use super::doubt::ConnectionDoubt;

/// Keeps one client connected for as long as this lives, and replaces it when it is lost.
///
/// A client is never connected twice. The commands that it had not sent when its connection ended stay
/// in its count of queued ones, and while that count is not zero the library does not flush what it
/// writes.
pub(crate) struct SupervisedConnection {
    make: Arc<Make>,
    client: watch::Sender<Client>,
    doubt: Arc<ConnectionDoubt>,
    name: String,
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
        let name = options.client_name.clone();
        let make: Arc<Make> = Arc::new(move || client(&options, server.as_ref(), events));
        let (client, doubt) = (watch::Sender::new(make()?), Arc::default());
        Ok(Self { make, client, doubt, name, task: OnceLock::new() })
    }

    /// Connects in the background, unless it was started before.
    ///
    /// It spawns a task, so it needs a tokio runtime. A connection that is rarely needed is started
    /// by its first use.
    pub(crate) fn start(&self) {
        self.task.get_or_init(|| {
            let (make, client, doubt) =
                (self.make.clone(), self.client.clone(), self.doubt.clone());
            tokio::spawn(supervise(make, client, doubt, self.name.clone())).abort_handle()
        });
    }

    /// Whether the connection is in doubt, and why it could not be made.
    pub(crate) fn doubt(&self) -> &Arc<ConnectionDoubt> {
        &self.doubt
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
pub(super) struct ClientTask(JoinHandle<Result<(), Error>>);

impl ClientTask {
    pub(super) fn new(task: JoinHandle<Result<(), Error>>) -> Self {
        Self(task)
    }

    /// Waits for the end of the connection, and gives the cause of it.
    pub(super) async fn ended(mut self) -> Unready {
        match (&mut self.0).await {
            Ok(Err(error)) => Unready::of(&error),
            Ok(Ok(())) | Err(_) => Unready::Unreachable,
        }
    }
}

impl Drop for ClientTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps one client connected and replaces it when it is lost.
///
/// A client that was connected once is not used again; one that never was, is.
async fn supervise(
    make: Arc<Make>,
    place: watch::Sender<Client>,
    doubt: Arc<ConnectionDoubt>,
    name: String,
) {
    let mut backoff = Backoff::default();
    loop {
        let (client, since) = (place.borrow().clone(), Instant::now());
        let running = ClientTask::new(client.connect());
        let failure = tokio::select! {
            cause = running.ended() => cause,
            () = doubt.is_lost(&client) => Unready::Unreachable,
            never = introduce(&client, &name) => match never {},
        };
        // The state outlives the task.
        let was_connected = client.is_connected();
        if was_connected {
            tracing::warn!("a connection to Redis is lost");
        } else {
            tracing::debug!(cause = %failure, "Redis cannot be reached");
        }
        doubt.set_failure(Some(failure));
        // It cannot fail: the same settings have made a client before.
        if was_connected && let Ok(next) = make() {
            place.send_replace(next);
        }
        drop(client);
        sleep(backoff.after(was_connected.then(|| since.elapsed()))).await;
    }
}

/// Names the connection, so that `CLIENT LIST` shows whose it is.
async fn introduce(client: &Client, name: &str) -> std::convert::Infallible {
    if client.wait_for_connect().await.is_ok() {
        // Where an access list forbids it, the connection stays without a name.
        let named: Result<(), Error> = client.client_setname(name).await;
        drop(named);
    }
    std::future::pending().await
}
