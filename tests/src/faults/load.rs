//! An even load, and what it met.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::integrity::Rng;
use crate::models::DEFAULT;
use crate::{Connection, post};

/// Clients at once.
const USERS: u64 = 50;

/// From one turn of a client to its next.
const PACE: Duration = Duration::from_millis(250);

/// One turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) began: Instant,
    /// Milliseconds.
    pub(super) took: f64,
    pub(super) served: bool,
}

/// The turns of all clients for `length`.
pub(super) async fn load(gateway: SocketAddr, length: Duration, half: &str) -> Vec<Turn> {
    let mut users = JoinSet::new();
    for user in 0..USERS {
        users.spawn(turns(gateway, length, user, format!("{half}-{user}")));
    }
    users.join_all().await.into_iter().flatten().collect()
}

async fn turns(gateway: SocketAddr, length: Duration, user: u64, name: String) -> Vec<Turn> {
    let (started, mut rng) = (Instant::now(), Rng::new(1, user));
    let mut connection = Connection::open(gateway).await;
    // Not all in the same moment.
    tokio::time::sleep(Duration::from_millis(rng.within(0..250))).await;
    let (mut pace, mut turns, mut session) = (interval(PACE), Vec::new(), 0);
    let body = json!({"model": DEFAULT, "messages": [{"role": "user", "content": "hello"}]});
    while started.elapsed() < length {
        pace.tick().await;
        if rng.percent(10) {
            session += 1;
        }
        let id = format!("{name}-{session}");
        let request = post("/v1/chat/completions", &body).session(&id);
        let began = Instant::now();
        let served = match connection.wire.write(&request.wire()).await {
            Ok(()) => connection.told().await.0 == 200,
            Err(_) => false,
        };
        turns.push(Turn { began, took: began.elapsed().as_secs_f64() * 1000.0, served });
        if !served {
            connection = Connection::open(gateway).await;
        }
    }
    turns
}
