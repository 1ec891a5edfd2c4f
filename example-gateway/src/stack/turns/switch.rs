//! A decision of the policy `cost`, as reported.

use std::time::SystemTime;

use affinity_layer::{ModelName, RouteName};
use serde::Serialize;

use super::tag::SessionTag;
use super::turn::unix_millis;
use crate::switching::SwitchDecision;

/// Whether a session stayed or moved where a turn of the user began, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SwitchRecord {
    /// When it was decided, in Unix milliseconds.
    #[serde(serialize_with = "unix_millis")]
    pub(crate) at: SystemTime,
    pub(crate) session: SessionTag,
    /// The model that the session had.
    pub(crate) pinned: ModelName,
    /// The router's choice.
    pub(crate) other: ModelName,
    /// The route of that choice.
    pub(crate) route: Option<RouteName>,
    #[serde(flatten)]
    pub(crate) decision: SwitchDecision,
}
