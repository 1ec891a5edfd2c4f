//! How a request is decided whose pin is not at hand: it may have to wait for its body, the store,
//! another request of its session, or the router.
//!
//! [`Protocol::verdict`] distinguishes the cases, and each has a function of its own;
//! [`Protocol::pinned`] is the usual one. An [`Ask`] says what a request is, so the same protocol serves
//! the HTTP layer and [`Affinity::decide`](crate::Affinity::decide). Requests of one session that need a
//! decision at the same time make it in one [flight](crate::coalesce), so that the router is asked
//! once and all of them go on with one model.
//!
//! # The usual case, step by step
//!
//! 1. **Join the flight, then read the store.** In the other order there is a gap: a request finds no
//!    pin, the decision of another is stored and its flight ends, and the request begins a second one.
//! 2. **A pin that holds is the end of it**, and so is what this process decided while the store was
//!    away. The flight is left; it costs nothing to those who stay.
//! 3. **Read the rest of the request**, for HTTP its body, which only now has to be held. A client may
//!    send it slowly; see step 4.
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

use tokio::time::Instant;

use super::ask::Ask;
use super::budget::Budget;
use super::decider::Decider;
use super::refusal::Refusal;
use super::verdict::{Agreement, Verdict};
use crate::coalesce::Flight;
use crate::outcome::{Control, Outcome};
use crate::store::Claim;
use crate::{AffinityKey, AffinityStore, Epoch, Pin, PinRead, RouterService, Selection, telemetry};

/// One request on its way to a model.
pub(crate) struct Protocol<'a, St, R, A> {
    decider: &'a Decider<St, R>,
    ask: &'a mut A,
    /// For the calls of the store, those included that found the session.
    budget: Budget,
}

impl<'a, St, R, A> Protocol<'a, St, R, A>
where
    St: AffinityStore,
    R: RouterService<A::Question>,
    A: Ask,
{
    pub(crate) fn new(decider: &'a Decider<St, R>, ask: &'a mut A, budget: Budget) -> Self {
        Self { decider, ask, budget }
    }

    /// The model of the request, and how it was found. `key` is its session.
    ///
    /// A pin that is read from the store is the usual case. The rare ones are boxed so that the
    /// future of a usual request stays small.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], or what keeps the request from being read.
    pub(crate) async fn verdict(mut self, key: Option<&AffinityKey>) -> Result<Verdict, A::Error> {
        match (key, self.ask.control()) {
            (key, _) if self.ask.is_probe() => Box::pin(self.probed(key)).await,
            (key, Control::Bypass) => Box::pin(self.afresh(key, Outcome::Bypass)).await,
            (None, _) => Box::pin(self.afresh(None, Outcome::None)).await,
            (Some(key), Control::Refresh) => Box::pin(self.anew(key)).await,
            (Some(key), Control::Use) if self.ask.begins_turn() => Box::pin(self.anew(key)).await,
            (Some(key), Control::Use | Control::Final) => self.pinned(key).await,
        }
    }

    /// What the store knows of the session.
    async fn state(&mut self, key: &AffinityKey) -> Result<PinRead, Refusal> {
        self.decider.read(key, &self.decider.rules.expiry, &mut self.budget).await
    }

    /// Whether the request uses `pin` as it is. A final request takes one that still warms up: to decide
    /// again for a session that ends would be a router call for nothing.
    fn uses(&self, pin: &Pin) -> bool {
        let rules = &self.decider.rules;
        match self.ask.control() {
            Control::Final => rules.accepts(pin.selection.model()),
            _ => rules.holds(pin, || self.ask.continues_turn()),
        }
    }

    /// The session's pin if it holds, else one that is made now: steps 1 to 6 of the module.
    async fn pinned(&mut self, key: &AffinityKey) -> Result<Verdict, A::Error> {
        let decider = self.decider;
        let (flight, current) = loop {
            let flight = decider.flights.join(key, decider.rules.waiters);
            let current = match self.state(key).await? {
                PinRead::Pinned(pin) if self.uses(&pin) => {
                    telemetry::saved();
                    return Ok(Verdict::hit(pin));
                }
                PinRead::Decided { selection, .. } if decider.rules.accepts(selection.model()) => {
                    return Ok(Verdict::unpinned(Some(selection), Outcome::StoreUnavailable));
                }
                state => state.pin(),
            };
            // A session that has a pin waits for no decision, however many of its requests are here.
            let flight = flight.ok_or(Refusal::Overloaded)?;
            if self.read_within(&flight).await? {
                break (flight, current);
            }
        };
        Box::pin(self.agreed(key, flight, current)).await
    }

    /// Reads the rest of the request. `false` if that took long and the flight was settled meanwhile: what
    /// was decided may be over already. What has been read is there in the second round, and ends it.
    async fn read_within(&mut self, flight: &Flight<Agreement>) -> Result<bool, A::Error> {
        let began = Instant::now();
        self.ask.read().await?;
        Ok(began.elapsed() <= self.decider.rules.store_budget || !flight.is_settled())
    }

    /// What the requests of the flight agree on: the first of them decides, and makes the pin.
    ///
    /// Only the one that decides writes, and those that wait for it are charged nothing.
    async fn agreed(
        &mut self,
        key: &AffinityKey,
        flight: Flight<Agreement>,
        current: Option<Pin>,
    ) -> Result<Verdict, A::Error> {
        let decider = self.decider;
        let (mut led, mut made) = (false, None);
        let agreement = flight.settle(async {
            led = true;
            let from = current.as_ref().map(|pin| pin.epoch);
            let (agreement, outcome) = self.decision(key, current.as_ref(), from).await;
            made = outcome;
            agreement
        });
        let mut agreement = agreement.await;
        // By a layer of another configuration, with which the flights are shared.
        let adopted = agreement.model().filter(|(model, _)| !led && !decider.rules.accepts(model));
        if let Some((_, epoch)) = adopted {
            self.budget = Budget::new(decider.rules.store_budget);
            (agreement, made) = self.decision(key, current.as_ref(), epoch).await;
        }
        if !led {
            telemetry::coalesced();
        }
        if let (Agreement::Pinned(claim), None) = (&mut agreement, &made) {
            let near = decider.store.peek(key, &decider.rules.expiry);
            let newer = near.filter(|near| near.epoch > claim.pin.epoch);
            if let Some(pin) = newer.filter(|pin| decider.rules.accepts(pin.selection.model())) {
                // It was moved between the moment it was agreed on and the moment we heard of it.
                claim.pin = pin;
            }
        }
        Ok(self.concluded(agreement, made, current)?)
    }

    /// Asks the router and stores what it decides, in place of the pin of epoch `from`. Returns what is
    /// stored, and how it came to be what was decided here.
    async fn decision(
        &mut self,
        key: &AffinityKey,
        current: Option<&Pin>,
        from: Option<Epoch>,
    ) -> (Agreement, Option<Outcome>) {
        let decider = self.decider;
        let anew =
            self.ask.control() == Control::Refresh || current.is_some() && self.ask.begins_turn();
        let repeated =
            if current.is_none() && !anew { self.ask.repeated(key, &decider.rules) } else { None };
        let decided = match repeated {
            Some(decided) => decided,
            None => match decider.route(self.ask, Some(key)).await {
                Some(decided) => decided,
                None => return (Agreement::RouterUnavailable, None),
            },
        };
        let (selection, outcome) = decider.rules.next(self.ask, key, current, decided);
        let outcome = match (outcome, current) {
            (Outcome::Hit, Some(pin)) if anew && pin.selection == selection => {
                // Nothing has changed, and so nothing is written.
                return (Agreement::Pinned(Claim::lost(pin.clone())), Some(Outcome::Hit));
            }
            (Outcome::Claimed | Outcome::Repinned, _) if anew => Outcome::Refreshed,
            (outcome, _) => outcome,
        };
        (decider.keep(key, from, selection, &mut self.budget).await, Some(outcome))
    }

    /// The session's pin, else the requested model. Makes no pin and asks no router: whoever counts the
    /// tokens of a prompt must not thereby decide which model will answer it. It is no use of the pin,
    /// and the model carries no epoch by which a pin could be changed.
    async fn probed(&mut self, key: Option<&AffinityKey>) -> Result<Verdict, A::Error> {
        let rules = &self.decider.rules;
        if let Some(key) = key {
            let look = rules.expiry.without_use();
            let pin = self.decider.read(key, &look, &mut self.budget).await?.pin();
            if let Some(pin) = pin.filter(|pin| rules.accepts(pin.selection.model())) {
                return Ok(Verdict { epoch: None, ..Verdict::hit(pin) });
            }
        }
        self.ask.read().await?;
        Ok(Verdict::unpinned(self.requested(), Outcome::None))
    }

    /// A decision for this request alone: for `bypass`, and where there is no session. The store is not
    /// asked.
    async fn afresh(
        &mut self,
        key: Option<&AffinityKey>,
        outcome: Outcome,
    ) -> Result<Verdict, A::Error> {
        self.ask.read().await?;
        match self.decider.route(self.ask, key).await {
            Some(selection) => {
                let selection = match key {
                    Some(key) => self.ask.adopted(key, None, selection),
                    None => selection,
                };
                Ok(Verdict::unpinned(Some(selection), outcome))
            }
            None => Ok(self.concluded(Agreement::RouterUnavailable, None, None)?),
        }
    }

    /// A new decision, which takes the place of the pin that the session has. Requests that ask for one at
    /// the same time share it, as first requests do.
    ///
    /// The first turn of a session is no new one: it is made as for any first request.
    async fn anew(&mut self, key: &AffinityKey) -> Result<Verdict, A::Error> {
        let decider = self.decider;
        let (flight, current) = loop {
            let flight = decider.flights.join(key, decider.rules.waiters);
            let current = self.state(key).await?.pin();
            if current.is_none() && self.ask.control() == Control::Use {
                drop(flight);
                return self.pinned(key).await;
            }
            let flight = flight.ok_or(Refusal::Overloaded)?;
            if self.read_within(&flight).await? {
                break (flight, current);
            }
        };
        self.agreed(key, flight, current).await
    }

    /// The model that the request asks for, without a pin behind it.
    fn requested(&self) -> Option<Arc<Selection>> {
        let requested = self.ask.requested(&self.decider.rules);
        requested.map(|model| Arc::new(Selection::of(model)))
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
    /// [`Refusal::StoreUnavailable`] for a decision that the store did not take, if the store is required.
    pub(crate) fn concluded(
        &self,
        agreement: Agreement,
        made: Option<Outcome>,
        current: Option<Pin>,
    ) -> Result<Verdict, Refusal> {
        let rules = &self.decider.rules;
        let current = current.filter(|pin| rules.accepts(pin.selection.model()));
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
            (Agreement::Unstored(_), _) if rules.require_store => {
                return Err(Refusal::StoreUnavailable);
            }
            (Agreement::Unstored(_), Some(pin)) => Verdict::by_pin(pin, Outcome::StoreUnavailable),
            (Agreement::Unstored(selection), None) => {
                Verdict::unpinned(Some(selection), Outcome::StoreUnavailable)
            }
            (Agreement::RouterUnavailable, Some(pin)) => {
                Verdict::by_pin(pin, Outcome::RouterUnavailable)
            }
            (Agreement::RouterUnavailable, None) => {
                Verdict::unpinned(self.requested(), Outcome::RouterUnavailable)
            }
        };
        Ok(Verdict { asked: self.ask.asked(rules), ..verdict })
    }
}
