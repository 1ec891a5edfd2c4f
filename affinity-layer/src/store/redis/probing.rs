//! Finds out whether pins can be read and written, for a store without near copies.
//!
//! The follower of near copies probes the server that it follows; see `tiered/follow.rs`. A
//! [`RedisStore`](super::RedisStore) alone has no follower, so this task looks at each server that nobody
//! follows. There are four reasons to try it: a new connection, a refused call, a cause that the last
//! probe found, and half a minute without a probe.

use std::sync::Arc;
use std::time::Duration;

use fred::prelude::ClientLike;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::node::Node;
use super::protocol::{self, Protocol};
use super::unready::Unready;

/// Between two looks whether there is a reason. A look sends nothing.
const LOOK: Duration = Duration::from_millis(250);

/// Between two probes of a server that is ready.
const PERIOD: Duration = Duration::from_secs(30);

/// The last probe of a server.
struct Probed {
    node: Arc<Node>,
    /// The connection of that time.
    client: String,
    at: Instant,
}

impl Probed {
    /// Whether there is a reason for another one.
    fn is_over(&self, client: &str) -> bool {
        let condition = &self.node.condition;
        // Taken in any case, so that one refusal has one probe.
        let was_refused = condition.take_refusal();
        let is_old = self.client != client || self.at.elapsed() >= PERIOD;
        was_refused || is_old || condition.unready().is_some()
    }
}

/// Runs for as long as the store lives.
pub(super) async fn keep_probing(protocol: Arc<Protocol>) {
    let topology = protocol.servers.topology();
    let mut probed: Vec<Probed> = Vec::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let nodes = topology.borrow().nodes.clone();
        probed.retain(|last| nodes.iter().any(|node| Arc::ptr_eq(node, &last.node)));
        for node in nodes {
            let client = node.followed().client();
            if node.is_watched() || !client.is_connected() {
                continue;
            }
            let last = probed.iter_mut().find(|last| Arc::ptr_eq(&last.node, &node));
            if last.as_ref().is_some_and(|last| !last.is_over(client.id())) {
                continue;
            }
            try_node(&protocol, &node).await;
            let (client, at) = (client.id().to_owned(), Instant::now());
            match last {
                Some(last) => (last.client, last.at) = (client, at),
                None => probed.push(Probed { node, client, at }),
            }
        }
    }
}

/// Tries the commands of the protocol, and leaves a server that is read-only.
pub(super) async fn try_node(protocol: &Protocol, node: &Node) {
    let mut found = protocol::probe(protocol, node).await;
    if found == Some(Unready::Unreachable) {
        // One answer that is late is no outage.
        found = protocol::probe(protocol, node).await;
    }
    let found = match found {
        // A node may serve the slot of the name that was tried, and not those of others.
        None if protocol::is_of_a_cluster(protocol, node).await => Some(Unready::Cluster),
        found => found,
    };
    if found == Some(Unready::ReadOnly) {
        node.leave();
    }
    node.condition.note(found);
}
