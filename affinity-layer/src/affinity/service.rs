//! The service: a hit is decided here, from top to bottom of one function.
//!
//! [`AffinityService::call`] goes through these steps, in this order:
//!
//! 1. One pass over the headers finds everything that the layer looks for: our own names, the headers
//!    that name a session, `upgrade`.
//! 2. Our names leave the request, whatever its method, so that no handler or upstream ever takes a
//!    client's `x-plano-model` for ours.
//! 3. A request that cannot use a model (any method but `POST`, an upgrade) goes on untouched, unless the
//!    application has it routed by its head.
//! 4. A session id, scope or control that cannot be used is refused with 400. To ignore it instead would
//!    route the agent afresh on each turn without telling anyone.
//!    Only where [not all sessions are pinned](crate::mode) such an id counts as none.
//! 5. The request of a sub-agent that shares its parent's pin is marked as a guest's.
//! 6. With a pin at hand the request goes straight to the inner service. Over a store that keeps pins in
//!    this process, every turn but the first takes this path: no lock but one that the store takes to
//!    read, no boxed future, no body read.
//! 7. Everything else goes to `Arrival`, in one boxed future.
//!
//! The steps up to 6 never wait, so a hit cannot be slowed down by Redis, by the router or by another
//! request of its session. What `Arrival` does is in `arrival.rs`, and how it is decided there in
//! [`decide`](crate::decide).

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;
use tracing::Instrument;

use super::arrival::Arrival;
use super::future::ResponseFuture;
use super::payload::ReadBody;
use super::shared::Shared;
use crate::ext::Guest;
use crate::headers::HeaderNames;
use crate::key::asks_a_model;
use crate::mode::Mode;
use crate::outcome::{Control, Outcome, Stamp};
use crate::pinned::{NoSession, NotAsked};
use crate::{
    AffinityStore, PinnedModel, Rejection,
    ext::{MidTurn, NewTurn, Probe},
    rejection::ResponseForRejection,
    telemetry,
};

/// Middleware that gives every request of a session the model of the first one.
///
/// The model is in the extensions of the request, as a [`PinnedModel`]. Made by an
/// [`AffinityLayer`](super::AffinityLayer), which has all settings; see the [module docs](super).
///
/// A clone shares the store, the settings and the decisions under way; only the inner service is its
/// own. The service is ready when the inner service is: it has no queue and no permit of its own, so
/// load shedding and concurrency limits of tower work on either side of it.
#[must_use]
pub struct AffinityService<S, St, Rej> {
    inner: S,
    shared: Arc<Shared<St>>,
    reject: Rej,
}

impl<S, St, Rej> AffinityService<S, St, Rej> {
    pub(super) fn new(inner: S, shared: Arc<Shared<St>>, reject: Rej) -> Self {
        Self { inner, shared, reject }
    }
}

impl<S: Clone, St, Rej: Clone> Clone for AffinityService<S, St, Rej> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.shared.clone(), self.reject.clone())
    }
}

impl<S: fmt::Debug, St, Rej> fmt::Debug for AffinityService<S, St, Rej> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AffinityService")
            .field("inner", &self.inner)
            .field("rules", &self.shared.decider.rules)
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl<S, St, Rej, ReqBody, ResBody> Service<Request<ReqBody>> for AffinityService<S, St, Rej>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    St: AffinityStore,
    Rej: ResponseForRejection<ResBody> + Send + 'static,
    ReqBody: ReadBody + Send + 'static,
    ResBody: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Router and store are not polled here: a permit taken now would be lost on every hit.
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let settings = &self.shared.settings;
        let mut by_head = false;
        if let Some(is_by_head) = &settings.by_head {
            let (parts, body) = request.into_parts();
            by_head = is_by_head(&parts);
            request = Request::from_parts(parts, body);
        }
        let seen = settings.keys.look(request.headers());
        let (ours, is_guest) = (seen.ours, settings.keys.is_guest(&seen));
        let asks_a_model = by_head || asks_a_model(&request, &seen);
        // Before our names are taken out: what was seen borrows the headers.
        let key = if asks_a_model {
            self.shared.known_session(&seen, request.headers(), request.extensions())
        } else {
            Ok(None)
        };
        // Most requests have none of our names, and each removal costs a hash.
        let control = if ours {
            Control::take(request.headers_mut(), &settings.names)
        } else {
            Some(Control::Use)
        };
        if !asks_a_model {
            request.extensions_mut().insert(NotAsked);
            let names = settings.names.clone();
            return ResponseFuture::untouched(self.inner.call(request), names);
        }
        let mut key = match key {
            Ok(key) => key,
            Err(rejection) if settings.rollout.enforces_all() => {
                return self.refuse(rejection, request);
            }
            // As if it named no session.
            Err(rejection) => {
                telemetry::tolerated(&rejection);
                None
            }
        };
        let Some(control) = control else {
            return self.refuse(Rejection::InvalidControl, request);
        };
        if key.is_some() && is_guest {
            Guest::admit(request.extensions_mut());
        }
        if control != Control::Use {
            // What the client asks for comes first.
            request.extensions_mut().remove::<NewTurn>();
        }
        let mode = match &key {
            Some(named) if !settings.rollout.enforces_all() => settings.rollout.mode_of(named),
            _ => Some(Mode::Enforce),
        };
        let is_probe = request.extensions().get::<Probe>().is_some();
        let is_enforced = matches!(mode, Some(Mode::Enforce) | None);
        let at_hand = match (&key, control) {
            (Some(named), Control::Use)
                if is_enforced && request.extensions().get::<NewTurn>().is_none() =>
            {
                let continues = || request.extensions().get::<MidTurn>().is_some();
                self.shared.decider.at_hand(named, is_probe, continues)
            }
            _ => None,
        };
        if let Some(pin) = at_hand {
            // A probe changes no pin, and so it has no epoch to change one by.
            let epoch = Some(pin.epoch).filter(|_| !is_probe);
            // The key moves into the model: a hit copies no id.
            let mut model = self.shared.hit(pin.selection, epoch, key.take());
            if settings.detour.is_some() {
                (request, model) = self.fitting(request, model);
            }
            let stamp = model.stamp();
            let span = telemetry::request_span();
            telemetry::decided(&span, Some(&model), Outcome::Hit);
            // A probe would not have been routed.
            if !is_probe {
                telemetry::saved();
            }
            request.extensions_mut().insert(model);
            let inner = span.in_scope(|| self.inner.call(request));
            return ResponseFuture::direct(inner, stamp, span);
        }
        if key.is_none()
            && settings.passes_unkeyed(control)
            && (by_head || !settings.keys.reads_body_of(request.headers()))
        {
            request.extensions_mut().insert(NoSession);
            let names = settings.names.clone();
            return ResponseFuture::untouched(self.inner.call(request), names);
        }

        // The clone stays behind and must be driven to readiness again; the service that is ready now
        // takes the request.
        let standby = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, standby);
        let shared = self.shared.clone();
        let (observed, continuation) = (None, None);
        let arrival = Arrival { shared, key, mode, observed, control, by_head, continuation };
        let (reject, names) = (self.reject.clone(), settings.names.clone());
        let answered = async move {
            let (request, epilogue) = match arrival.decide(request).await {
                Ok(decided) => decided,
                Err((rejection, parts)) => return Ok(respond(&reject, rejection, &parts, &names)),
            };
            let response = inner.call(request).await?;
            Ok(epilogue.finish(response).await)
        };
        ResponseFuture::boxed(answered.instrument(telemetry::request_span()))
    }
}

impl<S, St: AffinityStore, Rej> AffinityService<S, St, Rej> {
    /// `model`, or the detour of a request that it cannot take. The function of the application sees the
    /// head of the request, which a `Request` gives away only whole.
    fn fitting<B>(&self, request: Request<B>, model: PinnedModel) -> (Request<B>, PinnedModel) {
        let (parts, body) = request.into_parts();
        let model = self.shared.fitting(model, &parts);
        (Request::from_parts(parts, body), model)
    }
}

impl<S, St, Rej> AffinityService<S, St, Rej> {
    /// A refusal before anything was awaited. The body is dropped unread.
    fn refuse<F, ReqBody, ResBody, E>(
        &self,
        rejection: Rejection,
        request: Request<ReqBody>,
    ) -> ResponseFuture<F, ResBody, E>
    where
        Rej: ResponseForRejection<ResBody>,
    {
        let (parts, _) = request.into_parts();
        let names = &self.shared.settings.names;
        ResponseFuture::refused(respond(&self.reject, rejection, &parts, names))
    }
}

/// The response to a refused request: what the application makes of it, with our headers on top, so
/// that a refusal also says `x-plano-affinity: none`. Outer layers find the [`Rejection`] in its
/// extensions and need not parse the body.
fn respond<B>(
    reject: &impl ResponseForRejection<B>,
    rejection: Rejection,
    parts: &http::request::Parts,
    names: &HeaderNames,
) -> Response<B> {
    tracing::debug!(code = rejection.code(), "request refused");
    telemetry::refused(&rejection);
    let mut response = reject.response_for_rejection(&rejection, parts);
    response.extensions_mut().insert(rejection);
    Stamp::none(names.clone()).apply(names, response.headers_mut(), None);
    response
}
