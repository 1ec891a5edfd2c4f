//! A write whose request has given up is never applied, however long Redis was away.

use std::time::Duration;

use affinity_layer::RedisStore;
use affinity_tests::redis::RedisServer;
use fred::prelude::{
    Builder, Client, ClientLike, Config, Expiration, KeysInterface, ReconnectPolicy, SetOptions,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{answers, claim, name, options, redis};

/// The longest wait for one command.
const TIMEOUT: Duration = Duration::from_millis(100);

/// Claims in one batch, all at once.
const BATCH: usize = 1000;

/// Who claims sessions.
trait Claims: Clone + Send + Sync + 'static {
    /// Whether a claim was told, and not given up.
    fn claim(&self, session: &str) -> impl Future<Output = bool> + Send;
    /// Waits until it is in touch with Redis.
    fn is_back(&self) -> impl Future<Output = ()>;
}

impl Claims for RedisStore {
    async fn claim(&self, session: &str) -> bool {
        claim(self, session, "a/two").await.is_ok()
    }

    async fn is_back(&self) {
        answers(self).await;
    }
}

/// A client of Redis as it comes, and requests that give up by themselves.
impl Claims for Client {
    async fn claim(&self, session: &str) -> bool {
        let expiry = Some(Expiration::EX(600));
        let set = self.set::<(), _, _>(name(session), "a/two", expiry, Some(SetOptions::NX), false);
        timeout(TIMEOUT, set).await.is_ok_and(|set| set.is_ok())
    }

    async fn is_back(&self) {
        // Behind everything that is still to be sent.
        self.ping::<()>(None).await.unwrap();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Down,
    Frozen,
}

/// How many of `count` claims that were given up during an outage are in the Redis that returns, which
/// has forgotten everything else.
async fn applied_late(
    server: &RedisServer,
    claims: &impl Claims,
    outage: Outage,
    count: usize,
) -> usize {
    match outage {
        Outage::Down => server.kill(),
        Outage::Frozen => server.freeze(),
    }
    for from in (0..count).step_by(BATCH) {
        let mut given_up = JoinSet::new();
        for n in from..count.min(from + BATCH) {
            let claims = claims.clone();
            given_up.spawn(async move { !claims.claim(&format!("s-{n}")).await });
        }
        assert!(given_up.join_all().await.into_iter().all(|given_up| given_up), "{outage:?}");
    }
    server.restart().await;
    claims.is_back().await;
    usize::try_from(server.run(&["DBSIZE"]).await.integer().unwrap()).unwrap()
}

#[tokio::test]
async fn nothing_is_applied_late() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url()).command_timeout(TIMEOUT)).await;
    claim(&store, "before", "a/one").await.unwrap();
    for outage in [Outage::Down, Outage::Frozen] {
        assert_eq!(applied_late(&server, &store, outage, 10 * BATCH).await, 0, "{outage:?}");
    }
    claim(&store, "after", "a/one").await.unwrap();
    let found = server.run(&["EXISTS", &name("after")]).await.integer();
    assert_eq!(found, Some(1), "and it does write");
}

#[tokio::test]
async fn by_a_client_without_limits_all_would_be() {
    let server = RedisServer::start().await;
    let config = Config::from_url(&server.url()).unwrap();
    let client = Builder::from_config(config)
        .set_policy(ReconnectPolicy::new_constant(0, 20))
        .build()
        .unwrap();
    let _connection = client.init().await.unwrap();
    for outage in [Outage::Down, Outage::Frozen] {
        let applied = applied_late(&server, &client, outage, BATCH / 2).await;
        println!("{outage:?}: {applied} of {} applied", BATCH / 2);
        assert!(applied > BATCH / 4, "{outage:?}: {applied}");
    }
    client.quit().await.unwrap();
}
