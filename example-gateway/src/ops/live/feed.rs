//! The history, and those who read it.
//!
//! Turns are sent in batches, so that a thousand turns a second are ten messages a second for each reader. A
//! message is serialised once for all readers, who share its bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use affinity_layer::{ModelName, admin::StoredKey};
use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::history::History;
use super::lane::Told;
use crate::ops::hub::TurnHub;
use crate::ops::ledger::books::Ledger;
use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::Turn;
use crate::stack::unnamed::{Unnamed, UnnamedClient};

/// Readers at a time.
pub(super) const READERS: usize = 8;

/// Messages that a reader may be behind.
pub(super) const BEHIND: usize = 32;

/// How long turns wait for others, to be sent together.
pub(super) const TOGETHER: Duration = Duration::from_millis(100);

/// Turns that are sent together, at most.
const BATCH: usize = 500;

/// The history, and its readers. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    hub: TurnHub,
    unnamed: Unnamed,
    shared: Arc<Mutex<Shared>>,
    pub(super) places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    history: History,
    /// Turns in the history that were not sent to readers yet.
    untold: Vec<Told>,
    /// Messages, as they go over the wire; none once the gateway stops.
    messages: Option<broadcast::Sender<Bytes>>,
}

impl Live {
    /// An empty history, which `hub` will fill; `models` are those of the configuration.
    pub(crate) fn new(hub: TurnHub, models: Vec<ModelName>, unnamed: Unnamed) -> Self {
        let shared = Shared {
            history: History::new(models),
            untold: Vec::new(),
            messages: Some(broadcast::Sender::new(BEHIND)),
        };
        Self {
            hub,
            unnamed,
            shared: Arc::new(Mutex::new(shared)),
            places: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Shows `models` as those of the configuration from now on, to readers that come.
    pub(crate) fn reconfigured(&self, models: Vec<ModelName>) {
        self.lock().history.reconfigured(models);
    }

    /// Takes in what happens from now on, until `stop` is cancelled; then the readers' streams end.
    /// To be called once.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.take(self.hub.subscribe())).await;
        self.lock().messages = None;
    }

    async fn take(&self, mut turns: broadcast::Receiver<Arc<Turn>>) {
        let mut due = None;
        loop {
            let full = tokio::select! {
                turn = turns.recv() => match turn {
                    Ok(turn) => {
                        due.get_or_insert_with(|| Instant::now() + TOGETHER);
                        self.lock().add(turn) >= BATCH
                    }
                    Err(RecvError::Lagged(missed)) => {
                        self.lock().history.missed(missed);
                        false
                    }
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => true,
            };
            if full {
                self.lock().tell(self.hub.ledger(), &self.unnamed);
                due = None;
            }
        }
    }

    /// What is kept, as a message, and the messages that follow it; nothing once the gateway stops.
    pub(super) fn join(&self) -> Option<(Bytes, broadcast::Receiver<Bytes>)> {
        // Under one lock, so that no turn is in both or in neither.
        let mut shared = self.lock();
        shared.tell(self.hub.ledger(), &self.unnamed);
        let messages = shared.messages.as_ref()?.subscribe();
        Some((shared.history.snapshot(self.hub.ledger(), &self.unnamed.clients()), messages))
    }

    /// Whether somebody has the page open.
    pub(crate) fn is_watched(&self) -> bool {
        self.places.available_permits() < READERS
    }

    /// A session by its name on the page, and what its pin is called in the store.
    pub(crate) fn find(&self, name: &str) -> Option<(SessionTag, Vec<StoredKey>)> {
        self.lock().history.find(name).map(|(tag, keys)| (tag, keys.to_vec()))
    }

    /// The clients that name no session.
    pub(crate) fn unnamed(&self) -> Vec<UnnamedClient> {
        self.unnamed.clients()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing that panics leaves a history behind that could not be read.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Returns how many turns are to be sent.
    fn add(&mut self, turn: Arc<Turn>) -> usize {
        let told = self.history.add(turn);
        self.untold.push(told);
        self.untold.len()
    }

    fn tell(&mut self, ledger: &Ledger, unnamed: &Unnamed) {
        let untold = std::mem::take(&mut self.untold);
        if let Some(messages) = &self.messages
            && messages.receiver_count() > 0
            && !untold.is_empty()
        {
            // It fails when the last reader has gone.
            let _ = messages.send(self.history.news(&untold, ledger, &unnamed.clients()));
        }
    }
}
