//! Keeps the map of a cluster.

use std::sync::Arc;
use std::time::Duration;

use fred::types::config::Server;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::node::Node;
use super::servers::Servers;
use super::slots::View;

/// The longest wait for a node's view.
const LIMIT: Duration = Duration::from_millis(250);

/// Between two looks, at least.
const GAP: Duration = Duration::from_millis(50);

/// Between two looks, at most.
const PERIOD: Duration = Duration::from_secs(30);

/// Asks the nodes who serves what: at the start, whenever an answer or its absence gives reason to, and
/// now and then. `seeds` are asked at first, and when nobody else answers.
pub(super) async fn keep_map(servers: Arc<Servers>, seeds: Vec<Server>) {
    let mut sown = Vec::new();
    loop {
        let known = servers.map().borrow().nodes.clone();
        let mut view = newest(&known, false).await;
        if view.is_none() {
            if sown.is_empty() {
                let connected = seeds.iter().map(|seed| servers.connect(seed.clone()));
                sown = connected.filter_map(Result::ok).collect();
            }
            view = newest(&sown, true).await;
        }
        match view.map(|view| servers.adopt(view, &sown)) {
            Some(Ok(())) => {
                sown.clear();
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

/// Of all views the one of the greatest epoch. A node that was cut off has an older one.
async fn newest(nodes: &[Arc<Node>], are_new: bool) -> Option<View> {
    let asked = nodes.iter().map(|node| view(node.clone(), are_new));
    let views = asked.collect::<JoinSet<_>>().join_all().await;
    views.into_iter().flatten().max_by_key(|view| view.epoch)
}

async fn view(node: Arc<Node>, is_new: bool) -> Option<View> {
    let conn = node.conn(LIMIT);
    if is_new {
        timeout(LIMIT, conn.connected()).await.ok()?.ok()?;
    }
    let (info, slots) = conn.cluster().await.ok()?;
    View::new(&info, slots, node.server()?)
}
