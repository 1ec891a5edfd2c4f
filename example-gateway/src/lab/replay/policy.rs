//! One policy, played over a trace.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::Rules;
use super::caches::{Prompt, PromptCaches};
use super::models::Models;
use super::trace::Call;
use crate::prices::{Cost, TokenCounts};
use crate::switching::{PricedModel, SessionAccount, SwitchVerdict};

/// Sessions that one trace may name, some hundred bytes each.
const MAX_SESSIONS: usize = 100_000;

/// Which model answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Policy {
    /// The router's choice for each request.
    Never,
    /// The choice for the first request, while the session is used.
    Always,
    /// As `Always`, but where a turn of the user begins the session moves if that is cheaper.
    Cost,
}

impl Policy {
    pub(super) const ALL: [Self; 3] = [Self::Never, Self::Always, Self::Cost];
}

/// What a policy came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outcome {
    pub(super) policy: Policy,
    /// Requests.
    pub(super) requests: u64,
    /// Sessions.
    pub(super) sessions: u64,
    /// Requests that another model answered than the session's previous one.
    pub(super) switches: u64,
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) written_tokens: u64,
    pub(super) output_tokens: u64,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

/// Plays one policy.
#[derive(Debug)]
pub(super) struct Player {
    rules: Rules,
    sessions: HashMap<String, SessionRun>,
    outcome: Outcome,
}

/// A session under one policy.
#[derive(Debug, Default)]
struct SessionRun {
    /// The model that answered last, and when.
    last: Option<(usize, Duration)>,
    caches: PromptCaches,
    account: SessionAccount,
}

impl Player {
    pub(super) fn new(policy: Policy, rules: Rules) -> Self {
        let outcome = Outcome {
            policy,
            requests: 0,
            sessions: 0,
            switches: 0,
            prompt_tokens: 0,
            cached_tokens: 0,
            written_tokens: 0,
            output_tokens: 0,
            cost: Cost::default(),
        };
        Self { rules, sessions: HashMap::new(), outcome }
    }

    pub(super) fn outcome(self) -> Outcome {
        self.outcome
    }

    /// The next call, for which the router chooses `choice`.
    pub(super) fn play(
        &mut self,
        call: &Call,
        choice: usize,
        models: &Models,
    ) -> Result<(), String> {
        let is_new = !self.sessions.contains_key(&call.session);
        if is_new && self.sessions.len() >= MAX_SESSIONS {
            return Err(format!("is one of more than {MAX_SESSIONS}"));
        }
        let Self { rules, sessions, outcome } = self;
        let run = sessions.entry(call.session.clone()).or_default();
        let model = run.model(outcome.policy, call, choice, models, rules);
        let Some(by) = models.at(model) else { return Ok(()) };
        let is_switch = run.last.is_some_and(|(last, _)| last != model);
        run.last = Some((model, call.at));
        let prompt = Prompt { at: call.at, tokens: call.prompt, same: call.same_prefix };
        let asked = run.caches.ask(model, prompt, by.cache_ttl, rules.cache_min_tokens);
        let tokens = TokenCounts { output: Some(call.output), ..asked };
        run.account.asked();
        run.account.answered(&by, &tokens, call.at);
        outcome.add(is_new, is_switch, &by, &tokens);
        Ok(())
    }
}

impl SessionRun {
    /// The model that answers.
    fn model(
        &mut self,
        policy: Policy,
        call: &Call,
        choice: usize,
        models: &Models,
        rules: &Rules,
    ) -> usize {
        let is_live = |used: &Duration| call.at.saturating_sub(*used) < rules.session_ttl;
        let pinned = self.last.filter(|(_, used)| is_live(used)).map(|(model, _)| model);
        let begins = call.user_turn.unwrap_or(self.last.is_none());
        match (policy, pinned) {
            (Policy::Never, _) => choice,
            (Policy::Always, pinned) => pinned.unwrap_or(choice),
            (Policy::Cost, pinned) if !begins => pinned.unwrap_or(choice),
            (Policy::Cost, pinned) => {
                self.account.turn_begins();
                let Some(pinned) = pinned.filter(|pinned| *pinned != choice) else { return choice };
                let (Some(stays), Some(goes)) = (models.at(pinned), models.at(choice)) else {
                    return pinned;
                };
                let share = rules.max_switch_share;
                let decision = self.account.decide(&stays, &goes, call.at, share);
                if decision.verdict == SwitchVerdict::Move { choice } else { pinned }
            }
        }
    }
}

impl Outcome {
    fn add(&mut self, is_new: bool, is_switch: bool, by: &PricedModel<'_>, tokens: &TokenCounts) {
        let count = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        count(&mut self.requests, 1);
        count(&mut self.sessions, is_new.into());
        count(&mut self.switches, is_switch.into());
        count(&mut self.prompt_tokens, tokens.prompt.unwrap_or_default());
        count(&mut self.cached_tokens, tokens.cached.unwrap_or_default());
        count(&mut self.written_tokens, tokens.written.unwrap_or_default());
        count(&mut self.output_tokens, tokens.output.unwrap_or_default());
        // Every count is known, and so is every price of the trace.
        let cost = by.price.and_then(|price| price.cost(tokens));
        self.cost = self.cost.plus(&cost.unwrap_or_default());
    }
}
