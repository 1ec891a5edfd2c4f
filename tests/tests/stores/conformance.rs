//! The suite that every store must pass, over every kind of Redis.

use std::pin::Pin;

use affinity_layer::store::conformance::{self, wait};
use affinity_layer::{AffinityStore, SharedStore, admin::Inspect, store::NameSecret};
use affinity_tests::redis::{RedisCluster, RedisServer, SentinelSet, tls::Authority};

use crate::support::{options, redis, tiered};

/// The suite, on the heap: a test's stack is too small for some of them at once.
fn run<'a>(
    store: &'a impl AffinityStore,
    namespace: &'a str,
) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    Box::pin(conformance::run(store, namespace, wait))
}

/// The suite for administrators.
fn inspect<'a>(
    store: &'a (impl AffinityStore + Inspect),
    namespace: &'a str,
) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    Box::pin(conformance::inspect(store, namespace, wait))
}

#[tokio::test]
async fn pins_of_one_server_can_be_inspected() {
    let server = RedisServer::start().await;
    for foreign in ["plano:affinity:foreign", "other", "plano:affinity:%x"] {
        server.run(&["SET", foreign, "of somebody else"]).await;
    }
    server.run(&["HSET", "plano:affinity:hash", "field", "value"]).await;
    let plain = options(&server.url());
    let hashed = plain.clone().hash_names(NameSecret::new("of the suite"));
    // Each is a pattern that would match others' names if it were taken for one.
    let odd = plain.clone().key_prefix("p[a]*?:");
    let (near, odd) = (tiered(&plain).await, redis(&odd).await);
    let (plain, hashed) = (redis(&plain).await, redis(&hashed).await);
    inspect(&plain, "plain").await;
    tokio::join!(inspect(&near, "near"), inspect(&hashed, "hashed"), inspect(&odd, "odd"));
}

#[tokio::test]
async fn pins_of_a_cluster_can_be_inspected() {
    let cluster = RedisCluster::start(3).await;
    let plain = options(&cluster.url());
    let (near, plain) = (tiered(&plain).await, redis(&plain).await);
    inspect(&plain, "plain").await;
    inspect(&near, "near").await;
}

#[tokio::test]
async fn one_server() {
    let server = RedisServer::start().await;
    let plain = options(&server.url());
    let pooled = plain.clone().connections(3);
    let hashed = plain.clone().hash_names(NameSecret::new("of the suite"));
    let unprefixed = plain.clone().key_prefix("");
    let (plain, pooled) = (redis(&plain).await, redis(&pooled).await);
    let (hashed, unprefixed) = (redis(&hashed).await, redis(&unprefixed).await);
    let shared = SharedStore::new(plain.clone());
    tokio::join!(
        run(&plain, "plain"),
        run(&pooled, "pooled"),
        run(&hashed, "hashed"),
        run(&unprefixed, "unprefixed"),
        run(&shared, "shared"),
    );
}

#[tokio::test]
async fn near_copies_before_one_server() {
    let server = RedisServer::start().await;
    let plain = options(&server.url());
    let pooled = plain.clone().connections(3);
    let hashed = plain.clone().hash_names(NameSecret::new("of the suite"));
    let unprefixed = plain.clone().key_prefix("");
    let (plain, pooled) = (tiered(&plain).await, tiered(&pooled).await);
    let (hashed, unprefixed) = (tiered(&hashed).await, tiered(&unprefixed).await);
    tokio::join!(
        run(&plain, "plain"),
        run(&pooled, "pooled"),
        run(&hashed, "hashed"),
        run(&unprefixed, "unprefixed"),
    );
}

#[tokio::test]
async fn a_cluster_of_three() {
    let cluster = RedisCluster::start(3).await;
    let plain = options(&cluster.url());
    let hashed = plain.clone().hash_names(NameSecret::new("of the suite"));
    let (near, plain, hashed) = (tiered(&plain).await, redis(&plain).await, redis(&hashed).await);
    tokio::join!(run(&plain, "plain"), run(&hashed, "hashed"), run(&near, "near"));
    for node in cluster.nodes() {
        let size = node.run(&["DBSIZE"]).await.integer();
        assert!(size > Some(0), "every node holds pins: {size:?}");
    }
}

#[tokio::test]
async fn a_sentinel_set() {
    let set = SentinelSet::start().await;
    let plain = options(&set.url());
    let replicated = plain.clone().replicated(true);
    let (near, plain, replicated) =
        (tiered(&plain).await, redis(&plain).await, redis(&replicated).await);
    tokio::join!(run(&plain, "plain"), run(&replicated, "replicated"), run(&near, "near"));
}

#[tokio::test]
async fn tls_with_a_private_authority() {
    let authority = Authority::new();
    let server = RedisServer::builder().tls(&authority).password("p@ss:w/rd").start().await;
    let trusting = options(&server.url()).ca_certificates(authority.pem().as_bytes()).unwrap();
    let (near, plain) = (tiered(&trusting).await, redis(&trusting).await);
    tokio::join!(run(&plain, "plain"), run(&near, "near"));
}

#[tokio::test]
async fn a_cluster_over_tls() {
    let authority = Authority::new();
    let settings = RedisServer::builder().tls(&authority).password("p@ss:w/rd");
    let cluster = RedisCluster::start_with(3, 0, settings).await;
    let trusting = options(&cluster.url()).ca_certificates(authority.pem().as_bytes()).unwrap();
    let (near, plain) = (tiered(&trusting).await, redis(&trusting).await);
    tokio::join!(run(&plain, "plain"), run(&near, "near"));
}
