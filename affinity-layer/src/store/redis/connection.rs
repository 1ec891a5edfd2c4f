//! Keeps clients connected, and the clock right.

use std::sync::Arc;
use std::time::Duration;

use fred::error::Error;
use fred::prelude::{Client, ClientLike, EventInterface};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::clock::RedisClock;
use super::node::Node;
use super::servers::Servers;

/// How often the clock is set by that of Redis.
const CLOCK_PERIOD: Duration = Duration::from_secs(30);

/// Between two attempts to set it.
const CLOCK_RETRY: Duration = Duration::from_millis(50);

/// Before a client that ended is started again.
const RESTART: Duration = Duration::from_millis(50);

/// The task of one connection of the client, ended with this value.
struct Connection(JoinHandle<Result<(), Error>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects, and connects anew when the client has given up for good. Short of that it reconnects by
/// itself.
pub(super) async fn stay(client: Client) {
    loop {
        let mut connection = Connection(client.connect());
        if let Ok(Err(error)) = (&mut connection.0).await {
            tracing::debug!(%error, "the Redis client ended and is started again");
        }
        sleep(RESTART).await;
    }
}

/// Sets the clock at each connection and now and then. In a cluster all replicas go by the same node.
pub(super) async fn keep_time(servers: Arc<Servers>, clock: Arc<RedisClock>) {
    loop {
        let Some(node) = servers.first() else {
            sleep(CLOCK_RETRY).await;
            continue;
        };
        let mut reconnected = node.followed().reconnect_rx();
        if set_clock(&node, &servers, &clock).await.is_err() {
            sleep(CLOCK_RETRY).await;
            continue;
        }
        let _ = timeout(CLOCK_PERIOD, reconnected.recv()).await;
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
