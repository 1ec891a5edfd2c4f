//! Places for which clients wait in turns.
//!
//! 1. A place that becomes free goes to the client whose turn it is, and that client waits behind all others
//!    for its next one: however much one client has to do, another waits for one of its pieces, not for
//!    all of them.
//! 2. One client holds at most a share of the places, so that long work of one leaves places for others.
//! 3. Of one client, who asked first is first.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::extensions::Client;

/// A number of places. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct FairPlaces(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The most that one client holds.
    share: usize,
    /// How many each client holds; none has no entry.
    held: HashMap<Client, usize>,
    /// The clients that wait, in the order of their turns.
    turns: VecDeque<Client>,
    /// Who waits, for each of them.
    waiting: HashMap<Client, VecDeque<oneshot::Sender<FairPlace>>>,
}

impl FairPlaces {
    /// `places`, of which one client holds at most `share`.
    pub(crate) fn new(places: usize, share: usize) -> Self {
        let (held, turns, waiting) = Default::default();
        let share = share.max(1);
        Self(Arc::new(Mutex::new(State { free: places, share, held, turns, waiting })))
    }

    /// A place for `client`. Dropped while it waits, it takes none.
    pub(crate) async fn acquire(&self, client: Client) -> FairPlace {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            // Whoever may have a free place has it: those who wait may not.
            if state.take(client) {
                return self.place(client);
            }
            state.wait(client, sender);
        }
        match receiver.await {
            Ok(place) => place,
            // The state outlives those who wait, and forgets only those who no longer do.
            Err(_) => std::future::pending().await,
        }
    }

    fn place(&self, client: Client) -> FairPlace {
        FairPlace { places: self.clone(), client }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, client: Client) {
        let mut given = Vec::new();
        {
            let mut state = self.lock();
            state.give_back(client);
            while let Some((client, waits)) = state.next() {
                given.push((client, waits));
            }
        }
        // Not under the lock: one that nobody waits for any more comes back here.
        for (client, waits) in given {
            drop(waits.send(self.place(client)));
        }
    }
}

impl State {
    /// Takes a place for `client`, if there is one that it may have.
    fn take(&mut self, client: Client) -> bool {
        let held = self.held.get(&client).copied().unwrap_or_default();
        if self.free == 0 || held >= self.share {
            return false;
        }
        self.free -= 1;
        self.held.insert(client, held + 1);
        true
    }

    fn give_back(&mut self, client: Client) {
        self.free += 1;
        if let Entry::Occupied(mut held) = self.held.entry(client) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    fn wait(&mut self, client: Client, sender: oneshot::Sender<FairPlace>) {
        match self.waiting.entry(client) {
            Entry::Occupied(mut waiting) => {
                let waiting = waiting.get_mut();
                // Before it grows: a client that asks and gives up again and again leaves nothing.
                if waiting.len() == waiting.capacity() {
                    waiting.retain(|sender| !sender.is_closed());
                }
                waiting.push_back(sender);
            }
            Entry::Vacant(waiting) => {
                waiting.insert(VecDeque::from([sender]));
                self.turns.push_back(client);
            }
        }
    }

    /// Takes a place for the one who is next.
    fn next(&mut self) -> Option<(Client, oneshot::Sender<FairPlace>)> {
        for _ in 0..self.turns.len() {
            let client = self.turns.pop_front()?;
            let waiting = self.waiting.get_mut(&client)?;
            while waiting.front().is_some_and(oneshot::Sender::is_closed) {
                waiting.pop_front();
            }
            if waiting.is_empty() {
                self.waiting.remove(&client);
                continue;
            }
            self.turns.push_back(client);
            if self.take(client) {
                let next = self.waiting.get_mut(&client)?.pop_front()?;
                return Some((client, next));
            }
        }
        None
    }
}

/// A place that a client holds. Dropped, it goes to the next one.
#[derive(Debug)]
pub(crate) struct FairPlace {
    places: FairPlaces,
    client: Client,
}

impl Drop for FairPlace {
    fn drop(&mut self) {
        self.places.give_back(self.client);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    fn client(last: u8) -> Client {
        Client::at(IpAddr::from([10, 0, 0, last]))
    }

    fn has_a_place(places: &FairPlaces, of: u8) -> Option<FairPlace> {
        places.acquire(client(of)).now_or_never()
    }

    #[tokio::test]
    async fn clients_get_places_in_turns_however_many_one_of_them_waits_for() {
        let places = FairPlaces::new(1, 1);
        let first = has_a_place(&places, 1).unwrap();
        let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
        let waits = |of: u8| {
            let (places, sender) = (places.clone(), sender.clone());
            async move {
                let place = places.acquire(client(of)).await;
                sender.send(of).unwrap();
                drop(place);
            }
        };
        // A thousand of one client, and then two of another and one of a third.
        let mut all: Vec<_> = (0..1000).map(|_| waits(1).boxed()).collect();
        all.extend([2, 2, 3].map(|of| waits(of).boxed()));
        let mut all = join_all(all);
        assert!((&mut all).now_or_never().is_none());
        drop(first);
        all.await;
        drop(sender);
        let mut order = Vec::new();
        while let Some(of) = served.recv().await {
            order.push(of);
        }
        assert_eq!(order[..6], [1, 2, 3, 1, 2, 1]);
        assert_eq!(order.len(), 1003);
        assert!(places.lock().held.is_empty() && places.lock().turns.is_empty());
    }

    #[tokio::test]
    async fn one_client_holds_at_most_its_share() {
        let places = FairPlaces::new(4, 2);
        let held = [has_a_place(&places, 1).unwrap(), has_a_place(&places, 1).unwrap()];
        let mut third = Box::pin(places.acquire(client(1)));
        assert!((&mut third).now_or_never().is_none(), "though two are free");
        let others = [has_a_place(&places, 2).unwrap(), has_a_place(&places, 3).unwrap()];
        assert!(has_a_place(&places, 4).is_none());
        // What another gives back is not for a client that has its share.
        drop(others);
        assert!((&mut third).now_or_never().is_none());
        drop(held);
        assert!(third.now_or_never().is_some());
        assert_eq!(places.lock().free, 4);
    }

    #[tokio::test]
    async fn a_client_that_asks_and_gives_up_again_and_again_leaves_nothing() {
        let places = FairPlaces::new(1, 1);
        let _held = has_a_place(&places, 1).unwrap();
        let mut waits = Box::pin(places.acquire(client(2)));
        assert!((&mut waits).now_or_never().is_none());
        for _ in 0..10_000 {
            assert!(has_a_place(&places, 2).is_none());
        }
        assert!(places.lock().waiting.values().all(|waiting| waiting.len() < 16));
    }

    #[tokio::test]
    async fn a_place_that_nobody_waits_for_any_more_goes_to_the_next() {
        let places = FairPlaces::new(1, 1);
        let first = has_a_place(&places, 1).unwrap();
        let mut left: Vec<_> = (0..3).map(|_| Box::pin(places.acquire(client(2)))).collect();
        let mut last = Box::pin(places.acquire(client(3)));
        for waits in &mut left {
            assert!(waits.now_or_never().is_none());
        }
        assert!((&mut last).now_or_never().is_none());
        let given = left.pop();
        drop(left);
        drop(first);
        // It was given a place, and leaves without having looked.
        drop(given);
        assert!(last.now_or_never().is_some());
        assert!(places.lock().waiting.is_empty() && places.lock().held.is_empty());
    }
}
