//! Keeps the topology of a cluster up to date.
//!
//! 1. All known nodes are asked at once what they see (`CLUSTER INFO`, `CLUSTER SLOTS`), each for
//!    250 ms at most.
//! 2. The view with the greatest epoch counts. A node on the wrong side of a partition answers as
//!    readily as any, with an older one.
//! 3. If no known node answers, the addresses of the configuration are asked again: the whole
//!    cluster may have moved.
//! 4. It is asked again when a command was redirected, failed or was not answered, at most every 50
//!    ms; otherwise every 30 s.
//!
//! A silent node is a reason to ask, not only a redirection: after a failover the old primary does
//! not say `MOVED`, it says nothing.

use std::sync::Arc;
use std::time::Duration;

use fred::types::config::Server;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::node::Node;
use super::routing::Servers;
use super::view::View;

/// The longest wait for a node's view.
const LIMIT: Duration = Duration::from_millis(250);

/// Between two looks, at least.
const GAP: Duration = Duration::from_millis(50);

/// Between two looks, at most.
const PERIOD: Duration = Duration::from_secs(30);

/// Asks the nodes which of them serves what: at the start, whenever an answer or its absence gives
/// reason to, and periodically. `seeds` are asked first, and again when no known node answers.
pub(crate) async fn keep_topology(servers: Arc<Servers>, seeds: Vec<Server>) {
    let mut seeded = Vec::new();
    loop {
        let known = servers.topology().borrow().nodes.clone();
        let mut view = newest(&known, false).await;
        if view.is_none() {
            if seeded.is_empty() {
                let connected = seeds.iter().map(|seed| servers.connect(seed.clone()));
                seeded = connected.filter_map(Result::ok).collect();
            }
            view = newest(&seeded, true).await;
        }
        match view.map(|view| servers.adopt(view, &seeded)) {
            Some(Ok(())) => {
                seeded.clear();
                sleep(GAP).await;
                let _ = timeout(PERIOD, servers.suspected()).await;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a node of the cluster cannot be used");
                sleep(PERIOD).await;
            }
            None => sleep(GAP).await,
        }
    }
}

/// The view with the greatest epoch: a node that was cut off has an older one.
async fn newest(nodes: &[Arc<Node>], are_new: bool) -> Option<View> {
    let asked = nodes.iter().map(|node| view(node.clone(), are_new));
    let views = asked.collect::<JoinSet<_>>().join_all().await;
    views.into_iter().flatten().max_by_key(|view| view.epoch)
}

async fn view(node: Arc<Node>, is_new: bool) -> Option<View> {
    let commands = node.commands(LIMIT);
    if is_new {
        timeout(LIMIT, commands.connected()).await.ok()?.ok()?;
    }
    let (info, slots) = commands.cluster().await.ok()?;
    View::new(&info, slots, node.server()?)
}
