//! Keeps clients connected, and the clock right.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fred::error::Error;
use fred::prelude::{Client, ClientLike, Server};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, timeout};

use super::clock::RedisClock;
use super::node::Node;
use super::options::{RedisConfigError, RedisOptions};
use super::pace::Pace;
use super::servers::Servers;

/// How often the clock is set by that of Redis.
const CLOCK_PERIOD: Duration = Duration::from_secs(30);

/// Between two attempts to set it.
const CLOCK_RETRY: Duration = Duration::from_millis(50);

/// A connection for as long as this lives: a client, and another one in its place when it has lost its
/// connection.
///
/// A client is not connected twice. Commands that it had not taken up when it ended stay in its count of
/// those that wait, and while that is not zero it leaves what it writes in its buffer.
pub(crate) struct Connection {
    make: Arc<Make>,
    client: watch::Sender<Client>,
    task: OnceLock<AbortHandle>,
}

/// Makes a client.
type Make = dyn Fn() -> Result<Client, RedisConfigError> + Send + Sync;

impl Connection {
    /// To `server`, or to what the options name, with room for so many events. It is not started yet.
    pub(super) fn new(
        options: &RedisOptions,
        server: Option<&Server>,
        events: usize,
    ) -> Result<Self, RedisConfigError> {
        let (options, server) = (options.clone(), server.cloned());
        let make: Arc<Make> = Arc::new(move || options.client(server.as_ref(), events));
        Ok(Self { client: watch::Sender::new(make()?), make, task: OnceLock::new() })
    }

    /// Connects in the background, unless it did before.
    pub(super) fn start(&self) {
        self.task.get_or_init(|| {
            tokio::spawn(stay(self.make.clone(), self.client.clone())).abort_handle()
        });
    }

    /// The client of now.
    pub(crate) fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    /// The client of now, and those that take its place.
    pub(crate) fn clients(&self) -> watch::Receiver<Client> {
        self.client.subscribe()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The task of a client, ended with this value.
struct Running(JoinHandle<Result<(), Error>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has a client connected, one after the other.
async fn stay(make: Arc<Make>, place: watch::Sender<Client>) {
    let mut pace = Pace::default();
    loop {
        let (client, since) = (place.borrow().clone(), Instant::now());
        let mut running = Running(client.connect());
        let ended = (&mut running.0).await;
        // It stays in this state when it ends.
        let was_connected = client.is_connected();
        if was_connected {
            tracing::warn!(?ended, "a connection to Redis is lost");
        } else {
            tracing::debug!(?ended, "Redis cannot be reached");
        }
        // The same settings made one before.
        if was_connected && let Ok(next) = make() {
            place.send_replace(next);
        }
        drop(client);
        sleep(pace.after(was_connected.then(|| since.elapsed()))).await;
    }
}

/// Sets the clock at each connection and now and then. In a cluster all replicas go by the same node.
pub(super) async fn keep_time(servers: Arc<Servers>, clock: Arc<RedisClock>) {
    loop {
        let Some(node) = servers.first() else {
            sleep(CLOCK_RETRY).await;
            continue;
        };
        let mut clients = node.followed().clients();
        if set_clock(&node, &servers, &clock).await.is_err() {
            sleep(CLOCK_RETRY).await;
            continue;
        }
        let _ = timeout(CLOCK_PERIOD, clients.changed()).await;
    }
}

/// Sets the clock by that of a node.
pub(super) async fn set_clock(
    node: &Node,
    servers: &Servers,
    clock: &RedisClock,
) -> Result<(), Error> {
    let (seconds, micros) = node.conn(servers.limit()).time().await?;
    clock.correct(seconds.saturating_mul(1_000_000).saturating_add(micros));
    Ok(())
}
