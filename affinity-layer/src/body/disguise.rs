//! Top-level keys that another parser takes for one that we act on.
//!
//! Go's reader ignores case, also that of `ſ` and of the Kelvin sign; readers in C end a key at a NUL; and
//! some compare keys without resolving escapes. A provider behind such a reader would serve another
//! model than the one that was checked, routed and pinned here.

use crate::key::BodyIds;

/// The keys that layers and gateways act on, apart from those that may name a session
/// ([`BodyIds::MEMBERS`]).
pub const ACTED_ON: &[&str] = &[
    "model",
    "stream",
    "background",
    "messages",
    "input",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "routing_preferences",
];

/// The key that we act on and that `key`, a key of the top level, may be taken for without being
/// spelled like it; `is_escaped` if it was written with escapes.
pub(super) fn passes_for(key: &str, is_escaped: bool) -> Option<&'static str> {
    // A key that folds to itself either is one of our keys or looks like none.
    let is_plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase() && byte != 0;
    if !is_escaped && key.bytes().all(is_plain) {
        return None;
    }
    let read = key.split('\0').next().unwrap_or_default();
    let ours = ACTED_ON.iter().chain(BodyIds::MEMBERS);
    ours.copied().find(|ours| read.chars().map(fold).eq(ours.chars()))
}

/// Unicode's simple case folding, as far as it leads to the letters of our keys.
fn fold(letter: char) -> char {
    match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_reads_like_ours_elsewhere_is_told_from_ours_and_from_others() {
        for (key, is_escaped, ours) in [
            ("model", false, None),
            ("model", true, Some("model")),
            ("Model", false, Some("model")),
            ("MODEL", true, Some("model")),
            ("model\0", true, Some("model")),
            ("model\0x", true, Some("model")),
            ("MODEL\0model", true, Some("model")),
            ("\0model", true, None),
            ("me\u{17f}\u{17f}age\u{17f}", false, Some("messages")),
            ("max_to\u{212a}en\u{17f}", false, Some("max_tokens")),
            ("Max_Output_Tokens", false, Some("max_output_tokens")),
            ("Prompt_Cache_Key", false, Some("prompt_cache_key")),
            ("Store", false, Some("store")),
            ("bac\u{212a}ground", false, Some("background")),
            // Full folding, or that of Turkish, is no simple one.
            ("\u{131}nput", false, None),
            ("\u{130}nput", false, None),
            // Other keys, and other letters that only look alike.
            ("models", false, None),
            ("model ", false, None),
            ("mod\u{435}l", false, None),
            ("Temperature", false, None),
            ("max-tokens", false, None),
            ("", true, None),
        ] {
            assert_eq!(passes_for(key, is_escaped), ours, "{key:?}, {is_escaped}");
        }
    }
}
