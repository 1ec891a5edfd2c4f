//! How the session of a request is found by what was said in it.
//!
//! 1. An identical request that runs has the session.
//! 2. Else the store is asked for each piece of [evidence](Transcript::evidence), the strongest first,
//!    until one leads to a session. Most requests of a loop are found by the first: the id of a call in the
//!    latest answer.
//! 3. Else the conversation begins here. So it does where the session that was found goes on in another
//!    way already.
//!
//! Nothing is written here. What the request leaves for the next one is written when its answer has ended,
//! by the [`Continuation`] that goes down with it.

use super::shared::Shared;
use crate::answer::{Continuation, Link, ServedRequest};
use crate::decide::Budget;
use crate::key::{Print, Transcript};
use crate::{AffinityKey, AffinityStore, Rejection};

/// The session of a request, and what goes down with it. `fresh` is the session that it has if nothing
/// leads to one; scope and lane are taken from it.
///
/// # Errors
///
/// [`Rejection::StoreUnavailable`] for a store that fails, if the layer requires it.
pub(super) async fn recognised<St: AffinityStore>(
    shared: &Shared<St>,
    transcript: Transcript,
    fresh: AffinityKey,
    budget: &mut Budget,
) -> Result<(AffinityKey, Continuation), Rejection> {
    let request = transcript.request().link_key().beside(&fresh);
    let (session, found) = match shared.conversations.session_of(&request) {
        Some(session) => (Some(session), None),
        None => {
            let found = found(shared, &transcript, &fresh, budget).await?;
            (found.as_ref().map(|found| found.session.clone()), found)
        }
    };
    let seat = shared.conversations.enter(request, &transcript, session, fresh);
    let session = seat.session().clone();
    let found = found.filter(|found| found.session == session);
    let (before, used) = found.map(|found| (found.served, found.used)).unzip();
    let (store, expiry) = (shared.decider.any_store.clone(), &shared.decider.rules.expiry);
    let used = used.unwrap_or_default();
    Ok((session, Continuation::new(transcript, seat, before, used, store, expiry)))
}

/// The session of a request that changes nothing, if there is one: it takes no part in the conversation.
///
/// # Errors
///
/// As with [`recognised`].
pub(super) async fn looked_up<St: AffinityStore>(
    shared: &Shared<St>,
    transcript: &Transcript,
    place: &AffinityKey,
    budget: &mut Budget,
) -> Result<Option<AffinityKey>, Rejection> {
    let request = transcript.request().link_key().beside(place);
    if let Some(session) = shared.conversations.session_of(&request) {
        return Ok(Some(session));
    }
    let found = found(shared, transcript, place, budget).await?;
    Ok(found.map(|found| found.session))
}

/// The session to which the evidence leads.
struct Found {
    session: AffinityKey,
    served: ServedRequest,
    /// The prints that lead to the answer from which the request goes on.
    used: Vec<Print>,
}

/// The session to which the evidence leads, the strongest first.
async fn found<St: AffinityStore>(
    shared: &Shared<St>,
    transcript: &Transcript,
    place: &AffinityKey,
    budget: &mut Budget,
) -> Result<Option<Found>, Rejection> {
    for evidence in transcript.evidence() {
        let Some(link) = link(shared, evidence.print, place, budget).await? else { continue };
        let Some(served) = link.served() else { continue };
        if evidence.is_text && transcript.len() <= served.messages {
            continue;
        }
        let session = link.into_session();
        // A session that has gone on is not gone on from: of two answers to one request, one is.
        let last = self::link(shared, transcript.last_of(&session), place, budget).await?;
        if last.and_then(|last| last.served()) != Some(served) {
            continue;
        }
        let mut used = evidence.answer.map_or_else(Vec::new, |answer| transcript.traces(answer));
        // Where messages have moved, the request that was served is not among them.
        used.push(served.print);
        return Ok(Some(Found { session: session.beside(place), served, used }));
    }
    Ok(None)
}

/// What is stored under a print.
async fn link<St: AffinityStore>(
    shared: &Shared<St>,
    print: Print,
    place: &AffinityKey,
    budget: &mut Budget,
) -> Result<Option<Link>, Rejection> {
    let key = print.link_key().beside(place);
    let lifetime = Link::lifetime_of_said(&shared.decider.rules.expiry);
    let read = shared.decider.read(&key, &lifetime, budget).await?;
    Ok(read.selection().and_then(|stored| Link::from_stored(&key, &stored)))
}
