//! `routing.policy: cost` in the stack: whether a session stays with its model or moves to the router's other
//! choice, where a turn of the user begins.
//!
//! 1. Intake marks requests that open a turn, and the affinity layer asks the router for them. Nothing is
//!    decided inside a loop of tool calls.
//! 2. [`SwitchPolicy::adopted`] weighs the router's choice against the pin, by the formula of
//!    [`switching`](crate::switching). A session that stays keeps its pin as it is (`hit`), one that moves has
//!    a new one (`refreshed`), and what its new vendor cannot read is left out as after any move.
//! 3. An observer of each answer keeps the session's account: what it has spent, and what each model has of
//!    its context.
//!
//! Accounts are kept in this process. A session that comes to another replica has no account there and stays
//! with its model until an answer has told its tokens. Each replica lets moves cost a share of what it has seen
//! the session spend, so all of them together stay below the same share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use affinity_layer::answer::{AnswerObserver, Usage};
use affinity_layer::ext::{NewTurn, ObservedPin, Probe};
use affinity_layer::mode::Share;
use affinity_layer::{AffinityKey, ModelName, PinnedModel, Selection};
use http::Extensions;
use http::request::Parts;
use http::response;
use tokio::time::Instant;

use super::session_table::SessionTable;
use super::turns::observer::TurnObserver;
use super::turns::switch::SwitchRecord;
use super::turns::tag::SessionTag;
use crate::switching::{PricedModel, SessionAccount, SwitchDecision, SwitchVerdict};
use crate::telemetry::metrics;
use crate::upstream::providers::Upstreams;

/// How long a provider's cache is taken to live where nothing says so: the shortest that is usual.
const CACHE_TTL: Duration = Duration::from_secs(300);

/// The accounts of sessions. They outlive a reload.
#[derive(Debug)]
pub(crate) struct SwitchAccounts {
    table: SessionTable<SessionAccount>,
    /// What the times in accounts count from.
    began: Instant,
}

impl Default for SwitchAccounts {
    fn default() -> Self {
        Self { table: SessionTable::default(), began: Instant::now() }
    }
}

/// The policy, as configured. Clones share the accounts.
#[derive(Clone, Debug)]
pub(crate) struct SwitchPolicy(Arc<Settings>);

#[derive(Debug)]
struct Settings {
    upstreams: Arc<Upstreams>,
    max_share: Share,
    accounts: Arc<SwitchAccounts>,
    observer: Option<Arc<dyn TurnObserver>>,
}

impl SwitchPolicy {
    /// Moves of a session cost at most `max_share` of what it has spent; `observer` receives the decisions.
    pub(crate) fn new(
        upstreams: Arc<Upstreams>,
        max_share: Share,
        accounts: Arc<SwitchAccounts>,
        observer: Option<Arc<dyn TurnObserver>>,
    ) -> Self {
        Self(Arc::new(Settings { upstreams, max_share, accounts, observer }))
    }

    /// What becomes of a decision for a session: the pin's own selection, and it stays.
    pub(crate) fn adopted(
        &self,
        request: &Parts,
        key: &AffinityKey,
        pinned: Option<&Selection>,
        decided: Arc<Selection>,
    ) -> Arc<Selection> {
        // A client that asks for another decision gets it.
        if request.extensions.get::<NewTurn>().is_none() {
            return decided;
        }
        let Some(pinned) = pinned.filter(|pinned| self.may_stay(pinned.model())) else {
            self.0.accounts.table.change(key, SessionAccount::turn_begins);
            return decided;
        };
        let kept = || Arc::new(pinned.clone());
        // What an observed session costs is not what its pin would have cost.
        if request.extensions.get::<ObservedPin>().is_some() {
            return kept();
        }
        if pinned.model() == decided.model() {
            self.0.accounts.table.change(key, SessionAccount::turn_begins);
            return kept();
        }
        let decision = self.weigh(key, pinned.model(), decided.model());
        self.report(key, pinned, &decided, decision);
        if decision.verdict == SwitchVerdict::Move { decided } else { kept() }
    }

    /// Whether a model may go on serving the sessions that it has.
    fn may_stay(&self, model: &ModelName) -> bool {
        self.0.upstreams.serves(model) && !self.0.upstreams.drains().moves(model)
    }

    fn weigh(&self, key: &AffinityKey, pinned: &ModelName, other: &ModelName) -> SwitchDecision {
        let (now, share) = (self.now(), self.0.max_share);
        let (pinned, other) = (self.priced(pinned), self.priced(other));
        let weighed = self.0.accounts.table.change(key, |account| {
            account.turn_begins();
            account.decide(&pinned, &other, now, share)
        });
        weighed.unwrap_or_else(|| SessionAccount::default().decide(&pinned, &other, now, share))
    }

    fn report(
        &self,
        key: &AffinityKey,
        pinned: &Selection,
        decided: &Selection,
        decision: SwitchDecision,
    ) {
        let SwitchDecision { verdict, stay, go, move_cost, allowance, .. } = decision;
        let text = |amount: Option<crate::prices::Picodollars>| amount.map(|it| it.to_string());
        tracing::debug!(
            switch.verdict = verdict.as_str(),
            switch.pinned = pinned.model().as_str(),
            switch.other = decided.model().as_str(),
            switch.stay_usd = text(stay),
            switch.go_usd = text(go),
            switch.move_cost_usd = text(move_cost),
            switch.allowance_usd = text(Some(allowance)),
            "weighed a turn of the user"
        );
        metrics::weighed(verdict);
        if let Some(observer) = &self.0.observer {
            observer.weighed(SwitchRecord {
                at: SystemTime::now(),
                session: SessionTag::of(key),
                pinned: pinned.model().clone(),
                other: decided.model().clone(),
                route: decided.route().cloned(),
                decision,
            });
        }
    }

    fn priced<'a>(&'a self, model: &'a ModelName) -> PricedModel<'a> {
        let provider = self.0.upstreams.provider(model);
        PricedModel {
            model,
            price: provider.and_then(|provider| provider.price_of(model)),
            cache_ttl: provider
                .and_then(|provider| provider.cache_ttl_of(model))
                .unwrap_or(CACHE_TTL),
        }
    }

    fn now(&self) -> Duration {
        self.0.accounts.began.elapsed()
    }

    /// Keeps the account of the session of a request that goes to a model to be answered.
    pub(crate) fn observe(&self, request: &Extensions) -> Option<Box<dyn AnswerObserver>> {
        let model = request.get::<PinnedModel>()?;
        let key = model.key().filter(|_| request.get::<Probe>().is_none())?.clone();
        self.0.accounts.table.change_or_begin(&key, SessionAccount::asked);
        let (model, usage) = (model.model().clone(), Usage::default());
        Some(Box::new(AccountObserver { policy: self.clone(), key, model, usage, served: false }))
    }
}

/// Enters one answer into the account of its session.
struct AccountObserver {
    policy: SwitchPolicy,
    key: AffinityKey,
    model: ModelName,
    usage: Usage,
    served: bool,
}

impl AnswerObserver for AccountObserver {
    fn on_head(&mut self, head: &response::Parts) {
        self.served = head.status.is_success();
        if let Some(served) = head.extensions.get::<PinnedModel>() {
            self.model = served.model().clone();
        }
    }

    fn on_data(&mut self, usage: Usage) {
        self.usage = usage;
    }
}

impl Drop for AccountObserver {
    fn drop(&mut self) {
        if !self.served {
            return;
        }
        let (policy, tokens) = (&self.policy, self.usage.into());
        let by = policy.priced(&self.model);
        let now = policy.now();
        policy.0.accounts.table.change(&self.key, |account| account.answered(&by, &tokens, now));
    }
}

#[cfg(test)]
mod tests;
