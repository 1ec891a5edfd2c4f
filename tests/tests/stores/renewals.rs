//! Pins that slide: what Redis hears of their use, and when they end.

use std::time::Duration;

use affinity_layer::store::AnswerState::{Ended, Running};
use affinity_layer::{AffinityStore, Expiry, TieredStore};
use affinity_tests::redis::RedisServer;
use tokio::time::{Instant, sleep};

use crate::support::{key, left, options, selection, soon, tiered, turn};

const IDLE: Duration = Duration::from_secs(2);
const EXPIRY: Expiry = Expiry::sliding(IDLE, Duration::from_secs(60));
const SEEN: Duration = Duration::from_secs(5);

async fn replicas() -> (RedisServer, TieredStore, TieredStore) {
    let server = RedisServer::start().await;
    let options = options(&server.url());
    let (a, b) = (tiered(&options).await, tiered(&options).await);
    (server, a, b)
}

async fn claim(store: &TieredStore, session: &str, expiry: &Expiry) {
    assert!(store.claim(&key(session), selection("a/one"), expiry).await.unwrap().won);
}

/// Waits until the store has a copy at hand.
async fn is_at_hand(store: &TieredStore, session: &str) {
    soon(SEEN, "a copy", async || {
        store.peek(&key(session), &EXPIRY).is_some() || {
            drop(store.get(&key(session), &EXPIRY).await);
            false
        }
    })
    .await;
}

#[tokio::test]
async fn turns_renew_a_pin_once_in_a_quarter_and_none_of_them_waits_for_it() {
    let (server, a, b) = replicas().await;
    claim(&a, "s", &EXPIRY).await;
    is_at_hand(&a, "s").await;
    is_at_hand(&b, "s").await;
    let (start, before) = (Instant::now(), server.commands(&["pexpire"]).await);
    let (mut turns, mut waited) = (0, 0);
    while start.elapsed() < 3 * IDLE {
        for store in [&a, &b] {
            turns += 1;
            if store.peek(&key("s"), &EXPIRY).is_none() {
                waited += 1;
                assert!(turn(store, "s", &EXPIRY).await.is_some(), "after {:?}", start.elapsed());
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
    let renewals = server.commands(&["pexpire"]).await - before;
    println!("{turns} turns, {renewals} renewals, {waited} turns that asked Redis");
    assert!((4..=24).contains(&renewals), "{renewals} in 12 quarters at 2 replicas");
    // The other replica reads the pin again by itself; a turn may come in that moment.
    assert!(waited <= renewals, "{waited} of {turns} turns waited for Redis");
    let told = a.stats().renewals + b.stats().renewals;
    assert!(told >= renewals, "counted apart: {told}");
}

#[tokio::test]
async fn a_renewal_takes_no_copy_away_for_longer_than_a_moment() {
    let (server, a, b) = replicas().await;
    claim(&a, "s", &EXPIRY).await;
    is_at_hand(&a, "s").await;
    is_at_hand(&b, "s").await;
    sleep(IDLE / 2).await;
    let reads = b.stats().found;
    assert!(a.renew(&key("s"), &EXPIRY, Running));
    soon(SEEN, "it is renewed", async || left(&server, "s").await > 1800).await;
    assert!(a.peek(&key("s"), &EXPIRY).is_some(), "the copy of the one that renews stays");
    soon(SEEN, "the other reads it again", async || b.stats().renewals > 0).await;
    soon(SEEN, "and has it at hand", async || b.peek(&key("s"), &EXPIRY).is_some()).await;
    assert_eq!(b.stats().found, reads, "no request had to");
    // Nobody uses it there: it is not read for the next renewal.
    sleep(IDLE * 2 / 5).await;
    drop(server);
}

#[tokio::test]
async fn a_running_answer_holds_its_pin_and_a_dead_replica_does_not() {
    let (server, a, _b) = replicas().await;
    claim(&a, "s", &EXPIRY).await;
    let start = Instant::now();
    while start.elapsed() < 3 * IDLE {
        assert!(a.renew(&key("s"), &EXPIRY, Running));
        assert!(left(&server, "s").await > 0, "after {:?}", start.elapsed());
        sleep(IDLE / 4).await;
    }
    drop(a);
    let died = Instant::now();
    soon(SEEN, "it ends", async || left(&server, "s").await < 0).await;
    assert!(died.elapsed() <= IDLE + Duration::from_millis(100), "{:?}", died.elapsed());
}

#[tokio::test]
async fn a_pin_ends_its_idle_time_after_its_last_answer() {
    let (server, a, _b) = replicas().await;
    claim(&a, "s", &EXPIRY).await;
    sleep(IDLE / 5).await;
    assert!(a.renew(&key("s"), &EXPIRY, Ended));
    let ended = Instant::now();
    soon(SEEN, "it ends", async || left(&server, "s").await < 0).await;
    let lived = ended.elapsed();
    let millis = Duration::from_millis;
    assert!(lived >= IDLE - millis(60) && lived <= IDLE + millis(200), "{lived:?}");
}

#[tokio::test]
async fn the_maximum_age_takes_effect_with_the_last_answer_of_all_replicas() {
    let (server, a, b) = replicas().await;
    let expiry = Expiry::sliding(IDLE, IDLE * 3 / 2);
    claim(&a, "s", &expiry).await;
    let start = Instant::now();
    while start.elapsed() < 3 * IDLE {
        for store in [&a, &b] {
            drop(turn(store, "s", &expiry).await);
            assert!(store.renew(&key("s"), &expiry, Running));
        }
        assert!(left(&server, "s").await > 0, "after {:?}", start.elapsed());
        sleep(IDLE / 4).await;
    }
    assert!(a.renew(&key("s"), &expiry, Ended));
    sleep(IDLE / 5).await;
    assert!(turn(&a, "s", &expiry).await.is_some(), "an answer runs at the other replica");
    assert!(b.renew(&key("s"), &expiry, Ended));
    let ended = Instant::now();
    soon(SEEN, "it ends", async || left(&server, "s").await < 0).await;
    assert!(ended.elapsed() < IDLE / 4, "{:?}", ended.elapsed());
    soon(SEEN, "everywhere", async || {
        turn(&a, "s", &expiry).await.is_none() && turn(&b, "s", &expiry).await.is_none()
    })
    .await;
}

#[tokio::test]
async fn a_replica_with_a_shorter_lifetime_shortens_no_pin_of_another() {
    let (server, a, b) = replicas().await;
    let long = Expiry::sliding(10 * IDLE, 100 * IDLE);
    claim(&a, "s", &long).await;
    let short = Expiry::sliding(IDLE, 2 * IDLE);
    for answer in [Running, Ended] {
        assert!(turn(&b, "s", &short).await.is_some());
        assert!(b.renew(&key("s"), &short, answer));
        sleep(IDLE * 3 / 5).await;
    }
    let pin = turn(&b, "s", &short).await.unwrap();
    let moved = b.repin(&key("s"), pin.epoch, selection("a/two"), &short).await.unwrap();
    assert!(moved.unwrap().won);
    assert!(left(&server, "s").await > 17_000 - 2_400, "{}", left(&server, "s").await);
}
