//! What an answer leaves in the store so that the conversation is known when it goes on.
//!
//! The request of a client that names no session goes down with a [`Continuation`]. When its answer has
//! ended,
//!
//! 1. links are stored from what the client will send back: the ids of the answer's calls, its text, and
//!    the messages that were served. The last piece waits for them, 50 ms at most, as it waits for a
//!    release: the next request may come to another replica;
//! 2. then the links are removed by which this request was found. So a session has a few links at any time,
//!    however long it is, and an answer is gone on from once: whoever does so in another way has parted.
//!
//! An answer that was lost leaves a link from the request itself, so that a retry stays in its session,
//! and one from its messages. Lost is what did not end here: the client hung up, the provider failed, or
//! nothing reads answers below the affinity layer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::hold::{Hold, LONGEST_HOLD};
use super::link::{Link, ServedRequest};
use crate::conversations::Seat;
use crate::key::{AnswerNotes, Print, Transcript};
use crate::store::SharedStore;
use crate::{AffinityKey, AffinityStore, Expiry, Selection, StoreError};

/// The longest that links are written after the answer has gone on.
const LONGEST_WRITE: Duration = Duration::from_secs(1);

/// In the extensions of a request whose session is known by what was said. Clones are of one request.
#[derive(Clone)]
pub(crate) struct Continuation(Arc<Shared>);

struct Shared {
    transcript: Transcript,
    /// `None` once the links are being written.
    open: Mutex<Option<Open>>,
}

/// What is left to do.
struct Open {
    seat: Seat,
    /// What the session had served last, if the request was found by a link.
    before: Option<ServedRequest>,
    /// The prints by which the request was found.
    used: Vec<Print>,
    store: SharedStore,
    lifetime: Expiry,
}

impl Continuation {
    /// `used` are the prints that lead to the answer from which this request goes on, and `before` is the
    /// request that was answered.
    pub(crate) fn new(
        transcript: Transcript,
        seat: Seat,
        before: Option<ServedRequest>,
        used: Vec<Print>,
        store: SharedStore,
        pins: &Expiry,
    ) -> Self {
        let lifetime = Link::lifetime_of_said(pins);
        let open = Mutex::new(Some(Open { seat, before, used, store, lifetime }));
        Self(Arc::new(Shared { transcript, open }))
    }

    /// Empty notes of the answer.
    pub(super) fn notes(&self) -> AnswerNotes {
        self.0.transcript.answered()
    }

    /// Stores the links of an answer that has ended, and returns what its last piece waits for. Without
    /// notes the answer could not be read.
    pub(super) fn ended(&self, notes: Option<&AnswerNotes>) -> Option<Hold> {
        let mut open = self.0.close()?;
        open.seat.close();
        let transcript = &self.0.transcript;
        let served = ServedRequest { messages: transcript.len(), print: transcript.served() };
        let mut new = vec![transcript.last_of(open.seat.session()), served.print];
        let mut used = open.used.clone();
        if let Some(notes) = notes {
            let (calls, answer) = notes.prints();
            new.extend_from_slice(calls);
            // Text is what is left where no id was drawn.
            new.extend(answer.filter(|_| calls.is_empty()));
        }
        if open.seat.is_first() {
            used.push(transcript.request());
        } else {
            new.push(transcript.request());
        }
        used.retain(|print| !new.contains(print));
        open.write(new, used, served)
    }
}

impl Shared {
    fn close(&self) -> Option<Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(open) = self.close() {
            let Self { transcript, .. } = self;
            let served = ServedRequest { messages: transcript.len(), print: transcript.served() };
            let mut new = vec![transcript.request(), served.print];
            // A session that was found is still where it was: a retry may say something else.
            if open.before.is_none() {
                new.push(transcript.last_of(open.seat.session()));
            }
            let served = open.before.unwrap_or(served);
            drop(open.write(new, Vec::new(), served));
        }
    }
}

impl Open {
    /// Writes in a task of its own, which the client's hanging up does not end. The seat is left when all
    /// is written: until then the table knows what the store does not.
    fn write(self, new: Vec<Print>, used: Vec<Print>, served: ServedRequest) -> Option<Hold> {
        let runtime = Handle::try_current().ok()?;
        let link = Link::to(self.seat.session().clone()).serving(served).to_stored()?;
        let (told, hold) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let writing = async {
                let stored = self.lead(&new, &link).await;
                // Nobody may be left who waits.
                let _ = told.send(());
                stored?;
                self.leave(&used).await
            };
            if let Ok(Err(error)) = timeout(LONGEST_WRITE, writing).await {
                tracing::debug!(%error, "what was said could not be linked to its session");
            }
            drop(self);
        });
        Some(Box::pin(async {
            let _ = timeout(LONGEST_HOLD, hold).await;
        }))
    }

    /// Stores the links. One that leads to another session is turned: of strangers who began alike the
    /// last one is the likeliest to go on.
    async fn lead(&self, prints: &[Print], link: &Arc<Selection>) -> Result<(), StoreError> {
        for print in prints {
            let key = self.key(*print);
            let claim = self.store.claim(&key, link.clone(), &self.lifetime).await?;
            if !claim.won && claim.pin.selection != *link {
                let epoch = claim.pin.epoch;
                self.store.repin(&key, epoch, link.clone(), &self.lifetime).await?;
            }
        }
        Ok(())
    }

    /// Removes the links that lead to this session from what it has gone on from.
    async fn leave(&self, used: &[Print]) -> Result<(), StoreError> {
        for print in used {
            let key = self.key(*print);
            let Some(pin) = self.store.get(&key, &self.lifetime).await?.pin() else { continue };
            let link = Link::from_stored(&key, &pin.selection);
            if link.is_some_and(|link| link.into_session().beside(&key) == *self.seat.session()) {
                self.store.release(&key, Some(pin.epoch)).await?;
            }
        }
        Ok(())
    }

    fn key(&self, print: Print) -> AffinityKey {
        print.link_key().beside(self.seat.session())
    }
}

impl fmt::Debug for Continuation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Continuation").finish_non_exhaustive()
    }
}
