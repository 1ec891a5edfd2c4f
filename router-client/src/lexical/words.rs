//! Words and their stems.
//!
//! A stem is what is left of a word without its endings, so that the forms of a word meet. It need not
//! be a word itself: `generating`, `generation` and `generator` all become `gener`. Crates for stemming
//! (rust-stemmers) follow Porter, which keeps `analysis` and `analyze` apart.

use std::borrow::Cow;

/// Words that say nothing about a topic, and those that any description of a route may use.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "based",
    "be", "been", "before", "but", "by", "can", "could", "did", "do", "does", "for", "from", "get",
    "give", "had", "has", "have", "hello", "help", "her", "here", "hey", "hi", "him", "his", "how",
    "i", "if", "in", "into", "is", "it", "its", "just", "let", "like", "make", "may", "me", "more",
    "most", "my", "need", "new", "no", "not", "of", "on", "or", "other", "our", "out", "over",
    "per", "please", "prompt", "prompts", "request", "requests", "route", "routes", "shall", "she",
    "should", "so", "some", "such", "task", "tasks", "than", "thank", "thanks", "that", "the",
    "their", "them", "then", "there", "these", "they", "this", "those", "to", "up", "us", "use",
    "used", "user", "users", "using", "via", "want", "was", "we", "were", "what", "when", "where",
    "which", "who", "why", "will", "with", "would", "you", "your",
];

/// Endings and the least number of bytes that must precede them, the longest first. They are removed
/// one after the other: `generating`, `generat`, `gener`.
const ENDINGS: &[(&str, usize)] = &[
    ("ization", 4),
    ("isation", 4),
    ("ation", 5),
    ("ment", 4),
    ("ness", 4),
    ("ysis", 3),
    ("ate", 5),
    ("ing", 3),
    ("ion", 4),
    ("ity", 4),
    ("ize", 4),
    ("ise", 4),
    ("at", 5),
    ("iz", 4),
    ("is", 4),
    ("ed", 3),
    ("en", 4),
    ("er", 4),
    ("ly", 4),
    ("or", 4),
    ("e", 3),
    ("y", 5),
];

/// More endings than a word has; it bounds the work on a word that is made of them.
const MAX_ENDINGS: usize = 4;

/// The stems of the words in `text`, in order.
pub(super) fn stems(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| word.chars().nth(1).is_some() && STOP_WORDS.binary_search(&&**word).is_err())
        .map(|word| stem(&word))
}

fn stem(word: &str) -> String {
    let word = singular(word);
    let mut stem = &*word;
    for _ in 0..MAX_ENDINGS {
        match shortened(stem) {
            Some(shorter) => stem = shorter,
            None => break,
        }
    }
    respelled(stem)
}

fn singular(word: &str) -> Cow<'_, str> {
    if let Some(start) = word.strip_suffix("ies").filter(|start| start.len() >= 2) {
        return Cow::Owned(format!("{start}y"));
    }
    // `class`, `status` and `analysis` are not plurals.
    let plural = word.strip_suffix('s').filter(|start| start.len() >= 3);
    Cow::Borrowed(plural.filter(|start| !start.ends_with(['s', 'u', 'i'])).unwrap_or(word))
}

fn shortened(word: &str) -> Option<&str> {
    ENDINGS.iter().find_map(|(ending, least)| {
        let start = word.strip_suffix(ending)?;
        let kept = match *ending {
            "ysis" => word.strip_suffix("is")?,
            _ => start,
        };
        // A stem has a vowel: `string` is not `str` and `-ing`.
        (start.len() >= *least && start.contains(['a', 'e', 'i', 'o', 'u', 'y'])).then_some(kept)
    })
}

/// Brings together stems that are spelled differently: `analys` and `analyz`, `explain` and
/// `explan`, `debugg` and `debug`.
fn respelled(stem: &str) -> String {
    if let Some(start) = stem.strip_suffix("ys").filter(|start| start.len() >= 3) {
        return format!("{start}yz");
    }
    if let Some(start) = stem.strip_suffix("ain").filter(|start| start.len() >= 4) {
        return format!("{start}an");
    }
    let mut ending = stem.chars().rev();
    let doubled = ending.next().is_some_and(|last| ending.next() == Some(last));
    let mut stem = stem.to_owned();
    if doubled && stem.chars().count() > 3 {
        stem.pop();
    }
    stem
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn stop_words_are_sorted_for_the_search() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn forms_of_a_word_meet() {
        for forms in [
            &["write", "writes", "writing", "written", "writer"][..],
            &["analysis", "analyses", "analyze", "analyse", "analyzing", "analyzed", "analyzer"],
            &["generate", "generates", "generation", "generations", "generating", "generator"],
            &["explain", "explains", "explaining", "explained", "explanation", "explanations"],
            &["summary", "summaries", "summarize", "summarise", "summarization", "summarizing"],
            &["implement", "implements", "implementation", "implementing", "implemented"],
            &["code", "codes", "coding", "coded"],
            &["function", "functions"],
            &["debug", "debugging", "debugger"],
            &["require", "requires", "required", "requirement", "requirements"],
            &["reason", "reasons", "reasoning"],
            &["create", "creating", "creation", "created"],
            &["translate", "translation", "translating"],
            &["complex", "complexity"],
            &["detail", "details", "detailed"],
            &["query", "queries"],
            &["optimize", "optimise", "optimizing", "optimization"],
            &["plan", "planning", "planned"],
            &["response", "responses"],
            &["class", "classes"],
        ] {
            let stems: HashSet<String> = forms.iter().map(|form| stem(form)).collect();
            assert_eq!(stems.len(), 1, "{forms:?} became {stems:?}");
        }
    }

    #[test]
    fn different_words_stay_apart() {
        let words = ["code", "reason", "string", "status", "this", "plain", "plan", "test", "text"];
        let stems: HashSet<String> = words.iter().map(|word| stem(word)).collect();
        assert_eq!(stems.len(), words.len(), "{stems:?}");
    }

    #[test]
    fn words_are_split_at_anything_but_letters_and_digits() {
        let found: Vec<_> = stems("The code_generation, multi-step: Über 42 é I/O x").collect();
        assert_eq!(found, ["cod", "gener", "multi", "step", "über", "42"]);
    }
}
