//! The headers that the middleware reads and sets.
//!
//! A request is sent with one of [`SESSION_HEADERS`], and with [`AFFINITY_HEADER`] to ask for
//! something out of the ordinary. The response says what became of it in the others.
//!
//! ```
//! use affinity_layer::headers::{AFFINITY_HEADER, SESSION_HEADERS};
//!
//! // The last request of a task: it uses the pin, which is released afterwards.
//! let request = http::Request::post("/v1/chat/completions")
//!     .header(&SESSION_HEADERS[0], "task-1")
//!     .header(AFFINITY_HEADER, "final")
//!     .body("{}")?;
//! # Ok::<(), http::Error>(())
//! ```
//!
//! Whatever a client or an upstream sends under the six names that begin with `x-plano-` is removed or
//! overwritten. A session header is the client's and goes on to the inner service.

use http::HeaderName;

/// The three generations of the feature's own header, newest name first.
pub static SESSION_HEADERS: &[HeaderName] = {
    static NAMES: [HeaderName; 3] = [
        HeaderName::from_static("x-model-affinity"),
        HeaderName::from_static("x-routing-session-id"),
        HeaderName::from_static("x-session-id"),
    ];
    &NAMES
};

/// `x-plano-pinned`: `true` when a pin that was there before this request's own decision gave the
/// model, see [`Outcome::is_pinned`](crate::Outcome::is_pinned).
pub const PINNED_HEADER: HeaderName = HeaderName::from_static("x-plano-pinned");
/// `x-plano-model`: the selected model as configured.
pub const MODEL_HEADER: HeaderName = HeaderName::from_static("x-plano-model");
/// `x-plano-route`: the name of the route that matched, if one did.
pub const ROUTE_HEADER: HeaderName = HeaderName::from_static("x-plano-route");
/// `x-plano-affinity`: in a request the control, in a response the [`Outcome`](crate::Outcome).
pub const AFFINITY_HEADER: HeaderName = HeaderName::from_static("x-plano-affinity");
/// `x-plano-epoch`: the [`Epoch`](crate::Epoch) of the pin behind the answer, only where
/// [`AffinityLayer::expose_epoch`](crate::AffinityLayer::expose_epoch) asks for it.
pub const EPOCH_HEADER: HeaderName = HeaderName::from_static("x-plano-epoch");
/// `x-plano-healed`: what was left out of the request because the model that served could not read it, as
/// [`LeftOut`](crate::ext::LeftOut) names it; absent where nothing was.
pub const HEALED_HEADER: HeaderName = HeaderName::from_static("x-plano-healed");

/// The headers that only we may send.
pub(crate) const OURS: [HeaderName; 6] =
    [PINNED_HEADER, MODEL_HEADER, ROUTE_HEADER, AFFINITY_HEADER, EPOCH_HEADER, HEALED_HEADER];
