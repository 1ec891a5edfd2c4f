//! Changes of a cluster that its clients have to live through.

use std::time::Duration;

use super::{RedisCluster, RedisServer, wait};

/// How long the nodes may take to hear of a slot's new owner.
const AGREE_LIMIT: Duration = Duration::from_secs(30);
/// How long a replica may take to replace its primary, at a node timeout of two seconds.
const FAILOVER_LIMIT: Duration = Duration::from_secs(30);
/// How many keys of a slot move at a time.
const MOVE_BATCH: &str = "100";
/// How long the move of one batch may stall on the network.
const MOVE_LIMIT_MS: &str = "500";

impl RedisCluster {
    /// Moves `slot` with all its keys to another primary, while clients go on using it.
    ///
    /// # Panics
    /// When the nodes refuse it.
    pub async fn migrate_slot(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (self.node(from), self.node(to));
        let (from_id, to_id) = (self.id(from).await, self.id(to).await);
        let slot = slot.to_string();
        to.run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
        from.run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
        while self.move_batch(&slot, from, to).await {}
        // The new owner first: should the old one give up first, the slot has none for a moment.
        to.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
        from.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
        let slot = slot.parse().expect("a slot number");
        let owner = self.nodes().iter().position(|node| node.port() == to.port());
        wait::until("every node knows the slot's new owner", AGREE_LIMIT, || async {
            for node in self.serving() {
                if self.owner_seen_by(node, slot).await != owner {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Moves some keys of `slot`; false when there were none.
    async fn move_batch(&self, slot: &str, from: &RedisServer, to: &RedisServer) -> bool {
        let reply = from.run(&["CLUSTER", "GETKEYSINSLOT", slot, MOVE_BATCH]).await;
        let keys: Vec<_> = reply.items().iter().filter_map(|key| key.bytes()).collect();
        if keys.is_empty() {
            return false;
        }
        let port = to.port().to_string();
        let mut command: Vec<&[u8]> =
            [b"MIGRATE".as_slice(), b"127.0.0.1", port.as_bytes(), b"", b"0"].to_vec();
        command.push(MOVE_LIMIT_MS.as_bytes());
        if let Some(password) = to.password() {
            command.extend([b"AUTH".as_slice(), password.as_bytes()]);
        }
        command.push(b"KEYS");
        command.extend(keys);
        from.run(&command).await;
        true
    }

    /// Kills a primary that has a replica, waits until the replica has taken over its slots and
    /// every node that runs says so, and gives the new primary.
    ///
    /// # Panics
    /// When the node owns no slot, or no node takes over within 30 s.
    pub async fn failover(&self, primary: usize) -> usize {
        let slot = self.a_slot_of(primary).await;
        self.node(primary).kill();
        wait::until("a replica takes over", FAILOVER_LIMIT, || async {
            for node in self.serving() {
                if self.owner_seen_by(node, slot).await.is_none_or(|owner| owner == primary) {
                    return false;
                }
            }
            true
        })
        .await;
        self.wait_until_ready().await;
        self.owner(slot).await
    }

    async fn a_slot_of(&self, primary: usize) -> u16 {
        let slots = self.any().run(&["CLUSTER", "SLOTS"]).await;
        for range in slots.items() {
            let first = range.items().first().and_then(|slot| slot.integer());
            let first = first.and_then(|slot| slot.try_into().ok()).expect("a slot number");
            if self.owner(first).await == primary {
                return first;
            }
        }
        panic!("node {primary} owns no slot")
    }
}
