//! What a run cost, and what the affinity was worth.

use crate::config::known_model;
use crate::prices::{Picodollars, TokenCounts};

/// Picodollars in the smallest amount that is shown.
const SHOWN: u64 = 100_000_000;

/// What the turns of a run came to.
#[derive(Debug, Default)]
pub(super) struct Spent {
    prompt: u64,
    cached: u64,
    cost: Picodollars,
    /// Whether the cost of a turn is not known.
    is_unknown: bool,
}

impl Spent {
    /// Adds a turn of `model` by its list price.
    pub(super) fn add(&mut self, model: &str, tokens: &TokenCounts) {
        self.prompt = self.prompt.saturating_add(tokens.prompt.unwrap_or_default());
        self.cached = self.cached.saturating_add(tokens.cached.unwrap_or_default());
        match known_model(model).and_then(|known| known.price.cost(tokens)) {
            Some(cost) => self.cost = self.cost.plus(cost.spent),
            None => self.is_unknown = true,
        }
    }

    /// The share of prompt tokens that were cached, in percent; `None` if no answer reports tokens.
    fn cached(&self) -> Option<u64> {
        self.cached.saturating_mul(100).checked_div(self.prompt)
    }
}

/// One line, if the answers report tokens.
pub(super) fn worth(without: &Spent, with: &Spent) -> Option<String> {
    let (cached, cached_without) = (with.cached()?, without.cached()?);
    let cached = format!("{cached} % of the prompts from the cache instead of {cached_without} %");
    if without.is_unknown || with.is_unknown {
        return Some(format!("What pinning was worth here: {cached}"));
    }
    let (before, after) = (without.cost.get(), with.cost.get());
    let share = before.abs_diff(after).saturating_mul(100).checked_div(before)?;
    let word = if after > before { "more" } else { "less" };
    let (before, after) = (dollars(without.cost), dollars(with.cost));
    let cost = format!("{after} instead of {before} at list prices, {share} % {word}");
    Some(format!("What pinning was worth here: {cost}; {cached}"))
}

/// With four decimal places, rounded.
fn dollars(amount: Picodollars) -> String {
    let shown = amount.plus(Picodollars::new(SHOWN / 2)).get() / SHOWN;
    format!("${}.{:04}", shown / 10_000, shown % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(model: &str, [prompt, cached, written, output]: [u64; 4]) -> Spent {
        let counts = TokenCounts {
            prompt: Some(prompt),
            cached: Some(cached),
            written: Some(written),
            written_1h: Some(0),
            output: Some(output),
        };
        let mut spent = Spent::default();
        spent.add(model, &counts);
        spent
    }

    /// By hand, per million: 2 input, 0.10 cached, 2.50 written, 10 output.
    #[test]
    fn the_line_is_what_a_hand_calculates() {
        let model = "anthropic/claude-sonnet-5-5";
        // 8,000 × 2.50 + 200 × 10 = 0.022; 6,000 × 0.10 + 2,000 × 2.50 + 200 × 10 = 0.0076
        let (cold, warm) =
            (spent(model, [8_000, 0, 8_000, 200]), spent(model, [8_000, 6_000, 2_000, 200]));
        let said = worth(&cold, &warm).unwrap();
        let less = "What pinning was worth here: $0.0076 instead of $0.0220 at list prices, 65 % less; \
                    75 % of the prompts from the cache instead of 0 %";
        assert_eq!(said, less);
        assert!(
            worth(&warm, &cold)
                .unwrap()
                .contains("$0.0220 instead of $0.0076 at list prices, 189 % more")
        );
        let unknown = spent("some/model", [8_000, 6_000, 2_000, 200]);
        let said = worth(&cold, &unknown).unwrap();
        assert_eq!(
            said,
            "What pinning was worth here: 75 % of the prompts from the cache instead of 0 %"
        );
        assert_eq!(worth(&Spent::default(), &warm), None);
    }
}
