//! One routing call for all concurrent first requests of a key in this process.
//!
//! An agent that starts opens several requests at once: the task itself, a title for it, a first side
//! call. Without this each would be routed, and all but one decision thrown away after it was paid for.
//!
//! # Rules
//!
//! 1. **Join, then ask the store, then settle.** A request that joins before it reads the store either
//!    finds the pin there, or is in the flight of whoever makes it. In the other order a decision can be
//!    made, stored and forgotten between the two, and a second one is made.
//! 2. **One decides, the others wait.** Which of them decides is the first to call `settle`.
//! 3. **No one who leaves takes anything along.** If the one that decides is dropped or panics, the next
//!    waiter decides with a future of its own. If the last one leaves, the entry is gone with it, so ids
//!    that come and go leave nothing in memory.
//! 4. **A decision is not a cache.** Once it is made, the key is free again, and the next request finds the
//!    pin in the store. Only the requests that were in at that time share what was decided.
//! 5. **The number of those who wait is bounded**, by `max_waiters` of the layer: each may hold a body.
//!
//! The decision runs in the request that makes it and not in a task of its own. A task would go on when no
//! client is left, would need a limit on its time, and would have to hand its result to requests that may
//! be gone. Waiting on a channel for the first request would be simpler still, but then a client that
//! hangs up fails everybody behind it.
//!
//! `coalesce/schedules.rs` runs every order in which three requests can be polled, hang up and panic.

use std::future::Future;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::OnceCell;

use crate::AffinityKey;

/// Requests for keys whose pin is not known yet, and what the first of each decided.
///
/// A clone is the same map. It holds an entry for a key only while a request of it is under way whose pin
/// was not at hand, however many sessions there are.
#[derive(Debug)]
pub(crate) struct Flights<T>(Arc<DashMap<AffinityKey, Arc<OnceCell<T>>>>);

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Flights<T> {
    /// Joins the requests of `key` that are under way, or is the first.
    ///
    /// Join before asking the store: a request that then finds nothing there is sure to see the outcome
    /// of every decision made meanwhile. `None` when `most` are in already; that is no reason yet to refuse
    /// the request, because the store may have a pin.
    pub(crate) fn join(&self, key: &AffinityKey, most: usize) -> Option<Flight<T>> {
        let entry = self.0.entry(key.clone()).or_default();
        // The map holds one reference, and no request can join while the shard is locked.
        if Arc::strong_count(&entry) > most {
            return None;
        }
        let cell = Some(entry.clone());
        drop(entry);
        Some(Flight { flights: self.clone(), key: key.clone(), cell })
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// One request's part in the decision for its key.
///
/// Dropping it at any time is safe: while one request decides, the others wait; if that one is
/// dropped, the next one decides; when the last one is gone, nothing is left behind.
///
/// It is counted from [`Flights::join`] on, so hold it only as long as its request may need a decision.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    flights: Flights<T>,
    key: AffinityKey,
    /// `None` only while dropping.
    cell: Option<Arc<OnceCell<T>>>,
}

impl<T: Clone> Flight<T> {
    /// Whether the decision is made. A request that comes back to a flight after a long wait, such as for its
    /// body, looks here whether what it would be told may be out of date.
    pub(crate) fn is_settled(&self) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.initialized())
    }

    /// What was decided for the key: runs `decide` unless another request's decision comes first.
    ///
    /// Every caller brings a `decide` of its own, and at most one at a time is polled. It is dropped unpolled
    /// where another was first.
    pub(crate) async fn settle<F>(&self, decide: F) -> T
    where
        F: Future<Output = T>,
    {
        let Some(cell) = &self.cell else {
            return decide.await;
        };
        // The cell's lock passes to the next waiter when the future that holds it is dropped.
        let outcome = cell.get_or_init(|| decide).await.clone();
        // Requests that come from now on must ask the store: a decision is not a cache.
        self.flights.0.remove_if(&self.key, |_, current| Arc::ptr_eq(current, cell));
        outcome
    }
}

/// Takes the entry out of the map with the last request, settled or not.
impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        let mut cell = self.cell.take();
        self.flights.0.remove_if(&self.key, |_, current| {
            let ours = cell.take().is_some_and(|cell| Arc::ptr_eq(current, &cell));
            // Our own reference is gone and no request can join while the shard is locked, so the
            // map's is the last one exactly when no other request is left.
            ours && Arc::strong_count(current) == 1
        });
    }
}

#[cfg(test)]
mod schedules;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Waker};

    use super::*;

    fn key() -> AffinityKey {
        AffinityKey::new("s").unwrap()
    }

    fn join<T: Clone>(flights: &Flights<T>) -> Flight<T> {
        flights.join(&key(), 64).unwrap()
    }

    #[tokio::test]
    async fn concurrent_members_share_one_decision() {
        let flights = Flights::default();
        let calls = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let (flight, calls) = (join(&flights), calls.clone());
                tokio::spawn(async move {
                    flight
                        .settle(async {
                            calls.fetch_add(1, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            n
                        })
                        .await
                })
            })
            .collect();
        let mut outcomes = std::collections::HashSet::new();
        for task in tasks {
            outcomes.insert(task.await.unwrap());
        }
        assert_eq!((outcomes.len(), calls.load(Ordering::SeqCst)), (1, 1));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn cancelled_leader_hands_over_to_a_waiter() {
        let flights = Flights::default();
        let (leader, waiter) = (join(&flights), join(&flights));
        let mut leading = Box::pin(leader.settle(std::future::pending::<u8>()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(leading.as_mut().poll(&mut cx).is_pending());
        let mut waiting = Box::pin(waiter.settle(async { 7 }));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        drop(leading);
        drop(leader);
        assert_eq!(waiting.await, 7);
        drop(waiter);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn cancelled_waiter_leaves_the_leader_alone() {
        let flights = Flights::default();
        let (leader, waiter) = (join(&flights), join(&flights));
        let gate = Arc::new(tokio::sync::Notify::new());
        let opened = gate.clone();
        let leading = tokio::spawn(async move {
            leader
                .settle(async {
                    opened.notified().await;
                    1
                })
                .await
        });
        tokio::task::yield_now().await;
        let mut waiting = Box::pin(waiter.settle(async { 2 }));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(waiting);
        drop(waiter);
        gate.notify_one();
        assert_eq!(leading.await.unwrap(), 1);
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn members_that_never_settle_leave_nothing_behind() {
        let flights = Flights::<u8>::default();
        let members: Vec<_> = (0..3).map(|_| join(&flights)).collect();
        assert_eq!(flights.len(), 1);
        drop(members);
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn no_more_than_may_wait_are_let_in() {
        let flights = Flights::<u8>::default();
        let mut members: Vec<_> = (0..3).map(|_| flights.join(&key(), 3).unwrap()).collect();
        assert!(flights.join(&key(), 3).is_none());
        members.pop();
        members.push(flights.join(&key(), 3).unwrap());
        drop(members);
        assert!(flights.join(&key(), 1).is_some());
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn panicking_leader_hands_over_to_a_waiter() {
        let flights = Flights::default();
        let (leader, waiter) = (join(&flights), join(&flights));
        let leading = tokio::spawn(async move { leader.settle(async { panic!("router") }).await });
        assert!(leading.await.is_err());
        assert_eq!(waiter.settle(async { 7 }).await, 7);
        drop(waiter);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn an_old_leader_cannot_end_a_newer_flight() {
        let flights = Flights::default();
        let old = join(&flights);
        assert_eq!(old.settle(async { 1 }).await, 1);
        let newer = join(&flights);
        drop(old);
        assert_eq!(flights.len(), 1);
        let joined = join(&flights);
        assert_eq!(newer.settle(async { 2 }).await, 2);
        assert_eq!(joined.settle(async { 3 }).await, 2);
    }
}
