use fred::error::ErrorKind;

use super::breaker::{FAILURES, OPEN};
use super::*;

const PATIENCE: Duration = Duration::from_millis(12);

async fn call(guard: &Guard, result: Result<(), StoreErrorKind>) -> bool {
    let mut called = false;
    let call = guard.call(async {
        called = true;
        result.map_err(StoreError::from)
    });
    let _ = call.await;
    called
}

async fn claim(guard: &Guard, result: Result<(), StoreError>) -> bool {
    let mut called = false;
    let claim = guard.write(async {
        called = true;
        result
    });
    let _ = claim.await;
    called
}

fn read_only() -> Result<(), StoreError> {
    let error = fred::error::Error::new(ErrorKind::Unknown, "READONLY You can't write");
    Err(StoreError::new(StoreErrorKind::Unavailable, error))
}

const DOWN: Result<(), StoreErrorKind> = Err(StoreErrorKind::Unavailable);

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_one_probe_closes_it() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..FAILURES {
        assert!(call(&guard, DOWN).await);
    }
    assert!(!call(&guard, Ok(())).await, "open");
    tokio::time::advance(OPEN).await;
    assert!(call(&guard, DOWN).await, "one may try");
    assert!(!call(&guard, Ok(())).await, "it failed");
    tokio::time::advance(OPEN).await;
    assert!(call(&guard, Ok(())).await);
    assert!(call(&guard, Ok(())).await, "closed again");
}

#[tokio::test(start_paused = true)]
async fn a_success_between_starts_the_count_anew() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..10 {
        for _ in 1..FAILURES {
            assert!(call(&guard, DOWN).await);
        }
        assert!(call(&guard, Ok(())).await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_sense_is_an_answer() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..20 {
        assert!(call(&guard, Err(StoreErrorKind::Invalid)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_counts_as_a_failure() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..FAILURES {
        let stalled = guard.call(std::future::pending::<Result<(), StoreError>>());
        assert!(tokio::time::timeout(Duration::from_millis(50), stalled).await.is_err());
    }
    assert!(!call(&guard, Ok(())).await);
    tokio::time::advance(OPEN).await;
    let probe = guard.call(std::future::pending::<Result<(), StoreError>>());
    assert!(tokio::time::timeout(Duration::from_millis(50), probe).await.is_err());
    tokio::time::advance(OPEN).await;
    assert!(call(&guard, Ok(())).await, "a probe that was given up does not block the next");
}

#[tokio::test(start_paused = true)]
async fn clients_that_go_away_do_not_open_it() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    let abandon = async |limit| {
        let stalled = guard.call(std::future::pending::<Result<(), StoreError>>());
        assert!(tokio::time::timeout(limit, stalled).await.is_err());
    };
    for _ in 0..100 {
        abandon(PATIENCE / 2).await;
    }
    assert!(call(&guard, DOWN).await, "let through");
    for _ in 1..FAILURES {
        call(&guard, DOWN).await;
    }
    tokio::time::advance(OPEN).await;
    abandon(PATIENCE / 2).await;
    assert!(call(&guard, Ok(())).await, "a probe that nobody waits for is no failure either");
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_closes_it_too() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    let late = guard.calls.attempt();
    for _ in 0..FAILURES {
        call(&guard, DOWN).await;
    }
    assert!(!call(&guard, Ok(())).await);
    late.unwrap().end = End::Answered;
    assert!(call(&guard, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn it_can_be_closed_from_outside() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..FAILURES {
        call(&guard, DOWN).await;
    }
    assert!(!call(&guard, Ok(())).await);
    guard.close();
    for _ in 1..FAILURES {
        assert!(call(&guard, DOWN).await, "the count starts anew");
    }
    assert!(call(&guard, DOWN).await);
    assert!(!call(&guard, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_watched_is_tried_once_it_was_seen_alive() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    let watched = guard.watch();
    tokio::time::advance(OPEN * 2).await;
    guard.is_alive();
    tokio::time::advance(PATIENCE).await;
    for _ in 0..FAILURES {
        assert!(call(&guard, DOWN).await);
    }
    tokio::time::advance(OPEN * 10).await;
    assert!(!call(&guard, Ok(())).await, "no sign of life since");
    guard.is_alive();
    tokio::time::advance(PATIENCE).await;
    assert!(call(&guard, DOWN).await);
    tokio::time::advance(OPEN).await;
    assert!(!call(&guard, Ok(())).await, "nor since it was tried");
    guard.is_alive();
    assert!(call(&guard, Ok(())).await);

    for _ in 0..FAILURES {
        call(&guard, DOWN).await;
    }
    guard.is_alive();
    assert!(!call(&guard, Ok(())).await, "not at once");
    drop(watched);
    tokio::time::advance(OPEN).await;
    assert!(call(&guard, Ok(())).await, "nobody else looks any more");
}

#[tokio::test(start_paused = true)]
async fn while_one_tries_the_others_are_refused() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..FAILURES {
        call(&guard, DOWN).await;
    }
    tokio::time::advance(OPEN).await;
    let mut probe = Box::pin(guard.call(std::future::pending::<Result<(), StoreError>>()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(probe.as_mut().poll(&mut cx).is_pending());
    assert!(!call(&guard, Ok(())).await);
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn silence_failures_and_refusals_are_counted_apart() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    call(&guard, Ok(())).await;
    call(&guard, Err(StoreErrorKind::Timeout)).await;
    call(&guard, Err(StoreErrorKind::Invalid)).await;
    for _ in 0..FAILURES + 2 {
        call(&guard, DOWN).await;
    }
    let stats = guard.counters.stats();
    assert_eq!((stats.timeouts, stats.errors, stats.refused), (1, 1 + u64::from(FAILURES), 2));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_no_claims_is_still_read() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..FAILURES {
        assert!(claim(&guard, read_only()).await);
        assert!(call(&guard, Ok(())).await, "reads are answered");
    }
    assert!(!claim(&guard, Ok(())).await);
    assert!(call(&guard, Ok(())).await);
    assert!(!claim(&guard, Ok(())).await, "an answer to a read tells nothing of claims");
    tokio::time::advance(OPEN).await;
    assert!(claim(&guard, Ok(())).await, "one may try");
    assert!(claim(&guard, Ok(())).await, "closed again");
    let stats = guard.counters.stats();
    assert_eq!((stats.errors, stats.refused), (u64::from(FAILURES), 2));
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_redis_did_not_answer_tells_nothing_of_claims() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    let silent = || Err(StoreErrorKind::Timeout.into());
    for _ in 0..FAILURES {
        assert!(claim(&guard, silent()).await);
        call(&guard, Ok(())).await;
        let stalled = guard.write(std::future::pending::<Result<(), StoreError>>());
        assert!(tokio::time::timeout(PATIENCE * 2, stalled).await.is_err());
        call(&guard, Ok(())).await;
    }
    assert!(claim(&guard, Ok(())).await);
    for _ in 0..FAILURES {
        call(&guard, DOWN).await;
    }
    for _ in 0..FAILURES * 2 {
        assert!(!claim(&guard, Ok(())).await, "no call is made");
    }
    guard.close();
    assert!(claim(&guard, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn writes_that_are_refused_leave_reads_alone() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..FAILURES {
        // No read in between that would close the breaker of all calls.
        assert!(claim(&guard, read_only()).await);
    }
    assert!(!claim(&guard, Ok(())).await, "no more of them");
    assert!(call(&guard, Ok(())).await, "and every read");
    let stats = guard.counters.stats();
    assert_eq!((stats.errors, stats.refused), (u64::from(FAILURES), 1));
}

#[tokio::test(start_paused = true)]
async fn releases_that_are_refused_leave_reads_and_claims_alone() {
    let guard = Guard::new(Arc::default(), Arc::default(), PATIENCE);
    for _ in 0..FAILURES * 2 {
        assert!(guard.release(async { read_only() }).await.is_err());
    }
    assert!(call(&guard, Ok(())).await, "every read");
    assert!(claim(&guard, Ok(())).await, "and every claim");
    assert_eq!(guard.counters.stats().errors, u64::from(FAILURES) * 2);
    for _ in 0..FAILURES {
        let silent = guard.release(async { Err::<(), _>(StoreErrorKind::Timeout.into()) });
        assert!(silent.await.is_err());
    }
    assert!(!call(&guard, Ok(())).await, "silence counts as for any call");
}
