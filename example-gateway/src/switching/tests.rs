//! Decisions against a calculation by hand, and the cap over random sessions.

use std::num::NonZeroU64;
use std::time::Duration;

use affinity_layer::ModelName;
use affinity_layer::mode::Share;
use proptest::prelude::*;

use super::*;
use crate::prices::{Picodollars, Price, Rates, TokenCounts};

const WINDOW: Duration = Duration::from_secs(300);

/// Dollars per million tokens: input, cached input, cache write, output.
fn rates(prices: [&str; 4]) -> Rates {
    let [input, cached_input, cache_write, output] =
        prices.map(|text| Picodollars::per_token(text).unwrap());
    Rates { input, cached_input, cache_write, cache_write_1h: cache_write, output }
}

fn large() -> Rates {
    rates(["2", "0.10", "2.50", "10"])
}

fn small() -> Rates {
    rates(["0.10", "0.01", "0.125", "0.50"])
}

fn dollars(text: &str) -> Picodollars {
    text.parse().unwrap()
}

fn told(decision: &SwitchDecision) -> (SwitchVerdict, [Option<String>; 3]) {
    let SwitchDecision { verdict, stay, go, move_cost, .. } = decision;
    (*verdict, [stay, go, move_cost].map(|amount| amount.map(|amount| amount.to_string())))
}

/// Each row by hand, in millionths of a dollar.
#[test]
fn each_decision_is_that_of_a_calculation_by_hand() {
    use SwitchVerdict::{Move, NotCheaper, OverCap};

    let at = |rates: Rates, warm: u64| ModelTerms { rates, warm, caches: true };
    let uncached = |rates: Rates| ModelTerms { rates, warm: 0, caches: false };
    for (context, requests, output, pinned, other, cap, expected) in [
        // stay 40,000×0.10 + 500×10 = 9,000; go 40,000×0.125 + 500×0.50 = 5,250;
        // the move 40,000×(0.125−0.01) = 4,600
        (
            40_000,
            1,
            500,
            at(large(), 40_000),
            at(small(), 0),
            "1",
            (Move, "0.009", "0.00525", "0.0046"),
        ),
        (
            40_000,
            1,
            500,
            at(large(), 40_000),
            at(small(), 0),
            "0.0046",
            (Move, "0.009", "0.00525", "0.0046"),
        ),
        (
            40_000,
            1,
            500,
            at(large(), 40_000),
            at(small(), 0),
            "0.004599",
            (OverCap, "0.009", "0.00525", "0.0046"),
        ),
        // The other way: stay 40,000×0.01 + 500×0.50 = 650; go 40,000×2.50 + 500×10 = 105,000
        (
            40_000,
            1,
            500,
            at(small(), 40_000),
            at(large(), 0),
            "1",
            (NotCheaper, "0.00065", "0.105", "0.096"),
        ),
        // Between two large ones: stay 100,000×0.10 + 1,000×10 = 20,000;
        // go 90,000×0.05 + 10,000×1.25 + 1,000×5 = 22,000; the move 10,000×1.20 = 12,000
        (
            100_000,
            1,
            1_000,
            at(large(), 100_000),
            at(rates(["1", "0.05", "1.25", "5"]), 90_000),
            "1",
            (NotCheaper, "0.02", "0.022", "0.012"),
        ),
        // Three requests: stay 20,000 + 2×20,000 = 60,000; go 22,000 + 2×(100,000×0.05 + 5,000) = 42,000
        (
            100_000,
            3,
            1_000,
            at(large(), 100_000),
            at(rates(["1", "0.05", "1.25", "5"]), 90_000),
            "1",
            (Move, "0.06", "0.042", "0.012"),
        ),
        // A cold pin costs nothing to leave: stay 100,000×2.50 + 10,000 = 260,000;
        // go 100,000×1.25 + 5,000 = 130,000; the move 120,000 − 240,000, so nothing
        (
            100_000,
            1,
            1_000,
            at(large(), 0),
            at(rates(["1", "0.05", "1.25", "5"]), 0),
            "0",
            (Move, "0.26", "0.13", "0"),
        ),
        // Nobody caches: stay 10,000×2 + 100×10 = 21,000; go 10,000×0.10 + 100×0.50 = 1,050
        (
            10_000,
            1,
            100,
            uncached(large()),
            uncached(small()),
            "0",
            (Move, "0.021", "0.00105", "0"),
        ),
        // Equal is not cheaper.
        (
            10_000,
            2,
            100,
            at(large(), 10_000),
            at(large(), 10_000),
            "1",
            (NotCheaper, "0.004", "0.004", "0"),
        ),
        // More warm than context counts as all of it.
        (
            10_000,
            1,
            100,
            at(large(), 99_000),
            at(small(), 99_000),
            "0",
            (Move, "0.002", "0.00015", "0"),
        ),
    ] {
        let requests = NonZeroU64::new(requests).unwrap();
        let prospect = Prospect { context, requests, output };
        let decision = weigh(&prospect, &pinned, &other, dollars(cap));
        let (verdict, stay, go, cost) = expected;
        let expected = [stay, go, cost].map(|amount| Some(amount.to_owned()));
        assert_eq!(told(&decision), (verdict, expected), "{prospect:?} {cap}");
    }
}

struct Fleet {
    large: ModelName,
    small: ModelName,
    prices: [Price; 2],
}

impl Fleet {
    fn new() -> Self {
        let model = |name| ModelName::new(name).unwrap();
        let prices = [large(), small()].map(Price::new);
        Self { large: model("v/large"), small: model("v/small"), prices }
    }

    fn large(&self) -> PricedModel<'_> {
        PricedModel { model: &self.large, price: Some(&self.prices[0]), cache_ttl: WINDOW }
    }

    fn small(&self) -> PricedModel<'_> {
        PricedModel { model: &self.small, price: Some(&self.prices[1]), cache_ttl: WINDOW }
    }
}

fn tokens(prompt: u64, cached: u64, written: u64, output: u64) -> TokenCounts {
    TokenCounts {
        prompt: Some(prompt),
        cached: Some(cached),
        written: Some(written),
        written_1h: Some(0),
        output: Some(output),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_account_knows_context_answers_and_what_each_model_has_of_them() {
    let (fleet, share) = (Fleet::new(), Share::ALL);
    let mut account = SessionAccount::default();
    let unknown = account.decide(&fleet.large(), &fleet.small(), seconds(0), share);
    assert_eq!(unknown.verdict, SwitchVerdict::UnknownUsage);
    account.turn_begins();
    for n in 0..3 {
        account.asked();
        let (prompt, cached) = (10_000 + n * 1_000, n * 9_000);
        account.answered(&fleet.large(), &tokens(prompt, cached, 1_000, 400), seconds(n));
    }
    account.turn_begins();
    let decision = account.decide(&fleet.large(), &fleet.small(), seconds(10), share);
    let prospect = decision.prospect.unwrap();
    assert_eq!((prospect.context, prospect.requests.get(), prospect.output), (12_400, 3, 400));
    assert_eq!((decision.warm_pinned, decision.warm_other), (Some(12_000), Some(0)));
    assert_eq!(decision.verdict, SwitchVerdict::Move);
    // The window has passed: nothing is warm, and leaving costs nothing.
    let later = account.clone().decide(&fleet.large(), &fleet.small(), seconds(302), share);
    assert_eq!((later.warm_pinned, later.move_cost), (Some(0), Some(Picodollars::ZERO)));
    let unpriced = PricedModel { price: None, ..fleet.small() };
    let decision = account.decide(&fleet.large(), &unpriced, seconds(10), share);
    assert_eq!(decision.verdict, SwitchVerdict::UnknownPrice);
    assert_eq!((decision.stay, decision.move_cost), (None, None));
}

#[test]
fn a_session_that_uses_no_caches_is_priced_without_them() {
    let fleet = Fleet::new();
    let mut account = SessionAccount::default();
    account.answered(&fleet.large(), &tokens(10_000, 0, 0, 100), seconds(0));
    let decision = account.decide(&fleet.large(), &fleet.small(), seconds(1), Share::NONE);
    // 10,100×2 + 100×10 = 21,200; 10,100×0.10 + 100×0.50 = 1,060
    let expected = ["0.0212", "0.00106", "0"].map(|amount| Some(amount.to_owned()));
    assert_eq!(told(&decision), (SwitchVerdict::Move, expected));
}

#[derive(Clone, Debug)]
struct Turn {
    requests: u64,
    prompt: u64,
    output: u64,
    pause: u64,
    is_known: bool,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = (1..6_u64, 1_000..200_000_u64, 1..4_000_u64, 0..600_u64, prop::bool::weighted(0.9));
    let turn = turn.prop_map(|(requests, prompt, output, pause, is_known)| Turn {
        requests,
        prompt,
        output,
        pause,
        is_known,
    });
    prop::collection::vec(turn, 1..30)
}

proptest! {
    #[test]
    fn moves_never_cost_more_than_their_share(turns in turns(), percent in 0..=100_u8) {
        let (fleet, share) = (Fleet::new(), Share::percent(percent));
        let (mut account, mut now, mut at_large) = (SessionAccount::default(), 0, true);
        let mut moves = Picodollars::ZERO;
        for turn in turns {
            now += turn.pause;
            account.turn_begins();
            let (pinned, other) =
                if at_large { (fleet.large(), fleet.small()) } else { (fleet.small(), fleet.large()) };
            let decision = account.decide(&pinned, &other, seconds(now), share);
            if decision.verdict == SwitchVerdict::Move {
                at_large = !at_large;
                moves = moves.plus(decision.move_cost.unwrap());
                prop_assert!(decision.go < decision.stay);
            }
            prop_assert_eq!(account.moves(), moves);
            prop_assert!(moves.get() <= share.of(account.spent().get()));
            let serving = if at_large { fleet.large() } else { fleet.small() };
            for _ in 0..turn.requests {
                account.asked();
                let known = tokens(turn.prompt, turn.prompt / 2, turn.prompt / 4, turn.output);
                let counted = if turn.is_known { known } else { TokenCounts::default() };
                account.answered(&serving, &counted, seconds(now));
                now += 1;
            }
        }
    }
}
