//! Members whose values are looked at, though they are not ours.
//!
//! Parsers disagree on values such as `"stream": 1` or `"max_tokens": -0`. A request that we read in one way
//! and a provider in another is refused instead, and the refusal names the member.

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
    (text != "null" && !is_number(text)).then_some(count)
}

/// Whether every parser reads the same number in `text`. What it may be, such as -1 or 4096.0, is the
/// provider's to judge.
fn is_number(text: &str) -> bool {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return text != "-0" && (text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok());
    }
    let begins = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    let is_usual = |number: f64| number.is_finite() && (number != 0.0 || number.is_sign_positive());
    begins && text.parse().is_ok_and(is_usual)
}
