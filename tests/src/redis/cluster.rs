//! A Redis Cluster on loopback.

use std::time::Duration;

use super::builder::Role;
use super::{Builder, RedisServer, wait};

/// The number of hash slots of any cluster.
const SLOTS: usize = 16_384;
/// How long the nodes may take to know each other and to agree on the slots.
const FORM_LIMIT: Duration = Duration::from_secs(30);

/// Primaries that share the slots, and replicas of them. All are killed when it is dropped.
///
/// Nodes are counted from 0: the primaries first, then the first primary's replicas, and so on.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// This many primaries without replicas.
    ///
    /// # Panics
    /// When the nodes do not come up or do not form a cluster.
    pub async fn start(primaries: usize) -> Self {
        Self::start_with(primaries, 0, RedisServer::builder()).await
    }

    /// This many primaries, each with one replica.
    ///
    /// # Panics
    /// When the nodes do not come up or do not form a cluster.
    pub async fn start_with_replicas(primaries: usize) -> Self {
        Self::start_with(primaries, 1, RedisServer::builder()).await
    }

    /// This many primaries, each with this many replicas, all with `settings`. Over TLS nodes cannot
    /// be asked who owns a slot: over a Unix socket they tell no ports of TLS.
    ///
    /// # Panics
    /// When the nodes do not come up or do not form a cluster.
    pub async fn start_with(primaries: usize, replicas: usize, settings: Builder) -> Self {
        let settings = settings.role(Role::ClusterNode).setting("cluster-node-timeout", "2000");
        let mut nodes = Vec::new();
        for _ in 0..primaries * (1 + replicas) {
            nodes.push(settings.clone().start().await);
        }
        let cluster = Self { nodes };
        cluster.join(primaries).await;
        for replica in primaries..cluster.nodes.len() {
            let primary = cluster.id(&cluster.nodes[(replica - primaries) / replicas]).await;
            cluster.nodes[replica].run(&["CLUSTER", "REPLICATE", &primary]).await;
        }
        cluster.wait_until_ready().await;
        cluster
    }

    /// Hands out the slots and introduces the nodes to each other.
    async fn join(&self, primaries: usize) {
        for (i, node) in self.nodes.iter().enumerate() {
            // Different epochs from the start, so that no two nodes have to settle a conflict.
            node.run(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]).await;
            if i < primaries {
                let (first, next) = (SLOTS * i / primaries, SLOTS * (i + 1) / primaries);
                let (first, last) = (first.to_string(), (next - 1).to_string());
                node.run(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            }
            for other in &self.nodes[..i] {
                let (port, bus) = (other.port().to_string(), other.bus_port().to_string());
                node.run(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
            }
        }
        wait::until("every node knows all others", FORM_LIMIT, || {
            self.all_say("cluster_known_nodes", self.nodes.len().to_string())
        })
        .await;
    }

    /// Waits until every node that runs says that the cluster is well, and every replica of a
    /// running primary is in step with it.
    ///
    /// # Panics
    /// When that takes longer than 30 s.
    pub async fn wait_until_ready(&self) {
        wait::until("every node says cluster_state:ok", FORM_LIMIT, || {
            self.all_say("cluster_state", "ok".to_owned())
        })
        .await;
        wait::until("every replica follows its primary", FORM_LIMIT, || async {
            for node in self.serving() {
                let info = node.cmd(&["INFO", "replication"]).await;
                if info.is_ok_and(|info| info.has_line("master_link_status:down")) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    async fn all_say(&self, name: &str, value: String) -> bool {
        for node in self.serving() {
            let info = node.cmd(&["CLUSTER", "INFO"]).await;
            if !info.is_ok_and(|info| info.has_line(&format!("{name}:{value}"))) {
                return false;
            }
        }
        true
    }

    /// What a client is configured with: `redis-cluster://` or `rediss-cluster://`, every node named.
    #[must_use]
    pub fn url(&self) -> String {
        let first = self.nodes[0].url().replacen("://", "-cluster://", 1);
        let others: Vec<_> =
            self.nodes[1..].iter().map(|node| format!("node={}", node.addr())).collect();
        if others.is_empty() { first } else { format!("{first}?{}", others.join("&")) }
    }

    /// One node; see the type for the order.
    #[must_use]
    pub fn node(&self, index: usize) -> &RedisServer {
        &self.nodes[index]
    }

    /// All nodes; see the type for the order.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The slot that `key` falls into.
    ///
    /// # Panics
    /// When no node runs.
    pub async fn slot_of(&self, key: &str) -> u16 {
        let reply = self.any().run(&["CLUSTER", "KEYSLOT", key]).await;
        reply.integer().and_then(|slot| slot.try_into().ok()).expect("a slot number")
    }

    /// The node that the first running node takes for the primary of `slot`.
    ///
    /// # Panics
    /// When no node runs, or none serves the slot.
    pub async fn owner(&self, slot: u16) -> usize {
        self.owner_seen_by(self.any(), slot).await.expect("every slot has an owner")
    }

    pub(crate) async fn owner_seen_by(&self, node: &RedisServer, slot: u16) -> Option<usize> {
        let slots = node.cmd(&["CLUSTER", "SLOTS"]).await.ok()?;
        let range = slots.items().iter().find(|range| {
            let bound = |at: usize| range.items().get(at).and_then(|bound| bound.integer());
            bound(0) <= Some(slot.into()) && Some(slot.into()) <= bound(1)
        })?;
        let port = range.items().get(2)?.items().get(1)?.integer()?;
        self.nodes.iter().position(|node| i64::from(node.port()) == port)
    }

    pub(crate) async fn id(&self, node: &RedisServer) -> String {
        node.run(&["CLUSTER", "MYID"]).await.text().expect("a node id").to_owned()
    }

    pub(crate) fn serving(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.is_serving())
    }

    pub(crate) fn any(&self) -> &RedisServer {
        self.serving().next().expect("a cluster with a node that serves")
    }
}
