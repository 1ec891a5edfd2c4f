//! The limits of a client, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use affinity_layer::{ModelName, RouteDecision, RouteRequest, RouterService};
use router_client::{ErrorKind, RouterClient, RouterError};
use tokio::time::{Instant, sleep};
use tower::{ServiceExt, service_fn};
use tower_service::Service;

use crate::chat;

/// Counts the calls and how many of them are under way at once.
#[derive(Clone, Default)]
struct Counters {
    calls: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Counters {
    /// A router whose n-th call, from 0, takes `time` and then gives `answer(n)`.
    fn router(
        &self,
        time: Duration,
        answer: fn(usize) -> Result<RouteDecision, ErrorKind>,
    ) -> impl Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static {
        let counters = self.clone();
        service_fn(move |_: RouteRequest| {
            let counters = counters.clone();
            async move {
                let n = counters.calls.fetch_add(1, SeqCst);
                let under_way = counters.under_way.fetch_add(1, SeqCst) + 1;
                counters.most.fetch_max(under_way, SeqCst);
                sleep(time).await;
                counters.under_way.fetch_sub(1, SeqCst);
                answer(n).map_err(RouterError::new)
            }
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

fn decided() -> RouteDecision {
    RouteDecision::new([ModelName::new("a/b").unwrap()])
}

const INSTANT: Duration = Duration::ZERO;

#[test]
fn a_client_is_a_router_for_the_layer() {
    fn accepted(_: impl RouterService) {}
    accepted(RouterClient::builder(Counters::default().router(INSTANT, |_| Ok(decided()))).build());
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_tried_again_once_by_default() {
    let counters = Counters::default();
    let busy = counters.router(INSTANT, |_| Err(ErrorKind::Status(503)));
    let error = RouterClient::builder(busy).build().oneshot(chat("hello")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Status(503));
    assert_eq!(counters.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_pauses_between_tries_double() {
    let counters = Counters::default();
    let busy = counters.router(INSTANT, |_| Err(ErrorKind::Connect));
    let client = RouterClient::builder(busy).retries(3).build();
    for calls in [4, 8] {
        let begin = Instant::now();
        client.clone().oneshot(chat("hello")).await.unwrap_err();
        assert_eq!(counters.calls(), calls);
        // Timers have a resolution of one millisecond, and three of them ran.
        let pauses = begin.elapsed().as_millis();
        assert!((350..=356).contains(&pauses), "{pauses} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_succeeds_is_the_answer() {
    let counters = Counters::default();
    let router = counters.router(INSTANT, |n| match n {
        0 => Err(ErrorKind::Status(429)),
        _ => Ok(decided()),
    });
    let answer = RouterClient::builder(router).build().oneshot(chat("hello")).await.unwrap();
    assert_eq!(answer, decided());
    assert_eq!(counters.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn other_failures_and_answers_are_final() {
    let answers: [fn(usize) -> Result<RouteDecision, ErrorKind>; 5] = [
        |_| Err(ErrorKind::Malformed),
        |_| Err(ErrorKind::Status(400)),
        |_| Err(ErrorKind::TooLarge),
        |_| Err(ErrorKind::Config),
        |_| Ok(RouteDecision::none()),
    ];
    for answer in answers {
        let counters = Counters::default();
        let client = RouterClient::builder(counters.router(INSTANT, answer)).retries(5).build();
        let got = client.oneshot(chat("hello")).await.map_err(|error| error.kind());
        assert_eq!(got, answer(0));
        assert_eq!(counters.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_retries_is_one_try() {
    let counters = Counters::default();
    let busy = counters.router(INSTANT, |_| Err(ErrorKind::Connect));
    let client = RouterClient::builder(busy).retries(0).build();
    client.oneshot(chat("hello")).await.unwrap_err();
    assert_eq!(counters.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_is_for_all_tries_together() {
    let counters = Counters::default();
    let slow = counters.router(Duration::from_millis(1500), |_| Err(ErrorKind::Status(503)));
    let begin = Instant::now();
    let error = RouterClient::builder(slow).build().oneshot(chat("hello")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!error.is_retryable());
    let took = begin.elapsed().as_millis();
    assert!((2000..=2001).contains(&took), "{took} ms");
    assert_eq!(counters.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_decisions_are_under_way_than_allowed() {
    let counters = Counters::default();
    let router = counters.router(Duration::from_millis(100), |_| Ok(decided()));
    let client = RouterClient::builder(router).concurrency(3).build();
    let calls: Vec<_> =
        (0..10).map(|_| tokio::spawn(client.clone().oneshot(chat("hello")))).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(counters.most.load(SeqCst), 3);
    assert_eq!(counters.calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_counts_toward_the_time_limit() {
    let counters = Counters::default();
    let stuck = counters.router(Duration::from_secs(3600), |_| Ok(decided()));
    let client = RouterClient::builder(stuck).concurrency(1).build();
    let begin = Instant::now();
    let (first, second) =
        tokio::join!(client.clone().oneshot(chat("1")), client.clone().oneshot(chat("2")));
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    assert!(begin.elapsed() < Duration::from_millis(2010));
    assert_eq!(counters.calls(), 1);

    // The place of the decision that ran out of time is free again.
    client.oneshot(chat("3")).await.unwrap_err();
    assert_eq!(counters.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn any_concurrency_is_accepted() {
    for concurrency in [0, 1, usize::MAX] {
        let router = Counters::default().router(INSTANT, |_| Ok(decided()));
        let client = RouterClient::builder(router).concurrency(concurrency).build();
        assert_eq!(client.oneshot(chat("hello")).await.unwrap(), decided(), "{concurrency}");
    }
}
