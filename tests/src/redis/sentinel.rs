//! A primary, two replicas and the three sentinels that watch them, on loopback.

use std::time::Duration;

use super::builder::{Builder, Role};
use super::{RedisServer, wait};

/// The name under which the sentinels know the primary.
pub const SERVICE_NAME: &str = "mymaster";

/// How long the set may take to form.
const FORM_LIMIT: Duration = Duration::from_secs(30);
/// How long a replica may take to replace the primary: one second until it counts as down, and an
/// election, which is held again after ten seconds when it was a draw.
const FAILOVER_LIMIT: Duration = Duration::from_secs(45);

/// One primary (server 0 at first), two replicas, three sentinels. All are killed when dropped.
#[derive(Debug)]
pub struct SentinelSet {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl SentinelSet {
    /// Starts the set and waits until all know each other.
    ///
    /// # Panics
    /// When that takes longer than 30 s.
    pub async fn start() -> Self {
        Self::start_with(&RedisServer::builder(), &[]).await
    }

    /// The same, with servers of these settings, and more settings of the sentinels.
    pub(super) async fn start_with(server: &Builder, of_sentinels: &[&str]) -> Self {
        let primary = server.clone().start().await;
        let of_primary = format!("127.0.0.1 {}", primary.port());
        let mut servers = vec![primary];
        for _ in 0..2 {
            servers.push(server.clone().setting("replicaof", &of_primary).start().await);
        }
        // A sentinel looks for replicas when it starts and then only every ten seconds.
        wait::until("both replicas are in step", FORM_LIMIT, || async {
            in_step(&servers[1]).await && in_step(&servers[2]).await
        })
        .await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(start_sentinel(&of_primary, of_sentinels).await);
        }
        let set = Self { servers, sentinels };
        wait::until("the sentinels know all servers and each other", FORM_LIMIT, || {
            set.is_complete()
        })
        .await;
        set
    }

    async fn is_complete(&self) -> bool {
        for sentinel in &self.sentinels {
            let known = master_field(sentinel, "num-slaves").await.as_deref() == Some("2")
                && master_field(sentinel, "num-other-sentinels").await.as_deref() == Some("2")
                && sentinel.cmd(&["SENTINEL", "CKQUORUM", SERVICE_NAME]).await.is_ok();
            if !known {
                return false;
            }
        }
        true
    }

    /// What a client is configured with: `redis-sentinel://`, every sentinel and the service named.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.sentinels[0].url().replacen("redis://", "redis-sentinel://", 1);
        url.push_str(&format!("?sentinelServiceName={SERVICE_NAME}"));
        for sentinel in &self.sentinels[1..] {
            url.push_str(&format!("&node={}", sentinel.addr()));
        }
        url
    }

    /// The three servers, in the order of their start.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The three sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The server that the first running sentinel names as primary.
    ///
    /// # Panics
    /// When no sentinel runs, or it names a server that is not ours.
    pub async fn primary(&self) -> &RedisServer {
        let sentinel =
            self.sentinels.iter().find(|sentinel| sentinel.is_serving()).expect("no sentinel runs");
        let port = primary_port(sentinel).await;
        self.servers.iter().find(|server| Some(server.port()) == port).expect("a known primary")
    }

    /// Kills the primary and gives it, for a later [`RedisServer::restart`].
    ///
    /// # Panics
    /// As [`primary`](Self::primary).
    pub async fn kill_primary(&self) -> &RedisServer {
        let primary = self.primary().await;
        primary.kill();
        primary
    }

    /// Waits until every running sentinel names another primary than `old` and that one says so
    /// too, and gives it.
    ///
    /// # Panics
    /// When that takes longer than 45 s.
    pub async fn wait_for_failover(&self, old: &RedisServer) -> &RedisServer {
        wait::until("the sentinels agree on another primary", FAILOVER_LIMIT, || {
            self.has_replaced(old.port())
        })
        .await;
        self.primary().await
    }

    async fn has_replaced(&self, old: u16) -> bool {
        let mut named = None;
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_serving()) {
            let port = primary_port(sentinel).await;
            if port.is_none() || port == Some(old) || (named.is_some() && named != port) {
                return false;
            }
            named = port;
        }
        let Some(server) = self.servers.iter().find(|server| Some(server.port()) == named) else {
            return false;
        };
        let role = server.cmd(&["ROLE"]).await;
        role.is_ok_and(|role| role.items().first().and_then(|role| role.text()) == Some("master"))
    }
}

async fn start_sentinel(of_primary: &str, settings: &[&str]) -> RedisServer {
    let monitor = format!("monitor {SERVICE_NAME} {of_primary} 2");
    let mut sentinel = RedisServer::builder()
        .role(Role::Sentinel)
        .setting("sentinel", &monitor)
        .setting("sentinel", &format!("down-after-milliseconds {SERVICE_NAME} 1000"))
        .setting("sentinel", &format!("failover-timeout {SERVICE_NAME} 5000"));
    for setting in settings {
        sentinel = sentinel.setting("sentinel", setting);
    }
    sentinel.start().await
}

pub(super) async fn in_step(replica: &RedisServer) -> bool {
    let info = replica.cmd(&["INFO", "replication"]).await;
    info.is_ok_and(|info| info.has_line("master_link_status:up"))
}

async fn primary_port(sentinel: &RedisServer) -> Option<u16> {
    let addr = sentinel.cmd(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE_NAME]).await.ok()?;
    addr.items().get(1)?.text()?.parse().ok()
}

/// One field of what a sentinel knows of the primary.
async fn master_field(sentinel: &RedisServer, name: &str) -> Option<String> {
    let fields = sentinel.cmd(&["SENTINEL", "MASTER", SERVICE_NAME]).await.ok()?;
    let mut pairs = fields.items().chunks_exact(2);
    let pair = pairs.find(|pair| pair[0].text() == Some(name))?;
    pair[1].text().map(str::to_owned)
}
