//! A Sentinel set that can be cut in two, with clients on both sides.
//!
//! Who can reach a server is decided by users: the sentinels and the replication are one, the clients
//! of each side another. To cut a server off, the others are locked out of it and their connections
//! are closed, so that they find it as they would find a server behind a dead link.

use std::time::Duration;

use super::sentinel::in_step;
use super::{RedisServer, SERVICE_NAME, SentinelSet, wait};

/// The clients that stay with the primary that is cut off.
pub const LEFT: &str = "left";
/// The clients on the side of the sentinels and of the other servers.
pub const RIGHT: &str = "right";

/// The sentinels and the replication.
const SET: &str = "set";

/// How long a server that was cut off may take to follow the new primary.
const HEAL_LIMIT: Duration = Duration::from_secs(20);

/// A [`SentinelSet`] whose primary can be cut off together with one half of the clients.
#[derive(Debug)]
pub struct SplitSet(SentinelSet);

impl SplitSet {
    /// Starts the set, in one piece.
    ///
    /// # Panics
    /// As [`SentinelSet::start`].
    pub async fn start() -> Self {
        let mut server = RedisServer::builder().password("harness");
        for user in [SET, LEFT, RIGHT] {
            server = server.setting("user", &format!("{user} on >{user} ~* &* +@all"));
        }
        let server = server.setting("masteruser", SET).setting("masterauth", SET);
        let as_user = format!("auth-user {SERVICE_NAME} {SET}");
        let by_password = format!("auth-pass {SERVICE_NAME} {SET}");
        Self(SentinelSet::start_with(&server, &[&as_user, &by_password]).await)
    }

    /// What the clients of one side are configured with.
    #[must_use]
    pub fn url(&self, side: &str) -> String {
        self.0.url().replacen("://", &format!("://{side}:{side}@"), 1)
    }

    /// Cuts the primary off, waits until another one has taken its place, and gives the old one.
    ///
    /// # Panics
    /// When no other takes its place.
    pub async fn part(&self) -> &RedisServer {
        let old = self.0.primary().await;
        for user in [SET, RIGHT] {
            old.run(&["ACL", "SETUSER", user, "off"]).await;
            old.run(&["CLIENT", "KILL", "USER", user]).await;
        }
        self.0.wait_for_failover(old).await;
        old
    }

    /// Ends the partition: the old primary follows the new one, and its clients have to find that.
    ///
    /// # Panics
    /// When the old primary does not follow.
    pub async fn heal(&self, old: &RedisServer) {
        for user in [SET, RIGHT] {
            old.run(&["ACL", "SETUSER", user, "on"]).await;
        }
        // As the sentinels do, which wait for eight seconds before.
        let primary = self.0.primary().await.port().to_string();
        old.run(&["REPLICAOF", "127.0.0.1", &primary]).await;
        old.run(&["CLIENT", "KILL", "USER", LEFT]).await;
        wait::until("the old primary follows the new one", HEAL_LIMIT, || in_step(old)).await;
    }

    /// The primary that the sentinels name.
    ///
    /// # Panics
    /// As [`SentinelSet::primary`].
    pub async fn primary(&self) -> &RedisServer {
        self.0.primary().await
    }
}
