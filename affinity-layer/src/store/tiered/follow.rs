//! Follows the changes that other replicas make.
//!
//! Each server has a task that does this, over and over:
//!
//! 1. **Start.** Ask the server to report changes of all names under the prefix (`CLIENT TRACKING
//!    ON BCAST PREFIX … NOLOOP`), then read what it says about itself, set the epoch clock, and try
//!    the commands of the protocol. Tracking comes first, so that nothing changes unnoticed during
//!    the rest.
//! 2. **Doubt.** Every copy from before may have missed an invalidation, so a new generation
//!    begins. If the server is another run than the one followed before, its data may be gone:
//!    copies then count as lost, and are claimed again when they are asked for.
//! 3. **Follow.** Invalidations drop copies; a heartbeat every 250 ms renews the lease of a second
//!    within which copies are fresh; the commands of the protocol are tried twice a minute and
//!    after each refusal.
//! 4. **Stop** at the first of these: the reports end, three signs of life are missed, the client
//!    was replaced, the server's run or rights have changed. The copies are in doubt again, and it
//!    starts over.
//!
//! Why a heartbeat and not the state of the connection: a connection whose other end vanished looks
//! alive until someone writes to it, and a client that only listens never does. Why on the same
//! connection: answers and invalidations come in order, so a sign of life asked for at time *t*
//! shows that all invalidations from before *t* are here.
//!
//! Broadcast mode costs Redis no memory for each key. In the default mode it remembers which client
//! read which key, and forgets under pressure. The price is that a replica also hears of changes to
//! pins that it has no copy of.

use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::prelude::{Client, ClientLike, TrackingInterface};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::heartbeat::ServerState;
use super::renew;
use super::shared::Shared;
use crate::store::redis::{Node, Unready, is_refusal};

/// Between two signs of life.
const BEAT: Duration = Duration::from_millis(250);

/// Beats missed in a row after which Redis counts as away.
const MISSED: u32 = 3;

/// Between two probes of a server that is ready.
const PROBE_PERIOD: Duration = Duration::from_secs(30);

/// Between two probes of one that is not.
const PROBE_AGAIN: Duration = Duration::from_millis(500);

/// Between two attempts to follow.
const RETRY: Duration = Duration::from_millis(50);

/// Follows each server for as long as the store lives, and they come and go.
///
/// A follower stays with its node for as long as the topology holds that node. Each new topology
/// puts all copies in doubt once.
pub(super) async fn follow_all(shared: Arc<Shared>) {
    let mut map = shared.topology.clone();
    let mut followers: Vec<(Arc<Node>, Follower)> = Vec::new();
    loop {
        let nodes = map.borrow_and_update().nodes.clone();
        followers.retain(|(node, _)| nodes.iter().any(|one| Arc::ptr_eq(one, node)));
        for node in nodes {
            if !followers.iter().any(|(one, _)| Arc::ptr_eq(one, &node)) {
                let follower = tokio::spawn(follow(shared.clone(), node.clone()));
                followers.push((node, Follower(follower.abort_handle())));
            }
        }
        // What a node reported that is no longer followed may have come too late.
        shared.near.doubt_all();
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

/// The life of one server's follower. While it runs, no call has to try a silent server: the
/// follower reports signs of life to the breaker.
async fn follow(shared: Arc<Shared>, node: Arc<Node>) {
    let mut clients = node.followed().clients();
    let _watched = node.watch();
    loop {
        let client = clients.borrow_and_update().client().clone();
        let invalidations = client.invalidation_rx();
        match start(&shared, &node, &client).await {
            Ok(followed) => {
                tracing::info!("the shared session store is followed");
                node.is_back();
                node.freshness.up();
                shared.came_up.notify_waiters();
                tokio::select! {
                    () = invalidate(&shared, &node, invalidations) => {}
                    () = beat(&shared, &node, &client, followed) => {}
                    () = keep_probing(&shared, &node) => {}
                    _ = clients.changed() => {}
                }
                node.freshness.down();
                shared.near.doubt_all();
                tracing::debug!("the connection to the shared session store is lost or changed");
            }
            Err(error) => {
                tracing::debug!(%error, "the shared session store cannot be followed yet");
                sleep(RETRY).await;
            }
        }
        // Another node may have taken its place.
        shared.redis.servers().suspect();
    }
}

/// A server from the time when it was followed.
struct Followed {
    state: ServerState,
    /// Whether every change is reported, so that copies can be fresh.
    coherent: bool,
}

/// Finds out whether the server can be used, asks for invalidations, and doubts every copy from before
/// that.
///
/// The lease counts from before the first command: the time that the answers took is part of it.
async fn start(shared: &Shared, node: &Node, client: &Client) -> Result<Followed, Error> {
    if !client.is_connected() {
        if let Some(cause) = node.unready() {
            node.condition.note(Some(cause));
        }
        return Err(Error::new(ErrorKind::Canceled, "it is not connected"));
    }
    let started = Instant::now();
    let hears = match track(shared, client).await {
        Ok(()) => true,
        Err(error) if is_refusal(&error) => false,
        Err(error) => return Err(error),
    };
    let state = ServerState::read(client).await?;
    // Before the store counts as there: an epoch by a wall clock that is far off would be out of order.
    shared.redis.set_clock().await;
    let coherent = hears && state.flushes.is_some() && !shared.always_read;
    node.freshness.set_coherent(coherent || shared.always_read);
    let found = match unfit(node, &state) {
        None => shared.redis.probe(node).await,
        unfit => unfit,
    };
    let can_read = found.as_ref().is_none_or(Unready::can_read);
    note(node, found);
    if !can_read {
        sleep(PROBE_AGAIN).await;
        return Err(Error::new(ErrorKind::Config, "it cannot be used"));
    }
    let known = node.freshness.start_of_run(state.run_id.clone());
    match (&known, &state.run_id) {
        // If it is unknown, an absent pin may have been released or lost.
        (_, None) => shared.near.doubt_all(),
        (Some(known), Some(run_id)) if known == run_id => shared.near.doubt_all(),
        // A node that was not followed before may have taken the place of one that lost data.
        _ => shared.near.all_lost(),
    }
    if coherent {
        node.freshness.renew(started);
    }
    Ok(Followed { state, coherent })
}

/// What a server tells of itself that makes it unfit for pins.
fn unfit(node: &Node, state: &ServerState) -> Option<Unready> {
    if let Some(version) = state.too_old() {
        return Some(Unready::TooOld(Some(version.to_owned())));
    }
    (state.is_clustered && !node.is_of_cluster()).then_some(Unready::Cluster)
}

/// Notes what a probe has found, or that the server tells nothing of changes.
fn note(node: &Node, found: Option<Unready>) {
    let deaf = (!node.freshness.is_coherent()).then_some(Unready::NoInvalidations);
    node.condition.note(found.or(deaf));
}

/// Tries the server now and then, and when it has refused a call; leaves it when it is read-only.
///
/// A server may lose and regain its abilities without losing a connection: it fills up, an operator
/// changes its access list, a failover makes it a replica. Only the commands themselves show that.
/// A read-only server is left for whatever the address names now, since its connections would stay
/// with it for ever.
async fn keep_probing(shared: &Shared, node: &Node) {
    loop {
        let cause = node.condition.unready();
        if cause.as_ref().is_none_or(Unready::only_degrades) {
            let _ = timeout(PROBE_PERIOD, node.condition.refuses()).await;
        } else {
            sleep(PROBE_AGAIN).await;
        }
        let found = shared.redis.probe(node).await;
        if found == Some(Unready::ReadOnly) {
            node.leave();
        }
        note(node, found);
        shared.came_up.notify_waiters();
    }
}

/// `NOLOOP`: changes that are sent over this very connection are not reported to it. That is why a
/// replica drops its own copy first.
async fn track(shared: &Shared, client: &Client) -> Result<(), Error> {
    // It may be on since an earlier attempt on this connection, and would be refused.
    client.stop_tracking().await?;
    client.start_tracking(shared.redis.names().prefix(), true, false, false, true).await
}

/// Names that have changed, as the client passes them on; it keeps at most 512 messages that were
/// not read.
type Invalidations = tokio::sync::broadcast::Receiver<fred::types::client::Invalidation>;

/// Drops each copy whose pin has changed, until the connection ends. If reports came faster than
/// they were read and some were dropped, any copy may be affected, and all are in doubt.
async fn invalidate(shared: &Shared, node: &Node, mut invalidations: Invalidations) {
    loop {
        match invalidations.recv().await {
            Ok(invalidation) => {
                // Redis has spoken, and what is dropped here must be readable there.
                node.is_back();
                for key in &invalidation.keys {
                    let Some(digest) = shared.near.forget(key.as_bytes()) else { continue };
                    if let Some(name) = key.as_str() {
                        renew::changed(shared, name, digest);
                    }
                }
            }
            Err(RecvError::Lagged(_)) => shared.near.doubt_all(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Renews the lease of the copies for as long as the same connection to the same server lives.
///
/// It returns when the server is not as it was: silent, another run, or with other rights. A flush
/// of all data ends nothing; the client library passes no invalidation of it on, so the count of
/// flushes is compared.
async fn beat(shared: &Shared, node: &Node, client: &Client, mut followed: Followed) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    while missed < MISSED {
        ticks.tick().await;
        let asked = Instant::now();
        let Ok(now) = ServerState::read(client).await else {
            missed += 1;
            node.followed().doubt().raise();
            continue;
        };
        missed = 0;
        node.is_alive();
        // A right that came or went changes what can be relied on.
        let same_rights = now.flushes.is_some() == followed.state.flushes.is_some();
        if now.run_id != followed.state.run_id || !same_rights {
            return;
        }
        if !followed.coherent {
            continue;
        }
        if now.flushes != followed.state.flushes {
            followed.state.flushes = now.flushes;
            shared.near.doubt_all();
        }
        node.freshness.renew(asked);
    }
}

/// Whether the server of `name` was restarted since it was first followed, and that was not noticed
/// yet.
///
/// A server can restart between two heartbeats, so a read that finds no pin asks here before it
/// believes that. No answer counts as a restart: to claim a released pin again does less harm than
/// to drop a lost one, and while the server is away the claim fails as well.
pub(super) async fn has_restarted(shared: &Shared, name: &str) -> bool {
    // If it cannot be asked, it cannot be believed either.
    let Some(node) = shared.redis.servers().node(name) else {
        return true;
    };
    let now = ServerState::read(&node.followed().client()).await;
    !now.is_ok_and(|now| node.freshness.is_run(now.run_id.as_deref()))
}
