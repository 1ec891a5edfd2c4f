//! The core without HTTP: what a queue worker or a stream sees.

use std::future::pending;
use std::time::Duration;

use affinity_layer::{
    Affinity, AffinityKey, AffinityLayer, AffinityStore, BoxError, Expiry, MemoryStore, Outcome,
    RouteDecision, RouteRequest, RouterService, SharedStore, TargetName, Turn, Undecided,
};
use bytes::Bytes;
use http::Request;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};
use tower::service_fn;

use crate::broken_store::Broken;
use crate::common::*;

const IDLE: Duration = Duration::from_secs(2);

fn key(id: &str) -> AffinityKey {
    AffinityKey::new(id).unwrap()
}

/// A question that is not an HTTP request.
#[derive(Clone)]
struct Job(&'static str);

/// Decides for a new target at each call; `no` fails, and `any` matches no route.
fn router(calls: &Calls) -> impl RouterService<Job> + use<> {
    let calls = calls.clone();
    service_fn(move |job: Job| {
        let decided = match job.0 {
            "no" => Err(BoxError::from("away")),
            "any" => Ok(RouteDecision::none()),
            _ => Ok(calls.decide()),
        };
        async move {
            sleep(Duration::from_millis(1)).await;
            decided
        }
    })
}

fn affinity(calls: &Calls) -> Affinity<SharedStore, impl RouterService<Job> + use<>> {
    Affinity::new(SharedStore::new(MemoryStore::default()), router(calls))
}

#[tokio::test(start_paused = true)]
async fn of_many_first_calls_one_asks_the_router_and_all_get_its_target() {
    let calls = Calls::default();
    let affinity = affinity(&calls);
    let mut together = JoinSet::new();
    for _ in 0..100 {
        let affinity = affinity.clone();
        together.spawn(async move {
            let decision = affinity.decide(&key("s"), Job("job")).await.unwrap();
            (decision.target().to_string(), decision.outcome())
        });
    }
    let answers = together.join_all().await;
    assert!(answers.iter().all(|(target, _)| target == "vendor/m1"));
    let of = |outcome| answers.iter().filter(|(_, is)| *is == outcome).count();
    assert_eq!((of(Outcome::Claimed), of(Outcome::Joined), calls.count()), (1, 99, 1));
    let later = affinity.decide(&key("s"), Job("no")).await.unwrap();
    assert_eq!((later.outcome(), later.is_pinned()), (Outcome::Hit, true));
    assert_eq!(later.route().unwrap().as_str(), "code generation");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_hands_the_decision_to_the_next() {
    let calls = Calls::default();
    let slow = {
        let calls = calls.clone();
        service_fn(move |job: Job| {
            let decided = calls.decide();
            async move {
                if job.0 == "stuck" {
                    pending::<()>().await;
                }
                Ok::<_, BoxError>(decided)
            }
        })
    };
    let affinity = Affinity::new(MemoryStore::default(), slow);
    let stuck = tokio::spawn({
        let affinity = affinity.clone();
        async move { affinity.decide(&key("s"), Job("stuck")).await.map(drop) }
    });
    tokio::task::yield_now().await;
    let waits = tokio::spawn(async move {
        let decision = affinity.decide(&key("s"), Job("job")).await.unwrap();
        decision.outcome()
    });
    tokio::task::yield_now().await;
    assert_eq!(calls.count(), 1, "it waits");
    stuck.abort();
    assert_eq!((waits.await.unwrap(), calls.count()), (Outcome::Claimed, 2));
}

#[tokio::test(start_paused = true)]
async fn requests_and_calls_share_the_decision_of_their_session() {
    let calls = Calls::default();
    let affinity = Affinity::new(MemoryStore::default(), calls.slow_router(IDLE));
    let service = stack(AffinityLayer::over(&affinity));
    let (parts, ()) = Request::new(()).into_parts();
    let question = RouteRequest::new(parts, Bytes::new());
    let (key, question) = (key("s"), question);
    let (call, request) =
        tokio::join!(affinity.decide(&key, question.clone()), turn(&service, "s"));
    let call = call.unwrap();
    assert_eq!((call.outcome(), call.target().as_str()), (Outcome::Claimed, "vendor/m1"));
    assert_eq!(request, said("vendor/m1", true, "joined"));
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pin_lives_while_its_decision_is_held_and_no_longer() {
    let expiry = Expiry::sliding(IDLE, Duration::from_secs(60));
    let affinity = affinity(&Calls::default()).expiry(expiry);
    let decision = affinity.decide(&key("s"), Job("job")).await.unwrap();
    let other = affinity.decide(&key("s"), Job("job")).await.unwrap();
    sleep(20 * IDLE).await;
    drop(other);
    sleep(20 * IDLE).await;
    // Its maximum age is over, and takes effect when the last use has ended.
    let hit = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!(hit.outcome(), Outcome::Hit);
    drop((decision, hit));
    sleep(2 * IDLE).await;
    let next = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((next.outcome(), next.target().as_str()), (Outcome::Claimed, "vendor/m2"));
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_to_the_target_that_served_and_not_before() {
    let affinity = affinity(&Calls::default());
    let mut first = affinity.decide(&key("s"), Job("job")).await.unwrap();
    let epoch = first.epoch().unwrap();
    assert!(first.failed().await);
    assert_eq!(first.target().as_str(), "vendor/spare");
    assert!(!first.is_pinned());
    let meanwhile = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!(meanwhile.target().as_str(), "vendor/m1");
    assert_eq!(first.served().await, Outcome::Repinned);
    assert!(first.epoch().unwrap() > epoch);
    let later = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((later.target().as_str(), later.outcome()), ("vendor/spare", Outcome::Hit));
    assert_eq!(first.served().await, Outcome::Repinned, "a second report changes nothing");
    assert!(first.release().await.unwrap());
    let anew = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!(anew.outcome(), Outcome::Claimed);
}

#[tokio::test(start_paused = true)]
async fn two_calls_that_fail_together_move_the_session_once() {
    let affinity = affinity(&Calls::default());
    let mut one = affinity.decide(&key("s"), Job("job")).await.unwrap();
    let mut two = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert!(one.failed().await && two.failed().await);
    assert_eq!((one.served().await, two.served().await), (Outcome::Repinned, Outcome::Repinned));
    let later = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((later.target().as_str(), later.epoch()), ("vendor/spare", one.epoch()));
}

#[tokio::test(start_paused = true)]
async fn without_a_target_that_serves_a_claim_is_withdrawn_and_a_pin_stays() {
    let affinity = affinity(&Calls::default());
    let mut first = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert!(first.failed().await && !first.failed().await && !first.failed().await);
    assert_eq!((first.outcome(), first.epoch()), (Outcome::Failed, None));
    assert_eq!(first.served().await, Outcome::Failed, "it is over");
    let again = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((again.outcome(), again.target().as_str()), (Outcome::Claimed, "vendor/m2"));
    let mut later = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert!(later.failed().await && !later.failed().await);
    let stays = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((stays.outcome(), stays.target().as_str()), (Outcome::Hit, "vendor/m2"));
    // What it had before comes back when a new decision did not serve.
    let turn = Turn::new().refresh();
    let mut refreshed = affinity.decide_turn(Some(&key("s")), turn, Job("job")).await.unwrap();
    assert_eq!(
        (refreshed.outcome(), refreshed.target().as_str()),
        (Outcome::Refreshed, "vendor/m3")
    );
    assert!(refreshed.failed().await && !refreshed.failed().await);
    let back = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((back.outcome(), back.target().as_str()), (Outcome::Hit, "vendor/m2"));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_no_longer_accepted_is_not_tried() {
    let affinity = affinity(&Calls::default());
    drop(affinity.decide(&key("s"), Job("job")).await.unwrap());
    let strict = affinity.clone().accept_targets(|target| target.as_str() == "vendor/m1");
    let mut decision = strict.decide(&key("s"), Job("job")).await.unwrap();
    assert!(!decision.failed().await);
    let other = affinity.accept_targets(|target| target.as_str() != "vendor/m1");
    let moved = other.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((moved.outcome(), moved.target().as_str()), (Outcome::Repinned, "vendor/m2"));
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_away_leaves_the_target_that_is_asked_for_and_stores_nothing() {
    let affinity = affinity(&Calls::default());
    let undecided = affinity.decide(&key("s"), Job("no")).await;
    assert_eq!(undecided.unwrap_err(), Undecided::NoTarget);
    let asking = Turn::new().asking_for(model("vendor/asked"));
    let asked = affinity.decide_turn(Some(&key("s")), asking, Job("no")).await.unwrap();
    assert_eq!(asked.outcome(), Outcome::RouterUnavailable);
    assert_eq!((asked.target().as_str(), asked.epoch()), ("vendor/asked", None));
    let affinity = affinity.default_target(model("vendor/default"));
    let default = affinity.decide(&key("s"), Job("no")).await.unwrap();
    assert_eq!(default.target().as_str(), "vendor/default");
    // That no route matches is a decision.
    let unmatched = affinity.decide(&key("s"), Job("any")).await.unwrap();
    assert_eq!(unmatched.outcome(), Outcome::Claimed);
    let hit = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((hit.target().as_str(), hit.outcome()), ("vendor/default", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn a_turn_says_what_is_done_with_the_pin() {
    let calls = Calls::default();
    let affinity = affinity(&calls).warm_up(1);
    let key = key("s");
    let decide = async |turn: Turn| {
        let decision = affinity.decide_turn(Some(&key), turn, Job("job")).await.unwrap();
        (decision.target().to_string(), decision.outcome(), decision.epoch().is_some())
    };
    let probe = || Turn::new().probe().asking_for(model("vendor/asked"));
    let is = |target: &str, outcome, has_pin| (target.to_owned(), outcome, has_pin);
    assert_eq!(decide(probe()).await, is("vendor/asked", Outcome::None, false));
    assert_eq!(decide(Turn::new()).await, is("vendor/m1", Outcome::Claimed, true));
    assert_eq!(decide(Turn::new().continues()).await, is("vendor/m1", Outcome::Hit, true));
    assert_eq!(decide(Turn::new()).await, is("vendor/m2", Outcome::Refreshed, true), "warms up");
    assert_eq!(decide(Turn::new()).await, is("vendor/m2", Outcome::Hit, true));
    assert_eq!(decide(probe()).await, is("vendor/m2", Outcome::Hit, false));
    assert_eq!(decide(Turn::new().bypass()).await, is("vendor/m3", Outcome::Bypass, false));
    assert_eq!(decide(Turn::new().begins()).await, is("vendor/m4", Outcome::Refreshed, true));
    assert_eq!(decide(Turn::new().refresh()).await, is("vendor/m5", Outcome::Refreshed, true));
    let unnamed = affinity.decide_turn(None, Turn::new(), Job("job")).await.unwrap();
    assert_eq!((unnamed.outcome(), unnamed.key(), calls.count()), (Outcome::None, None, 6));
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_wait_for_a_first_decision_than_may() {
    let calls = Calls::default();
    let affinity = affinity(&calls).max_waiters(1);
    let key = key("s");
    let (one, two) =
        tokio::join!(affinity.decide(&key, Job("job")), affinity.decide(&key, Job("job")));
    assert_eq!(one.unwrap().outcome(), Outcome::Claimed);
    assert_eq!(two.unwrap_err(), Undecided::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stalls_costs_its_budget_and_no_call() {
    let calls = Calls::default();
    let affinity = Affinity::new(Broken { stalls: true }, router(&calls))
        .store_budget(Duration::from_millis(50));
    let began = Instant::now();
    let mut decision = affinity.decide(&key("s"), Job("job")).await.unwrap();
    assert_eq!((decision.outcome(), decision.epoch()), (Outcome::StoreUnavailable, None));
    assert!(began.elapsed() <= Duration::from_millis(52), "{:?}", began.elapsed());
    assert_eq!(decision.served().await, Outcome::StoreUnavailable);
    let required = affinity.require_store(true);
    let refused = required.decide(&key("s"), Job("job")).await;
    assert_eq!(refused.unwrap_err(), Undecided::StoreUnavailable);
}

/// Each new pin is known to other replicas after a second.
#[derive(Clone, Default)]
struct Replicated(MemoryStore);

impl AffinityStore for Replicated {
    as_in!(0: get, claim, repin, release);

    fn coherence(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_has_served_when_every_replica_knows_its_pin() {
    let affinity = Affinity::new(Replicated::default(), router(&Calls::default()));
    let mut decision = affinity.decide(&key("s"), Job("job")).await.unwrap();
    let decided = Instant::now();
    advance(Duration::from_millis(300)).await;
    assert_eq!(decision.served().await, Outcome::Claimed);
    assert_eq!(decided.elapsed().as_millis(), 1000);
}

#[tokio::test]
async fn a_decision_can_be_moved_to_another_task() {
    fn sent<T: Send + 'static>(value: T) -> T {
        value
    }
    let affinity = affinity(&Calls::default());
    let deciding = sent(async move { affinity.decide(&key("s"), Job("job")).await });
    let decision = sent(tokio::spawn(deciding).await.unwrap().unwrap());
    assert_eq!(*decision.target(), TargetName::new("vendor/m1").unwrap());
    assert_eq!(decision.selection().candidates().len(), 2);
}
