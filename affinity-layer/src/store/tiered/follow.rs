//! Follows the changes that other replicas make.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::prelude::{Client, ClientLike, TrackingInterface};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::pulse::{Followed, sign_of_life};
use super::tier::Tier;
use crate::store::redis::{Node, is_refusal};

/// Between two signs of life.
const BEAT: Duration = Duration::from_millis(250);

/// Beats missed in a row after which Redis counts as away.
const MISSED: u32 = 3;

/// Between two attempts to follow.
const RETRY: Duration = Duration::from_millis(50);

/// Follows each server for as long as the store lives, and they come and go.
pub(super) async fn follow_all(tier: Arc<Tier>) {
    let mut map = tier.map.clone();
    let mut followers: Vec<(Arc<Node>, Follower)> = Vec::new();
    loop {
        let nodes = map.borrow_and_update().nodes.clone();
        followers.retain(|(node, _)| nodes.iter().any(|one| Arc::ptr_eq(one, node)));
        for node in nodes {
            if !followers.iter().any(|(one, _)| Arc::ptr_eq(one, &node)) {
                let follower = tokio::spawn(follow(tier.clone(), node.clone()));
                followers.push((node, Follower(follower.abort_handle())));
            }
        }
        // What a node told that is not followed any more may have come too late.
        tier.near.doubt_all();
        if map.changed().await.is_err() {
            return;
        }
    }
}

/// Ends with its handle.
struct Follower(AbortHandle);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn follow(tier: Arc<Tier>, node: Arc<Node>) {
    let mut clients = node.followed().clients();
    let _watched = node.watch();
    loop {
        let client = clients.borrow_and_update().clone();
        let invalidations = client.invalidation_rx();
        match start(&tier, &node, &client).await {
            Ok(followed) => {
                tracing::info!("the shared session store is followed");
                node.is_back();
                node.freshness.up();
                tier.came_up.notify_waiters();
                tokio::select! {
                    () = invalidate(&tier, &node, invalidations) => {}
                    () = beat(&tier, &node, &client, followed.clone()) => {}
                    _ = clients.changed() => {}
                }
                node.freshness.down();
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
        // Another node may have taken its place.
        tier.redis.servers().suspect();
    }
}

/// Asks for invalidations, then doubts every copy from before that.
async fn start(tier: &Tier, node: &Node, client: &Client) -> Result<Followed, Error> {
    if !client.is_connected() {
        return Err(Error::new(ErrorKind::Canceled, "it is not connected"));
    }
    let started = Instant::now();
    let refusal = match track(tier, client).await {
        Ok(()) => None,
        Err(error) if is_refusal(&error) => Some(error),
        Err(error) => return Err(error),
    };
    let followed = sign_of_life(client).await?;
    if followed.is_too_old() {
        tier.note_version(Some(&followed.version));
        return Err(Error::new(ErrorKind::Config, "Redis 7.0 or later is needed"));
    }
    tier.note_version(None);
    // Before anybody is told that Redis is there: an epoch by a wall clock that is far off would be
    // out of order.
    tier.redis.set_clock().await;
    let coherent = refusal.is_none() && !tier.always_read;
    if let Some(error) = refusal {
        tracing::warn!(%error, "no client tracking: every turn reads from Redis");
    }
    // A node that was not followed before may have taken the place of one that lost data.
    let known = node.freshness.start_of_run(&followed.run_id);
    if known.is_none_or(|known| known.is_empty() || known != followed.run_id) {
        tier.near.all_lost();
    } else {
        tier.near.doubt_all();
    }
    if coherent {
        node.freshness.renew(started);
    }
    Ok(Followed { coherent, ..followed })
}

impl Tier {
    /// Notes the version of a server that is too old, or that none is. It is said once for each: such
    /// a server is asked again and again.
    fn note_version(&self, too_old: Option<&str>) {
        let mut noted = self.too_old.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.as_deref() == too_old {
            return;
        }
        if let Some(version) = too_old {
            tracing::error!(version, "Redis is too old to keep sessions: 7.0 or later is needed");
        }
        *noted = too_old.map(str::to_owned);
    }
}

async fn track(tier: &Tier, client: &Client) -> Result<(), Error> {
    // On the connection of before it may be on already, and would be refused.
    client.stop_tracking().await?;
    client.start_tracking(tier.redis.names().prefix(), true, false, false, true).await
}

type Invalidations = tokio::sync::broadcast::Receiver<fred::types::client::Invalidation>;

async fn invalidate(tier: &Tier, node: &Node, mut invalidations: Invalidations) {
    loop {
        match invalidations.recv().await {
            Ok(invalidation) => {
                // Redis has spoken, and what is dropped here must be readable there.
                node.is_back();
                for key in &invalidation.keys {
                    tier.near.forget(key.as_bytes());
                }
            }
            Err(RecvError::Lagged(_)) => tier.near.doubt_all(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Renews the lease of the copies for as long as the same connection to the same server lives.
async fn beat(tier: &Tier, node: &Node, client: &Client, mut followed: Followed) {
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
        node.is_alive();
        if now.run_id != followed.run_id {
            return;
        }
        if !followed.coherent {
            continue;
        }
        if now.flushes != followed.flushes {
            followed.flushes = now.flushes;
            tier.near.doubt_all();
        }
        node.freshness.renew(asked);
    }
}

/// Whether the server of `name` was started anew since it was followed first, and that was not noticed
/// yet.
pub(super) async fn has_restarted(tier: &Tier, name: &str) -> bool {
    // If it cannot be asked, it cannot be believed either.
    let Some(node) = tier.redis.servers().node(name) else {
        return true;
    };
    let now = sign_of_life(&node.followed().client()).await;
    !now.is_ok_and(|now| node.freshness.is_run(&now.run_id))
}
