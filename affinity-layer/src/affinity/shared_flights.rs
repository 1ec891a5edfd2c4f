//! Decisions under way, as an application holds them.

use crate::coalesce::Flights;
use crate::conversations::Conversations;
use crate::decide::Agreement;

/// The decisions under way, and the conversations of clients that name no session, of one or more layers;
/// see [`AffinityLayer::flights`](super::AffinityLayer::flights). Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SharedFlights {
    pub(super) flights: Flights<Agreement>,
    pub(super) conversations: Conversations,
}
