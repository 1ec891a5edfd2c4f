//! One session after the other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::history::{Ask, Event};
use super::replicas::Replicas;
use super::rng::Rng;

/// How a session goes on after its first turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once.
    Fast,
    /// With pauses, so that it lives through a fault.
    Slow,
}

/// A client of one session.
#[derive(Debug)]
pub(super) struct Driver<'a> {
    client: &'a Client,
    replicas: &'a Replicas,
    born: Instant,
    ending: &'a AtomicBool,
    session: String,
    rng: Rng,
    events: Vec<Event>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        client: &'a Client,
        replicas: &'a Replicas,
        born: Instant,
        ending: &'a AtomicBool,
        session: String,
        rng: Rng,
    ) -> Self {
        Self { client, replicas, born, ending, session, rng, events: Vec::new() }
    }

    /// The whole session; a slow one ends early when no further session is to begin.
    pub(super) async fn run(mut self, pace: Pace) -> Vec<Event> {
        let first = self.rng.within(2..5);
        self.together((0..first).map(|_| Ask::Turn).collect()).await;
        let turns = match pace {
            Pace::Fast => self.rng.within(3..6),
            Pace::Slow => self.rng.within(8..17),
        };
        for _ in 0..turns {
            if pace == Pace::Slow {
                if self.ending.load(Ordering::Relaxed) {
                    break;
                }
                sleep(Duration::from_millis(self.rng.within(300..1200))).await;
            }
            let ask = match self.rng.within(0..100) {
                0..8 => Ask::Refresh,
                8..14 => Ask::Final,
                _ => Ask::Turn,
            };
            let others = if self.rng.percent(10) { vec![Ask::Turn] } else { Vec::new() };
            self.together([vec![ask], others].concat()).await;
        }
        self.events
    }

    /// Requests at once, each to any replica.
    async fn together(&mut self, asks: Vec<Ask>) {
        let mut requests = JoinSet::new();
        for ask in asks {
            let (replica, address) = self.replicas.pick(&mut self.rng);
            // Some clients go away in the middle of it.
            let patience =
                self.rng.percent(4).then(|| Duration::from_millis(self.rng.within(1..8)));
            let request = Request { replica, address, ask, patience };
            requests.spawn(request.send(self.client.clone(), self.born, self.session.clone()));
        }
        self.events.extend(requests.join_all().await);
    }
}

struct Request {
    replica: usize,
    address: SocketAddr,
    ask: Ask,
    patience: Option<Duration>,
}

impl Request {
    async fn send(self, client: Client, born: Instant, session: String) -> Event {
        let start = born.elapsed();
        let told = client.ask(self.address, &session, self.ask, self.patience).await;
        Event { replica: self.replica, ask: self.ask, start, end: born.elapsed(), told }
    }
}
