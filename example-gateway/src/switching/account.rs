//! What is known of one session: what it has spent, and what each model has of its context.

use std::num::NonZeroU64;
use std::time::Duration;

use affinity_layer::ModelName;
use affinity_layer::mode::Share;

use super::formula::{ModelTerms, Prospect, SwitchDecision, SwitchVerdict, allowance, weigh};
use crate::prices::{Picodollars, Price, TokenCounts};

/// Models of one session whose caches are remembered; the one that was used the longest ago goes.
const MOST_MODELS: usize = 8;

/// A model as the configuration knows it.
#[derive(Clone, Copy, Debug)]
pub struct PricedModel<'a> {
    /// Its name.
    pub model: &'a ModelName,
    /// What its tokens cost, if that is known.
    pub price: Option<&'a Price>,
    /// How long its provider's cache lives after its last use.
    pub cache_ttl: Duration,
}

/// The account of one session. Times count from any moment, the same for all calls.
#[derive(Clone, Debug, Default)]
pub struct SessionAccount {
    spent: Picodollars,
    /// What moves have cost, of which the cap is a share.
    moves: Picodollars,
    /// Requests since the last turn of the user began.
    requests: u64,
    /// Those of the shortest turn that is over.
    shortest_turn: Option<NonZeroU64>,
    /// Answers whose tokens are known, and these tokens.
    answers: u64,
    output: u64,
    /// The last prompt and its answer.
    context: Option<u64>,
    models: Vec<ModelUse>,
}

/// What the last answer of a model left in its cache.
#[derive(Clone, Debug)]
struct ModelUse {
    model: ModelName,
    warm: u64,
    caches: bool,
    at: Duration,
}

impl SessionAccount {
    /// A request of the session goes to its model.
    pub fn asked(&mut self) {
        self.requests = self.requests.saturating_add(1);
    }

    /// A turn of the user begins.
    pub fn turn_begins(&mut self) {
        if let Some(requests) = NonZeroU64::new(self.requests) {
            let shortest = self.shortest_turn.map_or(requests, |shortest| shortest.min(requests));
            self.shortest_turn = Some(shortest);
        }
        self.requests = 0;
    }

    /// `by` has answered, `at` this time.
    ///
    /// What it has cached is what the answer says it has read from the cache and written to it. A provider
    /// that counts no writes has cached the whole prompt, unless the model answered within the window before
    /// and had nothing of it: then the session's client, or the provider, does not use caches.
    pub fn answered(&mut self, by: &PricedModel<'_>, tokens: &TokenCounts, at: Duration) {
        if let Some(cost) = by.price.and_then(|price| price.cost(tokens)) {
            self.spent = self.spent.plus(cost.spent);
        }
        let (Some(prompt), Some(output)) = (tokens.prompt, tokens.output) else { return };
        self.answers = self.answers.saturating_add(1);
        self.output = self.output.saturating_add(output);
        self.context = Some(prompt.saturating_add(output));
        let place = self.models.iter().position(|used| used.model == *by.model);
        let before = place.map(|place| self.models.remove(place));
        let was_warm = before.as_ref().is_some_and(|before| before.left(by.cache_ttl, at) > 0);
        let read = tokens.cached.unwrap_or_default();
        let (warm, caches) = match (tokens.written, read) {
            (Some(0), 0) => (0, false),
            (Some(written), read) => (read.saturating_add(written), true),
            (None, 0) if was_warm || before.is_some_and(|before| !before.caches) => (0, false),
            (None, _) => (prompt, true),
        };
        self.models.push(ModelUse { model: by.model.clone(), warm: warm.min(prompt), caches, at });
        if self.models.len() > MOST_MODELS {
            self.models.remove(0);
        }
    }

    /// Whether the session moves from its `pinned` model to the `other` one, at the beginning of a turn
    /// `at` this time. All of its moves cost at most `share` of what it has spent. A move is charged at once,
    /// so that two decisions cannot both use what is left.
    pub fn decide(
        &mut self,
        pinned: &PricedModel<'_>,
        other: &PricedModel<'_>,
        at: Duration,
        share: Share,
    ) -> SwitchDecision {
        let allowance = allowance(share, self.spent, self.moves);
        let Some(prospect) = self.prospect() else {
            return SwitchDecision::unknown(SwitchVerdict::UnknownUsage, None, allowance);
        };
        let (stays, goes) = (self.terms(pinned, &prospect, at), self.terms(other, &prospect, at));
        let (Some(stays), Some(goes)) = (stays, goes) else {
            let verdict = SwitchVerdict::UnknownPrice;
            return SwitchDecision::unknown(verdict, Some(prospect), allowance);
        };
        let decision = weigh(&prospect, &stays, &goes, allowance);
        if let (SwitchVerdict::Move, Some(cost)) = (decision.verdict, decision.move_cost) {
            self.moves = self.moves.plus(cost);
        }
        decision
    }

    /// What the session has spent, as far as that is known.
    #[must_use]
    pub fn spent(&self) -> Picodollars {
        self.spent
    }

    /// What its moves have cost.
    #[must_use]
    pub fn moves(&self) -> Picodollars {
        self.moves
    }

    fn prospect(&self) -> Option<Prospect> {
        let requests = self.shortest_turn.unwrap_or(NonZeroU64::MIN);
        let output = self.output.checked_div(self.answers)?;
        Some(Prospect { context: self.context?, requests, output })
    }

    /// A model as the session finds it. Of one that it has not used it is expected that its cache is used as
    /// that of the model that answered last.
    fn terms(&self, of: &PricedModel<'_>, prospect: &Prospect, at: Duration) -> Option<ModelTerms> {
        let rates = *of.price?.rates(prospect.context);
        let used = self.models.iter().find(|used| used.model == *of.model);
        let caches = used.or(self.models.last()).is_none_or(|used| used.caches);
        let warm = used.map_or(0, |used| used.left(of.cache_ttl, at));
        Some(ModelTerms { rates, warm, caches })
    }
}

impl ModelUse {
    /// The tokens that the model still has in its cache.
    fn left(&self, cache_ttl: Duration, at: Duration) -> u64 {
        if at.saturating_sub(self.at) < cache_ttl { self.warm } else { 0 }
    }
}
