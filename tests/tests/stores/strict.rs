//! Near copies that do not stand in for Redis: nothing is decided, moved or served without it.

use affinity_layer::{AffinityStore, StoreErrorKind, TieredStore};
use affinity_tests::redis::RedisServer;
use affinity_tests::until;

use crate::support::{CALM, LONG, all_follow, claim, get, key, model, options, selection, tiered};

async fn strict(server: &RedisServer, strict: bool) -> TieredStore {
    tiered(&options(&server.url()).strict(strict)).await
}

/// Claims `known`, kills Redis, and claims `new`, which fails.
async fn cut_off(server: &RedisServer, store: &TieredStore) {
    claim(store, "known", "a/one").await.unwrap();
    server.kill();
    until(async || !store.is_ready()).await;
    assert!(claim(store, "new", "a/new").await.is_err());
}

#[tokio::test]
async fn without_redis_every_call_fails_and_nothing_is_decided() {
    let server = RedisServer::builder().appendonly(true).start().await;
    let store = strict(&server, true).await;
    assert!(store.is_strict());
    cut_off(&server, &store).await;
    for session in ["known", "new"] {
        assert!(store.peek(&key(session), &LONG).is_none(), "{session}");
        let error = Box::pin(store.get(&key(session), &LONG)).await.unwrap_err();
        assert_ne!(error.kind(), StoreErrorKind::Invalid, "{session}");
    }
    server.restart().await;
    until(async || all_follow(&server, &[&store]).await).await;
    assert_eq!(model(&store, "known").await.as_deref(), Some("a/one"), "its copy was not lost");
    assert_eq!(get(&store, "new").await.unwrap(), None, "nothing was told to Redis later");
    assert!(claim(&store, "new", "a/other").await.unwrap().won);
}

#[tokio::test]
async fn without_being_strict_both_are_served() {
    let server = RedisServer::builder().appendonly(true).start().await;
    let store = strict(&server, false).await;
    cut_off(&server, &store).await;
    assert_eq!(model(&store, "known").await.as_deref(), Some("a/one"));
    assert_eq!(model(&store, "new").await.as_deref(), Some("a/new"));
}

#[tokio::test]
async fn a_move_without_redis_is_none() {
    let server = RedisServer::builder().appendonly(true).start().await;
    let store = strict(&server, true).await;
    let pin = claim(&store, "moved", "a/one").await.unwrap().pin;
    server.kill();
    let session = key("moved");
    let moved = Box::pin(store.repin(&session, pin.epoch, selection("a/two"), &LONG)).await;
    assert!(moved.is_err());
    server.restart().await;
    until(async || all_follow(&server, &[&store]).await).await;
    tokio::time::sleep(CALM).await;
    let stands = get(&store, "moved").await.unwrap().unwrap();
    assert_eq!(stands.epoch, pin.epoch, "nothing was told to Redis later");
}

#[tokio::test]
async fn a_redis_that_lost_its_data_is_given_back_what_it_held() {
    let server = RedisServer::start().await;
    let store = strict(&server, true).await;
    cut_off(&server, &store).await;
    server.restart().await;
    until(async || all_follow(&server, &[&store]).await).await;
    assert_eq!(model(&store, "known").await.as_deref(), Some("a/one"));
    assert_eq!(get(&store, "new").await.unwrap(), None);
}
