//! The middleware: what is wanted of an answer is settled before its body begins.
//!
//! 1. When a request passes, `Wanted::of` looks at its extensions, its path and the settings of the
//!    layer. The request's body is not read. If nothing is wanted, the answer's body goes on as it is.
//! 2. When the head of the answer is there, `Wanted::begin` looks at whether its body can be read, and
//!    at whether an inner layer has moved the pin. Failover puts the [`PinnedModel`] that served into
//!    the response's extensions. To release the pin that the request came with would compare an epoch
//!    that is no longer stored, and so release nothing.
//! 3. From then on [`AnswerBody`] does the work, frame by frame.
//!
//! The claim of a session that is [observed](crate::mode) is treated as its pin would be, and nothing of the
//! answer waits for it.
//!
//! While the head is awaited, the pin is kept [in use](crate::in_use): a model that reasons is silent
//! for longest before its first byte.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::response::Parts;
use http::{Extensions, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::{AnswerBody, Reading, Release};
use super::continuation::Continuation;
use super::hold::{Linked, Noting};
use super::observer::{AnswerObserver, ReleasedAtEnd};
use super::reader::{AnswerReader, is_compressed};
use super::settings::Settings;
use crate::ext::{Guest, Probe};
use crate::headers::HeaderNames;
use crate::in_use::InUse;
use crate::key::{BodyIds, Scope};
use crate::observed::ObservedPin;
use crate::{ModelName, PinnedModel};

/// Middleware that reads an answer as it passes.
///
/// It calls the inner service with the request as it came, adds no error, and changes the type of the
/// response's body to [`AnswerBody`]. Whether an answer is read depends on the
/// [`PinnedModel`] in the extensions of its request, so the layer does nothing above the affinity
/// layer but tell its observer.
///
/// See the [module docs](super).
#[derive(Clone)]
#[must_use]
pub struct Answer<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Answer<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S: fmt::Debug> fmt::Debug for Answer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Answer<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<AnswerBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let wanted = Wanted::of(request.extensions(), request.uri().path(), &self.settings);
        let model = request.extensions().get::<PinnedModel>();
        let names = model.map_or(HeaderNames::none(), |model| model.names.clone());
        ResponseFuture { inner: self.inner.call(request), wanted, names }
    }
}

/// What is to be done about the answer to one request.
struct Wanted {
    /// The request's model, if the answer concerns its session.
    model: Option<PinnedModel>,
    /// The claim of the request's session, if that is only observed, and the model that it was decided for.
    observed: Option<(ObservedPin, ModelName)>,
    /// The pin ends when the model is done. Never so for a sub-agent that shares the pin of its main
    /// loop: its task is over long before theirs.
    when_done: bool,
    /// The response's id is to lead back to the session. Only the paths of Responses have ids that a
    /// client can go on from, whatever prefix the application serves them under.
    link: bool,
    /// Where it is noted what lives at the provider of the model that serves.
    noting: Option<Noting>,
    /// Notified of the answer; it began with the request.
    observer: Option<Box<dyn AnswerObserver>>,
    /// The conversation, if it is known by what is said.
    continuation: Option<Continuation>,
    /// The pin that must not expire before the answer has ended. A probe has none: it uses a pin once
    /// and keeps nothing alive.
    in_use: Option<InUse>,
}

impl Wanted {
    /// `None` if the answer does not concern anyone: then it costs no clone and no box.
    fn of(request: &Extensions, path: &str, settings: &Settings) -> Option<Self> {
        let observer = settings.observe.as_ref().and_then(|observe| observe(request));
        let model = request.get::<PinnedModel>();
        let when_done = settings.final_answer && request.get::<Guest>().is_none();
        let links = |pin: &ObservedPin| pin.links();
        let links = model.is_some_and(|model| model.links) || request.get().is_some_and(links);
        let link = links && path.ends_with("/responses");
        let noting = model.and_then(|model| noting(request, path, model.model(), settings));
        let is_probe = request.get::<Probe>().is_some();
        let observed = request.get::<ObservedPin>().cloned();
        let in_use = match &observed {
            Some(observed) => InUse::observed(observed),
            None => model.filter(|_| !is_probe).and_then(InUse::begin),
        };
        let observed = observed.zip(model.map(|model| model.model().clone()));
        let model = model.filter(|model| when_done || link || model.is_final()).cloned();
        let continuation = request.get::<Continuation>().cloned();
        let wanted = model.is_some()
            || observed.is_some()
            || noting.is_some()
            || observer.is_some()
            || continuation.is_some()
            || in_use.is_some();
        wanted.then_some(Self {
            model,
            observed,
            when_done,
            link,
            noting,
            observer,
            continuation,
            in_use,
        })
    }

    /// Turns what is wanted into what can be done, now that the head of the answer is there.
    ///
    /// A final request ends its pin even if its answer cannot be read: then the body's end is the
    /// answer's. All else needs a reader, and a compressed answer that goes without one is logged.
    fn begin(self, head: &mut Parts) -> Reading {
        let Self { model, observed, when_done, link, mut noting, .. } = self;
        let (mut observer, continuation, in_use) = (self.observer, self.continuation, self.in_use);
        // A refusal is not an answer: what goes down with the request takes it for lost.
        let continuation = continuation.filter(|_| head.status.is_success());
        if let Some(observer) = &mut observer {
            observer.on_head(head);
        }
        let is_final = model.as_ref().is_some_and(PinnedModel::is_final)
            || observed.as_ref().is_some_and(|(pin, _)| pin.is_final());
        if is_final {
            head.extensions.insert(ReleasedAtEnd);
        }
        let served = head.extensions.get::<PinnedModel>().cloned();
        if let (Some(noting), Some(moved)) = (&mut noting, &served) {
            noting.model = moved.model().clone();
        }
        let is_observed_read = observed.is_some() && (when_done || link);
        let is_needed = model.is_some()
            || is_observed_read
            || noting.is_some()
            || observer.is_some()
            || continuation.is_some();
        let reader = if is_needed { AnswerReader::of(head) } else { None };
        let reader = match &continuation {
            Some(continuation) => reader.map(|reader| reader.hearing(continuation.notes())),
            None => reader,
        };
        let is_read = reader.is_some();
        let is_missed = (model.is_some() && !is_final)
            || link
            || is_observed_read
            || noting.is_some()
            || observer.is_some()
            || continuation.is_some();
        if is_missed && !is_read {
            warn_if_compressed(head);
        }
        let observed = observed.map(|(pin, decided)| {
            note_service(&pin, decided, served.as_ref(), head.status);
            pin
        });
        // An inner layer that moved the pin says so, and the moved one is to be released.
        let moved = model.and_then(|model| served.or(Some(model)));
        let linked = match &observed {
            Some(pin) => pin.links().then(|| Linked::observed(pin)),
            None => moved.as_ref().and_then(Linked::to),
        };
        let link = linked.filter(|_| link && is_read);
        let is_observed = observed.is_some();
        let release = match (moved, observed) {
            (_, Some(pin)) if is_final => Some(Release::Observed { pin, when_done: false }),
            (_, Some(pin)) if when_done && is_read => {
                Some(Release::Observed { pin, when_done: true })
            }
            (_, Some(_)) => None,
            (Some(model), None) if is_final => Some(Release::Always(model)),
            (Some(model), None) if when_done && is_read => Some(Release::WhenDone(model)),
            _ => None,
        };
        let noting = noting.filter(|_| is_read);
        Reading { reader, release, link, noting, is_observed, observer, continuation, in_use }
    }
}

/// Does to the claim of an observed session what failover does to a pin: it moves with a session whose model
/// has failed, and goes if it has served nobody.
fn note_service(
    pin: &ObservedPin,
    decided: ModelName,
    served: Option<&PinnedModel>,
    status: StatusCode,
) {
    let has_failed = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    match served.map(PinnedModel::model).filter(|served| **served != decided) {
        _ if has_failed => pin.failed(),
        Some(served) => pin.failed_over(decided, served.clone()),
        None => {}
    }
}

/// What is to be noted of the answer to a request that `model` is to serve. Only the paths of Responses and
/// Messages leave something behind at a provider.
fn noting(
    request: &Extensions,
    path: &str,
    model: &ModelName,
    settings: &Settings,
) -> Option<Noting> {
    let is_response = path.ends_with("/responses");
    let holders = settings.holders.as_ref();
    let holders = holders.filter(|_| is_response || path.ends_with("/messages"))?.clone();
    let is_kept = request.get::<BodyIds>().is_none_or(BodyIds::is_kept);
    let scope = request.get::<Scope>().cloned();
    Some(Noting { holders, scope, model: model.clone(), response: is_response && is_kept })
}

/// Warns once in the life of the process: every answer of such a provider is compressed, and a line for
/// each would let one provider fill the log.
fn warn_if_compressed(head: &Parts) {
    static ONCE: Once = Once::new();
    if head.status.is_success() && is_compressed(head) {
        ONCE.call_once(|| {
            tracing::warn!(
                "a compressed answer cannot be read: its pin stays, its id leads nowhere, and its \
                 tokens are not counted"
            );
        });
    }
}

pin_project! {
    /// Response future of [`Answer`]: the inner service's, unboxed, and what is wanted of its answer.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        wanted: Option<Wanted>,
        names: HeaderNames,
    }
}

impl<F: fmt::Debug> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<AnswerBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Poll::Ready(response) = this.inner.poll(cx) else {
            if let Some(Wanted { in_use: Some(in_use), .. }) = this.wanted {
                in_use.wait(cx);
            }
            return Poll::Pending;
        };
        let response = response?;
        let names = this.names.clone();
        let Some(wanted) = this.wanted.take() else {
            return Poll::Ready(Ok(response.map(|body| AnswerBody::untouched(body, names))));
        };
        let (mut head, body) = response.into_parts();
        let reading = wanted.begin(&mut head);
        Poll::Ready(Ok(Response::from_parts(head, AnswerBody::new(body, reading, names))))
    }
}
