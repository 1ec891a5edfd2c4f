//! Which candidate is asked next, and what its answer teaches.
//!
//! Without [cool-downs](crate::cooldown) the request's own model comes first, and then the others as they
//! are ranked. With them, a model that cools is passed over while another one is left.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower_service::Service;

use super::attempt::{Attempt, Finding};
use super::settings::Settings;
use crate::cooldown::{Admission, CooldownCause, Cooldowns, Cooling, GiveUp, TargetKind, Trial};
use crate::ext::{Bound, Probe, SendOnce};
use crate::router::oneshot;
use crate::{ModelName, PinnedModel, telemetry};

/// The candidates of one request.
pub(super) struct Candidates<'a> {
    model: &'a PinnedModel,
    settings: &'a Settings,
    request: &'a Parts,
    /// Those that have had the request, in this order.
    tried: Vec<ModelName>,
    /// Only one is tried: all of them are known to fail.
    is_repetition: bool,
    /// When the first request failed that this one repeats.
    failing_since: Option<Instant>,
    /// An address did not answer this request in time. Its other models may, if nobody else is left.
    met_silence: bool,
    /// The request's own model was passed over, because it cools.
    is_passed_over: bool,
    /// A candidate failed by what is in the request, and may serve the next one.
    is_its_own_fault: bool,
}

/// A candidate that gets the request.
pub(super) struct Chosen {
    /// The request's own model, or a detour to another one.
    pub(super) model: PinnedModel,
    /// Kept until something was learned of it.
    pub(super) trial: Option<Trial>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(model: &'a PinnedModel, settings: &'a Settings, request: &'a Parts) -> Self {
        Self {
            model,
            settings,
            request,
            tried: Vec::new(),
            is_repetition: false,
            failing_since: None,
            met_silence: false,
            is_passed_over: false,
            is_its_own_fault: false,
        }
    }

    /// The request's own model, if it was passed over.
    pub(super) fn passed_over(&self) -> Option<&ModelName> {
        self.is_passed_over.then_some(self.model.model())
    }

    /// Whether no model has to answer, but one has to say something.
    pub(super) fn are_probed(&self) -> bool {
        self.request.extensions.get::<Probe>().is_some()
    }

    /// Why the request must stay with its vendor, if it must.
    pub(super) fn bound(&self) -> Option<Bound> {
        self.request.extensions.get().copied()
    }

    /// The longest wait before a candidate gets the request once more. A repetition is not repeated.
    pub(super) fn patience(&self) -> Duration {
        if self.is_repetition { Duration::ZERO } else { self.settings.patience }
    }

    /// The first candidate. It may wait for one that is left alone for a moment only.
    pub(super) async fn first(&mut self) -> Chosen {
        let own = self.model.model();
        if let Some(larger) = self.larger() {
            return larger;
        }
        let Some(cooldowns) = self.settings.cooldowns.as_ref().filter(|_| self.bound().is_none())
        else {
            return self.chosen(own.clone(), None);
        };
        if let Some(repeated) = self.repeated(cooldowns) {
            return repeated;
        }
        match cooldowns.admit(own, self.request) {
            Admission::Open => self.chosen(own.clone(), None),
            Admission::Trial(trial) => self.chosen(own.clone(), Some(trial)),
            Admission::Cooling(cooling)
                if self.model.is_pinned() && cooling.left <= self.settings.patience =>
            {
                if cooling.is_tried {
                    return self.chosen(own.clone(), None);
                }
                sleep(cooling.left).await;
                let trial = match cooldowns.admit(own, self.request) {
                    Admission::Trial(trial) => Some(trial),
                    Admission::Open | Admission::Cooling(_) => None,
                };
                self.chosen(own.clone(), trial)
            }
            Admission::Cooling(_) => {
                if let Some(open) = self.open() {
                    self.is_passed_over = true;
                    telemetry::passed_over();
                    tracing::debug!(cooling = %own, next = %open.model.model(), "passed over");
                    return open;
                }
                self.is_repetition = true;
                let least = self.least_cooling(cooldowns);
                self.chosen(least, None)
            }
        }
    }

    /// The first candidate for a request that is too much for its own model. A larger one that cools is
    /// passed over if another candidate can take the request.
    fn larger(&mut self) -> Option<Chosen> {
        let settings = self.settings;
        let outgrown = settings.outgrown.as_ref().filter(|_| self.bound().is_none())?;
        let larger = outgrown(self.request, self.model)?;
        self.tried.push(self.model.model().clone());
        let fits = |model: &&ModelName| {
            outgrown(self.request, &self.model.detour((*model).clone())).is_none()
        };
        let mut next = (larger.clone(), None);
        if let Some(cooldowns) = &settings.cooldowns {
            for model in std::iter::once(&larger).chain(self.untried().filter(fits)) {
                match cooldowns.admit(model, self.request) {
                    Admission::Open => next = (model.clone(), None),
                    Admission::Trial(trial) => next = (model.clone(), Some(trial)),
                    Admission::Cooling(_) => continue,
                }
                break;
            }
        }
        let (next, trial) = next;
        tracing::info!(outgrown = %self.model.model(), %next, "too much for the model");
        Some(self.chosen(next, trial))
    }

    /// The next candidate, if there is one.
    pub(super) fn next(&mut self) -> Option<Chosen> {
        if self.is_repetition {
            return None;
        }
        self.open()
    }

    /// Sends the request to `candidate`.
    pub(super) async fn attempt<S, ReqBody, B>(
        &mut self,
        candidate: Chosen,
        service: S,
        request: Request<ReqBody>,
    ) -> Attempt<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
    {
        let sent = Instant::now();
        let result = oneshot(service, request).await;
        self.learned(candidate, sent, result)
    }

    /// The attempt that ended with `result`, after what it teaches was noted.
    pub(super) fn learned<B, E>(
        &mut self,
        candidate: Chosen,
        sent: Instant,
        result: Result<Response<B>, E>,
    ) -> Attempt<B, E> {
        let Chosen { model, trial: _trial } = candidate;
        let is_own = model.model() == self.model.model();
        let attempt = Attempt::new(model, is_own, result);
        let Some(cooldowns) = &self.settings.cooldowns else { return attempt };
        let model = attempt.candidate.model();
        match attempt.lesson() {
            Some(lesson) => {
                self.met_silence |=
                    lesson.kind == TargetKind::Address && lesson.cause == CooldownCause::Timeout;
                cooldowns.failed(model, self.request, lesson, sent);
            }
            None if matches!(attempt.finding, Finding::Answered | Finding::Refused) => {
                cooldowns.served(model, self.request, sent);
            }
            None => {}
        }
        self.is_its_own_fault |= attempt.is_about_the_request();
        attempt
    }

    /// What `call` ends with; `None` when the address of `candidate` falls silent before, and another
    /// candidate is left. A request to be [sent once](SendOnce) stays.
    pub(super) async fn unless_silent<F: Future>(
        &mut self,
        candidate: &Chosen,
        mut call: Pin<&mut F>,
    ) -> Option<F::Output> {
        // The call goes on, and a request to be sent once must not be worked on by two.
        let is_once = self.request.extensions.get::<SendOnce>().is_some();
        let may_leave = self.model.candidates().len() > 1 && self.bound().is_none() && !is_once;
        let Some(cooldowns) = self.settings.cooldowns.as_ref().filter(|_| may_leave) else {
            return Some(call.await);
        };
        let mut silence = cooldowns.silence();
        loop {
            let mut fell = pin!(silence.fell());
            let ended = poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => fell.as_mut().poll(cx).map(|()| None),
            });
            if let Some(ended) = ended.await {
                return Some(ended);
            }
            let cooling = cooldowns.cools(candidate.model.model(), self.request);
            if cooling.is_some_and(|cooling| cooling.is_silent) {
                self.met_silence = true;
                if self.has_next() {
                    return None;
                }
            }
        }
    }

    /// Notes that a candidate has served the request.
    pub(super) fn served(&self) {
        if let (Some(cooldowns), Some(key)) = (&self.settings.cooldowns, self.model.key()) {
            cooldowns.served_session(key);
        }
    }

    /// Notes that no candidate has served the request, if none is left.
    pub(super) fn failed(&self) {
        if let (Some(cooldowns), Some(key)) = (&self.settings.cooldowns, self.model.key())
            && self.bound().is_none()
            && !self.is_its_own_fault
            && !self.has_next()
        {
            let failed = GiveUp {
                asked: self.model.asked,
                selection: self.model.selection.clone(),
                failed: self.tried.clone(),
                since: self.failing_since.unwrap_or_else(Instant::now),
            };
            cooldowns.gave_up(key, failed);
        }
    }

    /// Whether there is a candidate to go on with.
    fn has_next(&self) -> bool {
        if self.is_repetition {
            return false;
        }
        let cools = |model| {
            let cooldowns = self.settings.cooldowns.as_ref();
            cooldowns.is_some_and(|cooldowns| cooldowns.cools(model, self.request).is_some())
        };
        self.untried().any(|model| !cools(model))
    }

    /// For a repetition of a request that nobody has served: the candidate whose failure is the oldest.
    fn repeated(&mut self, cooldowns: &Cooldowns) -> Option<Chosen> {
        let last = cooldowns.last_give_up(self.model.key()?)?;
        if !last.is_of(&self.model.selection) {
            return None;
        }
        self.is_repetition = true;
        self.failing_since = Some(last.since);
        let able = |model: &&ModelName| {
            *model == self.model.model()
                || self.settings.is_usable(self.request, self.model.model(), model)
        };
        let untried = self.untried().filter(|model| !last.failed.contains(model));
        for model in untried.chain(last.failed.iter().filter(able)).cloned().collect::<Vec<_>>() {
            match cooldowns.admit(&model, self.request) {
                Admission::Open => return Some(self.chosen(model, None)),
                Admission::Trial(trial) => return Some(self.chosen(model, Some(trial))),
                Admission::Cooling(_) => {}
            }
        }
        None
    }

    /// The first candidate that was not tried and does not cool.
    fn open(&mut self) -> Option<Chosen> {
        let Some(cooldowns) = &self.settings.cooldowns else {
            let next = self.untried().next()?.clone();
            return Some(self.chosen(next, None));
        };
        let (mut open, mut silent) = (None, None);
        for model in self.untried() {
            match cooldowns.admit(model, self.request) {
                Admission::Open => open = Some((model.clone(), None)),
                Admission::Trial(trial) => open = Some((model.clone(), Some(trial))),
                Admission::Cooling(Cooling { targets: 1, is_silent: true, .. }) => {
                    silent.get_or_insert(model);
                    continue;
                }
                Admission::Cooling(_) => continue,
            }
            break;
        }
        let silent = silent.filter(|_| self.met_silence).map(|model| (model.clone(), None));
        let (next, trial) = open.or(silent)?;
        Some(self.chosen(next, trial))
    }

    /// The candidate that is left alone for the shortest time.
    fn least_cooling(&self, cooldowns: &Cooldowns) -> ModelName {
        let own = self.model.model();
        let all = std::iter::once(own).chain(self.untried());
        let cooling = all.min_by_key(|model| cooldowns.cools(model, self.request));
        cooling.unwrap_or(own).clone()
    }

    /// The candidates that may be tried, in their order. Whether the request's own model can take it was
    /// for the layers above to say.
    fn untried(&self) -> impl Iterator<Item = &'a ModelName> {
        let Self { model, settings, request, ref tried, .. } = *self;
        model.candidates().iter().filter(move |candidate| {
            !tried.contains(candidate)
                && (*candidate == model.model()
                    || settings.is_usable(request, model.model(), candidate))
        })
    }

    fn chosen(&mut self, model: ModelName, trial: Option<Trial>) -> Chosen {
        let is_own = model == *self.model.model();
        self.tried.push(model.clone());
        let model = if is_own { self.model.clone() } else { self.model.detour(model) };
        Chosen { model, trial }
    }
}
