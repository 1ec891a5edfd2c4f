//! The conversations that are under way in this process, of clients that name no session.
//!
//! What an answer leaves in the store leads to its session, but only once the answer has ended. Until then
//! this table knows what the store does not:
//!
//! 1. **An identical request joins the one that runs**: a retry, or the same question sent twice. When the
//!    first has ended, whoever sends the same is a stranger.
//! 2. **A session goes on in one way.** A request that goes on from the same answer as one that runs, and
//!    does not begin with its messages, has parted from it, and begins a session.
//!
//! It holds an entry for each request that runs, and nothing else. Requests on other replicas are not
//! known; those that part at the same moment on two replicas stay in one session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::AffinityKey;
use crate::key::{Print, Transcript};

/// A clone is the same table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversations(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// By the print of the whole request, with its scope and lane.
    requests: HashMap<AffinityKey, Entry>,
    /// The messages of the requests that run in a session.
    sessions: HashMap<AffinityKey, Vec<Print>>,
}

/// Identical requests that run.
#[derive(Clone, Debug)]
struct Entry {
    session: AffinityKey,
    is_first: bool,
    count: usize,
}

/// One running request's place in the table, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    table: Conversations,
    request: AffinityKey,
    head: Print,
    session: AffinityKey,
    is_first: bool,
    /// Identical requests may still join.
    is_open: bool,
}

impl Conversations {
    /// The session of an identical request that runs.
    pub(crate) fn session_of(&self, request: &AffinityKey) -> Option<AffinityKey> {
        self.lock().requests.get(request).map(|entry| entry.session.clone())
    }

    /// Takes a seat for `request`: in the session of an identical one that runs, else in the one that was
    /// `found`, unless it goes on there in another way, else in a `fresh` one.
    pub(crate) fn enter(
        &self,
        request: AffinityKey,
        transcript: &Transcript,
        found: Option<AffinityKey>,
        fresh: AffinityKey,
    ) -> Seat {
        let head = transcript.head();
        let mut table = self.lock();
        let Table { requests, sessions } = &mut *table;
        let entry = requests.entry(request.clone()).or_insert_with(|| {
            let is_first = found.is_none() || !transcript.has_answers();
            let goes_on = |session: &AffinityKey| {
                let running = sessions.get(session).map_or(&[][..], Vec::as_slice);
                running.iter().all(|head| transcript.continues(*head))
            };
            let session = found.filter(goes_on).unwrap_or(fresh);
            Entry { session, is_first, count: 0 }
        });
        entry.count += 1;
        let (session, is_first) = (entry.session.clone(), entry.is_first);
        sessions.entry(session.clone()).or_default().push(head);
        drop(table);
        Seat { table: self.clone(), request, head, session, is_first, is_open: true }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// One of identical requests does not run any more.
    fn left(&mut self, request: &AffinityKey) {
        if let Some(entry) = self.requests.get_mut(request) {
            entry.count -= 1;
            if entry.count == 0 {
                self.requests.remove(request);
            }
        }
    }
}

impl Seat {
    pub(crate) fn session(&self) -> &AffinityKey {
        &self.session
    }

    /// The answer has ended: from now on an identical request is one by itself.
    pub(crate) fn close(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.table.lock().left(&self.request);
        }
    }

    /// Whether the conversation begins with this request: an identical one is a stranger's, later.
    pub(crate) fn is_first(&self) -> bool {
        self.is_first
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.close();
        let mut table = self.table.lock();
        if let Some(running) = table.sessions.get_mut(&self.session) {
            if let Some(place) = running.iter().position(|head| *head == self.head) {
                running.swap_remove(place);
            }
            if running.is_empty() {
                table.sessions.remove(&self.session);
            }
        }
    }
}
