//! What goes wrong while sessions run.

use std::str::FromStr;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::replicas::{KEY_PREFIX, Replicas};
use super::stubs::Stubs;
use crate::redis::{LEFT, Mode, Proxy, RIGHT, RedisCluster, RedisServer, SentinelSet, SplitSet};

/// How long Redis is out of reach, where we decide.
const OUTAGE: Duration = Duration::from_millis(1500);

/// One kind of fault, made again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing goes wrong.
    None,
    /// Redis stops in its tracks and goes on later (SIGSTOP, SIGCONT).
    Freeze,
    /// Redis is killed (SIGKILL) and comes back empty.
    Kill,
    /// Redis closes all connections (`CLIENT KILL TYPE normal`).
    ClientKill,
    /// A gateway is killed (SIGKILL) while decisions are being made, and started again.
    Gateway,
    /// The primary of a Sentinel set is killed, and a replica takes over.
    Failover,
    /// The slot with all sessions moves from one node of a cluster to another.
    Migration,
    /// The node of a cluster that has all sessions is killed, and its replica takes over.
    ClusterFailover,
    /// One gateway is cut off from Redis.
    Cut,
    /// The primary of a Sentinel set is cut off together with one gateway, and both sides go on.
    Partition,
}

impl Fault {
    /// Every one of them.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::ClientKill,
        Self::Gateway,
        Self::Freeze,
        Self::Cut,
        Self::Kill,
        Self::Failover,
        Self::Migration,
        Self::ClusterFailover,
        Self::Partition,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Freeze => "freeze",
            Self::Kill => "kill",
            Self::ClientKill => "client-kill",
            Self::Gateway => "gateway",
            Self::Failover => "failover",
            Self::Migration => "migration",
            Self::ClusterFailover => "cluster-failover",
            Self::Cut => "cut",
            Self::Partition => "partition",
        }
    }

    /// Whether calls to Redis break.
    pub(super) fn cuts(self) -> bool {
        self == Self::ClientKill || self.parts()
    }

    /// Whether replicas cannot see the same Redis meanwhile.
    pub(super) fn parts(self) -> bool {
        !matches!(self, Self::None | Self::ClientKill | Self::Gateway)
    }

    /// Whether Redis may lose what it acknowledged.
    pub(super) fn loses(self) -> bool {
        matches!(self, Self::Kill | Self::Failover | Self::ClusterFailover | Self::Partition)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let known = Self::ALL.into_iter().find(|fault| fault.name() == name);
        known.ok_or_else(|| format!("no fault has this name; there are {names} (and all)"))
    }
}

/// The Redis of a run.
#[derive(Debug)]
pub(super) enum Backend {
    Single(RedisServer),
    /// The proxy is in front of the first gateway.
    Proxied(RedisServer, Proxy),
    Sentinel(SentinelSet),
    /// The first gateway is on the left side.
    Split(SplitSet),
    Cluster(RedisCluster),
}

impl Backend {
    pub(super) async fn start(fault: Fault) -> Self {
        match fault {
            Fault::Failover => Self::Sentinel(SentinelSet::start().await),
            Fault::Partition => Self::Split(SplitSet::start().await),
            Fault::Migration => Self::Cluster(RedisCluster::start(3).await),
            Fault::ClusterFailover => Self::Cluster(RedisCluster::start_with_replicas(3).await),
            Fault::Cut => {
                let server = RedisServer::start().await;
                let proxy = Proxy::start(server.addr()).await;
                Self::Proxied(server, proxy)
            }
            _ => Self::Single(RedisServer::start().await),
        }
    }

    /// What the `replica`th gateway is configured with.
    pub(super) fn url(&self, replica: usize) -> String {
        match self {
            Self::Proxied(_, proxy) if replica == 0 => format!("redis://{}", proxy.addr()),
            Self::Single(server) | Self::Proxied(server, _) => server.url(),
            Self::Sentinel(set) => set.url(),
            Self::Split(set) => set.url(if replica == 0 { LEFT } else { RIGHT }),
            Self::Cluster(cluster) => cluster.url(),
        }
    }
}

/// Makes the fault for the `round`th time, and undoes it.
pub(super) async fn strike(
    fault: Fault,
    round: usize,
    backend: &Backend,
    replicas: &Replicas,
    stubs: &Stubs,
) {
    match (fault, backend) {
        (Fault::Freeze, Backend::Single(server)) => {
            server.freeze();
            sleep(OUTAGE).await;
            server.thaw();
        }
        (Fault::Kill, Backend::Single(server)) => {
            server.kill();
            sleep(OUTAGE / 2).await;
            server.restart().await;
        }
        (Fault::ClientKill, Backend::Single(server)) => {
            for _ in 0..3 {
                server.client_kill_normal().await;
                sleep(OUTAGE / 6).await;
            }
        }
        (Fault::Gateway, _) => {
            // Some decision is then in the middle of it, on one gateway or another.
            let deciding = async {
                while stubs.calls.under_way() == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let _ = timeout(OUTAGE, deciding).await;
            let replica = round % replicas.len();
            replicas.kill(replica).await;
            sleep(OUTAGE / 4).await;
            replicas.restart(replica).await;
        }
        (Fault::Cut, Backend::Proxied(_, proxy)) => {
            if round.is_multiple_of(2) {
                proxy.set(Mode::BlackHole).await;
            } else {
                proxy.set(Mode::Refuse).await;
                proxy.cut();
            }
            sleep(OUTAGE).await;
            proxy.set(Mode::Pass).await;
        }
        (Fault::Failover, Backend::Sentinel(set)) => {
            let old = set.kill_primary().await;
            set.wait_for_failover(old).await;
            old.restart().await;
        }
        (Fault::Partition, Backend::Split(set)) => {
            let old = set.part().await;
            sleep(OUTAGE).await;
            set.heal(old).await;
        }
        (Fault::Migration, Backend::Cluster(cluster)) => {
            let slot = cluster.slot_of(KEY_PREFIX).await;
            let from = cluster.owner(slot).await;
            cluster.migrate_slot(slot, from, (from + 1) % cluster.nodes().len()).await;
        }
        (Fault::ClusterFailover, Backend::Cluster(cluster)) => {
            let old = cluster.owner(cluster.slot_of(KEY_PREFIX).await).await;
            cluster.failover(old).await;
            cluster.node(old).restart().await;
            cluster.wait_until_ready().await;
        }
        _ => sleep(OUTAGE).await,
    }
}
