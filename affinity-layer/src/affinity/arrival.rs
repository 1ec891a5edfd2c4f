//! An HTTP request whose pin is not at hand, from its arrival until it goes to the inner service: its
//! session is found, the [protocol](crate::decide) decides, and the model goes into its extensions.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::request::Parts;
use tracing::Span;

use super::epilogue::Epilogue;
use super::http_ask::HttpAsk;
use super::observe::Observation;
use super::payload::{Payload, ReadBody};
use super::recognise::{looked_up, recognised};
use super::shared::Shared;
use crate::decide::{Budget, Protocol, Verdict};
use crate::ext::{ObservedPin, Probe};
use crate::key::{BodyIds, IdKind, Told};
use crate::mode::Mode;
use crate::outcome::{Control, Outcome, Stamp};
use crate::pinned::{NoDecision, NoSession};
use crate::{
    AffinityKey, AffinityStore, PinRead, PinnedModel, Rejection,
    answer::{Continuation, Link},
    telemetry,
};

/// One request on its way to a model. It owns what it needs, because its future outlives the call of
/// the service that made it.
pub(super) struct Arrival<St> {
    pub(super) shared: Arc<Shared<St>>,
    /// The session, as far as it is known without waiting.
    pub(super) key: Option<AffinityKey>,
    /// What is done with its pin; `None` if the route of a decision says.
    pub(super) mode: Option<Mode>,
    /// The session, once it is known that it is observed.
    pub(super) observed: Option<AffinityKey>,
    pub(super) control: Control,
    /// Nothing of its body is read.
    pub(super) by_head: bool,
    /// What goes down with a request whose session was found by what was said.
    pub(super) continuation: Option<Continuation>,
}

impl<St: AffinityStore> Arrival<St> {
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
        B: ReadBody + Send,
    {
        let (mut parts, body) = request.into_parts();
        let mut body = match self.by_head {
            true => Payload::unread(body),
            false => Payload::new(body, self.shared.settings.body_limit),
        };
        let verdict = match self.verdict(&parts, &mut body).await {
            Ok(verdict) => verdict,
            Err(rejection) => return Err((rejection, parts)),
        };
        let observed = self.observation(&verdict, &parts);
        if let Some(observed) = &observed {
            parts.extensions.insert(observed.clone());
        }
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
            None => {
                if outcome == Outcome::None {
                    parts.extensions.insert(NoSession);
                } else {
                    parts.extensions.insert(NoDecision);
                }
                Stamp { outcome, ..Stamp::none(self.shared.settings.names.clone()) }
            }
        };
        let decider = &self.shared.decider;
        let has_pin = model.as_ref().is_some_and(|model| model.epoch().is_some());
        let to_release = model.filter(PinnedModel::is_final);
        let store_budget = decider.rules.store_budget;
        // Also for a pin that was only read: its maker may still be waiting for the replicas.
        let known = has_pin.then(|| decider.known_everywhere()).flatten();
        let observed = observed.filter(ObservedPin::is_final);
        let epilogue = Epilogue { stamp, to_release, observed, store_budget, known };
        Ok((Request::from_parts(parts, body.into_body()), epilogue))
    }

    /// Finds the session, and asks the protocol. A request that belongs to none may pass without a model.
    async fn verdict<B: ReadBody + Send>(
        &mut self,
        parts: &Parts,
        body: &mut Payload<B>,
    ) -> Result<Verdict, Rejection> {
        let mut budget = Budget::new(self.shared.decider.rules.store_budget);
        if self.key.is_none() {
            self.find(parts, body, &mut budget).await?;
        }
        let is_noted = self.control != Control::Bypass && parts.extensions.get::<Probe>().is_none();
        match self.mode {
            Some(Mode::Observe) => self.observed = self.key.take().filter(|_| is_noted),
            Some(Mode::Off) => self.key = None,
            Some(Mode::Enforce) | None => {}
        }
        let shared = self.shared.clone();
        let settings = &shared.settings;
        if self.key.is_none() && settings.passes_unkeyed(self.control) {
            self.observed = None;
            return Ok(Verdict::unpinned(None, Outcome::None));
        }
        let mut ask = HttpAsk { settings, control: self.control, parts, body };
        if self.mode.is_none() && is_noted && self.key.is_some() {
            return Box::pin(self.by_route(&mut ask, budget)).await;
        }
        let key = self.key.as_ref();
        let verdict = Protocol::new(&shared.decider, &mut ask, budget).verdict(key).await?;
        Ok(if self.observed.is_some() { verdict.observed() } else { verdict })
    }

    /// Finds the session of a request whose headers name none, and what is done with its pin.
    ///
    /// # Errors
    ///
    /// What is wrong with the body; and what is wrong with the session, if all sessions are pinned.
    async fn find<B: ReadBody + Send>(
        &mut self,
        parts: &Parts,
        body: &mut Payload<B>,
        budget: &mut Budget,
    ) -> Result<(), Rejection> {
        let found = Box::pin(self.session(parts, body, budget)).await;
        let rollout = &self.shared.settings.rollout;
        match found {
            Ok(Some(key)) => {
                self.mode = rollout.mode_of(&key);
                self.key = Some(key);
            }
            Ok(None) => {}
            Err(rejection) if rejection.is_of_session() && !rollout.enforces_all() => {
                telemetry::tolerated(&rejection);
            }
            Err(rejection) => return Err(rejection),
        }
        Ok(())
    }

    /// For a session whose pin depends on the route: with a pin it is one like any other, without one this
    /// request is routed for itself, and claims the session if its route makes pins.
    async fn by_route<B: ReadBody + Send>(
        &mut self,
        ask: &mut HttpAsk<'_, B>,
        mut budget: Budget,
    ) -> Result<Verdict, Rejection> {
        let shared = self.shared.clone();
        let (decider, rollout) = (&shared.decider, &shared.settings.rollout);
        let Some(key) = self.key.take() else {
            return Protocol::new(decider, &mut *ask, budget).verdict(None).await;
        };
        // A store that fails must not refuse a session that is perhaps only observed.
        let read = decider.read(&key, &decider.rules.expiry, &mut budget).await;
        if read.is_ok_and(|read| read != PinRead::Absent) {
            let verdict = Protocol::new(decider, &mut *ask, budget).verdict(Some(&key)).await;
            self.key = Some(key);
            return verdict;
        }
        let untouched = Budget::new(Duration::ZERO);
        let verdict = Protocol::new(decider, &mut *ask, untouched).verdict(None).await?;
        let decided = verdict.selection.clone().filter(|_| verdict.outcome == Outcome::None);
        let Some(decided) = decided else { return Ok(verdict) };
        match rollout.mode_of_route(decided.route()) {
            Mode::Enforce => {
                let (selection, made) = decider.rules.next(&*ask, &key, None, decided);
                let agreement = decider.keep(&key, None, selection, &mut budget).await;
                self.key = Some(key);
                Ok(Protocol::new(decider, ask, budget).concluded(agreement, Some(made), None)?)
            }
            Mode::Observe => {
                self.observed = Some(key);
                Ok(verdict.observed())
            }
            Mode::Off => Ok(verdict),
        }
    }

    /// Begins to note what a pin would have done, if the session is observed.
    fn observation(&mut self, verdict: &Verdict, parts: &Parts) -> Option<ObservedPin> {
        let session = self.observed.take()?;
        let decided = verdict.selection.clone().filter(|_| verdict.outcome == Outcome::Observed);
        let (shared, control, parts) = (self.shared.clone(), self.control, parts.clone());
        Some(Observation { shared, session, control, parts, decided }.begin())
    }

    /// The session of a request whose headers name none: by an id in the body, by the response that it
    /// follows, or by a guess. The body is read for it unless a layer outside has already done so and put
    /// the ids into the extensions; then `read` only hands out what is there.
    ///
    /// A response whose link is gone (expired, or the store is away) is not an error. Its conversation
    /// is then one that nothing names, and begins again.
    async fn session<B: ReadBody + Send>(
        &mut self,
        parts: &Parts,
        body: &mut Payload<B>,
        budget: &mut Budget,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let keys = &self.shared.settings.keys;
        if self.by_head || !keys.reads_body_of(&parts.headers) {
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
        let link = self.shared.decider.read(response, &lifetime, budget).await?;
        let link = link.selection().and_then(|stored| Link::from_stored(response, &stored));
        Ok(link.map(Link::into_session))
    }
}
