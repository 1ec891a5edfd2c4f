//! The members of a body that the gateway reads.

use std::ops::Range;

use crate::key::BodyIds;

use super::content::Contents;

/// Where our members are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The value of the top-level `model`.
    pub(super) model: Option<Range<usize>>,
    /// The value of the top-level `routing_preferences`.
    pub(super) preferences: Option<Range<usize>>,
    /// The values that may name the session, in the order of [`BodyIds::MEMBERS`].
    pub(super) ids: [Option<Range<usize>>; BodyIds::MEMBERS.len()],
    /// Whether the top-level `background` is `true`, in any of its places.
    pub(super) is_background: bool,
    /// What the messages hold, and what the body refers to.
    pub(super) contents: Contents,
}
