//! What must hold of the end of pins.
//!
//! Lifetimes are one to four seconds and every wait keeps 200 milliseconds or more away from
//! an end, so that the checks hold on real time and a busy machine too.

use std::future::Future;
use std::time::Duration;

use super::{LONG, key, model, selection};
use crate::Expiry;
use crate::store::{AffinityStore, AnswerState};

/// A use in the middle of a fixed lifetime does not defer the end, nor does a running answer, and every verb
/// agrees that the pin is gone.
pub(super) async fn a_fixed_pin_ends_though_used<St, W, F>(store: &St, namespace: &str, wait: &W)
where
    St: AffinityStore,
    W: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    let key = key(namespace, "fixed");
    let expiry = Expiry::fixed(Duration::from_secs(2));
    store.claim(&key, selection("a/one"), &expiry).await.expect("claim");
    wait(Duration::from_millis(1200)).await;
    assert!(store.get(&key, &expiry).await.expect("get").pin().is_some());
    store.renew(&key, &expiry, AnswerState::Running);
    wait(Duration::from_millis(1200)).await;
    assert!(!store.release(&key, None).await.expect("release"), "there is nothing to release");
    assert_eq!(store.get(&key, &expiry).await.expect("get").pin(), None);
    assert!(store.peek(&key, &expiry).is_none());
}

/// Uses keep a pin past its idle time, and its maximum age ends it all the same. A look with a fixed expiry, as
/// the layer takes for a request that is no use, keeps nothing.
pub(super) async fn a_sliding_pin_lives_by_use_up_to_its_age<St, W, F>(
    store: &St,
    namespace: &str,
    wait: &W,
) where
    St: AffinityStore,
    W: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    let key = key(namespace, "sliding");
    let looked_at = self::key(namespace, "sliding-unused");
    let expiry = Expiry::sliding(Duration::from_secs(2), Duration::from_secs(4));
    let look = expiry.without_use();
    store.claim(&key, selection("a/one"), &expiry).await.expect("claim");
    store.claim(&looked_at, selection("a/one"), &expiry).await.expect("claim");
    for turn in 0..3 {
        wait(Duration::from_millis(1200)).await;
        assert!(store.get(&key, &expiry).await.expect("get").pin().is_some(), "used in time");
        let seen = store.get(&looked_at, &look).await.expect("get").pin();
        assert_eq!(seen.is_some(), turn == 0, "a look is no use");
    }
    wait(Duration::from_millis(1200)).await;
    assert_eq!(store.get(&key, &expiry).await.expect("get").pin(), None, "over its maximum age");
}

/// A move restarts the idle time and not the age. Otherwise a session that fails over again and
/// again would never be routed anew.
pub(super) async fn a_late_move_does_not_outlive_the_age<St, W, F>(
    store: &St,
    namespace: &str,
    wait: &W,
) where
    St: AffinityStore,
    W: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    let key = key(namespace, "late-move");
    let expiry = Expiry::sliding(Duration::from_secs(2), Duration::from_secs(3));
    let first = store.claim(&key, selection("a/one"), &expiry).await.expect("claim").pin;
    wait(Duration::from_millis(1500)).await;
    let moved = store.repin(&key, first.epoch, selection("a/two"), &expiry).await.expect("repin");
    assert!(moved.is_some_and(|claim| claim.won));
    wait(Duration::from_millis(700)).await;
    let pin = store.get(&key, &expiry).await.expect("get").pin();
    assert_eq!(model(pin.as_ref()), Some("a/two"));
    wait(Duration::from_millis(1000)).await;
    assert_eq!(store.get(&key, &expiry).await.expect("get").pin(), None, "over its maximum age");
}

/// A pin lives while its answer runs, also beyond its maximum age, and then ends with the answer. A store
/// that cannot note this without waiting says so, and is not checked.
pub(super) async fn a_running_answer_keeps_its_pin<St, W, F>(store: &St, namespace: &str, wait: &W)
where
    St: AffinityStore,
    W: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    let key = key(namespace, "running");
    let expiry = Expiry::sliding(Duration::from_secs(2), Duration::from_secs(3));
    let look = expiry.without_use();
    let claim = store.claim(&key, selection("a/one"), &expiry).await.expect("claim");
    for _ in 0..8 {
        wait(Duration::from_millis(500)).await;
        if !store.renew(&key, &expiry, AnswerState::Running) {
            return;
        }
    }
    wait(Duration::from_millis(500)).await;
    let pin = store.get(&key, &look).await.expect("get").pin();
    assert_eq!(pin, Some(claim.pin), "beyond its maximum age, under a running answer");
    assert!(store.renew(&key, &expiry, AnswerState::Ended));
    // A store that tells a server may do so a quarter of the idle time later.
    wait(Duration::from_millis(900)).await;
    assert_eq!(store.get(&key, &look).await.expect("get").pin(), None, "the answer has ended");
}

/// What has expired cannot be moved and does not block a claim, whose epoch still grows.
pub(super) async fn an_expired_pin_can_be_claimed_anew<St, W, F>(
    store: &St,
    namespace: &str,
    wait: &W,
) where
    St: AffinityStore,
    W: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    let key = key(namespace, "anew");
    let expiry = Expiry::fixed(Duration::from_secs(1));
    let first = store.claim(&key, selection("a/one"), &expiry).await.expect("claim").pin;
    wait(Duration::from_millis(1400)).await;
    let moved = store.repin(&key, first.epoch, selection("a/two"), &expiry).await.expect("repin");
    assert_eq!(moved, None, "an expired pin cannot be moved");
    let second = store.claim(&key, selection("a/three"), &LONG).await.expect("claim");
    assert!(second.won && second.pin.epoch > first.epoch);
}
