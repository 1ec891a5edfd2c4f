//! Tower middleware that pins an agentic session to the model it was first routed to.

mod key;
mod name;
mod pin;
mod rejection;
mod route;

pub use key::{
    AFFINITY_HEADERS, AffinityKey, InvalidPart, KeySource, MAX_SCOPE_LEN, MAX_SESSION_LEN, Scope,
};
pub use name::{InvalidName, MAX_NAME_LEN, ModelName, RouteName};
pub use pin::{Epoch, Expiry, Pin, Selection};
pub use rejection::{OpenAiErrors, Rejection, ResponseForRejection};
pub use route::{RouteDecision, RouteRequest, RouterService};

/// A type-erased error, as tower uses it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
