//! Every order in which a few requests of one key can be polled, go away or panic.
//!
//! Any request that is woken may be polled next, and any that may leave may be dropped next: each
//! order is tried once. A request that waits and is never woken is found, because then none can be
//! polled.
//! Steps are those between two awaits; what happens inside the map's locks is not taken apart.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It waits for its answer.
    Stays,
    /// Its client may hang up at any moment.
    MayLeave,
    /// Its decision panics.
    Panics,
}

/// What the requests share: a store of one pin, and how often it was decided.
#[derive(Debug, Default)]
struct World {
    flights: Flights<usize>,
    stored: Mutex<Option<usize>>,
    deciding: AtomicUsize,
    decided: AtomicUsize,
}

impl World {
    /// One request as the layer makes it: join, ask the store, else decide and store.
    async fn request(&self, number: usize, fate: Fate) -> usize {
        let key = AffinityKey::new("s").unwrap();
        let flight = self.flights.join(&key, 64).unwrap();
        pause().await;
        let stored = *self.stored.lock().unwrap();
        if let Some(stored) = stored {
            return stored;
        }
        flight.settle(self.decide(number, fate)).await
    }

    async fn decide(&self, number: usize, fate: Fate) -> usize {
        struct Deciding<'a>(&'a World);
        impl Drop for Deciding<'_> {
            fn drop(&mut self) {
                self.0.deciding.fetch_sub(1, SeqCst);
            }
        }
        assert_eq!(self.deciding.fetch_add(1, SeqCst), 0, "two decide at once");
        let _deciding = Deciding(self);
        pause().await;
        if fate == Fate::Panics {
            // Without the hook, which would print each of many thousands.
            resume_unwind(Box::new("injected"));
        }
        self.decided.fetch_add(1, SeqCst);
        *self.stored.lock().unwrap() = Some(number);
        number
    }
}

/// Lets others go first.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| match std::mem::replace(&mut paused, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

struct Running<'a> {
    future: Pin<Box<dyn Future<Output = usize> + 'a>>,
    woken: Arc<Woken>,
    fate: Fate,
}

#[derive(Clone, Copy)]
enum Step {
    Poll(usize),
    Leave(usize),
}

/// Runs the requests in the order that `choices` names, then in that of their numbers. Returns how many
/// choices there were at each step.
fn run(fates: &[Fate], choices: &[usize]) -> Vec<usize> {
    let world = World::default();
    let start = |(number, fate): (usize, &Fate)| {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Some(Running { future: Box::pin(world.request(number, *fate)), woken, fate: *fate })
    };
    let mut requests: Vec<Option<Running<'_>>> = fates.iter().enumerate().map(start).collect();
    let (mut answers, mut arities) = (Vec::new(), Vec::new());
    loop {
        let there = || requests.iter().enumerate().filter_map(|(n, r)| Some((n, r.as_ref()?)));
        let polls = there().filter(|(_, r)| r.woken.0.load(SeqCst)).map(|(n, _)| Step::Poll(n));
        let leaves = there().filter(|(_, r)| r.fate == Fate::MayLeave).map(|(n, _)| Step::Leave(n));
        let steps: Vec<Step> = polls.chain(leaves).collect();
        if steps.is_empty() {
            break;
        }
        let choice = choices.get(arities.len()).copied().unwrap_or(0);
        arities.push(steps.len());
        match steps[choice] {
            Step::Leave(number) => requests[number] = None,
            Step::Poll(number) => {
                let request = requests[number].as_mut().unwrap();
                request.woken.0.store(false, SeqCst);
                let waker = Waker::from(request.woken.clone());
                let mut cx = Context::from_waker(&waker);
                let poll = || request.future.as_mut().poll(&mut cx);
                match catch_unwind(AssertUnwindSafe(poll)) {
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(answer)) => {
                        answers.push(answer);
                        requests[number] = None;
                    }
                    Err(panic) => {
                        assert_eq!(
                            panic.downcast_ref(),
                            Some(&"injected"),
                            "{fates:?} {choices:?}"
                        );
                        requests[number] = None;
                    }
                }
            }
        }
    }
    let waiting = requests.iter().flatten().count();
    assert_eq!(waiting, 0, "a request waits for ever: {fates:?} {choices:?}");
    drop(requests);
    let (decided, stored) = (world.decided.load(SeqCst), *world.stored.lock().unwrap());
    assert!(decided <= 1, "decided {decided} times: {fates:?} {choices:?}");
    assert!(answers.iter().all(|answer| Some(*answer) == stored), "{fates:?} {choices:?}");
    assert!(!fates.contains(&Fate::Stays) || decided == 1, "{fates:?} {choices:?}");
    assert_eq!(world.flights.len(), 0, "something is left behind: {fates:?} {choices:?}");
    arities
}

/// Runs every order, and returns how many there are.
fn every_order(fates: &[Fate]) -> usize {
    let (mut choices, mut count) = (Vec::new(), 0);
    loop {
        let arities = run(fates, &choices);
        count += 1;
        choices.resize(arities.len(), 0);
        while choices.last().is_some_and(|choice| choice + 1 == arities[choices.len() - 1]) {
            choices.pop();
        }
        match choices.last_mut() {
            Some(choice) => *choice += 1,
            None => return count,
        }
    }
}

#[test]
fn in_every_order_one_decides_all_are_answered_and_nothing_is_left() {
    use Fate::{MayLeave, Panics, Stays};

    let mut count = 0;
    for one in [Stays, MayLeave, Panics] {
        for other in [Stays, MayLeave, Panics] {
            for third in [Stays, MayLeave, Panics] {
                // Requests differ only in their fates.
                if one <= other && other <= third {
                    count += every_order(&[one, other, third]);
                }
            }
        }
    }
    assert!(count > 10_000, "{count} orders");
    println!("{count} orders");
}
