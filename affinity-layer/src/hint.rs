//! How long a body is that holds a piece back.

use http_body::SizeHint;

/// What is left of a body whose rest is `inner`, and of which `held` bytes are still to be given.
pub(crate) fn with_held(inner: &SizeHint, held: usize) -> SizeHint {
    let held = u64::try_from(held).unwrap_or(u64::MAX);
    let mut hint = SizeHint::new();
    hint.set_lower(inner.lower().saturating_add(held));
    if let Some(upper) = inner.upper() {
        hint.set_upper(upper.saturating_add(held));
    }
    hint
}
