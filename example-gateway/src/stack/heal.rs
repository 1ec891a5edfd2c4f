//! A session that moves to another vendor goes on there: what the new vendor cannot read is left out.
//!
//! The layer lies between failover and the proxy, and so sees each attempt with the model that it is for.
//! What an attempt gets depends on what is known of who made what the request holds:
//!
//! | the attempt | left out |
//! |---|---|
//! | is with the session's own vendor | blocks up to the mark in its pin, if it has moved before |
//! | is with another vendor (failover, a detour) | every block; those that this vendor made since it took over stay |
//! | follows a new decision (after expiry or release, `refresh`, a new turn, a drain), and another vendor served last | every block |
//! | follows one, and nobody here knows who served last | none; if the vendor refuses what it cannot read, every block, and the request is sent once more |
//!
//! While the vendor that serves the session stays, its requests are not changed. After a move the mark is
//! stored with the pin, by failover with the move or here after the answer, and the same prefix is left out
//! of every later request, so that the vendor's prompt cache sees one conversation.

mod served;

use std::convert::Infallible;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_layer::ext::{Bound, LeftOut, PassingFailure, Probe, SendOnce};
use affinity_layer::state::StateMark;
use affinity_layer::{AffinityKey, ModelName, Outcome, PinnedModel, Selection};
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::time::timeout;
use tower::{Layer, Service, ServiceExt};

pub(crate) use self::served::LastServed;
use self::served::Served;
use super::apart::apart;
use crate::body::{Beginning, Envelope, Healing, Upto};
use crate::config::OnMove;
use crate::upstream::providers::Upstreams;
use crate::upstream::vendor::Vendor;

/// The most that is read of a refusal to learn why it was given.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// Time to store a mark after the answer has begun.
const NOTING: Duration = Duration::from_millis(100);

/// What shows in a refusal that the vendor cannot read what another has made, and not in one of a setting
/// such as the budget for thinking. Compared in lower case.
const UNREADABLE: [&str; 10] = [
    "signature",
    "redacted_thinking",
    "thinking_blocks",
    "reasoning_details",
    "type 'reasoning'",
    "'reasoning' item",
    "encrypted",
    "could not be verified",
    "compaction",
    "item with id",
];

/// Knows whose state a request may hold, and what is done about it. Clones share what is known.
#[derive(Clone, Debug)]
pub(crate) struct Healer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    upstreams: Arc<Upstreams>,
    on_move: OnMove,
    served: Arc<LastServed>,
}

/// What of a request its vendor cannot read, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Foreign {
    Nothing,
    Upto(StateMark),
    Everything,
}

impl Healer {
    /// `served` is what healers of earlier configurations have learned.
    pub(crate) fn new(upstreams: Arc<Upstreams>, on_move: OnMove, served: Arc<LastServed>) -> Self {
        Self(Arc::new(Shared { upstreams, on_move, served }))
    }

    /// Whether, and why, a request with this body must stay with its vendor.
    pub(crate) fn bound(body: &Envelope, on_move: OnMove) -> Option<Bound> {
        if body.refers_to_its_provider() {
            return Some(Bound::ByReference);
        }
        (on_move == OnMove::Refuse && body.may_be_foreign()).then_some(Bound::ByChoice)
    }

    /// Whether two models have one vendor.
    pub(crate) fn have_one_vendor(&self, one: &ModelName, other: &ModelName) -> bool {
        let vendor = |model| self.0.upstreams.vendor(model);
        vendor(one).is_some_and(|one| vendor(other) == Some(one))
    }

    /// What becomes of a new decision for a session: one whose request is bound stays with its vendor.
    pub(crate) fn adopted(
        &self,
        request: &Parts,
        key: &AffinityKey,
        pinned: Option<&Selection>,
        decided: Arc<Selection>,
    ) -> Arc<Selection> {
        let Some(bound) = request.extensions.get::<Bound>() else { return decided };
        let stays = |model: &ModelName| {
            self.0.upstreams.serves(model) && !self.have_one_vendor(model, decided.model())
        };
        match pinned {
            Some(pinned) if stays(pinned.model()) => Arc::new(pinned.clone()),
            // Who has what a request refers to, its pin being gone, is found by the references.
            None if *bound == Bound::ByChoice => match self.0.served.get(key) {
                Some(last) if stays(&last.model) => Arc::new(decided.with_model(last.model)),
                _ => decided,
            },
            _ => decided,
        }
    }

    /// What of a request of `model` the vendor cannot read, and whether it is certain that it can read the
    /// rest. While a pin holds, it is: whoever moved the session has stored a mark with it.
    fn foreign(&self, model: &PinnedModel, vendor: Vendor) -> (Foreign, bool) {
        let served = model.key().and_then(|key| self.0.served.get(key));
        let is_known = served.as_ref().is_some_and(|served| served.vendor == vendor);
        let since = || match &served {
            Some(Served { foreign: Some(mark), .. }) if is_known => Foreign::Upto(*mark),
            Some(_) if is_known => Foreign::Nothing,
            _ => Foreign::Everything,
        };
        let is_at_home = self.is_at_home(model);
        let is_decided_anew = match model.outcome() {
            Outcome::Hit => false,
            Outcome::StoreUnavailable | Outcome::RouterUnavailable => model.epoch().is_none(),
            _ => true,
        };
        let is_certain = is_known || !is_decided_anew;
        if let Some(mark) = model.foreign().filter(|_| is_at_home) {
            return (Foreign::Upto(mark), is_certain);
        }
        if self.0.on_move == OnMove::Refuse {
            return (Foreign::Nothing, true);
        }
        if is_at_home && !(is_decided_anew && served.is_some()) {
            return (Foreign::Nothing, is_certain);
        }
        // Another replica may have moved the session since.
        let foreign = since();
        (foreign, foreign == Foreign::Everything)
    }

    /// Whether a model is of the vendor of its session.
    fn is_at_home(&self, model: &PinnedModel) -> bool {
        model.session_model() == model.model()
            || self.have_one_vendor(model.session_model(), model.model())
    }

    /// Serves one attempt with `model`.
    async fn serve<S>(
        self,
        mut inner: S,
        model: PinnedModel,
        vendor: Vendor,
        request: Request<Envelope>,
    ) -> Result<Response<Body>, Infallible>
    where
        S: Service<Request<Envelope>, Response = Response<Body>, Error = Infallible> + Clone,
    {
        let (parts, body) = request.into_parts();
        let (foreign, is_certain) = self.foreign(&model, vendor);
        let mut healing = healing(&body, model.key(), foreign).await;
        let is_lost = matches!(foreign, Foreign::Upto(_)) && healing.is_none();
        let is_tried = body.may_be_foreign()
            && self.0.on_move == OnMove::Heal
            && parts.extensions.get::<SendOnce>().is_none();
        let again = (is_tried && (!is_certain || is_lost)).then(|| (inner.clone(), parts.clone()));
        let is_probe = parts.extensions.get::<Probe>().is_some();
        let sent = Request::from_parts(parts, body.clone().healed(healing.clone()));
        let mut response = inner.call(sent).await?;
        if let Some((service, parts)) = again
            && let Some(refusal) = Refusal::read(&mut response).await
        {
            let more = healing_of_all(&body).await.filter(|more| Some(more) != healing.as_ref());
            match (refusal.is_of_what_is_unreadable(), more) {
                (true, Some(more)) => {
                    tracing::debug!(
                        "sending once more what the provider could not read, without it"
                    );
                    let sent = Request::from_parts(parts, body.clone().healed(Some(more.clone())));
                    let second = service.oneshot(sent).await?;
                    if is_refused(second.status()) {
                        response = refusal.restored(response);
                    } else {
                        (response, healing) = (second, Some(more));
                    }
                }
                _ => response = refusal.restored(response),
            }
        }
        let left_out = healing.map(|healing| left_out(&healing, &body, model.key()));
        if has_served(&response) && !is_probe {
            let last = left_out.as_ref().and_then(|left_out: &LeftOut| left_out.last);
            self.served(&model, vendor, last, &mut response).await;
        }
        if let Some(left_out) = left_out {
            response.extensions_mut().insert(left_out);
        }
        Ok(response)
    }

    /// Remembers who has served, and stores a mark that the pin does not have.
    async fn served(
        &self,
        model: &PinnedModel,
        vendor: Vendor,
        last: Option<StateMark>,
        response: &mut Response<Body>,
    ) {
        let Some(key) = model.key() else { return };
        let known = self.0.served.get(key);
        // Requests that leave the pin alone make no session: without one, they are as any of none.
        if known.is_none() && model.outcome() == Outcome::Bypass {
            return;
        }
        let known = known.filter(|known| known.vendor == vendor);
        let foreign = last.or(model.foreign()).or(known.and_then(|known| known.foreign));
        let served = Served { vendor, model: model.model().clone(), foreign };
        self.0.served.note(key, served);
        // With a move, failover stores it.
        if let Some(last) = last.filter(|last| model.foreign() != Some(*last))
            && model.session_model() == model.model()
        {
            match timeout(NOTING, model.note_foreign(last)).await {
                Ok(Ok(Some(noted))) => drop(response.extensions_mut().insert(noted)),
                Ok(Ok(None)) => {}
                Ok(Err(_)) | Err(_) => {
                    tracing::debug!("what the vendor cannot read was not noted with the pin");
                }
            }
        }
    }
}

/// How the body is healed; beside the serving threads if it is long.
async fn healing(body: &Envelope, key: Option<&AffinityKey>, foreign: Foreign) -> Option<Healing> {
    match (foreign, key.cloned()) {
        _ if !body.may_be_foreign() => None,
        (Foreign::Upto(mark), Some(key)) => {
            let (length, body) = (body.bytes().len(), body.clone());
            let is_it = move |block: &[u8]| StateMark::of(&key, block) == mark;
            apart(length, move || body.heal(&Upto::Block(&is_it))).await.ok().flatten()
        }
        (Foreign::Everything, _) => healing_of_all(body).await,
        _ => None,
    }
}

async fn healing_of_all(body: &Envelope) -> Option<Healing> {
    let (length, body) = (body.bytes().len(), body.clone());
    apart(length, move || body.heal(&Upto::End)).await.ok().flatten()
}

fn left_out(healing: &Healing, body: &Envelope, key: Option<&AffinityKey>) -> LeftOut {
    let block = body.bytes().get(healing.last()).unwrap_or_default();
    let kinds = HeaderValue::try_from(healing.kinds());
    let kinds = kinds.unwrap_or_else(|_| HeaderValue::from_static(""));
    LeftOut::new(kinds, key.map(|key| StateMark::of(key, block)))
}

/// Whether this is an answer that failover lets pass.
fn has_served(response: &Response<Body>) -> bool {
    response.status().is_success() && response.extensions().get::<PassingFailure>().is_none()
}

/// Whether a provider says that something is wrong with the request.
fn is_refused(status: StatusCode) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::UNPROCESSABLE_ENTITY]
        .contains(&status)
}

/// The text of a refusal, of which it is not yet clear whether it goes to the client.
struct Refusal(Bytes);

impl Refusal {
    /// Takes the body of a response that is a refusal and can be read.
    async fn read(response: &mut Response<Body>) -> Option<Self> {
        let is_readable = is_refused(response.status())
            && !response.headers().contains_key(header::CONTENT_ENCODING)
            && http_body::Body::size_hint(response.body()).lower() <= LONGEST_REFUSAL as u64;
        let body = is_readable.then(|| mem::take(response.body_mut()))?;
        match Beginning::of(body, LONGEST_REFUSAL).await {
            Ok(Beginning::Whole(text)) => Some(Self(text)),
            Ok(Beginning::Longer(body)) => {
                *response.body_mut() = body;
                None
            }
            // What breaks off goes on as empty: its status tells.
            Err(_) => Some(Self(Bytes::new())),
        }
    }

    fn is_of_what_is_unreadable(&self) -> bool {
        let text = String::from_utf8_lossy(&self.0).to_lowercase();
        UNREADABLE.iter().any(|word| text.contains(word))
    }

    /// The response as it was.
    fn restored(self, response: Response<Body>) -> Response<Body> {
        response.map(|_| Body::from(self.0))
    }
}

/// Layer that applies [`Heal`].
#[derive(Clone, Debug)]
pub(crate) struct HealLayer(pub(crate) Healer);

impl<S> Layer<S> for HealLayer {
    type Service = Heal<S>;

    fn layer(&self, inner: S) -> Heal<S> {
        Heal { inner, healer: self.0.clone() }
    }
}

/// Middleware that leaves out of a request what its vendor cannot read; see the [module docs](self).
#[derive(Clone, Debug)]
pub(crate) struct Heal<S> {
    inner: S,
    healer: Healer,
}

impl<S> Service<Request<Envelope>> for Heal<S>
where
    S: Service<Request<Envelope>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Envelope>) -> Self::Future {
        let model = request.extensions().get::<PinnedModel>().cloned();
        let vendor = model.as_ref().and_then(|model| self.healer.0.upstreams.vendor(model.model()));
        let (Some(model), Some(vendor)) = (model, vendor) else {
            return Box::pin(self.inner.call(request));
        };
        // The clone stays behind; the service that is ready now takes the request.
        let standby = self.inner.clone();
        let inner = mem::replace(&mut self.inner, standby);
        Box::pin(self.healer.clone().serve(inner, model, vendor, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_blocks_is_told_from_one_of_a_setting() {
        for (text, expected) in [
            ("messages.1.content.0: Invalid `signature` in `thinking` block", true),
            ("Expected `thinking` or `redacted_thinking`, but found `tool_use`.", true),
            ("Unable to submit request because Thought signature is not valid.", true),
            ("The encrypted content gAAA... could not be verified.", true),
            ("Item with id 'rs_1' not found.", true),
            ("Item 'rs_1' of type 'reasoning' was provided without its required item", true),
            ("property 'reasoning_details' is unsupported", true),
            ("`max_tokens` must be greater than `thinking.budget_tokens`.", false),
            ("thinking.budget_tokens: Input should be greater than or equal to 1024", false),
            ("Unsupported value: 'reasoning.effort' does not support 'minimal'", false),
            ("Unsupported parameter: 'reasoning_effort'", false),
        ] {
            let refusal = Refusal(Bytes::from_static(text.as_bytes()));
            assert_eq!(refusal.is_of_what_is_unreadable(), expected, "{text}");
        }
    }
}
