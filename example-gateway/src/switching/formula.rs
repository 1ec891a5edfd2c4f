//! The formula: a pure function of prices and tokens.

use std::num::NonZeroU64;

use affinity_layer::mode::Share;
use serde::Serialize;

use crate::prices::{Picodollars, Rates};

/// What is expected of the coming turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Prospect {
    /// Tokens of context that its first request sends again.
    #[serde(rename = "context_tokens")]
    pub context: u64,
    /// Its requests.
    pub requests: NonZeroU64,
    /// Tokens of each answer.
    #[serde(rename = "output_tokens")]
    pub output: u64,
}

/// One of the two models, as the session finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelTerms {
    /// What a token costs there.
    pub rates: Rates,
    /// Tokens of the context that are still in its cache. More than the context counts as all of it.
    pub warm: u64,
    /// Whether its cache is used at all.
    pub caches: bool,
}

/// What a turn costs at one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TurnCost {
    total: Picodollars,
    /// Of it, what reading cold costs more than reading from the cache.
    surcharge: Picodollars,
}

/// Whether a session moves, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchVerdict {
    /// It moves: the turn is cheaper at the other model.
    Move,
    /// It stays: the turn is not cheaper there.
    NotCheaper,
    /// It stays: the move would cost more than the share of its spending that is left for moves.
    OverCap,
    /// It stays: the price of one of the models is unknown.
    UnknownPrice,
    /// It stays: no answer so far has told its tokens.
    UnknownUsage,
}

impl SwitchVerdict {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Move, Self::NotCheaper, Self::OverCap, Self::UnknownPrice, Self::UnknownUsage];

    /// The word in metrics, spans and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::NotCheaper => "not_cheaper",
            Self::OverCap => "over_cap",
            Self::UnknownPrice => "unknown_price",
            Self::UnknownUsage => "unknown_usage",
        }
    }
}

/// A decision, with what it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchDecision {
    /// What was decided.
    pub verdict: SwitchVerdict,
    /// What was expected of the turn; `None` where usage is unknown.
    pub prospect: Option<Prospect>,
    /// Tokens of the context that the pinned model still has.
    pub warm_pinned: Option<u64>,
    /// Tokens of the context that the other model still has.
    pub warm_other: Option<u64>,
    /// What the turn costs at the pinned model; `None` where something is unknown.
    pub stay: Option<Picodollars>,
    /// What it costs at the other one, the move included.
    pub go: Option<Picodollars>,
    /// What the move costs.
    pub move_cost: Option<Picodollars>,
    /// What moves of the session may cost at most from now on.
    pub allowance: Picodollars,
}

impl SwitchDecision {
    /// To stay for want of knowledge.
    pub(super) fn unknown(
        verdict: SwitchVerdict,
        prospect: Option<Prospect>,
        allowance: Picodollars,
    ) -> Self {
        Self {
            verdict,
            prospect,
            warm_pinned: None,
            warm_other: None,
            stay: None,
            go: None,
            move_cost: None,
            allowance,
        }
    }
}

impl Prospect {
    fn at(&self, model: &ModelTerms) -> TurnCost {
        let ModelTerms { rates, warm, caches } = *model;
        let (cached, fresh) = if caches {
            (rates.cached_input, rates.cache_write)
        } else {
            (rates.input, rates.input)
        };
        let warm = if caches { warm.min(self.context) } else { 0 };
        let cold = self.context - warm;
        let first = cached.times(warm).plus(fresh.times(cold));
        let others = cached.times(self.context).times(self.requests.get() - 1);
        let answers = rates.output.times(self.output).times(self.requests.get());
        let surcharge = fresh.minus(cached).times(cold);
        TurnCost { total: first.plus(others).plus(answers), surcharge }
    }
}

/// Weighs a turn at the `pinned` model against the same turn at the `other` one; see the
/// [module docs](super). Moves of the session may still cost `allowance`.
///
/// ```
/// use std::num::NonZeroU64;
///
/// use example_gateway::prices::{Picodollars, Rates};
/// use example_gateway::switching::{ModelTerms, Prospect, SwitchVerdict, weigh};
///
/// let rates = |[input, cached, write, output]: [&str; 4]| {
///     let price = |text| Picodollars::per_token(text).expect("a price per million tokens");
///     Rates {
///         input: price(input),
///         cached_input: price(cached),
///         cache_write: price(write),
///         cache_write_1h: price(write),
///         output: price(output),
///     }
/// };
/// let prospect = Prospect { context: 50_000, requests: NonZeroU64::MIN, output: 1_000 };
/// let warm = ModelTerms { rates: rates(["2", "0.10", "2.50", "10"]), warm: 50_000, caches: true };
/// let cold = ModelTerms { rates: rates(["0.10", "0.01", "0.125", "0.50"]), warm: 0, caches: true };
/// let decision = weigh(&prospect, &warm, &cold, "0.01".parse().expect("dollars"));
/// // 50,000 × 0.10 + 1,000 × 10 = 15,000 against 50,000 × 0.125 + 1,000 × 0.50 = 6,750 millionths.
/// assert_eq!(decision.stay.map(|stay| stay.to_string()).as_deref(), Some("0.015"));
/// assert_eq!(decision.go.map(|go| go.to_string()).as_deref(), Some("0.00675"));
/// assert_eq!(decision.verdict, SwitchVerdict::Move);
/// ```
#[must_use]
pub fn weigh(
    prospect: &Prospect,
    pinned: &ModelTerms,
    other: &ModelTerms,
    allowance: Picodollars,
) -> SwitchDecision {
    let (stay, go) = (prospect.at(pinned), prospect.at(other));
    let move_cost = go.surcharge.minus(stay.surcharge);
    let verdict = if go.total >= stay.total {
        SwitchVerdict::NotCheaper
    } else if move_cost > allowance {
        SwitchVerdict::OverCap
    } else {
        SwitchVerdict::Move
    };
    SwitchDecision {
        verdict,
        prospect: Some(*prospect),
        warm_pinned: Some(pinned.warm.min(prospect.context)),
        warm_other: Some(other.warm.min(prospect.context)),
        stay: Some(stay.total),
        go: Some(go.total),
        move_cost: Some(move_cost),
        allowance,
    }
}

/// What moves may still cost: the share of what was spent, without what they have cost.
pub(super) fn allowance(share: Share, spent: Picodollars, moves: Picodollars) -> Picodollars {
    Picodollars::new(share.of(spent.get())).minus(moves)
}
