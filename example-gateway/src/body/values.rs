//! Members whose values are looked at, though they are not ours.

/// What a provider's parser may read as another number than ours.
const COUNTS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// Whether not every value of a member is taken.
pub(super) fn is_checked(key: &[u8]) -> bool {
    key == b"stream" || COUNTS.iter().any(|count| count.as_bytes() == key)
}

/// The name of a member whose value `text` is refused.
pub(super) fn invalid_value(key: &str, text: &str) -> Option<&'static str> {
    if key == "stream" {
        return (!matches!(text, "true" | "false" | "null")).then_some("stream");
    }
    let count = COUNTS.into_iter().find(|name| *name == key)?;
    (text != "null" && text.parse::<u64>().is_err()).then_some(count)
}
