//! Decisions under way, as an application holds them.

use super::verdict::Agreement;
use crate::coalesce::Flights;

/// The decisions under way of one or more layers; see [`AffinityLayer::flights`](super::AffinityLayer::flights).
/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SharedFlights(pub(super) Flights<Agreement>);
