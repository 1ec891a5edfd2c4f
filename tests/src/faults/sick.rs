//! The faults.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use tokio::time::{interval, sleep};

use crate::redis::{Liar, Mode, Proxy, RedisServer};

const WRONG_TYPE: &[u8] = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// What is wrong with Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sick {
    /// Nothing: the noise of the machine.
    None,
    /// `SIGSTOP`.
    Frozen,
    /// `SIGKILL`.
    Killed,
    /// Connections are refused.
    Refuses,
    /// What is sent to it arrives when it is well again.
    Stalls,
    /// What is sent to it is lost.
    Swallows,
    /// A byte a second.
    Trickles,
    /// Connections are reset as they are used.
    Resets,
    /// `CLIENT PAUSE`.
    Pauses,
    /// `OOM` for whatever writes.
    Full,
    /// `READONLY` for whatever writes.
    ReadOnly,
    /// `NOAUTH`.
    Locked,
    /// `LOADING`, as while it reads its data after a start.
    Loading,
    /// `WRONGTYPE`, as if another program used our keys.
    WrongType,
}

/// A Redis that can be made sick.
pub(super) struct Patient {
    redis: RedisServer,
    liar: Liar,
    proxy: Proxy,
}

impl Patient {
    /// One that is well.
    pub(super) async fn start() -> Self {
        let redis = RedisServer::start().await;
        let liar = Liar::start(redis.addr()).await;
        let proxy = Proxy::start(liar.addr()).await;
        Self { redis, liar, proxy }
    }

    /// Where clients connect.
    pub(super) fn addr(&self) -> SocketAddr {
        self.proxy.addr()
    }
}

impl Sick {
    /// Makes Redis sick for `length`, and leaves it so.
    pub(super) async fn strike(self, Patient { redis, liar, proxy }: &Patient, length: Duration) {
        let millis = length.as_millis().to_string();
        match self {
            Self::None => {}
            Self::Frozen => redis.freeze(),
            Self::Killed => redis.kill(),
            Self::Refuses => {
                proxy.set(Mode::Refuse).await;
                proxy.cut();
            }
            Self::Stalls => proxy.set(Mode::Stall).await,
            Self::Swallows => proxy.set(Mode::BlackHole).await,
            Self::Trickles => proxy.set(Mode::Trickle).await,
            Self::Pauses => drop(redis.run(&["CLIENT", "PAUSE", &millis, "ALL"]).await),
            Self::Full => drop(redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await),
            // There is no primary at that port, and none is needed.
            Self::ReadOnly => drop(redis.run(&["REPLICAOF", "127.0.0.1", "1"]).await),
            Self::Locked => {
                redis.run(&["CONFIG", "SET", "requirepass", "nobody-knows"]).await;
                proxy.cut();
            }
            Self::Loading => liar.say(Some(b"-LOADING Redis is loading the dataset in memory\r\n")),
            Self::WrongType => liar.say(Some(WRONG_TYPE)),
            Self::Resets => {
                let mut pace = interval(Duration::from_millis(20));
                let cuts = async {
                    loop {
                        pace.tick().await;
                        proxy.cut();
                    }
                };
                return tokio::time::timeout(length, cuts).await.unwrap_or_default();
            }
        }
        sleep(length).await;
    }
}
