//! Marks that layers put into a request's or a response's extensions to steer the middleware.
//!
//! | mark | on | put there by a layer that knows | effect |
//! |---|---|---|---|
//! | [`NewTurn`] | request | that a new turn of the user begins | the pin moves to a new decision |
//! | [`MidTurn`] | request | that a turn continues | the pin holds, also while the session warms up |
//! | [`Probe`] | request | that no model has to answer | a pin is used, none is made |
//! | [`RequestedModel`] | request | the configured name of the requested model | the body is not read for it |
//! | [`AnyModel`] | request | that any model will do | the session has no model lane |
//! | [`FallbackModel`] | request | that the requested model is not for new sessions | the model to use instead |
//! | [`RoutingHints`] | request | what else than the model its decision depends on | the last decision is repeated only for the same |
//! | [`SendOnce`] | request | that no two models may work on it | it is sent again only if none has begun |
//! | [`Bound`] | request | that no other vendor can or may take it | its own model is tried, though it cools down; it is sent again only to models of its vendor |
//! | [`ObservedPin`] | request | put there by the affinity layer: a pin that is only [observed](crate::mode) | [`AnswerLayer`](crate::AnswerLayer) keeps its claim as it keeps a pin |
//! | [`LeftOut`] | response | that the model got less than the client sent | the client is told, and a move of the pin stores the mark |
//! | [`NotReached`] | response | that the model never got the request | a [`SendOnce`] may be sent again |
//! | [`TimedOut`] | response | that there was no answer in time | its target [cools down](crate::cooldown) |
//! | [`PassedOver`] | response | put there by failover: a model that cools down | for readers of answers |
//! | [`Replaced`] | response | what the provider has answered | that is what counts for a cool-down |
//! | [`PassingFailure`] | response | that the model failed whatever the status | the next candidate is asked |
//! | [`LastingFailure`] | response | that the model failed and will again | the next candidate is asked |
//! | [`SecondChance`] | response | that a failure is not the model's own | the model is asked again |
//!
//! In addition, a [`Scope`](crate::Scope) in a request's extensions sets the tenant, and
//! [`BodyIds`](crate::key::BodyIds) save the layer from reading the body for a session id. A request
//! with a model has a [`PinnedModel`](crate::PinnedModel) there.
//!
//! ```
//! use affinity_layer::{ModelName, ext::RequestedModel};
//!
//! // What a layer outside does that knows that "fast" is another name of a configured model.
//! let mut request = http::Request::new("{\"model\":\"fast\"}");
//! let model = ModelName::new("openai/gpt-4o-mini")?;
//! request.extensions_mut().insert(RequestedModel(model));
//! # Ok::<(), affinity_layer::name::InvalidName>(())
//! ```

use std::time::{Duration, SystemTime};

use http::response::Parts;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};

use crate::ModelName;
pub use crate::observed::{ObservedPin, ObservedTurn};
use crate::state::StateMark;

/// In the extensions of a request that may use a pin and must not make one, such as one that counts
/// tokens: without a pin it gets the requested model, and the router is not asked. It takes precedence over
/// what the client asks for by `bypass` or `refresh`.
///
/// ```
/// use affinity_layer::ext::Probe;
///
/// // What a layer outside does that knows the paths of the API.
/// fn mark<B>(request: &mut http::Request<B>) {
///     if request.uri().path().ends_with("/count_tokens") {
///         request.extensions_mut().insert(Probe);
///     }
/// }
/// # let mut request = http::Request::post("/v1/messages/count_tokens").body(()).unwrap();
/// # mark(&mut request);
/// # assert!(request.extensions().get::<Probe>().is_some());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe;

/// In the extensions of a request that opens a new turn of its session: an existing pin moves to a new
/// decision, as with `x-plano-affinity: refresh`. Requests without it keep the model.
///
/// A session without a pin is routed as by any first request. The mark has no effect on a sub-agent that
/// shares the pin of its main loop, nor beside a control of the client. Where an
/// [order of escalation](crate::AffinityLayer::escalation) is set, the pin moves only to a stronger model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewTurn;

/// In the extensions of a request that continues a turn, such as one that brings the result of a tool:
/// it keeps the model, also while its session [warms up](crate::AffinityLayer::warm_up). Without a warm-up
/// it changes nothing, because every request keeps the model then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MidTurn;

/// In the extensions of a sub-agent's request that shares the pin of its main loop: the pin is not
/// its own to move or to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest;

impl Guest {
    /// Marks a request as a guest's. It never opens a turn and never counts as one of a warm-up; that it must
    /// not end the pin is checked where answers are read.
    pub(crate) fn admit(request: &mut Extensions) {
        request.remove::<NewTurn>();
        request.insert(MidTurn);
        request.insert(Self);
    }
}

/// The model a request asks for, for when the router has no answer or no route matches.
///
/// Without this extension the layer reads the top-level `model` of a JSON body. A gateway that
/// resolves aliases sets it, so that the name is the configured one. Whoever sets it answers for it:
/// [`accept_models`](crate::AffinityLayer::accept_models) is not asked about it, as it is about a name in a
/// body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedModel(pub ModelName);

/// In the extensions of a request that leaves the choice to the router, such as one for a model
/// called `auto`: it belongs to no [model lane](crate::AffinityLayer::model_lanes), and
/// [`RequestedModel`] is only what it falls back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyModel;

/// In the extensions of a request whose [`RequestedModel`] must not be used for new sessions, such as
/// one that is being drained: the model to use instead if the router has no answer.
/// Its [model lane](crate::AffinityLayer::model_lanes) and its pin are those of the requested model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackModel(pub Option<ModelName>);

/// In the extensions of a request that brings something of its own for the router, such as inline
/// preferences: a digest of that. When all models have failed a session, its
/// [last decision](crate::cooldown) is repeated only for a request with the same digest, or with none if
/// there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoutingHints(pub u64);

/// In the extensions of a request that must not be worked on twice, such as one that starts a job in the
/// background: [failover](crate::failover) sends it again only after a 429 and after an answer with
/// [`NotReached`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOnce;

/// In the extensions of a request that must stay with its vendor when its model fails:
/// [failover](crate::failover) asks only candidates that
/// [share the vendor](crate::FailoverLayer::same_vendor) of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// It refers to what only that provider has, such as a file or an earlier response. If it fails, and a
    /// pin was there before, the outcome is [`Outcome::Bound`](crate::Outcome::Bound).
    ByReference,
    /// It could go elsewhere without what only that vendor can read, and the application wants it to stay.
    ByChoice,
}

/// In the extensions of a response to a request of which something was left out, because the model could
/// not read it; see [`state`](crate::state).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// The kinds of what was left out, for [`HEALED_HEADER`](crate::headers::HEALED_HEADER).
    pub kinds: HeaderValue,
    /// The last block that the model cannot read, if the request belongs to a session.
    pub last: Option<StateMark>,
}

impl LeftOut {
    /// Blocks of these `kinds` were left out, and `last` is the last that the model cannot read.
    #[must_use]
    pub fn new(kinds: HeaderValue, last: Option<StateMark>) -> Self {
        Self { kinds, last }
    }
}

/// In the extensions of a response that replaces one: nothing of the request reached the model, for there
/// was no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReached {
    /// None to the model's address.
    #[default]
    Address,
    /// None to the proxy on the way there, or the proxy accepts nothing from us.
    Proxy,
}

/// In the extensions of a response to a request whose own model was passed over, because it [cools
/// down](crate::cooldown): that model. Put there by [failover](crate::failover).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver(pub ModelName);

/// In the extensions of a response that replaces one: there was no answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimedOut {
    /// Whether nobody else had an answer from the same address meanwhile: then it is the address that
    /// [cools down](crate::cooldown), and not the model alone.
    pub is_silent: bool,
}

impl TimedOut {
    /// There was no answer in time, and the address was silent towards everybody, if `is_silent`.
    #[must_use]
    pub const fn new(is_silent: bool) -> Self {
        Self { is_silent }
    }
}

/// In the extensions of a response that replaces what a provider has answered: the status and the wait of
/// that answer, by which a target [cools down](crate::cooldown).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replaced {
    /// The provider's status.
    pub status: StatusCode,
    /// The provider's `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Replaced {
    /// An answer with this status, and this wait if it named one.
    #[must_use]
    pub const fn new(status: StatusCode, retry_after: Option<Duration>) -> Self {
        Self { status, retry_after }
    }

    /// What a provider has answered. A date in `Retry-After` counts from now by the wall clock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use affinity_layer::ext::Replaced;
    /// use http::Response;
    ///
    /// let answer = Response::builder().status(402).header("retry-after", "30").body(())?;
    /// let replaced = Replaced::of(&answer.into_parts().0);
    /// assert_eq!(replaced.retry_after, Some(Duration::from_secs(30)));
    /// # Ok::<(), http::Error>(())
    /// ```
    #[must_use]
    pub fn of(answer: &Parts) -> Self {
        Self { status: answer.status, retry_after: retry_after(&answer.headers) }
    }
}

/// `Retry-After`, in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

/// In the extensions of a response that replaces one: the model did not answer, for a reason that is
/// not its own, such as a kept connection that was just closed. It is asked again at once,
/// before the next candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondChance;

/// In the extensions of a response by which a model has failed, and will again, whatever the status
/// says: such as a 401 to a credential that is the operator's and not the client's. The next candidate
/// is asked at once, and a failure of another that may pass is returned rather than this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastingFailure;

/// In the extensions of a response by which a model has failed for a reason that may pass, whatever the
/// status says: such as a 200 whose answer [never began](crate::first_event). The next candidate is
/// asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassingFailure;
