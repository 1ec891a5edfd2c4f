//! What the layer says about a request, and what a client may ask for.
//!
//! 1. [`Outcome`] says how the model of a request was found. The response, the span of the request and
//!    the count of requests all name it in the same words.
//! 2. `Control` is what a client asks for under the name that the response answers under,
//!    `x-plano-affinity`. Reading it takes all of our names out of the request, so that none of them can
//!    reach a handler or a provider from outside.
//! 3. `Stamp` is our headers of one response. It replaces what an upstream has sent under our names, or
//!    removes it where we have nothing to say, so that a client can believe what it reads.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::HeaderNames;
use crate::key::single;
use crate::{Epoch, Selection};

/// How the model of a request was found: the value of `x-plano-affinity` in its response.
///
/// The [crate docs](crate#what-happens-when) say which request gets which. A client needs it to tell two
/// things apart: whether its session is pinned now (`hit`, `claimed`, `joined`, `refreshed`, `repinned`), and
/// whether something failed on the way (`failed`, `bound`, `store-unavailable`, `router-unavailable`).
///
/// ```
/// use affinity_layer::Outcome;
///
/// assert!(Outcome::Hit.is_pinned() && Outcome::Joined.is_pinned());
/// assert!(!Outcome::Claimed.is_pinned(), "its own decision made the pin");
/// assert_eq!(Outcome::StoreUnavailable.as_str(), "store-unavailable");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The session had a pin.
    Hit,
    /// This request was routed and set the pin.
    Claimed,
    /// A concurrent first request set the pin, here or on another replica.
    Joined,
    /// The request named no session, or cannot use a model.
    None,
    /// The client asked for a routing decision that leaves the pin alone.
    Bypass,
    /// The client asked for a new decision, and the pin moved to it.
    Refreshed,
    /// The pin moved because its model failed or is not configured any more.
    Repinned,
    /// No candidate served the session's request. A pin that existed stays, and one that this request
    /// claimed or moved is released. Set by a [`FailoverLayer`](crate::FailoverLayer).
    Failed,
    /// The pinned model failed, and the request refers to what only its provider has, so no other could take
    /// it. The pin stays. Set by a [`FailoverLayer`](crate::FailoverLayer) for a request that is
    /// [`Bound`](crate::ext::Bound).
    Bound,
    /// The session is [observed](crate::mode::Mode::Observe): the request was routed as if it had none.
    Observed,
    /// The store did not answer, or refused the change. The model is that of the pin which this replica
    /// knows, else the router's choice, which this replica alone may remember.
    StoreUnavailable,
    /// The router did not answer; nothing new is pinned.
    RouterUnavailable,
}

impl Outcome {
    /// Whether an earlier pin decided the request, and the pin is known to be stored: the value of
    /// `x-plano-pinned`, except for a [detour](crate::PinnedModel::detour).
    #[must_use]
    pub const fn is_pinned(self) -> bool {
        matches!(self, Self::Hit | Self::Joined | Self::Bound)
    }

    /// The value of the header, the span's field and the metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Claimed => "claimed",
            Self::Joined => "joined",
            Self::None => "none",
            Self::Bypass => "bypass",
            Self::Refreshed => "refreshed",
            Self::Repinned => "repinned",
            Self::Failed => "failed",
            Self::Bound => "bound",
            Self::Observed => "observed",
            Self::StoreUnavailable => "store-unavailable",
            Self::RouterUnavailable => "router-unavailable",
        }
    }
}

/// What a client may ask for with `x-plano-affinity`.
///
/// A value that is not known is refused and not ignored: a client that mistypes `final` would believe that
/// its session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// No header: use the pin.
    Use,
    Bypass,
    Refresh,
    Final,
}

impl Control {
    /// Removes our headers from a request, so that no client can set them, and reads the control. `None`
    /// means an unknown value.
    pub(crate) fn take(headers: &mut HeaderMap, names: &HeaderNames) -> Option<Self> {
        let Some(name) = names.affinity() else { return Some(Self::Use) };
        let control = match single(headers, name) {
            Ok(None) => Some(Self::Use),
            Ok(Some(value)) => match value.as_bytes() {
                b"bypass" => Some(Self::Bypass),
                b"refresh" => Some(Self::Refresh),
                b"final" => Some(Self::Final),
                _ => None,
            },
            // Two different controls: which of them is meant cannot be known.
            Err(_) => None,
        };
        names.remove_from(headers);
        control
    }
}

/// The layer's headers of one response, known before the response is: those of a hit are made of what the
/// request was decided on, and wait in its future.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) selection: Option<Arc<Selection>>,
    pub(crate) outcome: Outcome,
    pub(crate) pinned: bool,
    /// Only if it is exposed.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) names: HeaderNames,
}

impl Stamp {
    /// For a request without a model.
    pub(crate) fn none(names: HeaderNames) -> Self {
        Self { selection: None, outcome: Outcome::None, pinned: false, epoch: None, names }
    }

    /// Sets our headers, under `names`, whatever the names of the layer that selected; what the upstream
    /// sent under them is gone afterwards. `healed` is what was left out of the request.
    pub(crate) fn apply(
        &self,
        names: &HeaderNames,
        headers: &mut HeaderMap,
        healed: Option<&HeaderValue>,
    ) {
        let Some(names) = names.set() else { return };
        let selection = self.selection.as_ref();
        let model = selection.map(|selection| selection.model().header_value());
        let route = selection.and_then(|selection| selection.route());
        let epoch = self.epoch.map(|epoch| HeaderValue::from(epoch.0));
        let foreign = names.may_be_in(headers);
        set(headers, &names.model, model, foreign);
        set(headers, &names.route, route.map(|route| route.header_value()), foreign);
        set(headers, &names.epoch, epoch.as_ref(), foreign);
        set(headers, &names.healed, healed, foreign);
        let pinned = if self.pinned { "true" } else { "false" };
        headers.insert(&names.pinned, HeaderValue::from_static(pinned));
        headers.insert(&names.affinity, HeaderValue::from_static(self.outcome.as_str()));
    }
}

/// Sets a header, or removes what an upstream may have sent in its place; `foreign` says whether it may.
fn set(headers: &mut HeaderMap, name: &HeaderName, value: Option<&HeaderValue>, foreign: bool) {
    match value {
        Some(value) => drop(headers.insert(name, value.clone())),
        None if foreign => drop(headers.remove(name)),
        None => {}
    }
}
