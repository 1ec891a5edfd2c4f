//! An embedded router: the words of the last user message against those of the preferences.

mod words;

use std::collections::{BTreeMap, HashSet};
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use affinity_layer::{RouteDecision, RouteRequest};
use tower_service::Service;

use crate::conversation::{ends, last_user_text};
use crate::preference::decision;
use crate::{Preference, Preferences, RouterError};
use words::stems;

/// How much of a message is looked at, in bytes: half from its beginning, half from its end.
const TEXT_LIMIT: usize = 16 * 1024;

/// How often a word of a route's name counts, where one of its description counts once.
const NAME_WEIGHT: f64 = 2.0;

/// Scores the last user message against the names and descriptions of the preferences. It needs no
/// network, and the same question always has the same answer.
///
/// 1. Words are compared by their stems, so that `write` and `writing` or `analyze` and `analysis`
///    meet. Words that say nothing about the topic are left out.
/// 2. A word that several preferences share counts less than one that only a single one has; a word
///    of the name counts more than one of the description; a long description has no advantage.
/// 3. The highest positive score wins, and the first of equal ones. Without a positive score no
///    route matches.
/// 4. Of a message longer than 16 KiB the first and the last 8 KiB are looked at.
///
/// ```
/// use affinity_layer::{ModelName, RouteName, RouteRequest};
/// use router_client::{LexicalRouter, Preference, Preferences};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let route = |name, description: &str, model| {
///     Ok::<_, Box<dyn std::error::Error>>(Preference::new(
///         RouteName::new(name)?,
///         description,
///         [ModelName::new(model)?],
///     ))
/// };
/// let router = LexicalRouter::new(Preferences::new([
///     route("code", "writing functions and tests", "anthropic/claude-opus-4-8")?,
///     route("poetry", "poems and songs", "openai/gpt-4o")?,
/// ]));
///
/// let (parts, ()) = http::Request::post("/v1/responses").body(())?.into_parts();
/// let body = r#"{"input": "Write a poem about functional programming"}"#;
/// let decision = router.oneshot(RouteRequest::new(parts, body.into())).await?;
/// assert_eq!(decision.route.unwrap().as_str(), "poetry");
/// # Ok(())
/// # }
/// ```
///
/// It knows no synonyms: a route is found by the words of its description, so write into the
/// description what users will say. Stemming is for English; other languages match by whole words,
/// and languages written without spaces hardly match at all.
#[derive(Clone, Debug)]
pub struct LexicalRouter {
    preferences: Preferences,
    index: Arc<Index>,
}

impl LexicalRouter {
    /// Chooses from `preferences`.
    #[must_use]
    pub fn new(preferences: Preferences) -> Self {
        let index = Arc::new(Index::new(&preferences));
        Self { preferences, index }
    }

    fn decide(&self, request: &RouteRequest) -> RouteDecision {
        let Some(text) = last_user_text(request.parts.uri.path(), &request.body) else {
            return RouteDecision::none();
        };
        decision(match request.parts.extensions.get::<Preferences>() {
            Some(inline) => Index::new(inline).best(inline, &text),
            None => self.index.best(&self.preferences, &text),
        })
    }
}

impl Service<RouteRequest> for LexicalRouter {
    type Response = RouteDecision;
    type Error = RouterError;
    type Future = Ready<Result<RouteDecision, RouterError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RouterError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RouteRequest) -> Self::Future {
        ready(Ok(self.decide(&request)))
    }
}

/// For each preference, in order, what each word is worth.
#[derive(Debug)]
struct Index(Vec<BTreeMap<String, f64>>);

impl Index {
    fn new(preferences: &Preferences) -> Self {
        let mut index: Vec<_> = preferences.iter().map(counts).collect();
        let mut shared = BTreeMap::<String, f64>::new();
        for word in index.iter().flat_map(BTreeMap::keys) {
            *shared.entry(word.clone()).or_default() += 1.0;
        }
        let all = index.len() as f64;
        for words in &mut index {
            for (word, value) in words.iter_mut() {
                let by = shared.get(word).copied().unwrap_or(1.0);
                // Inverse document frequency, smoothed so that it is positive even for a word
                // that all preferences share.
                *value *= ((all + 1.0) / (by + 0.5)).ln();
            }
            normalize(words);
        }
        Self(index)
    }

    fn best<'a>(&self, preferences: &'a Preferences, text: &str) -> Option<&'a Preference> {
        let text = ends(text, TEXT_LIMIT);
        let mut seen = HashSet::new();
        // In the order of the text: the order of a sum decides its last digits, and with them a tie.
        let words: Vec<String> = stems(&text).filter(|word| seen.insert(word.clone())).collect();
        let mut best = (0.0, None);
        for (preference, values) in preferences.iter().zip(&self.0) {
            let score = words.iter().filter_map(|word| values.get(word)).sum::<f64>();
            if score > best.0 {
                best = (score, Some(preference));
            }
        }
        best.1
    }
}

fn counts(preference: &Preference) -> BTreeMap<String, f64> {
    let name: HashSet<String> = stems(preference.name.as_str()).collect();
    let description: HashSet<String> = stems(&preference.description).collect();
    let mut words = BTreeMap::new();
    for word in name {
        *words.entry(word).or_default() += NAME_WEIGHT;
    }
    for word in description {
        *words.entry(word).or_default() += 1.0;
    }
    words
}

/// Gives all preferences the same length as a vector, however many words they have.
fn normalize(words: &mut BTreeMap<String, f64>) {
    let length = words.values().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 {
        words.values_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests;
