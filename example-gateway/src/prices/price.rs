//! Prices of a model, and what an answer cost.

use affinity_layer::answer::Usage;
use serde::{Deserialize, Serialize};

use super::money::Picodollars;

/// What one token of each kind costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// A token of the request that was neither read from the provider's cache nor written to it.
    pub input: Picodollars,
    /// A token that was read from the cache.
    pub cached_input: Picodollars,
    /// A token that was written to the cache.
    pub cache_write: Picodollars,
    /// A token that was written to the cache for an hour.
    pub cache_write_1h: Picodollars,
    /// A token of the answer.
    pub output: Picodollars,
}

/// The prices of a model. They may depend on the length of the whole prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    base: Rates,
    /// Prompts of more tokens than these have rates of their own; ascending.
    above: Vec<(u64, Rates)>,
}

/// The tokens of one answer; `None` for what the provider has not counted. The prompt includes what was read
/// from the cache and written to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenCounts {
    /// Tokens of the request.
    #[serde(rename = "prompt_tokens")]
    pub prompt: Option<u64>,
    /// Of these, those that were read from the cache.
    #[serde(rename = "cached_tokens")]
    pub cached: Option<u64>,
    /// Of these, those that were written to the cache.
    #[serde(rename = "written_tokens")]
    pub written: Option<u64>,
    /// Of those written, those that are kept for an hour.
    #[serde(skip)]
    pub written_1h: Option<u64>,
    /// Tokens of the answer.
    #[serde(rename = "output_tokens")]
    pub output: Option<u64>,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Cost {
    /// All of it.
    pub spent: Picodollars,
    /// How much more the cached tokens would have cost as plain input.
    pub saved_by_cache: Picodollars,
    /// How much less the written tokens would have cost as plain input. It is part of `spent`.
    pub cache_write_premium: Picodollars,
}

impl Price {
    /// One price for prompts of any length.
    #[must_use]
    pub const fn new(base: Rates) -> Self {
        Self { base, above: Vec::new() }
    }

    /// The same, with other `rates` for the whole of a request whose prompt has more than `tokens`.
    #[must_use]
    pub fn above(mut self, tokens: u64, rates: Rates) -> Self {
        let place = self.above.partition_point(|(bound, _)| *bound <= tokens);
        self.above.insert(place, (tokens, rates));
        self
    }

    /// What each token of a request costs whose whole prompt has so many.
    #[must_use]
    pub fn rates(&self, prompt_tokens: u64) -> &Rates {
        let reached = self.above.iter().rev().find(|(bound, _)| *bound < prompt_tokens);
        reached.map_or(&self.base, |(_, rates)| rates)
    }

    /// What the tokens cost; `None` if they are not all known, as far as they differ in price, or if they
    /// contradict each other.
    #[must_use]
    pub fn cost(&self, tokens: &TokenCounts) -> Option<Cost> {
        let prompt = tokens.prompt?;
        let rates = self.rates(prompt);
        let Rates { input, cached_input, cache_write, cache_write_1h, output } = *rates;
        let known = |count: Option<u64>, is_plain: bool| count.or(is_plain.then_some(0));
        let cached = known(tokens.cached, cached_input == input)?;
        let are_writes_plain = cache_write == input && cache_write_1h == input;
        let written = known(tokens.written, are_writes_plain)?;
        let written_1h = known(tokens.written_1h, written == 0 || cache_write_1h == cache_write)?;
        let plain = prompt.checked_sub(cached)?.checked_sub(written)?;
        let parts = [
            (input, plain),
            (cached_input, cached),
            (cache_write, written.checked_sub(written_1h)?),
            (cache_write_1h, written_1h),
            (output, tokens.output?),
        ];
        let sum = |parts: &[(Picodollars, u64)]| {
            parts.iter().fold(Picodollars::ZERO, |sum, (rate, count)| sum.plus(rate.times(*count)))
        };
        let writes = parts.get(2..4).map(sum).unwrap_or_default();
        Some(Cost {
            spent: sum(&parts),
            saved_by_cache: input.minus(cached_input).times(cached),
            cache_write_premium: writes.minus(input.times(written)),
        })
    }
}

impl Cost {
    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            spent: self.spent.plus(other.spent),
            saved_by_cache: self.saved_by_cache.plus(other.saved_by_cache),
            cache_write_premium: self.cache_write_premium.plus(other.cache_write_premium),
        }
    }
}

impl From<Usage> for TokenCounts {
    fn from(usage: Usage) -> Self {
        Self {
            prompt: usage.prompt_tokens,
            cached: usage.cached_tokens,
            written: usage.written_tokens,
            written_1h: usage.written_1h_tokens,
            output: usage.output_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use affinity_layer::answer::AnswerReader;

    use super::*;

    fn rates([input, cached, write, write_1h, output]: [&str; 5]) -> Rates {
        let price = |text| Picodollars::per_token(text).unwrap();
        Rates {
            input: price(input),
            cached_input: price(cached),
            cache_write: price(write),
            cache_write_1h: price(write_1h),
            output: price(output),
        }
    }

    fn cost(price: &Price, usage: &str) -> Option<[String; 3]> {
        let mut reader = AnswerReader::new("application/json").unwrap();
        reader.feed(format!(r#"{{"usage":{usage}}}"#).as_bytes());
        let cost = price.cost(&reader.usage().into())?;
        Some([cost.spent, cost.saved_by_cache, cost.cache_write_premium].map(|it| it.to_string()))
    }

    /// Each by hand: dollars per million tokens times tokens, divided by a million.
    #[test]
    fn each_protocol_costs_what_a_hand_calculates() {
        let price = Price::new(rates(["2", "0.10", "2.50", "2.50", "10"]));
        let chat = r#"{"prompt_tokens":10000,"completion_tokens":300,
            "prompt_tokens_details":{"cached_tokens":6000,"cache_write_tokens":3000}}"#;
        // 1,000 × 2 + 6,000 × 0.10 + 3,000 × 2.50 + 300 × 10 = 13,100; 6,000 × 1.90; 3,000 × 0.50
        let told = ["0.0131", "0.0114", "0.0015"].map(str::to_owned);
        assert_eq!(cost(&price, chat), Some(told.clone()));
        let responses = r#"{"input_tokens":10000,"output_tokens":300,
            "input_tokens_details":{"cached_tokens":6000,"cache_write_tokens":3000}}"#;
        assert_eq!(cost(&price, responses), Some(told.clone()), "cached tokens are included");
        let messages = r#"{"input_tokens":1000,"output_tokens":300,"cache_read_input_tokens":6000,
            "cache_creation_input_tokens":3000,
            "cache_creation":{"ephemeral_5m_input_tokens":3000,"ephemeral_1h_input_tokens":0}}"#;
        assert_eq!(cost(&price, messages), Some(told), "cached tokens are not included");
        let price = Price::new(rates(["2", "0.10", "2.50", "4", "10"]));
        assert!(cost(&price, chat).is_some(), "it knows one lifetime");
        let undivided = messages.replace("ephemeral", "unknown");
        assert_eq!(cost(&price, &undivided), None, "nobody says how long it is kept");
        let hour = messages.replace(
            ":3000,\"ephemeral_1h_input_tokens\":0",
            ":1000,\"ephemeral_1h_input_tokens\":2000",
        );
        // 1,000 × 2 + 6,000 × 0.10 + 1,000 × 2.50 + 2,000 × 4 + 300 × 10 = 16,100
        let told = ["0.0161", "0.0114", "0.0045"].map(str::to_owned);
        assert_eq!(cost(&price, &hour), Some(told));
    }

    #[test]
    fn a_long_prompt_changes_the_rates_of_the_whole_request() {
        let long = rates(["4", "0.20", "5", "5", "15"]);
        let price = Price::new(rates(["2", "0.10", "2.50", "2.50", "10"])).above(272_000, long);
        let usage = |prompt: u64| {
            format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":1000,
                "prompt_tokens_details":{{"cached_tokens":200000,"cache_write_tokens":0}}}}"#
            )
        };
        // 72,000 × 2 + 200,000 × 0.10 + 1,000 × 10 = 174,000
        assert_eq!(cost(&price, &usage(272_000)).unwrap()[0], "0.174");
        // 72,001 × 4 + 200,000 × 0.20 + 1,000 × 15 = 343,004
        assert_eq!(cost(&price, &usage(272_001)).unwrap()[0], "0.343004");
        let more = rates(["8", "8", "8", "8", "8"]);
        let price = price.above(1_000, more).above(500_000, more);
        assert_eq!(price.rates(1_000).input.get(), 2_000_000);
        assert_eq!(price.rates(1_001), &more);
        assert_eq!(price.rates(400_000), &long, "the highest bound that is exceeded");
    }

    #[test]
    fn what_is_not_counted_makes_a_cost_unknown_where_the_price_differs() {
        let price = Price::new(rates(["2", "0.10", "2.50", "4", "10"]));
        let all = TokenCounts {
            prompt: Some(100),
            cached: Some(50),
            written: Some(20),
            written_1h: Some(0),
            output: Some(7),
        };
        assert!(price.cost(&all).is_some());
        for less in [
            TokenCounts { prompt: None, ..all },
            TokenCounts { cached: None, ..all },
            TokenCounts { written: None, ..all },
            TokenCounts { written_1h: None, ..all },
            TokenCounts { output: None, ..all },
        ] {
            assert_eq!(price.cost(&less), None, "{less:?}");
        }
        let nothing_written = TokenCounts { written: Some(0), written_1h: None, ..all };
        assert!(price.cost(&nothing_written).is_some());
        let plain = Price::new(rates(["2", "2", "2", "2", "10"]));
        let bare = TokenCounts { prompt: Some(100), output: Some(7), ..TokenCounts::default() };
        assert_eq!(plain.cost(&bare).unwrap().spent.to_string(), "0.00027");
    }

    #[test]
    fn counts_that_contradict_each_other_make_a_cost_unknown() {
        let price = Price::new(rates(["2", "0.10", "2.50", "4", "10"]));
        let all = TokenCounts {
            prompt: Some(100),
            cached: Some(60),
            written: Some(40),
            written_1h: Some(40),
            output: Some(0),
        };
        assert!(price.cost(&all).is_some());
        for wrong in [
            TokenCounts { cached: Some(61), ..all },
            TokenCounts { cached: Some(101), written: Some(0), ..all },
            TokenCounts { written_1h: Some(41), ..all },
        ] {
            assert_eq!(price.cost(&wrong), None, "{wrong:?}");
        }
        let huge = TokenCounts { prompt: Some(u64::MAX), output: Some(u64::MAX), ..all };
        assert_eq!(price.cost(&huge).unwrap().spent.get(), u64::MAX, "it stays at the bound");
    }
}
