//! What models cost: prices in the file, and the table of well-known models.
//!
//! The table is a data file that says its sources. It is read by the reader of the configuration, so that an
//! entry can be copied from it into a file and changed there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use affinity_layer::ModelName;

use super::at::{At, Context};
use super::tree;
use crate::prices::{Picodollars, Price, Rates};

/// The table, as it is shipped.
const TABLE: &str = include_str!("../../config/prices.yaml");

/// The most that a million tokens may cost, in dollars.
const MOST: u64 = 1_000_000;

/// The longest that a provider's cache is said to live, in seconds.
const MOST_SECONDS: u64 = 30 * 24 * 60 * 60;

/// The keys of rates that a price may leave out, each after the one that then counts in its place.
const OPTIONAL: [&str; 3] = ["cached_input", "cache_write", "cache_write_1h"];

/// What is known of a model without the file.
#[derive(Clone, Debug)]
pub struct KnownModel {
    /// What its tokens cost.
    pub price: Price,
    /// How long its provider's cache lives after its last use.
    pub cache_ttl: Option<Duration>,
    /// Where the prices are published.
    pub source: String,
    /// The day on which they were read there.
    pub read: String,
}

/// What the shipped table says of `model`. A model whose name ends in the day of its release is the model
/// without it: `claude-haiku-4-5-20251001` is `claude-haiku-4-5`.
#[must_use]
pub fn known_model(model: &str) -> Option<&'static KnownModel> {
    static MODELS: OnceLock<BTreeMap<String, KnownModel>> = OnceLock::new();
    let models = MODELS.get_or_init(|| read_table(TABLE).unwrap_or_default());
    models.get(model).or_else(|| models.get(without_day(model)?))
}

/// The part of a name before `-20251001` or `-2025-10-01`.
fn without_day(name: &str) -> Option<&str> {
    ["-dddddddd", "-dddd-dd-dd"].iter().find_map(|shape| {
        let (start, end) = name.split_at_checked(name.len().checked_sub(shape.len())?)?;
        let fits =
            |(byte, wanted): (u8, u8)| byte == wanted || wanted == b'd' && byte.is_ascii_digit();
        end.bytes().zip(shape.bytes()).all(fits).then_some(start)
    })
}

/// The models of a table, or what is wrong with it.
fn read_table(text: &str) -> Result<BTreeMap<String, KnownModel>, Vec<super::Finding>> {
    let file = "prices.yaml";
    let tree = tree::parse(text, file).map_err(|error| vec![error])?;
    let context = Context {
        file,
        env: &|_| None,
        upstream_override: false,
        errors: RefCell::default(),
        warnings: RefCell::default(),
        is_misnamed: false.into(),
    };
    let root = At::root(&context, &tree);
    let mut models = BTreeMap::new();
    for at in root.get("models").map(|list| list.items()).unwrap_or_default() {
        let model = at.require("model").and_then(|model| model.parsed(ModelName::new));
        let source = at.require("source").and_then(|source| source.text());
        let read = at.require("read").and_then(|day| day.text());
        let price = at.require("price").and_then(|price| price_at(&price));
        let cache_ttl = cache_ttl(&at);
        if let (Some(model), Some(source), Some(read), Some(price)) = (model, source, read, price) {
            let known = KnownModel { price, cache_ttl, source, read };
            if models.insert(model.to_string(), known).is_some() {
                at.error("this model is in the table already");
            }
        }
    }
    root.report_unknown_keys();
    let errors = context.errors.into_inner();
    if errors.is_empty() { Ok(models) } else { Err(errors) }
}

/// `price` of an entry.
pub(super) fn price(at: &At<'_>) -> Option<Price> {
    at.get("price").and_then(|price| price_at(&price))
}

/// `cache_ttl_seconds` of an entry.
pub(super) fn cache_ttl(at: &At<'_>) -> Option<Duration> {
    let seconds = at.get("cache_ttl_seconds")?.integer(1..=MOST_SECONDS, " of seconds")?;
    Some(Duration::from_secs(seconds))
}

fn price_at(at: &At<'_>) -> Option<Price> {
    let base = rates(at);
    let mut read = Vec::new();
    for tier in at.get("above").map(|tiers| tiers.items()).unwrap_or_default() {
        let bound = tier.require("prompt_tokens");
        let bound = bound.and_then(|bound| bound.integer(1..=1_000_000_000, " of tokens"));
        let rates = rates(&tier);
        for key in OPTIONAL {
            if at.get(key).is_some() && tier.get(key).is_none() {
                tier.error(format!("{key} is missing: the price for shorter prompts has one"));
            }
        }
        if read.iter().any(|(other, _)| Some(*other) == bound) {
            tier.error("there are prices above this number of tokens already");
        }
        read.extend(bound.zip(rates));
    }
    let tiers = read.into_iter();
    Some(tiers.fold(Price::new(base?), |price, (bound, rates)| price.above(bound, rates)))
}

fn rates(at: &At<'_>) -> Option<Rates> {
    let required = |key| at.require(key).and_then(|price| dollars(&price));
    let (input, output) = (required("input"), required("output"));
    let optional = OPTIONAL.map(|key| at.get(key).map(|price| dollars(&price)));
    let [cached_input, cache_write, cache_write_1h] = optional;
    let input = input?;
    let cache_write = cache_write.unwrap_or(Some(input))?;
    Some(Rates {
        input,
        cached_input: cached_input.unwrap_or(Some(input))?,
        cache_write,
        cache_write_1h: cache_write_1h.unwrap_or(Some(cache_write))?,
        output: output?,
    })
}

fn dollars(at: &At<'_>) -> Option<Picodollars> {
    let price = at.decimal().and_then(|text| Picodollars::per_token(&text).ok());
    let most = Picodollars::new(MOST.saturating_mul(1_000_000));
    let price = price.filter(|price| *price <= most);
    if price.is_none() {
        at.error(format!(
            "must be US dollars per million tokens, 0 to {MOST}, with at most six decimal places"
        ));
    }
    price
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_has_no_errors_and_says_its_sources() {
        let models = read_table(TABLE).unwrap();
        assert!(models.len() >= 10);
        for (name, known) in &models {
            assert!(known.source.starts_with("https://"), "{name}");
            assert!(known.read.len() == 10 && known.read.starts_with("2026-"), "{name}");
            let rates = known.price.rates(0);
            assert!(rates.cached_input < rates.input && rates.input <= rates.cache_write, "{name}");
            assert!(rates.cache_write <= rates.cache_write_1h && rates.input < rates.output);
            assert!(known.cache_ttl.is_some(), "{name}");
        }
        let rates = models["openai/gpt-6.1-terra"].price.rates(272_001);
        assert_eq!((rates.input.get(), rates.output.get()), (2_000_000, 7_500_000));
        let cached = models["anthropic/claude-sonnet-5-5"].price.rates(0).cached_input;
        assert_eq!(cached.get(), 100_000);
    }

    #[test]
    fn a_dated_name_is_the_model_and_any_other_is_unknown() {
        for (name, known) in [
            ("anthropic/claude-haiku-4-5", true),
            ("anthropic/claude-haiku-4-5-20251001", true),
            ("openai/gpt-6.1-sol-2026-09-30", true),
            ("openai/gpt-6.1-sol-mini", false),
            ("openai/gpt-6.1-sol-2026-09-3", false),
            ("anthropic/claude-haiku-4-5-2025100é", false),
            ("groq/claude-haiku-4-5", false),
            ("", false),
        ] {
            assert_eq!(known_model(name).is_some(), known, "{name}");
        }
    }
}
