//! The suite that every store must pass, also a store of your own.
//!
//! Each function checks one promise of [`AffinityStore`] and panics if it is broken. All keys start
//! with `namespace`, so that several suites may share a server.
//!
//! ```
//! use affinity_layer::{MemoryStore, store::conformance};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! conformance::run(&MemoryStore::default(), "suite-1", conformance::wait).await;
//! # }
//! ```
//!
//! # How to use it
//!
//! 1. Put the call into a test of your crate, with the feature `conformance` among its
//!    dev-dependencies.
//! 2. Choose a `namespace` that no earlier run has used, such as one with the process id or the
//!    time: the suite expects to find no pin under its names, and it leaves some behind. They end
//!    within ten minutes, by their lifetime.
//! 3. Let time pass. If the store measures expiry on tokio's clock, pause it
//!    (`#[tokio::test(start_paused = true)]`), and the suite takes no time. If a server measures
//!    it, use real time: the checks of expiry then take about 18 seconds.
//! 4. If the store can be listed, run [`inspect`] as well.
//!
//! # What it does not check
//!
//! One process and one store are all that it sees. It does not kill the server, cut connections,
//! drop a future half way, or compare two replicas. A store over a network needs tests of its own
//! for those; [`AffinityStore`] says what must hold.
// A broken promise is reported by a panic: that is what a test suite is for.
#![allow(clippy::panic, clippy::expect_used)]

mod expiry;
mod inspection;

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

pub use self::inspection::inspect;
use super::{AffinityStore, Claim};
use crate::key::IdKind;
use crate::state::StateMark;
use crate::{AffinityKey, Epoch, Expiry, ModelName, Pin, RouteDecision, RouteName, Selection};

/// One promise of the trait, by the name of the function that checks it.
macro_rules! check {
    ($check:path, $($argument:expr),+) => {
        promise(stringify!($check), $check($($argument),+)).await
    };
}

/// Longer than any run of the suite, so that only the checks about expiry see a pin end.
const LONG: Expiry = Expiry::fixed(Duration::from_secs(600));

/// Waits on tokio's clock, which a test may pause when the store follows it too.
///
/// Pass it to [`run`] and [`inspect`] unless the store has another clock, such as one that the test
/// moves by hand.
pub fn wait(duration: Duration) -> impl Future<Output = ()> + Send {
    tokio::time::sleep(duration)
}

/// Runs every check. `wait` must let the given time pass on the store's clock.
///
/// The store may be shared and in use; keys outside of `namespace` are not touched. The checks run
/// one after the other, and those about races make up to 32 calls at once.
///
/// # Panics
///
/// If the store breaks a promise, or returns an error. The message begins with the name of the promise.
pub async fn run<St, W, F>(store: &St, namespace: &str, wait: W)
where
    St: AffinityStore,
    W: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    check!(absence_is_none, store, namespace);
    check!(a_claim_is_found_whole, store, namespace);
    check!(the_first_claim_wins, store, namespace);
    check!(concurrent_claims_agree, store, namespace);
    check!(a_repin_needs_the_epoch, store, namespace);
    check!(concurrent_repins_agree, store, namespace);
    check!(a_release_needs_the_epoch, store, namespace);
    check!(epochs_grow_across_releases, store, namespace);
    check!(a_peek_shows_no_previous_pin, store, namespace);
    check!(keys_do_not_meet, store, namespace);
    check!(long_keys_do_not_meet, store, namespace);
    check!(expiry::a_fixed_pin_ends_though_used, store, namespace, &wait);
    check!(expiry::a_sliding_pin_lives_by_use_up_to_its_age, store, namespace, &wait);
    check!(expiry::a_late_move_does_not_outlive_the_age, store, namespace, &wait);
    check!(expiry::an_expired_pin_can_be_claimed_anew, store, namespace, &wait);
    check!(expiry::a_running_answer_keeps_its_pin, store, namespace, &wait);
}

/// Runs a check. The message of one that fails begins with the name of its promise, so that one need not
/// know this file to know what is broken.
async fn promise(name: &str, check: impl Future<Output = ()>) {
    let mut check = pin!(check);
    let kept = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| check.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    if let Err(panic) = kept.await {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        panic!("{name}: {}", text.unwrap_or_default());
    }
}

fn key(namespace: &str, name: &str) -> AffinityKey {
    AffinityKey::new(&format!("{namespace}-{name}")).expect("a valid session id")
}

fn name(model: &str) -> ModelName {
    ModelName::new(model).expect("a model name")
}

/// A selection that differs in each part from a default: a route with a quote in it, and a second
/// candidate.
fn selection(model: &str) -> Arc<Selection> {
    let models = [model, "other/fallback"].map(name);
    let route = RouteName::new("it's a route").expect("a route name");
    let decision = RouteDecision::new(models).with_route(route);
    Arc::new(Selection::best(decision).expect("a candidate"))
}

async fn claim<St: AffinityStore>(store: &St, key: &AffinityKey, model: &str) -> Claim {
    store.claim(key, selection(model), &LONG).await.expect("claim")
}

async fn get<St: AffinityStore>(store: &St, key: &AffinityKey) -> Option<Pin> {
    store.get(key, &LONG).await.expect("get").pin()
}

fn model(pin: Option<&Pin>) -> Option<&str> {
    pin.map(|pin| pin.selection.model().as_str())
}

/// An unknown key is `None` for every verb and never an error, and no verb brings a pin into being
/// but `claim`.
async fn absence_is_none<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "absent");
    assert_eq!(get(store, &key).await, None);
    assert!(store.peek(&key, &LONG).is_none());
    assert!(!store.release(&key, None).await.expect("release"));
    let moved = store.repin(&key, Epoch(1), selection("a/a"), &LONG).await.expect("repin");
    assert_eq!(moved, None);
    assert_eq!(get(store, &key).await, None, "a repin of nothing makes nothing");
}

/// Each part of a selection comes back as it went in. A store that keeps columns forgets one
/// easily, and the loss shows only much later: without the candidates there is no failover, without
/// the warm-up a session is bound too early.
async fn a_claim_is_found_whole<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "whole");
    let made = claim(store, &key, "a/one").await;
    assert!(made.won);
    assert_eq!(*made.pin.selection, *selection("a/one"));
    assert_eq!(get(store, &key).await, Some(made.pin.clone()));
    if let Some(near) = store.peek(&key, &LONG) {
        assert_eq!(near, made.pin);
    }
    // Each part that the layer relies on differs from what a store could make up for it.
    let longest = name(&format!("a/{}", "m".repeat(ModelName::MAX_LEN - 2)));
    let many = (1..Selection::MAX_CANDIDATES).map(|n| name(&format!("a/m{n}")));
    let many = many.chain([longest.clone()]);
    let route = RouteName::new("it's a r\u{f6}ute").expect("a route name");
    let largest = Selection::new(longest, Some(route), many)
        .with_warm_up(u8::MAX)
        .with_foreign(Some(StateMark::of(&key, b"a block")));
    let moved = store.repin(&key, made.pin.epoch, Arc::new(largest.clone()), &LONG).await;
    assert_eq!(*moved.expect("repin").expect("a pin").pin.selection, largest);
    let kept = get(store, &key).await.expect("a pin");
    assert_eq!(*kept.selection, largest, "model, route, candidates, warm-up and mark are kept");
    assert!(store.release(&key, None).await.expect("release"));
    let warming = Arc::new(Selection::of(name("a/three")).with_warm_up(1));
    store.claim(&key, warming.clone(), &LONG).await.expect("claim");
    let kept = get(store, &key).await.expect("a pin");
    assert_eq!(kept.selection, warming, "a pin without a route or other candidates has none");
}

/// The later claim is told the winner, so its request serves the same model.
async fn the_first_claim_wins<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "first");
    let first = claim(store, &key, "a/first").await;
    let second = claim(store, &key, "a/second").await;
    assert!(first.won && !second.won);
    assert_eq!(second.pin, first.pin);
}

/// What `claim` is for: whichever wins, all 32 return the same pin, and it is the one that is
/// stored.
async fn concurrent_claims_agree<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "race");
    let names: Vec<String> = (0..32).map(|n| format!("a/m{n}")).collect();
    let claims = join_all(names.iter().map(|name| claim(store, &key, name))).await;
    assert_eq!(claims.iter().filter(|claim| claim.won).count(), 1);
    let seen: HashSet<_> = claims.iter().map(|claim| claim.pin.epoch).collect();
    assert_eq!(seen.len(), 1);
    let pin = get(store, &key).await.expect("the winner's pin");
    assert!(claims.iter().all(|claim| claim.pin == pin));
}

/// A move from an epoch that is gone changes nothing and returns what is stored. A move keeps the
/// time of the claim, which bounds the age of a sliding pin.
async fn a_repin_needs_the_epoch<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "repin");
    let first = claim(store, &key, "a/first").await.pin;
    let moved = store.repin(&key, first.epoch, selection("a/second"), &LONG).await;
    let moved = moved.expect("repin").expect("a pin");
    assert!(moved.won);
    assert!(moved.pin.epoch > first.epoch);
    assert_eq!(moved.pin.claimed_at, first.claimed_at);
    let late = store.repin(&key, first.epoch, selection("a/third"), &LONG).await;
    let late = late.expect("repin").expect("a pin");
    assert!(!late.won, "the epoch is gone");
    assert_eq!(late.pin, moved.pin);
    assert_eq!(model(get(store, &key).await.as_ref()), Some("a/second"));
}

/// Many requests see the same model fail at once; the session moves a single time.
async fn concurrent_repins_agree<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "repin-race");
    let from = claim(store, &key, "a/first").await.pin.epoch;
    let moves = join_all((0..16).map(|n| {
        let selection = selection(&format!("a/m{n}"));
        let key = &key;
        async move { store.repin(key, from, selection, &LONG).await.expect("repin") }
    }));
    let moves: Vec<Claim> = moves.await.into_iter().map(|claim| claim.expect("a pin")).collect();
    assert_eq!(moves.iter().filter(|claim| claim.won).count(), 1);
    let pin = get(store, &key).await.expect("the winner's pin");
    assert!(moves.iter().all(|claim| claim.pin == pin));
}

/// Another epoch than the stored one releases nothing; none at all releases any.
async fn a_release_needs_the_epoch<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "release");
    let epoch = claim(store, &key, "a/first").await.pin.epoch;
    assert!(!store.release(&key, Some(Epoch(epoch.0 + 1))).await.expect("release"));
    assert!(get(store, &key).await.is_some());
    assert!(store.release(&key, Some(epoch)).await.expect("release"));
    assert_eq!(get(store, &key).await, None);
    claim(store, &key, "a/second").await;
    assert!(store.release(&key, None).await.expect("release"));
    assert_eq!(get(store, &key).await, None);
}

/// Catches a store that counts epochs in the row of the key: the row goes with the release, and the
/// count starts again.
async fn epochs_grow_across_releases<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "epochs");
    let mut last = Epoch(0);
    for _ in 0..8 {
        let epoch = claim(store, &key, "a/one").await.pin.epoch;
        assert!(epoch > last, "{epoch} after {last}");
        last = epoch;
        assert!(store.release(&key, Some(epoch)).await.expect("release"));
    }
}

/// A process that has moved or ended a session serves the previous pin to no later request of its own. What
/// is near may be forgotten, and must not be out of date.
async fn a_peek_shows_no_previous_pin<St: AffinityStore>(store: &St, namespace: &str) {
    let key = key(namespace, "peek");
    let first = claim(store, &key, "a/first").await.pin;
    assert!(store.peek(&key, &LONG).is_none_or(|near| near == first));
    let moved = store.repin(&key, first.epoch, selection("a/second"), &LONG).await;
    let moved = moved.expect("repin").expect("a pin").pin;
    assert!(store.peek(&key, &LONG).is_none_or(|near| near == moved), "the pin that was moved");
    assert!(store.release(&key, Some(moved.epoch)).await.expect("release"));
    assert_eq!(store.peek(&key, &LONG), None, "the pin that was released");
}

/// Scopes, ids, lanes and kinds that would be one text if they were only joined. A store that names
/// its rows by the session id alone fails here.
async fn keys_do_not_meet<St: AffinityStore>(store: &St, namespace: &str) {
    let scoped = |scope: &str, session: &str| {
        let scope = crate::Scope::new(&format!("{namespace}{scope}")).expect("a scope");
        AffinityKey::new(session).expect("a session id").with_scope(Some(scope))
    };
    let keys = [
        scoped("a", "b:c"),
        scoped("a:b", "c"),
        scoped("a", "B:c"),
        scoped("b", "b:c"),
        scoped("a", "b").with_lane("c").expect("a lane"),
        key(namespace, "a:b:c"),
        key(namespace, "a").with_lane("b:c").expect("a lane"),
        key(namespace, "a"),
        key(namespace, "A"),
        // What is only observed is no pin.
        key(namespace, "a").observed(),
    ];
    // The same id from a header and from a body is that of two sessions, and that of a response, or of another
    // object, is that of none.
    let of_kinds = IdKind::MARKED.map(|kind| key(namespace, "a").with_kind(kind));
    let keys: Vec<_> = keys.into_iter().chain(of_kinds).collect();
    for (n, key) in keys.iter().enumerate() {
        assert!(claim(store, key, &format!("a/m{n}")).await.won, "{n}");
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(model(get(store, key).await.as_ref()), Some(format!("a/m{n}").as_str()));
    }
}

/// The longest keys that there are, which differ in the last byte of one part. A column that is too short for
/// them cuts it off.
async fn long_keys_do_not_meet<St: AffinityStore>(store: &St, namespace: &str) {
    let long = |len: usize, last: char| {
        let body = format!("{namespace}-{:-<len$}", "");
        let mut text: String = body.chars().take(len - 1).collect();
        text.push(last);
        text
    };
    let key = |scope: char, session: char, lane: char| {
        let scope = crate::Scope::new(&long(crate::Scope::MAX_LEN, scope)).expect("a scope");
        let key = AffinityKey::new(&long(AffinityKey::MAX_SESSION_LEN, session)).expect("an id");
        let lane = long(AffinityKey::MAX_SESSION_LEN, lane);
        key.with_scope(Some(scope)).with_lane(&lane).expect("a lane")
    };
    let keys = [key('a', 'a', 'a'), key('b', 'a', 'a'), key('a', 'b', 'a'), key('a', 'a', 'b')];
    for (n, key) in keys.iter().enumerate() {
        assert!(claim(store, key, &format!("a/m{n}")).await.won, "{n}");
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(model(get(store, key).await.as_ref()), Some(format!("a/m{n}").as_str()));
    }
}

/// Polls the futures together, in one task.
async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (slot, output) in futures.iter_mut().zip(&mut outputs) {
            let Some(future) = slot else { continue };
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                *output = Some(value);
                *slot = None;
            }
        }
        if futures.iter().all(Option::is_none) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    outputs.into_iter().flatten().collect()
}
