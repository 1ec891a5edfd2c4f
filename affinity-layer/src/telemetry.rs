//! What the layer reports about its work: spans, and with the feature `metrics` counts.
//!
//! A disabled span costs the check of a cached flag; without the feature, the counts are not
//! compiled.
//!
//! The library chooses no backend: spans go through `tracing`, counts through the `metrics` facade, and the
//! application says where both end up. Two rules keep the reports usable. None holds a session id or a
//! scope, because whoever reads a dashboard could otherwise steer sessions. And each label has a fixed set
//! of values, so that no client can multiply series.

#[cfg(feature = "metrics")]
mod counts;
#[cfg(not(feature = "metrics"))]
#[path = "telemetry/uncounted.rs"]
mod counts;

use tracing::Span;
use tracing::field::{Empty, display};

#[cfg(feature = "metrics")]
pub use self::counts::describe_metrics;
pub(crate) use self::counts::{
    Call, coalesced, cooled, evicted, expired, moved, observed, passed_over, refused, released,
    saved, tolerated,
};
use crate::{Outcome, PinnedModel};

/// One request that needs a model, from its arrival until the head of its response. At DEBUG; its fields
/// are empty until the request is decided.
pub(crate) fn request_span() -> Span {
    tracing::debug_span!(
        "affinity",
        otel.kind = "internal",
        affinity.outcome = Empty,
        affinity.pinned = Empty,
        affinity.model = Empty,
        affinity.route = Empty,
        affinity.epoch = Empty,
    )
}

/// Records the model of a request; `None` if it has none.
pub(crate) fn decided(span: &Span, model: Option<&PinnedModel>, outcome: Outcome) {
    counts::requested(outcome);
    if span.is_disabled() {
        return;
    }
    span.record("affinity.outcome", outcome.as_str());
    let Some(model) = model else { return };
    span.record("affinity.pinned", model.is_pinned());
    span.record("affinity.model", model.model().as_str());
    if let Some(route) = model.route() {
        span.record("affinity.route", route.as_str());
    }
    if let Some(epoch) = model.epoch() {
        span.record("affinity.epoch", display(epoch));
    }
}
