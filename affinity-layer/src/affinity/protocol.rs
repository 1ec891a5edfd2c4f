//! How a request is decided whose pin is not at hand: it may have to wait for its body, the store,
//! another request of its session, or the router.
//!
//! [`Protocol::decide`] is the whole of it. [`Protocol::verdict`] distinguishes the cases, and each has
//! a function of its own; [`Protocol::pinned`] is the usual one. Requests of one session that need a
//! decision at the same time make it in one [flight](crate::coalesce), so that the router is asked
//! once and all of them go on with one model.
//!
//! # The usual case, step by step
//!
//! 1. **Join the flight, then read the store.** In the other order there is a gap: a request finds no
//!    pin, the decision of another is stored and its flight ends, and the request begins a second one.
//! 2. **A pin that holds is the end of it**, and so is what this process decided while the store was
//!    away. The flight is left; it costs nothing to those who stay.
//! 3. **Read the body**, which only now has to be held. A client may send it slowly; see step 4.
//! 4. **If the body took longer than the store budget and the flight has settled meanwhile, begin
//!    again.** What was decided may have been moved or released since then.
//! 5. **Settle.** The first of the flight asks the router and claims, or moves the pin that does not
//!    hold. The others wait for its agreement; if its client hangs up, the next one decides.
//! 6. **Conclude.** The claim says which pin is stored, whoever made it, and that one is used. A
//!    decision that lost is forgotten, although the router was paid for it: two replicas that each
//!    used their own would split the session.
//!
//! # When something fails
//!
//! A store that fails counts as one without a pin, unless the layer requires it; a router that fails
//! leaves the session with the pin that it has, else the request with the model that it asks for.
//! Neither is an error of the request, and the answer to a failed router is never stored.
//! [`Protocol::concluded`] has all combinations.
//!
//! # Cancellation
//!
//! Any of these functions may be dropped at any await; a flight that is dropped passes on. A write under
//! way is the store's to see to: one whose caller is gone must not be applied much later.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use tokio::time::Instant;
use tracing::Span;

use super::budget::Budget;
use super::epilogue::Epilogue;
use super::payload::{Payload, ReadBody};
use super::recognise::{looked_up, recognised};
use super::shared::Shared;
use super::verdict::{Agreement, Verdict};
use crate::coalesce::Flight;
use crate::ext::{NewTurn, Probe};
use crate::key::{BodyIds, IdKind, Told};
use crate::outcome::{Control, Outcome, Stamp};
use crate::store::Claim;
use crate::{
    AffinityKey, AffinityStore, Epoch, Pin, PinRead, PinnedModel, Rejection, RouterService,
    Selection,
    answer::{Continuation, Link},
    telemetry,
};

/// One request on its way to a model. It owns what it needs, because its future outlives the call of
/// the service that made it.
pub(super) struct Protocol<St, R> {
    pub(super) shared: Arc<Shared<St, R>>,
    /// The session, as far as it is known without waiting.
    pub(super) key: Option<AffinityKey>,
    pub(super) control: Control,
    /// What goes down with a request whose session was found by what was said.
    pub(super) continuation: Option<Continuation>,
}

impl<St: AffinityStore, R: RouterService> Protocol<St, R> {
    /// The request with its model in the extensions, and what remains to be done once it is answered.
    ///
    /// # Errors
    ///
    /// The reason for a refusal, and the head of the refused request.
    pub(super) async fn decide<B>(
        mut self,
        request: Request<B>,
    ) -> Result<(Request<B>, Epilogue), (Rejection, Parts)>
    where
        B: ReadBody,
    {
        let (mut parts, body) = request.into_parts();
        let mut body = Payload::new(body, self.shared.settings.body_limit);
        let verdict = match self.verdict(&parts, &mut body).await {
            Ok(verdict) => verdict,
            Err(rejection) => return Err((rejection, parts)),
        };
        if let Some(continuation) = self.continuation {
            parts.extensions.insert(continuation);
        }
        let outcome = verdict.outcome;
        // A probe changes no pin, whatever the client asks for.
        let is_final = self.control == Control::Final && parts.extensions.get::<Probe>().is_none();
        let model = self.shared.given(verdict, self.key, is_final);
        let model = model.map(|model| self.shared.fitting(model, &parts));
        telemetry::decided(&Span::current(), model.as_ref(), outcome);
        let stamp = match &model {
            Some(model) => {
                parts.extensions.insert(model.clone());
                model.stamp()
            }
            None => Stamp { outcome, ..Stamp::NONE },
        };
        let has_pin = model.as_ref().is_some_and(|model| model.epoch().is_some());
        let to_release = model.filter(PinnedModel::is_final);
        let store_budget = self.shared.settings.store_budget;
        // Also for a pin that was only read: its maker may still be waiting for the replicas.
        let known = has_pin.then(|| self.shared.known_everywhere()).flatten();
        let epilogue = Epilogue { stamp, to_release, store_budget, known };
        Ok((Request::from_parts(parts, body.into_body()), epilogue))
    }

    /// Which of the cases this request is.
    ///
    /// A pin that is read from the store is the usual case. The rare ones are boxed so that the
    /// future of a usual request stays small.
    async fn verdict<B: ReadBody>(
        &mut self,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let mut budget = Budget::new(self.shared.settings.store_budget);
        if self.key.is_none() {
            self.key = Box::pin(self.session(parts, body, &mut budget)).await?;
        }
        let settings = &self.shared.settings;
        match (&self.key, self.control) {
            (None, control) if settings.passes_unkeyed(control) => {
                Ok(Verdict::unpinned(None, Outcome::None))
            }
            (key, _) if parts.extensions.get::<Probe>().is_some() => {
                Box::pin(self.probed(key.as_ref(), budget, parts, body)).await
            }
            (_, Control::Bypass) => Box::pin(self.afresh(parts, body, Outcome::Bypass)).await,
            (None, _) => Box::pin(self.afresh(parts, body, Outcome::None)).await,
            (Some(key), Control::Refresh) => Box::pin(self.anew(key, budget, parts, body)).await,
            (Some(key), Control::Use) if parts.extensions.get::<NewTurn>().is_some() => {
                Box::pin(self.anew(key, budget, parts, body)).await
            }
            (Some(key), Control::Use | Control::Final) => {
                self.pinned(key, budget, parts, body).await
            }
        }
    }

    /// The session of a request whose headers name none: by an id in the body, by the response that it
    /// follows, or by a guess. The body is read for it unless a layer outside has already done so and put
    /// the ids into the extensions; then `read` only hands out what is there.
    ///
    /// A response whose link is gone (expired, or the store is away) is not an error. Its conversation
    /// is then one that nothing names, and begins again.
    async fn session<B: ReadBody>(
        &mut self,
        parts: &Parts,
        body: &mut Payload<B>,
        budget: &mut Budget,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let keys = &self.shared.settings.keys;
        if !keys.reads_body_of(&parts.headers) {
            return Ok(None);
        }
        let bytes = body.read().await?;
        let ids = match parts.extensions.get::<BodyIds>() {
            Some(given) => given.clone(),
            None => B::examine(bytes.clone(), BodyIds::of_body).await?,
        };
        if let Some(key) = keys.named(&ids, &parts.headers, &parts.extensions)? {
            if key.kind() != IdKind::Response {
                return Ok(Some(key));
            }
            if let Some(key) = self.linked(&key, budget).await? {
                return Ok(Some(keys.with_lane(key, &parts.extensions)));
            }
        }
        let told = match keys.listener(&ids, parts) {
            Some(listener) => B::examine(bytes, listener).await?,
            None => None,
        };
        let transcript = match told {
            Some(Told::Transcript(transcript)) => transcript,
            Some(Told::Key(key)) => return Ok(keys.unnamed(&ids, parts, Some(key))),
            None => return Ok(keys.unnamed(&ids, parts, None)),
        };
        let Some(fresh) = keys.unnamed(&ids, parts, Some(AffinityKey::drawn())) else {
            return Ok(None);
        };
        let is_probe = parts.extensions.get::<Probe>().is_some();
        if is_probe || self.control == Control::Bypass {
            return looked_up(&self.shared, &transcript, &fresh, budget).await;
        }
        let (key, continuation) = recognised(&self.shared, transcript, fresh, budget).await?;
        self.continuation = Some(continuation);
        Ok(Some(key))
    }

    /// The session that a response belongs to. One read of the store, charged to the request's budget.
    async fn linked(
        &self,
        response: &AffinityKey,
        budget: &mut Budget,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let lifetime = self.shared.link_lifetime();
        let link = self.shared.read(response, &lifetime, budget).await?;
        let link = link.selection().and_then(|stored| Link::from_stored(response, &stored));
        Ok(link.map(Link::into_session))
    }

    /// What the store knows of the session, on the settings of this layer.
    async fn state(&self, key: &AffinityKey, budget: &mut Budget) -> Result<PinRead, Rejection> {
        self.shared.read(key, &self.shared.settings.expiry, budget).await
    }

    /// The session's pin if it holds, else one that is made now: steps 1 to 6 of the module.
    ///
    /// A final request takes a pin that still warms up as it is: to decide again for a session that ends
    /// would be a router call for nothing.
    async fn pinned<B: ReadBody>(
        &self,
        key: &AffinityKey,
        mut budget: Budget,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let shared = &*self.shared;
        let uses = |pin: &Pin| match self.control {
            Control::Final => shared.settings.accepts(pin.selection.model()),
            _ => shared.settings.holds(pin, &parts.extensions),
        };
        let (flight, current, body) = loop {
            let flight = shared.flights.join(key, shared.settings.waiters);
            let current = match self.state(key, &mut budget).await? {
                PinRead::Pinned(pin) if uses(&pin) => {
                    telemetry::saved();
                    return Ok(Verdict::hit(pin));
                }
                PinRead::Decided { selection, .. }
                    if shared.settings.accepts(selection.model()) =>
                {
                    return Ok(Verdict::unpinned(Some(selection), Outcome::StoreUnavailable));
                }
                state => state.pin(),
            };
            // A session that has a pin waits for no decision, however many of its requests are here.
            let flight = flight.ok_or(Rejection::Overloaded)?;
            let began = Instant::now();
            let body = body.read().await?;
            // What was decided while a slow body came in may be over already. A body that is here
            // ends the second round.
            if began.elapsed() <= shared.settings.store_budget || !flight.is_settled() {
                break (flight, current, body);
            }
        };
        Box::pin(self.agreed(key, flight, current, budget, parts, &body)).await
    }

    /// What the requests of the flight agree on: the first of them decides, and makes the pin.
    ///
    /// The budget moves into the decision: only the one that decides writes, and those that wait for it
    /// are charged nothing.
    async fn agreed(
        &self,
        key: &AffinityKey,
        flight: Flight<Agreement>,
        current: Option<Pin>,
        budget: Budget,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Verdict, Rejection> {
        let shared = &*self.shared;
        let (mut led, mut made) = (false, None);
        let agreement = flight.settle(async {
            led = true;
            let from = current.as_ref().map(|pin| pin.epoch);
            let (agreement, outcome) =
                self.decision(key, current.as_ref(), from, budget, parts, body).await;
            made = outcome;
            agreement
        });
        let mut agreement = agreement.await;
        // By a layer of another configuration, with which the flights are shared.
        if let (false, Some((model, epoch))) = (led, agreement.model())
            && !shared.settings.accepts(model)
        {
            let budget = Budget::new(shared.settings.store_budget);
            (agreement, made) =
                self.decision(key, current.as_ref(), epoch, budget, parts, body).await;
        }
        if !led {
            telemetry::coalesced();
        }
        if let Agreement::Pinned(claim) = &mut agreement
            && made.is_none()
            && let Some(pin) = shared.store.peek(key, &shared.settings.expiry)
            && pin.epoch > claim.pin.epoch
            && shared.settings.accepts(pin.selection.model())
        {
            // It was moved between the moment it was agreed on and the moment we heard of it.
            claim.pin = pin;
        }
        self.concluded(agreement, made, current, parts, body)
    }

    /// Asks the router and stores what it decides, in place of the pin of epoch `from`. Returns what is
    /// stored, and how it came to be what was decided here.
    async fn decision(
        &self,
        key: &AffinityKey,
        current: Option<&Pin>,
        from: Option<Epoch>,
        budget: Budget,
        parts: &Parts,
        body: &Bytes,
    ) -> (Agreement, Option<Outcome>) {
        let shared = &*self.shared;
        let anew = self.control == Control::Refresh
            || current.is_some() && parts.extensions.get::<NewTurn>().is_some();
        let repeated =
            if current.is_none() && !anew { shared.repeated(key, parts, body) } else { None };
        let decided = match repeated {
            Some(decided) => decided,
            None => match shared.route(parts, body, Some(key)).await {
                Some(decided) => decided,
                None => return (Agreement::RouterUnavailable, None),
            },
        };
        let (selection, outcome) = shared.settings.next(parts, key, current, decided);
        let outcome = match (outcome, current) {
            (Outcome::Hit, Some(pin)) if anew && pin.selection == selection => {
                // Nothing has changed, and so nothing is written.
                return (Agreement::Pinned(Claim::lost(pin.clone())), Some(Outcome::Hit));
            }
            (Outcome::Claimed | Outcome::Repinned, _) if anew => Outcome::Refreshed,
            (outcome, _) => outcome,
        };
        (shared.keep(key, from, selection, budget).await, Some(outcome))
    }

    /// The session's pin, else the requested model. Makes no pin and asks no router: whoever counts the
    /// tokens of a prompt must not thereby decide which model will answer it. It is no use of the pin,
    /// and the model carries no epoch by which a pin could be changed.
    async fn probed<B: ReadBody>(
        &self,
        key: Option<&AffinityKey>,
        mut budget: Budget,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let settings = &self.shared.settings;
        if let Some(key) = key {
            let look = settings.expiry.without_use();
            let pin = self.shared.read(key, &look, &mut budget).await?.pin();
            if let Some(pin) = pin.filter(|pin| settings.accepts(pin.selection.model())) {
                return Ok(Verdict { epoch: None, ..Verdict::hit(pin) });
            }
        }
        let requested = settings.requested(parts, &body.read().await?);
        let selection = requested.map(|model| Arc::new(Selection::of(model)));
        Ok(Verdict::unpinned(selection, Outcome::None))
    }

    /// A decision for this request alone: for `bypass`, and where there is no session. The store is not
    /// asked.
    async fn afresh<B: ReadBody>(
        &self,
        parts: &Parts,
        body: &mut Payload<B>,
        outcome: Outcome,
    ) -> Result<Verdict, Rejection> {
        let body = body.read().await?;
        match self.shared.route(parts, &body, self.key.as_ref()).await {
            Some(selection) => {
                let settings = &self.shared.settings;
                let selection = settings.adopted(parts, self.key.as_ref(), None, selection);
                Ok(Verdict::unpinned(Some(selection), outcome))
            }
            None => self.concluded(Agreement::RouterUnavailable, None, None, parts, &body),
        }
    }

    /// A new decision, which takes the place of the pin that the session has. Requests that ask for one at
    /// the same time share it, as first requests do.
    ///
    /// The first turn of a session is no new one: it is made as for any first request.
    async fn anew<B: ReadBody>(
        &self,
        key: &AffinityKey,
        mut budget: Budget,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let shared = &*self.shared;
        let (flight, current, body) = loop {
            let flight = shared.flights.join(key, shared.settings.waiters);
            let current = self.state(key, &mut budget).await?.pin();
            if current.is_none() && self.control == Control::Use {
                drop(flight);
                return self.pinned(key, budget, parts, body).await;
            }
            let flight = flight.ok_or(Rejection::Overloaded)?;
            let began = Instant::now();
            let body = body.read().await?;
            // As in `pinned`.
            if began.elapsed() <= shared.settings.store_budget || !flight.is_settled() {
                break (flight, current, body);
            }
        };
        self.agreed(key, flight, current, budget, parts, &body).await
    }

    /// The verdict for one of the requests that share an agreement; `made` is what it did if it is
    /// the one that decided. Without a new pin the session stays with the `current` one, rather than
    /// with none.
    ///
    /// | agreement | served pin | model | outcome |
    /// |---|---|---|---|
    /// | a pin that we made or kept | | that of the pin | what we did |
    /// | a pin that another made | | that of the pin | `joined` |
    /// | a decision the store did not take | yes | that of the served pin | `store-unavailable` |
    /// | a decision the store did not take | no | that of the decision, unpinned | `store-unavailable` |
    /// | no decision | yes | that of the served pin | `router-unavailable` |
    /// | no decision | no | the requested one, unpinned | `router-unavailable` |
    ///
    /// # Errors
    ///
    /// [`Rejection::StoreUnavailable`] for a decision that the store did not take, if the layer requires
    /// the store.
    fn concluded(
        &self,
        agreement: Agreement,
        made: Option<Outcome>,
        current: Option<Pin>,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Verdict, Rejection> {
        let settings = &self.shared.settings;
        let current = current.filter(|pin| settings.accepts(pin.selection.model()));
        let verdict = match (agreement, current) {
            (Agreement::Pinned(claim), current) => {
                match made.filter(|made| claim.won || *made == Outcome::Hit) {
                    Some(made) => {
                        let stood = current.filter(|_| claim.won).map(|pin| pin.selection);
                        Verdict { stood, ..Verdict::by_pin(claim.pin, made) }
                    }
                    None => Verdict::by_pin(claim.pin, Outcome::Joined),
                }
            }
            (Agreement::Unstored(_), _) if settings.require_store => {
                return Err(Rejection::StoreUnavailable);
            }
            (Agreement::Unstored(_), Some(pin)) => Verdict::by_pin(pin, Outcome::StoreUnavailable),
            (Agreement::Unstored(selection), None) => {
                Verdict::unpinned(Some(selection), Outcome::StoreUnavailable)
            }
            (Agreement::RouterUnavailable, Some(pin)) => {
                Verdict::by_pin(pin, Outcome::RouterUnavailable)
            }
            (Agreement::RouterUnavailable, None) => {
                let requested = settings.requested(parts, body);
                let selection = requested.map(|model| Arc::new(Selection::of(model)));
                Verdict::unpinned(selection, Outcome::RouterUnavailable)
            }
        };
        Ok(Verdict { asked: self.shared.asked(parts, body), ..verdict })
    }
}
