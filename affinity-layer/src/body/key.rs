//! The key of a member, as serde reads it.

use std::borrow::Cow;

/// Borrowed unless it holds escapes; serde's own `Cow` would always copy.
#[derive(serde::Deserialize)]
pub(super) struct Key<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);
