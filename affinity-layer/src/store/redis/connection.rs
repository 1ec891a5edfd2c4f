//! Keeps the client connected, and its clock right.

use std::sync::Arc;
use std::time::Duration;

use fred::error::Error;
use fred::prelude::{Client, ClientLike, EventInterface};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::clock::RedisClock;
use super::guard::Guard;
use super::verbs;

/// How often the clock is set by that of Redis.
const CLOCK_PERIOD: Duration = Duration::from_secs(30);

/// How often a cluster's client is looked at.
const SAMPLE: Duration = Duration::from_millis(500);

/// Calls without an answer in one such time that are a sign of lost answers: an open breaker lets two
/// through.
const LOST: u64 = 2;

/// Such signs in a row after which the client is started again.
const SILENT: u32 = 3;

/// Before a client that ended is started again.
const RESTART: Duration = Duration::from_millis(50);

/// The task of one connection of the client, ended with this value.
struct Connection(JoinHandle<Result<(), Error>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects, and connects anew when the client has given up for good. It reconnects by itself, but
/// its task ends when a cluster that moves a slot redirects a command to the slot's new node (`ASK`):
/// it takes that for one more attempt than a command has. Or it goes on, and waits for an answer that
/// was given to another command.
pub(super) async fn stay(client: Client, guard: Arc<Guard>) {
    loop {
        let mut connection = Connection(client.connect());
        tokio::select! {
            ended = &mut connection.0 => {
                if let Ok(Err(error)) = ended {
                    tracing::debug!(%error, "the Redis client ended and is started again");
                }
            }
            () = goes_silent(&guard), if client.is_clustered() => {
                tracing::debug!("the Redis client has lost its answers and is started again");
            }
        }
        drop(connection);
        sleep(RESTART).await;
    }
}

/// Ends when calls went without an answer for a while.
async fn goes_silent(guard: &Guard) {
    let mut silent = 0;
    let mut before = guard.counters.timeouts.get();
    while silent < SILENT {
        sleep(SAMPLE).await;
        let now = guard.counters.timeouts.get();
        silent = if now - before >= LOST { silent + 1 } else { 0 };
        before = now;
    }
}

/// Sets the clock at each connection and now and then.
pub(super) async fn keep_time(client: Client, clock: Arc<RedisClock>) {
    let mut reconnected = client.reconnect_rx();
    loop {
        if let Ok((seconds, micros)) = verbs::time(&client).await {
            clock.correct(seconds.saturating_mul(1_000_000).saturating_add(micros));
        }
        if let Ok(Err(RecvError::Closed)) = timeout(CLOCK_PERIOD, reconnected.recv()).await {
            break;
        }
    }
}
