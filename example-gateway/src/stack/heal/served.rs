//! What this process remembers of who has served a session.
//!
//! It outlives the pin: when a session is decided again after its pin has expired or was released, what
//! the client sends back may be another vendor's. It is kept in this process only, and lost with it; then
//! the new vendor's refusal tells.
//!
//! Requests with `x-plano-affinity: bypass` begin no session here: without a pin, they are served as requests of
//! no session are, as are those of observed sessions. Where a session is known, they are part of it.

use affinity_layer::ModelName;
use affinity_layer::state::StateMark;

use crate::stack::session_table::SessionTable;
use crate::upstream::vendor::Vendor;

/// The sessions that were served here, each with who served it last.
pub(crate) type LastServed = SessionTable<Served>;

/// Who served a session last.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(super) vendor: Vendor,
    pub(super) model: ModelName,
    /// The last block that this vendor cannot read.
    pub(super) foreign: Option<StateMark>,
}
