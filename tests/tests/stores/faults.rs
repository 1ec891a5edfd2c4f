//! A Redis that is sick or gone: every call ends in time, and few are made.

use std::time::Duration;

use affinity_layer::{AffinityStore, Epoch, RedisStore};
use affinity_tests::redis::{Mode, Proxy, RedisServer};
use tokio::time::{Instant, interval};

use crate::support::{LONG, answers, claim, get, key, options, redis, selection, soon, tiered};

/// The longest wait for one command, and what a busy machine may add to it.
const TIMEOUT: Duration = Duration::from_millis(100);
const SLACK: Duration = Duration::from_millis(400);

/// How long an open breaker refuses all calls.
const OPEN: Duration = Duration::from_millis(250);

/// Failures in a row that open it.
const FAILURES: u64 = 5;

async fn behind(proxy: &Proxy) -> RedisStore {
    let url = format!("redis://{}", proxy.addr());
    redis(&options(&url).command_timeout(TIMEOUT)).await
}

/// Every verb fails, and none takes longer than it may.
async fn fails_in_time(store: &RedisStore, what: &str) {
    for round in 0..3 {
        let key = key("s");
        let start = Instant::now();
        assert!(get(store, "s").await.is_err(), "{what}: get");
        assert!(claim(store, "s", "a/two").await.is_err(), "{what}: claim");
        let moved = store.repin(&key, Epoch(1), selection("a/two"), &LONG).await;
        assert!(moved.is_err(), "{what}: repin");
        assert!(store.release(&key, None).await.is_err(), "{what}: release");
        let took = start.elapsed();
        assert!(took < 4 * TIMEOUT + SLACK, "{what}, round {round}: {took:?}");
    }
}

#[tokio::test]
async fn every_fault_of_the_network_is_bounded_and_passes() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.addr()).await;
    let store = behind(&proxy).await;
    claim(&store, "s", "a/one").await.unwrap();
    let modes = [
        Mode::Stall,
        Mode::BlackHole,
        Mode::Trickle,
        Mode::Delay(Duration::from_secs(3)),
        Mode::Refuse,
    ];
    for mode in modes {
        proxy.set(mode).await;
        if mode == Mode::Refuse {
            proxy.cut();
        }
        fails_in_time(&store, &format!("{mode:?}")).await;
        proxy.set(Mode::Pass).await;
        let healed = Instant::now();
        answers(&store).await;
        assert!(healed.elapsed() < Duration::from_secs(5), "{mode:?}: {:?}", healed.elapsed());
        // What was given up may have been under way, and then it counts; nothing else was lost.
        let pin = claim(&store, "s", "a/one").await.unwrap().pin;
        assert_eq!(get(&store, "s").await.unwrap(), Some(pin), "{mode:?}");
    }
}

#[tokio::test]
async fn every_fault_of_the_server_is_bounded_and_passes() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url()).command_timeout(TIMEOUT)).await;
    server.freeze();
    fails_in_time(&store, "frozen").await;
    server.thaw();
    answers(&store).await;
    server.run(&["CLIENT", "PAUSE", "1500", "ALL"]).await;
    fails_in_time(&store, "paused").await;
    answers(&store).await;
    server.kill();
    fails_in_time(&store, "killed").await;
    server.restart().await;
    let back = Instant::now();
    answers(&store).await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
}

#[tokio::test]
async fn lost_connections_are_made_again() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url()).connections(3)).await;
    claim(&store, "s", "a/one").await.unwrap();
    for _ in 0..5 {
        assert!(server.client_kill_normal().await >= 3);
        let killed = Instant::now();
        answers(&store).await;
        assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    }
    assert!(get(&store, "s").await.unwrap().is_some());
}

#[tokio::test]
async fn connections_that_break_all_the_time_are_made_less_often() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.addr()).await;
    let store = tiered(&options(&format!("redis://{}", proxy.addr()))).await;
    let connections = async || {
        let stats = server.run(&["INFO", "stats"]).await;
        let count = stats.text().unwrap().lines().find_map(|line| {
            line.strip_prefix("total_connections_received:")?.trim().parse::<u64>().ok()
        });
        count.unwrap()
    };
    let (before, start) = (connections().await, Instant::now());
    let mut pace = interval(Duration::from_millis(20));
    while start.elapsed() < Duration::from_secs(3) {
        pace.tick().await;
        proxy.cut();
        // Refused or answered, it does not wait for a connection.
        let asked = Instant::now();
        let _ = get(&store, "s").await;
        assert!(asked.elapsed() < SLACK, "{:?}", asked.elapsed());
    }
    let made = connections().await - before;
    // Four at first, then two each 400 ms. If each break had another one at once, 80 or more.
    assert!((5..30).contains(&made), "{made} connections");
    soon(Duration::from_secs(2), "followed again", async || store.is_ready()).await;
    assert!(claim(&store, "s", "a/one").await.unwrap().won);
}

#[tokio::test]
async fn an_open_breaker_lets_one_call_through_now_and_then() {
    let server = RedisServer::start().await;
    let store = redis(&options(&server.url()).command_timeout(TIMEOUT)).await;
    let before = server.pin_commands().await;
    server.freeze();
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        assert!(get(&store, "s").await.is_err());
        calls += 1;
        tokio::task::yield_now().await;
    }
    let took = start.elapsed();
    server.thaw();
    answers(&store).await;
    // A read is two commands. Those that wait in the socket of the frozen server are run now.
    let reached = (server.pin_commands().await - before) / 2;
    let probes = u64::try_from(took.as_millis() / OPEN.as_millis()).unwrap() + 1;
    // And those by which this test saw that it answers again.
    let afterwards = 9 + 4;
    assert!(reached <= FAILURES + probes + afterwards, "{reached} of {calls} calls in {took:?}");
    assert!(calls > 20 * (FAILURES + probes + afterwards), "{calls} calls tell too little");
}

#[tokio::test]
async fn a_store_may_be_made_before_its_redis_is_there() {
    let server = RedisServer::start().await;
    server.kill();
    let store = RedisStore::new(&options(&server.url())).unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        assert!(get(&store, "s").await.is_err());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    server.restart().await;
    answers(&store).await;
    assert!(claim(&store, "s", "a/one").await.unwrap().won);
}
