//! The protocol for a request whose pin is not at hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tokio::time::{Instant, sleep_until};
use tracing::Span;

use super::budget::Budget;
use super::core::Core;
use super::future::apply;
use super::payload::{Payload, Readable};
use super::verdict::{Settled, Standing, Verdict};
use crate::coalesce::Flight;
use crate::outcome::{Control, Outcome, Stamp};
use crate::release::ReleasedAtEnd;
use crate::telemetry;
use crate::{
    AffinityKey, AffinityStore, Pin, PinnedModel, Rejection, RouterService, Selection,
    ext::{NewTurn, Probe},
};

/// What is left to do when the inner service has answered.
pub(super) struct Answer {
    stamp: Stamp,
    to_release: Option<PinnedModel>,
    store_budget: Duration,
    /// When every replica knows of the pin that the answer tells of.
    known: Option<Instant>,
}

impl Answer {
    pub(super) async fn finish<B>(self, mut response: Response<B>) -> Response<B> {
        if let Some(known) = self.known {
            sleep_until(known).await;
        }
        apply(&self.stamp, &mut response);
        // With a `ReleaseLayer` below, the response ends with its body; without, with its head.
        if response.extensions_mut().remove::<ReleasedAtEnd>().is_none()
            && let Some(model) = self.to_release
            // The response is there: a store that stalls must not hold it back.
            && let Err(error) =
                Box::pin(Budget::new(self.store_budget).write(model.release())).await
        {
            tracing::debug!(%error, "the pin of a final request could not be released");
        }
        response
    }
}

/// A request with its model in the extensions.
pub(super) struct Decided<B> {
    pub(super) request: Request<B>,
    pub(super) answer: Answer,
}

/// One request on its way to a model.
pub(super) struct Turn<St, R> {
    pub(super) core: Arc<Core<St, R>>,
    pub(super) key: Option<AffinityKey>,
    pub(super) control: Control,
}

impl<St: AffinityStore, R: RouterService> Turn<St, R> {
    pub(super) async fn decide<B>(
        mut self,
        request: Request<B>,
    ) -> Result<Decided<B>, (Rejection, Parts)>
    where
        B: Readable + From<Bytes>,
    {
        let (mut parts, body) = request.into_parts();
        let mut body = Payload::new(body, self.core.settings.body_limit);
        let verdict = match self.verdict(&parts, &mut body).await {
            Ok(verdict) => verdict,
            Err(rejection) => return Err((rejection, parts)),
        };
        let outcome = verdict.outcome;
        let model = self.core.pinned_model(verdict, self.key, self.control == Control::Final);
        let model = model.map(|model| self.core.fitting(model, &parts));
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
        let store_budget = self.core.settings.store_budget;
        let known = has_pin.then(|| self.core.known_everywhere()).flatten();
        let answer = Answer { stamp, to_release, store_budget, known };
        Ok(Decided { request: Request::from_parts(parts, body.into_body()), answer })
    }

    /// A pin that is read from a store is the usual case. What others take has its own place in
    /// memory: the future of each request would have to be as large.
    async fn verdict<B: Readable>(
        &mut self,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let settings = &self.core.settings;
        let mut budget = Budget::new(settings.store_budget);
        if self.key.is_none() {
            self.key = Box::pin(self.core.session(parts, body, &mut budget)).await?;
        }
        match (&self.key, self.control) {
            (None, control) if settings.passes_unkeyed(control) => {
                Ok(Verdict::unpinned(None, Outcome::None))
            }
            (key, _) if parts.extensions.get::<Probe>().is_some() => {
                Box::pin(self.probed(key.as_ref(), budget, parts, body)).await
            }
            (_, Control::Bypass) => Box::pin(self.afresh(parts, body, Outcome::Bypass)).await,
            (None, _) => Box::pin(self.afresh(parts, body, Outcome::None)).await,
            (Some(key), Control::Refresh) => {
                Box::pin(self.refreshed(key, budget, parts, body)).await
            }
            (Some(key), Control::Use) if parts.extensions.get::<NewTurn>().is_some() => {
                Box::pin(self.new_turn(key, budget, parts, body)).await
            }
            (Some(key), Control::Use | Control::Final) => {
                self.pinned(key, budget, parts, body).await
            }
        }
    }

    /// The pin that stands and holds, else one that is made now.
    pub(super) async fn pinned<B: Readable>(
        &self,
        key: &AffinityKey,
        mut budget: Budget,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let core = &*self.core;
        let uses = |pin: &Pin| match self.control {
            Control::Final => core.settings.accepts(pin.selection.model()),
            _ => core.settings.holds(pin, &parts.extensions),
        };
        let (flight, standing, body) = loop {
            let flight = core.flights.join(key, core.settings.waiters);
            let standing = match core.standing(key, &mut budget).await? {
                Standing::Pin(pin) if uses(&pin) => {
                    telemetry::saved();
                    return Ok(Verdict::hit(pin));
                }
                Standing::Decided(selection) if core.settings.accepts(selection.model()) => {
                    return Ok(Verdict::unpinned(Some(selection), Outcome::StoreUnavailable));
                }
                standing => standing.pin(),
            };
            // A session that has a pin waits for no decision, however many of its requests are here.
            let flight = flight.ok_or(Rejection::Overloaded)?;
            let began = Instant::now();
            let body = body.read().await?;
            // What was decided while a slow body came in may be over already. A body that is here
            // ends the second round.
            if began.elapsed() <= core.settings.store_budget || !flight.is_settled() {
                break (flight, standing, body);
            }
        };
        Box::pin(self.agreed(key, flight, standing, budget, parts, &body)).await
    }

    /// What the requests of the flight agree on: the first of them decides, and makes the pin.
    async fn agreed(
        &self,
        key: &AffinityKey,
        flight: Flight<Settled>,
        standing: Option<Pin>,
        budget: Budget,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Verdict, Rejection> {
        let core = &*self.core;
        let (mut led, mut made) = (false, None);
        let settled = flight.settle(async {
            led = true;
            let Some(decided) = core.route(parts, body, Some(key)).await else {
                return Settled::RouterUnavailable;
            };
            let next = core.settings.next(standing.as_ref(), decided);
            made = Some(next.outcome);
            let from = standing.as_ref().map(|pin| pin.epoch);
            core.keep(key, from, next.selection, budget).await
        });
        let mut settled = settled.await;
        if !led {
            telemetry::coalesced();
        }
        if let Settled::Pinned(claim) = &mut settled
            && made.is_none()
            && let Some(pin) = core.store.peek(key, &core.settings.expiry)
            && pin.epoch > claim.pin.epoch
            && core.settings.accepts(pin.selection.model())
        {
            // It was moved between the moment it was settled and the moment we heard of it.
            claim.pin = pin;
        }
        core.verdict(settled, made, standing, parts, body)
    }

    /// The pin that stands, else the model that is asked for.
    async fn probed<B: Readable>(
        &self,
        key: Option<&AffinityKey>,
        mut budget: Budget,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let core = &*self.core;
        if let Some(key) = key {
            let pin = core.standing(key, &mut budget).await?.pin();
            if let Some(pin) = pin.filter(|pin| core.settings.accepts(pin.selection.model())) {
                return Ok(Verdict::hit(pin));
            }
        }
        let requested = core.settings.requested(parts, &body.read().await?);
        let selection = requested.map(|model| Arc::new(Selection::of(model)));
        Ok(Verdict::unpinned(selection, Outcome::None))
    }

    /// A decision for this request alone.
    async fn afresh<B: Readable>(
        &self,
        parts: &Parts,
        body: &mut Payload<B>,
        outcome: Outcome,
    ) -> Result<Verdict, Rejection> {
        let core = &*self.core;
        let body = body.read().await?;
        match core.route(parts, &body, self.key.as_ref()).await {
            Some(selection) => Ok(Verdict::unpinned(Some(selection), outcome)),
            None => core.verdict(Settled::RouterUnavailable, None, None, parts, &body),
        }
    }
}
