//! The wall clock of a process jumps by 30 days, or runs 60 times as fast: no pin ends by it.

use std::time::Duration;

use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, ModelRouter, Setup, Upstream, WrongClock};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::{ids, is_ready, turn};

/// What a clock is set to, one after the other.
const JUMPS: [&str; 5] = ["-30d", "+30d", "+0", "+0 x60", "-30d"];

async fn model(gateway: &Gateway, session: &str) -> String {
    let answer = gateway.ask(&turn(session)).await;
    assert_eq!(answer.status, 200, "{session}: {}", answer.text());
    answer.header("x-plano-model").unwrap().to_owned()
}

/// The day that a gateway takes for today.
async fn day(gateway: &Gateway) -> String {
    let answer = gateway.ask(&turn("day")).await;
    answer.header("date").unwrap()[..16].to_owned()
}

fn is_well(mut gateway: Gateway) {
    assert!(gateway.runs());
    assert!(!gateway.log().contains("panic"), "{}", gateway.log());
}

#[tokio::test]
async fn in_memory_pins_last_as_long_as_they_should() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router);
    let (right, clock) = (setup.start().await, WrongClock::off_by("+0"));
    let gateway = Gateway::prepared(&setup.yaml(), &clock.commands()).await;
    let sessions = ids("s", 20);
    let mut models = Vec::new();
    for session in &sessions {
        models.push(model(&gateway, session).await);
    }
    let asked = router.calls();
    for jump in JUMPS {
        clock.set(jump);
        // 60 s and more of the fast clock.
        sleep(Duration::from_millis(1100)).await;
        for (session, expected) in sessions.iter().zip(&models) {
            let answer = gateway.ask(&turn(session)).await;
            assert_eq!(answer.affinity(), ("true", "hit", &**expected), "{jump}: {session}");
        }
        if jump == "+30d" {
            assert_ne!(day(&gateway).await, day(&right).await, "the clock is wrong");
        }
    }
    // But for those that asked for the day.
    assert_eq!(router.calls(), asked + 2);
    is_well(gateway);
}

#[tokio::test]
async fn in_memory_pins_end_when_they_should() {
    const TTL: Duration = Duration::from_secs(2);
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router).routing("session_ttl_seconds: 2");
    let setup = setup.routing("session_expiry: fixed");
    for (start, jump) in [("+0", "-30d"), ("-30d", "+30d"), ("+0", "+0 x60")] {
        let clock = WrongClock::off_by(start);
        let gateway = Gateway::prepared(&setup.yaml(), &clock.commands()).await;
        let before = Instant::now();
        model(&gateway, "s").await;
        let claimed = Instant::now();
        clock.set(jump);
        loop {
            let asked = Instant::now();
            let answer = gateway.ask(&turn("s")).await;
            if answer.header("x-plano-affinity") == Some("claimed") {
                assert!(before.elapsed() >= TTL, "{jump}: too early, {:?}", before.elapsed());
                break;
            }
            // Asked after the end, it was a hit: no slowness of the machine explains that.
            assert!(asked < claimed + TTL + Duration::from_secs(1), "{jump}: too late");
            sleep(Duration::from_millis(20)).await;
        }
        is_well(gateway);
    }
}

#[tokio::test]
async fn if_lifetimes_went_by_a_clock_that_jumps_this_would_show_it() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let clock = WrongClock::with_the_steady_one("+0");
    let setup = Setup::routed(&upstream, &router);
    let gateway = Gateway::prepared(&setup.yaml(), &clock.commands()).await;
    model(&gateway, "s").await;
    assert_eq!(gateway.ask(&turn("s")).await.affinity().1, "hit");
    clock.set("+1h");
    assert_eq!(gateway.ask(&turn("s")).await.affinity().1, "claimed", "it ended early");
}

/// The epoch of a session's pin, which has almost all of its lifetime left.
async fn epoch(redis: &RedisServer, session: &str) -> u64 {
    let name = format!("plano:affinity:{session}");
    let left = redis.run(&["PTTL", &name]).await.integer().unwrap();
    assert!((540_000..=600_000).contains(&left), "{session}: {left} ms left of 600 s");
    let value = redis.run(&["GET", &name]).await;
    let value: serde_json::Value = serde_json::from_str(value.text().unwrap()).unwrap();
    value["epoch"].as_u64().unwrap()
}

#[tokio::test]
async fn over_redis_replicas_with_clocks_of_their_own_agree() {
    let redis = RedisServer::start().await;
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    // A store budget that a busy machine keeps: beyond it this would be another question.
    let cache =
        format!("session_cache: {{type: redis, url: '{}', command_timeout_ms: 5000}}", redis.url());
    let setup = Setup::routed(&upstream, &router).routing(&cache);
    let clocks = [WrongClock::off_by("-30d"), WrongClock::off_by("+30d")];
    let mut replicas = vec![setup.start().await];
    for clock in &clocks {
        replicas.push(Gateway::prepared(&setup.yaml(), &clock.commands()).await);
    }
    for gateway in &replicas {
        is_ready(gateway).await;
    }
    let days = [day(&replicas[0]).await, day(&replicas[1]).await, day(&replicas[2]).await];
    assert!(days[0] != days[1] && days[1] != days[2] && days[2] != days[0], "{days:?}");
    for (round, jump) in JUMPS.into_iter().enumerate() {
        for session in ids(&format!("s{round}"), 5) {
            // The first requests race, and one decides.
            let mut first: JoinSet<_> = (replicas.iter())
                .map(|gateway| (gateway.address(), turn(&session)))
                .map(|(address, turn)| async move {
                    affinity_tests::Connection::open(address).await.ask(&turn).await
                })
                .collect();
            let mut told = Vec::new();
            while let Some(answer) = first.join_next().await {
                told.push(answer.unwrap().header("x-plano-model").unwrap().to_owned());
            }
            assert!(told.iter().all(|model| *model == told[0]), "{session}: {told:?}");
            let mut last = epoch(&redis, &session).await;
            for mover in &replicas {
                let moved = mover.ask(&turn(&session).header("x-plano-affinity", "refresh")).await;
                assert_eq!(moved.header("x-plano-affinity"), Some("refreshed"), "{session}");
                let next = epoch(&redis, &session).await;
                assert!(next > last, "{session}: epoch {next} after {last}");
                last = next;
                for gateway in &replicas {
                    let answer = gateway.ask(&turn(&session)).await;
                    let expected = ("true", "hit", moved.affinity().2);
                    assert_eq!(answer.affinity(), expected, "{jump}: {session}");
                }
            }
        }
        clocks.iter().for_each(|clock| clock.set(jump));
    }
    // The sessions of the first round, after all of that.
    for session in ids("s0", 5) {
        let asked = router.calls();
        let mut told = Vec::new();
        for gateway in &replicas {
            told.push(model(gateway, &session).await);
        }
        assert!(told.iter().all(|model| *model == told[0]), "{session}: {told:?}");
        assert_eq!(router.calls(), asked, "{session} is pinned");
    }
    replicas.into_iter().for_each(is_well);
}
