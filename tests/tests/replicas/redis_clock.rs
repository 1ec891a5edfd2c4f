//! The wall clock of Redis jumps by 30 days: epochs grow, and pins end by that clock and no other.

use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, ModelRouter, Setup, Upstream, WrongClock, until};

use crate::{ids, is_ready, turn};

/// A Redis with a clock of its own, and gateways over it.
struct World {
    clock: WrongClock,
    redis: RedisServer,
    router: ModelRouter,
    setup: Setup,
    replicas: Vec<Gateway>,
    _upstream: Upstream,
}

impl World {
    async fn start() -> Self {
        let clock = WrongClock::off_by("+0");
        let redis = RedisServer::builder().clock(&clock).start().await;
        let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
        // A store budget that a busy machine keeps: beyond it this would be another question.
        let cache = format!(
            "session_cache: {{type: redis, url: '{}', command_timeout_ms: 5000}}",
            redis.url()
        );
        let setup = Setup::routed(&upstream, &router).routing(&cache);
        let replicas = vec![setup.start().await, setup.start().await];
        for gateway in &replicas {
            is_ready(gateway).await;
        }
        Self { clock, redis, router, setup, replicas, _upstream: upstream }
    }

    /// Sets the clock; the replicas learn of it as they connect anew.
    async fn jump(&self, offset: &str) {
        let followed = |gateway: &Gateway| gateway.log().matches("store is followed").count();
        let before: Vec<_> = self.replicas.iter().map(followed).collect();
        self.clock.set(offset);
        self.redis.client_kill_normal().await;
        // Until then a copy may serve that was fresh a moment ago.
        for (gateway, before) in self.replicas.iter().zip(before) {
            until(async || followed(gateway) > before).await;
            is_ready(gateway).await;
        }
    }

    /// The epoch of a session's pin, which Redis keeps for at least `least` milliseconds.
    async fn epoch(&self, session: &str, least: i64) -> u64 {
        let name = format!("plano:affinity:{session}");
        let left = self.redis.run(&["PTTL", &name]).await.integer().unwrap();
        assert!(left >= least, "{session}: {left} ms left");
        let value = self.redis.run(&["GET", &name]).await;
        let value: serde_json::Value = serde_json::from_str(value.text().unwrap()).unwrap();
        value["epoch"].as_u64().unwrap()
    }

    /// A turn of a session at each replica, all of which tell one model; what the first one says of it.
    async fn agree(&self, session: &str) -> (String, String) {
        let mut first = None;
        for gateway in &self.replicas {
            let answer = gateway.ask(&turn(session)).await;
            let (_, outcome, model) = answer.affinity();
            let told = (outcome.to_owned(), model.to_owned());
            let (_, expected) = first.get_or_insert(told);
            assert_eq!((answer.status, model), (200, &**expected), "{session}");
        }
        first.unwrap()
    }

    /// Each replica moves the session once; all follow, to an epoch greater than `last` and all before.
    async fn moves(&self, session: &str, mut last: u64) -> u64 {
        for mover in &self.replicas {
            let moved = mover.ask(&turn(session).header("x-plano-affinity", "refresh")).await;
            assert_eq!(moved.affinity().1, "refreshed", "{session}");
            let next = self.epoch(session, 540_000).await;
            assert!(next > last, "{session}: epoch {next} after {last}");
            last = next;
            assert_eq!(
                self.agree(session).await,
                ("hit".to_owned(), moved.affinity().2.to_owned())
            );
        }
        last
    }

    fn ends_well(mut self) {
        for gateway in &mut self.replicas {
            assert!(gateway.runs() && !gateway.log().contains("panic"), "{}", gateway.log());
        }
    }
}

#[tokio::test]
async fn set_back_it_ends_no_pin_and_epochs_grow() {
    let mut world = World::start().await;
    let mut known = Vec::new();
    for session in ids("s", 10) {
        let (_, model) = world.agree(&session).await;
        known.push((world.epoch(&session, 540_000).await, session, model));
    }
    let asked = world.router.calls();
    world.jump("-30d").await;
    // One that never knew another time.
    world.replicas.push(world.setup.start().await);
    is_ready(&world.replicas[2]).await;
    for (epoch, session, model) in &known {
        assert_eq!(world.agree(session).await, ("hit".to_owned(), model.clone()), "{session}");
        // By that clock they are there for a month longer.
        assert_eq!(world.epoch(session, 29 * 86_400_000).await, *epoch, "{session}");
    }
    assert_eq!(world.router.calls(), asked, "all are pinned");
    for (epoch, session, _) in &known {
        world.moves(session, *epoch).await;
    }
    // The newcomer decides for a session of which the others hold copies with greater epochs.
    for (_, session, _) in &known {
        world.redis.run(&["DEL", &format!("plano:affinity:{session}")]).await;
        let first = world.replicas[2].ask(&turn(session)).await;
        until(async || world.agree(session).await.1 == first.affinity().2).await;
    }
    world.ends_well();
}

#[tokio::test]
async fn set_forward_it_ends_pins_and_the_next_are_one_for_all() {
    let world = World::start().await;
    let mut known = Vec::new();
    for session in ids("s", 10) {
        assert_eq!(world.agree(&session).await.0, "claimed");
        known.push((world.epoch(&session, 540_000).await, session));
    }
    for jump in ["+30d", "+60d"] {
        world.jump(jump).await;
        until(async || world.redis.run(&["DBSIZE"]).await.integer() == Some(0)).await;
        for (epoch, session) in &mut known {
            assert_eq!(world.agree(session).await.0, "claimed", "{jump}: {session}");
            let next = world.epoch(session, 540_000).await;
            assert!(next > *epoch, "{jump}: {session}: epoch {next} after {epoch}");
            *epoch = world.moves(session, next).await;
        }
    }
    world.ends_well();
}
