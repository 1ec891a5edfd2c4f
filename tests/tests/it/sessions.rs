//! One session, one model.

use std::time::Duration;

use affinity_tests::models::{DEFAULT, ONE, TWO};
use affinity_tests::{Gateway, ModelRouter, Request, Setup, Upstream, post};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::chat;

async fn start() -> (Upstream, ModelRouter, Gateway) {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = Setup::routed(&upstream, &router).start().await;
    (upstream, router, gateway)
}

fn turn() -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "hello"))
}

#[tokio::test]
async fn each_header_holds_one_model_for_one_routing_call() {
    let (upstream, router, gateway) = start().await;
    for (calls, (header, model)) in
        [("x-model-affinity", ONE), ("x-routing-session-id", TWO), ("x-session-id", ONE)]
            .into_iter()
            .enumerate()
    {
        for number in 0..4 {
            let answer = gateway.ask(&turn().header(header, &format!("s-{header}"))).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let expected = match number {
                0 => ("false", "claimed", model),
                _ => ("true", "hit", model),
            };
            assert_eq!(answer.affinity(), expected, "{header}, turn {number}");
            let route = if model == ONE { "one" } else { "two" };
            assert_eq!(answer.header("x-plano-route"), Some(route));
            // What the provider was asked for is what it names.
            let id = model.split_once('/').unwrap().1;
            assert_eq!(answer.json()["model"], id);
        }
        assert_eq!(router.calls(), calls + 1, "{header}");
    }
    assert_eq!(upstream.count(), 12);
}

#[tokio::test]
async fn without_a_session_each_request_is_routed() {
    let (_upstream, router, gateway) = start().await;
    for (number, model) in [ONE, TWO, ONE, TWO].into_iter().enumerate() {
        let answer = gateway.ask(&turn()).await;
        assert_eq!(answer.affinity(), ("false", "none", model));
        assert_eq!(router.calls(), number + 1);
    }
}

#[tokio::test]
async fn the_first_header_of_the_list_names_the_session() {
    let (_upstream, router, gateway) = start().await;
    let both = turn().header("x-session-id", "b").header("x-model-affinity", "a");
    assert_eq!(gateway.ask(&both).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(gateway.ask(&turn().session("a")).await.affinity(), ("true", "hit", ONE));
    let other = gateway.ask(&turn().session("b")).await;
    assert_eq!(other.affinity(), ("false", "claimed", TWO));
    // Another case is another session.
    assert_eq!(gateway.ask(&turn().session("A")).await.affinity(), ("false", "claimed", ONE));
    assert_eq!(router.calls(), 3);
}

#[tokio::test]
async fn a_fixed_ttl_ends_although_the_session_is_used() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = Setup::routed(&upstream, &router).routing("session_ttl_seconds: 2");
    let gateway = setup.routing("session_expiry: fixed").start().await;
    let before = Instant::now();
    assert_eq!(gateway.ask(&turn().session("s")).await.affinity(), ("false", "claimed", ONE));
    let claimed = Instant::now();

    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let (mut hits, mut last_hit) = (0, before);
    let ended = loop {
        pace.tick().await;
        let asked = Instant::now();
        let answer = gateway.ask(&turn().session("s")).await;
        match answer.affinity() {
            ("true", "hit", ONE) => (hits, last_hit) = (hits + 1, asked),
            ("false", "claimed", TWO) => break asked,
            other => panic!("{other:?}"),
        }
        assert!(asked - claimed < Duration::from_secs(4), "still pinned");
    };
    // The claim fell between `before` and `claimed`, its end between the last two questions.
    assert!(Instant::now() - before >= Duration::from_secs(2), "ended too early");
    assert!(ended - before < Duration::from_secs(4), "ended too late");
    assert!(last_hit - before >= Duration::from_millis(1200) && hits >= 3, "{hits} hits");
    assert_eq!(router.calls(), 2);
}

#[tokio::test]
async fn a_client_steers_its_pin() {
    let (_upstream, router, gateway) = start().await;
    let ask = async |control: Option<&str>| {
        let request = turn().session("s");
        let request = match control {
            Some(control) => request.header("x-plano-affinity", control),
            None => request,
        };
        let answer = gateway.ask(&request).await;
        let (pinned, why, model) = answer.affinity();
        (pinned.to_owned(), why.to_owned(), model.to_owned())
    };
    let is = |pinned: &str, why: &str, model: &str| {
        (pinned.to_owned(), why.to_owned(), model.to_owned())
    };
    assert_eq!(ask(None).await, is("false", "claimed", ONE));
    assert_eq!(ask(Some("bypass")).await, is("false", "bypass", TWO));
    assert_eq!(ask(None).await, is("true", "hit", ONE));
    // The router says `one` now, where the pin is; the next refresh moves it.
    assert_eq!(ask(Some("refresh")).await, is("false", "refreshed", ONE));
    assert_eq!(ask(Some("refresh")).await, is("false", "refreshed", TWO));
    assert_eq!(ask(None).await, is("true", "hit", TWO));
    assert_eq!(ask(Some("final")).await, is("true", "hit", TWO));
    assert_eq!(ask(None).await, is("false", "claimed", ONE));
    assert_eq!(router.calls(), 5);

    let refused = gateway.ask(&turn().session("s").header("x-plano-affinity", "maybe")).await;
    assert_eq!(refused.refusal(), (400, "invalid_affinity_control".to_owned()));
}

#[tokio::test]
async fn fifty_first_requests_make_one_routing_call() {
    let (upstream, router, gateway) = start().await;
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let mut connection = gateway.connect().await;
        tasks.spawn(async move { connection.ask(&turn().session("s")).await });
    }
    let answers = affinity_tests::within(tasks.join_all()).await;
    let count = |wanted: &str| answers.iter().filter(|a| a.affinity().1 == wanted).count();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.affinity().2 == ONE));
    assert_eq!(count("claimed"), 1);
    assert_eq!(count("joined") + count("hit"), 49);
    assert_eq!(answers.iter().filter(|a| a.affinity().0 == "true").count(), 49);
    assert_eq!((router.calls(), upstream.count()), (1, 50));
}
