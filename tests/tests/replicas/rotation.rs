//! How keys are named changes, in the steps of docs/operations.md, while two replicas serve: no session is
//! split, and none loses its model.

use affinity_tests::redis::RedisServer;
use affinity_tests::{Gateway, ModelRouter, Setup, Upstream};

use crate::{is_ready, turn};

/// Two replicas that roll one after the other, and the sessions that they serve.
struct Rolling {
    setup: Setup,
    redis: RedisServer,
    replicas: Vec<Gateway>,
    /// The sessions so far, and the model of each.
    sessions: Vec<(String, String)>,
    /// How many there were.
    made: usize,
    router: ModelRouter,
    _upstream: Upstream,
}

impl Rolling {
    async fn start(cache: &str) -> Self {
        let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
        let (setup, redis) = (Setup::routed(&upstream, &router), RedisServer::start().await);
        let (replicas, sessions) = (Vec::new(), Vec::new());
        let mut rolling =
            Self { setup, redis, replicas, sessions, made: 0, router, _upstream: upstream };
        for _ in 0..2 {
            let replica = rolling.replica(cache).await;
            rolling.replicas.push(replica);
        }
        rolling
    }

    async fn replica(&self, cache: &str) -> Gateway {
        let url = self.redis.url();
        // A store budget that a busy machine keeps: beyond it this would be another question.
        let cache = format!(
            "session_cache: {{type: redis, url: '{url}', command_timeout_ms: 5000{cache}}}"
        );
        let gateway = self.setup.clone().routing(&cache).start().await;
        is_ready(&gateway).await;
        gateway
    }

    /// Sessions whose first requests race over both replicas get one model; earlier sessions keep theirs.
    async fn is_whole(&mut self, when: &str) {
        let [a, b] = self.replicas.as_slice() else { panic!("two replicas") };
        let mut judged = 0;
        for n in 0..20 {
            let session = format!("s-{}", self.made + n);
            let (one, other) = (turn(&session), turn(&session));
            let (one, other) = tokio::join!(a.ask(&one), b.ask(&other));
            let (model, outcomes) = (one.affinity().2, [one.affinity().1, other.affinity().1]);
            if outcomes.contains(&"store-unavailable") {
                // A machine that stands still for half a second loses connections: another question.
                continue;
            }
            let logs = || format!("{outcomes:?}\n{}\n{}", a.log(), b.log());
            assert_eq!(model, other.affinity().2, "{session}: {}", logs());
            let claimed = outcomes.iter().filter(|outcome| **outcome == "claimed").count();
            assert_eq!(claimed, 1, "{session}: {}", logs());
            judged += 1;
            self.sessions.push((session, model.to_owned()));
        }
        assert!(judged > 10, "{when}: {judged} of 20");
        self.made += 20;
        let calls = self.router.calls();
        for (session, model) in &self.sessions {
            for gateway in [a, b] {
                let answer = gateway.ask(&turn(session)).await;
                assert_eq!(answer.affinity(), ("true", "hit", &**model), "{when}: {session}");
            }
        }
        assert_eq!(self.router.calls(), calls, "{when}");
    }

    /// Both replicas, one after the other, serve with `cache` from now on.
    async fn roll(&mut self, cache: &str) {
        for n in 0..2 {
            self.replicas[n] = self.replica(cache).await;
            self.is_whole(&format!("replica {n} with '{cache}'")).await;
        }
    }
}

const OLD: &str = ", key_secret: the-old-secret";

#[tokio::test]
async fn readable_names_become_hashed_ones_and_readable_again_without_a_split() {
    let mut rolling = Rolling::start("").await;
    rolling.is_whole("readable").await;
    for cache in [", previous_key_secret: the-old-secret", OLD] {
        rolling.roll(cache).await;
    }
    // What was made under readable names has ended before the way back.
    rolling.sessions.clear();
    for cache in [", previous_key_secret: the-old-secret", ""] {
        rolling.roll(cache).await;
        // With the last step, what was made under hashed names.
        rolling.sessions.clear();
    }
}

#[tokio::test]
async fn a_secret_is_exchanged_in_three_steps_without_a_split() {
    let mut rolling = Rolling::start(OLD).await;
    rolling.is_whole("old").await;
    let steps = [
        ", key_secret: the-old-secret, previous_key_secret: the-new-secret",
        ", key_secret: the-new-secret, previous_key_secret: the-old-secret",
    ];
    for cache in steps {
        rolling.roll(cache).await;
    }
    // What was made under the old names has ended before the last step.
    rolling.sessions.clear();
    rolling.is_whole("both new").await;
    rolling.roll(", key_secret: the-new-secret").await;
}
