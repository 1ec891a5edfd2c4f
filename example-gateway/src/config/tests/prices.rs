//! What models cost, as a file says it.

use super::*;
use crate::prices::{Picodollars, Rates};

fn rates(text: &str, prompt_tokens: u64) -> Option<Rates> {
    let config = read(&format!("model_providers: [{text}]\n")).unwrap();
    let provider = &config.providers[0];
    let model = provider.model.as_str().replace('*', "any");
    let price = provider.price_of(&ModelName::new(&model).unwrap());
    price.map(|price| *price.rates(prompt_tokens))
}

fn per_million(price: &str) -> Picodollars {
    Picodollars::per_token(price).unwrap()
}

#[test]
fn a_price_is_read_to_its_last_decimal_place() {
    let text = "{model: groq/a, price: {input: 2, cached_input: 0.1, cache_write: 2.50, \
                cache_write_1h: 4.0, output: 0.000001, above: \
                [{prompt_tokens: 9, input: 3, cached_input: 1, cache_write: 1, cache_write_1h: 1, \
                output: 1}]}}";
    let expected = Rates {
        input: per_million("2"),
        cached_input: per_million("0.1"),
        cache_write: per_million("2.5"),
        cache_write_1h: per_million("4"),
        output: Picodollars::new(1),
    };
    assert_eq!(rates(text, 9), Some(expected));
    assert_eq!(rates(text, 10).unwrap().input, per_million("3"));
    let config = with_model("");
    assert_eq!(config.providers[0].cache_ttl_of(&config.providers[0].model), None);
}

#[test]
fn what_a_price_leaves_out_costs_what_it_is_a_part_of() {
    let bare = rates("{model: groq/a, price: {input: 2, output: 10}}", 0).unwrap();
    assert_eq!([bare.cached_input, bare.cache_write, bare.cache_write_1h], [per_million("2"); 3]);
    let write = rates("{model: groq/a, price: {input: 2, cache_write: 3, output: 10}}", 0);
    assert_eq!(write.unwrap().cache_write_1h, per_million("3"));
}

#[test]
fn the_file_goes_before_the_table_and_neither_is_unknown() {
    let known = "model: anthropic/claude-sonnet-5-5";
    assert_eq!(rates(&format!("{{{known}}}"), 0).unwrap().input, per_million("2"));
    let own = rates(&format!("{{{known}, price: {{input: 1, output: 1}}}}"), 0).unwrap();
    assert_eq!((own.input, own.cached_input), (per_million("1"), per_million("1")));
    assert_eq!(rates("{model: groq/any}", 0), None);
    let wildcard = "{model: groq/*, price: {input: 0, output: 7}}";
    assert_eq!(rates(wildcard, 0).unwrap().output, per_million("7"));
    let config = read("model_providers: [{model: anthropic/*, cache_ttl_seconds: 7}]\n").unwrap();
    let sonnet = ModelName::new("anthropic/claude-sonnet-5-5").unwrap();
    let provider = &config.providers[0];
    assert_eq!(provider.cache_ttl_of(&sonnet), Some(Duration::from_secs(7)));
    assert_eq!(provider.price_of(&sonnet).unwrap().rates(0).output, per_million("10"));
}

#[test]
fn what_is_no_price_is_refused_where_it_stands() {
    let price = |price: &str| format!("llm_providers: [{{model: groq/a, price: {price}}}]");
    let shape = "must be US dollars per million tokens, 0 to 1000000, with at most six decimal \
                 places";
    for bad in ["-1", "0.0000001", "1000001", "x", "true", "'2'", "1e12"] {
        let error = format!("2: llm_providers[0].price.input: {shape}");
        refused(&[(&price(&format!("{{input: {bad}, output: 1}}")), &error)]);
    }
    refused(&[
        (&price("{input: 1}"), "2: llm_providers[0].price: output is missing"),
        (
            &price("{input: 1, output: 1, cached_inputs: 1}"),
            "2: llm_providers[0].price.cached_inputs: unknown key, did you mean cached_input?",
        ),
        (
            &price(
                "{input: 2, cached_input: 1, output: 1, above: [{prompt_tokens: 9, input: 4, \
                 output: 2}]}",
            ),
            "2: llm_providers[0].price.above[0]: cached_input is missing: the price for shorter \
             prompts has one",
        ),
        (
            &price(
                "{input: 2, output: 1, above: [{prompt_tokens: 9, input: 4, output: 2}, \
                 {prompt_tokens: 9, input: 4, output: 2}]}",
            ),
            "2: llm_providers[0].price.above[1]: there are prices above this number of tokens \
             already",
        ),
        (
            "llm_providers: [{model: groq/a, cache_ttl_seconds: 0}]",
            "2: llm_providers[0].cache_ttl_seconds: must be a whole number of seconds, 1 to 2592000",
        ),
    ]);
}
