//! How replicas agree on what is drained: a hash in Redis, which each reads every second.
//!
//! Each replica reads, and none is told: a replica that was away, or has just started, learns everything by
//! its next reading. While Redis is away the last reading holds, because a model is drained for a reason.
//! Over a store in memory there is one replica, which knows what it drains.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use affinity_layer::{ModelName, StoreError, store::Unready};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use crate::stack::sessions::Sessions;
use crate::upstream::drains::{Drain, Drained, Drains};

/// The name of the hash, behind the prefix and a `%`.
const NAME: &str = "drains";

/// Between two readings.
const PERIOD: Duration = Duration::from_secs(1);

/// Reads and changes what is drained.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    sessions: Sessions,
    drains: Arc<Drains>,
    /// One reading or change at a time: an older reading must not take the place of a newer one.
    turn: Arc<Mutex<()>>,
    /// Why the last reading was refused.
    refusal: Arc<StdMutex<Option<Unready>>>,
}

impl Board {
    pub(crate) fn new(sessions: Sessions, drains: Arc<Drains>) -> Self {
        Self { sessions, drains, turn: Arc::default(), refusal: Arc::default() }
    }

    /// Why this replica may not read what others drain, if so.
    pub(crate) fn refusal(&self) -> Option<Unready> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a reading ended, and logs a refusal when it begins and when it is over: replicas that
    /// may not read serve models that others drain.
    fn note(&self, refusal: Option<Unready>) {
        let mut noted = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted == refusal {
            return;
        }
        match &refusal {
            Some(cause) => {
                tracing::warn!(%cause, "models that other replicas drain are served: the list cannot be read");
            }
            None => tracing::info!("the list of drained models can be read again"),
        }
        *noted = refusal;
    }

    /// What this replica knows.
    pub(crate) fn known(&self) -> Arc<Drained> {
        self.drains.all()
    }

    /// Drains `model`. All replicas over one Redis know within two seconds.
    ///
    /// # Errors
    ///
    /// When it cannot be written for them; then nothing has changed.
    pub(crate) async fn drain(&self, model: &ModelName, drain: Drain) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        if let Sessions::Shared(store) = &self.sessions {
            // It is made of names and numbers.
            let text = serde_json::to_string(&drain).unwrap_or_default();
            store.redis().note(NAME, model.as_str(), &text).await?;
        }
        let mut drained = Drained::clone(&self.known());
        drained.insert(model.to_string(), drain);
        self.drains.replace(drained);
        Ok(())
    }

    /// Gives `model` back; says whether it was drained.
    ///
    /// # Errors
    ///
    /// As [`drain`](Self::drain).
    pub(crate) async fn undrain(&self, model: &str) -> Result<bool, StoreError> {
        let _turn = self.turn.lock().await;
        let mut drained = Drained::clone(&self.known());
        let mut was_drained = drained.remove(model).is_some();
        if let Sessions::Shared(store) = &self.sessions {
            was_drained = store.redis().remove_note(NAME, model).await?;
        }
        self.drains.replace(drained);
        Ok(was_drained)
    }

    /// Reads what others drain. While Redis is away, what was known stays.
    pub(crate) async fn read(&self) {
        let Sessions::Shared(store) = &self.sessions else { return };
        let _turn = self.turn.lock().await;
        match store.redis().notes(NAME).await {
            Ok(notes) => {
                self.note(None);
                let read = |(model, text): (String, String)| {
                    let drain = serde_json::from_str(&text).ok();
                    drain.map(|drain| (model, drain))
                };
                let drained: Drained = notes.into_iter().filter_map(read).collect();
                if drained != *self.known() {
                    let models: Vec<_> = drained.keys().collect();
                    tracing::info!(?models, "another replica changed which models are drained");
                    self.drains.replace(drained);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the drained models cannot be read");
                // An outage is told elsewhere, and ends by itself.
                if let Some(refusal) = Unready::behind(&error) {
                    self.note(Some(refusal));
                }
            }
        }
    }

    /// Reads it again and again.
    pub(crate) async fn follow(self) {
        if matches!(self.sessions, Sessions::Own(_)) {
            return;
        }
        let mut pace = interval(PERIOD);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            self.read().await;
        }
    }
}
