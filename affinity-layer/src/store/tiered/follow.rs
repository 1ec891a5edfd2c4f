//! Follows the changes that other replicas make.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::WithOptions;
use fred::error::{Error, ErrorKind};
use fred::prelude::TrackingInterface;
use fred::prelude::{Client, ClientInterface, ClientLike, EventInterface, Options};
use fred::types::config::Server;
use fred::types::{ClusterHash, CustomCommand};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::tier::Tier;

/// Between two signs of life.
const BEAT: Duration = Duration::from_millis(250);

/// The longest wait for one.
const BEAT_TIMEOUT: Duration = Duration::from_millis(250);

/// Beats missed in a row after which Redis counts as away.
const MISSED: u32 = 3;

/// Between two attempts to follow.
const RETRY: Duration = Duration::from_millis(50);

/// How many names are reconciled at once.
const BATCH: usize = 64;

/// Who is followed. When it changes, invalidations may have been missed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Followed {
    connection: i64,
    /// Whether it brings invalidations.
    coherent: bool,
    /// Redis draws one at each start; another one means other data. Empty where it is not told.
    run_id: String,
    /// How often data was flushed. Of a flush, the client passes no invalidation on.
    flushes: u64,
}

/// Runs for as long as the store lives.
pub(super) async fn follow(tier: std::sync::Arc<Tier>, client: Client) {
    loop {
        let reconnected = client.reconnect_rx();
        let invalidations = client.invalidation_rx();
        match start(&tier, &client).await {
            Ok(followed) => {
                tracing::info!("the shared session store is followed");
                tier.redis.is_back();
                tier.link.up();
                tokio::select! {
                    () = invalidate(&tier, invalidations) => {}
                    () = beat(&tier, &client, followed.clone()) => {}
                    () = reconcile(&tier) => {}
                    () = broken(&client, reconnected, &followed) => {}
                }
                tier.link.down();
                tier.near.doubt_all();
                tracing::warn!(
                    "the shared session store is away, or came back; its state is read anew"
                );
            }
            Err(error) => {
                tracing::debug!(%error, "the shared session store cannot be followed yet");
                sleep(RETRY).await;
            }
        }
    }
}

/// Asks for invalidations, then doubts every copy from before that.
async fn start(tier: &Tier, client: &Client) -> Result<Followed, Error> {
    let started = Instant::now();
    let refusal = match track(tier, client).await {
        Ok(()) => None,
        Err(error) if is_refusal(&error) => Some(error),
        Err(error) => return Err(error),
    };
    let followed = sign_of_life(client).await?;
    // In a cluster the client asks one node only, and each node tells of its own keys.
    let coherent = refusal.is_none() && !client.is_clustered() && !tier.always_read;
    if let Some(error) = refusal {
        tracing::warn!(%error, "no client tracking: every turn reads from Redis");
    }
    let known = tier.link.start_of_run(&followed.run_id);
    // In a cluster no single server speaks for all, so any break counts as a loss.
    let lost = known.is_some_and(|known| known.is_empty() || known != followed.run_id);
    if lost {
        tier.near.all_lost();
    } else {
        tier.near.doubt_all();
    }
    if coherent {
        tier.link.renew(started);
    }
    Ok(Followed { coherent, ..followed })
}

async fn track(tier: &Tier, client: &Client) -> Result<(), Error> {
    // On the connection of before it may be on already, and would be refused.
    client.stop_tracking().await?;
    client.start_tracking(tier.redis.names().prefix(), true, false, false, true).await
}

/// Whether Redis answered and said no.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        // What an access list forbids counts as a matter of authentication.
        ErrorKind::Auth
            | ErrorKind::InvalidCommand
            | ErrorKind::InvalidArgument
            | ErrorKind::Config
            | ErrorKind::Unknown
    )
}

type Reconnections = tokio::sync::broadcast::Receiver<Server>;
type Invalidations = tokio::sync::broadcast::Receiver<fred::types::client::Invalidation>;

async fn invalidate(tier: &Tier, mut invalidations: Invalidations) {
    loop {
        match invalidations.recv().await {
            Ok(invalidation) => {
                // Redis has spoken, and what is dropped here must be readable there.
                tier.redis.is_back();
                for key in &invalidation.keys {
                    tier.near.forget(key.as_bytes());
                }
            }
            Err(RecvError::Lagged(_)) => tier.near.doubt_all(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Ends when the client has connected anew: the new connection is not told of changes.
async fn broken(client: &Client, mut reconnected: Reconnections, followed: &Followed) {
    loop {
        if let Err(RecvError::Closed) = reconnected.recv().await {
            return;
        }
        // The event of the connection that is followed may come late.
        let same = |now: Followed| now.connection == followed.connection && !client.is_clustered();
        if !sign_of_life(client).await.is_ok_and(same) {
            return;
        }
    }
}

/// Renews the lease of the copies for as long as the same connection to the same server lives.
async fn beat(tier: &Tier, client: &Client, mut followed: Followed) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    while missed < MISSED {
        ticks.tick().await;
        let asked = Instant::now();
        let Ok(now) = sign_of_life(client).await else {
            missed += 1;
            continue;
        };
        missed = 0;
        if now.run_id != followed.run_id {
            return;
        }
        if now.connection != followed.connection {
            return;
        }
        if !followed.coherent {
            continue;
        }
        if now.flushes != followed.flushes {
            followed.flushes = now.flushes;
            tier.near.doubt_all();
        }
        tier.link.renew(asked);
    }
}

async fn sign_of_life(client: &Client) -> Result<Followed, Error> {
    let client = client.with_options(&Options {
        fail_fast: true,
        timeout: Some(BEAT_TIMEOUT),
        ..Options::default()
    });
    let connection = client.client_id::<i64>().await?;
    if client.is_clustered() {
        // Each call may go to another node.
        return Ok(Followed::default());
    }
    let info = info(&client).await.unwrap_or_default();
    let calls = |name| info.get(name).and_then(|stats| calls(stats)).unwrap_or_default();
    Ok(Followed {
        connection,
        coherent: false,
        run_id: info.get("run_id").cloned().unwrap_or_default(),
        flushes: calls("cmdstat_flushall") + calls("cmdstat_flushdb"),
    })
}

/// Whether Redis was started anew since it was followed first, and that was not noticed yet. A
/// cluster does not tell.
pub(super) async fn has_restarted(tier: &Tier) -> bool {
    match sign_of_life(tier.redis.followed()).await {
        Ok(now) => !tier.link.is_run(&now.run_id),
        // If it cannot be asked, it cannot be believed either.
        Err(_) => true,
    }
}

/// Nothing where an access list forbids it.
async fn info(client: &WithOptions<Client>) -> Result<HashMap<String, String>, Error> {
    let command = CustomCommand::new_static("INFO", ClusterHash::Random, false);
    let text: Bytes = client.custom(command, vec!["server", "commandstats"]).await?;
    let text = String::from_utf8_lossy(&text);
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The count in `calls=1,usec=...`.
fn calls(stats: &str) -> Option<u64> {
    stats.strip_prefix("calls=")?.split(',').next()?.parse().ok()
}

/// Tells Redis what was decided here while it was away.
async fn reconcile(tier: &Tier) {
    loop {
        let names = tier.pending.some(BATCH);
        if names.is_empty() {
            sleep(BEAT).await;
            continue;
        }
        for name in names {
            if tier.settle(&name).await.is_err() {
                sleep(RETRY).await;
                break;
            }
        }
    }
}
