//! The caches of providers, as far as they decide what a prompt costs.
//!
//! A cache holds the beginning of a session's last prompt at each model, from `cache_min_tokens` on, until it
//! was not used for the provider's window; each use renews it. A prompt is read from there as far as it still
//! begins in the same way, and the rest of it is written. Blocks (OpenAI counts in steps of 128 tokens), evictions
//! under load and sessions that share a beginning are left out.

use std::time::Duration;

use crate::prices::TokenCounts;

/// What the models have of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct PromptCaches {
    models: Vec<CachedPrompt>,
    /// The tokens of the previous prompt.
    previous: u64,
}

#[derive(Clone, Copy, Debug)]
struct CachedPrompt {
    model: usize,
    tokens: u64,
    used: Duration,
}

/// A prompt as it comes to a cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prompt {
    pub(super) at: Duration,
    pub(super) tokens: u64,
    /// How many of its first tokens are those of the previous prompt.
    pub(super) same: Option<u64>,
}

impl PromptCaches {
    /// Asks a model, whose cache lives for `ttl` after its last use. Gives what is read and written; the
    /// answer is not counted here.
    pub(super) fn ask(
        &mut self,
        model: usize,
        prompt: Prompt,
        ttl: Duration,
        least: u64,
    ) -> TokenCounts {
        let Prompt { at, tokens, same } = prompt;
        let same = same.unwrap_or(self.previous).min(self.previous).min(tokens);
        for cached in &mut self.models {
            cached.tokens = cached.tokens.min(same);
        }
        self.previous = tokens;
        let place = self.models.iter().position(|cached| cached.model == model);
        let warm = place
            .and_then(|place| self.models.get(place))
            .filter(|cached| at.saturating_sub(cached.used) < ttl && cached.tokens >= least);
        let read = warm.map_or(0, |cached| cached.tokens);
        let written = if tokens >= least { tokens.saturating_sub(read) } else { 0 };
        let now = CachedPrompt { model, tokens: read.saturating_add(written), used: at };
        match place.and_then(|place| self.models.get_mut(place)) {
            Some(cached) => *cached = now,
            None => self.models.push(now),
        }
        TokenCounts {
            prompt: Some(tokens),
            cached: Some(read),
            written: Some(written),
            written_1h: Some(0),
            output: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn ask(caches: &mut PromptCaches, model: usize, seconds: u64, tokens: u64) -> (u64, u64) {
        let at = Duration::from_secs(seconds);
        let told = caches.ask(model, Prompt { at, tokens, same: None }, TTL, 1024);
        assert_eq!(told.prompt, Some(tokens));
        (told.cached.unwrap(), told.written.unwrap())
    }

    #[test]
    fn a_prompt_is_read_as_far_as_the_model_saw_it_and_each_use_renews_it() {
        let mut caches = PromptCaches::default();
        assert_eq!(ask(&mut caches, 0, 0, 5000), (0, 5000));
        assert_eq!(ask(&mut caches, 0, 299, 6000), (5000, 1000));
        assert_eq!(ask(&mut caches, 0, 598, 6500), (6000, 500));
        assert_eq!(ask(&mut caches, 0, 898, 7000), (0, 7000), "300 seconds later it is gone");
    }

    #[test]
    fn a_model_that_is_returned_to_has_what_it_saw_last() {
        let mut caches = PromptCaches::default();
        assert_eq!(ask(&mut caches, 0, 0, 5000), (0, 5000));
        assert_eq!(ask(&mut caches, 1, 10, 8000), (0, 8000));
        assert_eq!(ask(&mut caches, 0, 20, 9000), (5000, 4000));
        assert_eq!(ask(&mut caches, 1, 30, 9500), (8000, 1500));
    }

    #[test]
    fn a_short_prompt_is_neither_read_nor_written() {
        let mut caches = PromptCaches::default();
        assert_eq!(ask(&mut caches, 0, 0, 1023), (0, 0));
        assert_eq!(ask(&mut caches, 0, 1, 1024), (0, 1024));
        assert_eq!(ask(&mut caches, 0, 2, 1025), (1024, 1));
    }

    #[test]
    fn what_a_session_has_changed_is_read_by_no_model_again() {
        let mut caches = PromptCaches::default();
        ask(&mut caches, 0, 0, 9000);
        ask(&mut caches, 1, 1, 10_000);
        let at = Duration::from_secs(2);
        let compacted = Prompt { at, tokens: 4000, same: Some(3000) };
        let told = caches.ask(0, compacted, TTL, 1024);
        assert_eq!((told.cached, told.written), (Some(3000), Some(1000)));
        assert_eq!(
            ask(&mut caches, 1, 3, 5000),
            (3000, 2000),
            "what it had beyond is another text"
        );
    }
}
