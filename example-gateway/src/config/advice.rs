//! Warnings that need the final addresses of the providers.
//!
//! [`load`](super::load) refuses what cannot be right; this names what is hardly meant. `serve` logs it and
//! `check` prints it. It comes late because `serve --upstream` replaces the addresses of all providers.

use std::net::IpAddr;

use http::{HeaderName, header};

use super::vendors::Vendor;
use super::{Config, Protocols, Provider};

/// Headers that may carry a provider's key.
const CREDENTIALS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Likely mistakes: routes whose models do not speak every protocol, providers that will refuse
/// every call because there is no key, and addresses of this machine behind a proxy. Call it after
/// [`replace_upstreams`](Config::replace_upstreams).
#[must_use]
pub fn advice(config: &Config) -> Vec<String> {
    let keyless = config.providers.iter().filter(|provider| lacks_key(provider));
    let keyless = keyless.map(|provider| {
        let host = provider.base_url.host().unwrap_or_default();
        let model = &provider.model;
        format!(
            "{}: {model} has neither access_key nor passthrough_auth: {host} will refuse it",
            provider.place
        )
    });
    keyless.chain(unspoken_routes(config)).chain(odd_proxies(config)).collect()
}

/// Calls that a proxy hardly can make for us, and what of `NO_PROXY` is not understood.
fn odd_proxies(config: &Config) -> Vec<String> {
    let mut advice: Vec<_> = config.proxies.ignored().map(str::to_owned).into_iter().collect();
    for provider in &config.providers {
        let host = provider.base_url.host().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse();
        let is_here =
            host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback());
        if let Some(proxy) = config.proxies.of(&provider.base_url).filter(|_| is_here) {
            let text =
                format!("{host} is called through {proxy}; NO_PROXY={host} calls it directly");
            if !advice.contains(&text) {
                advice.push(text);
            }
        }
    }
    advice
}

fn unspoken_routes(config: &Config) -> Vec<String> {
    let none = Protocols::default().missing();
    let spoken_by = |names: &[&Provider]| {
        names.iter().map(|provider| provider.protocols).fold(none, Protocols::or)
    };
    let all = spoken_by(&config.providers.iter().collect::<Vec<_>>());
    let mut advice = Vec::new();
    for preference in &config.preferences {
        let models = preference.models.iter();
        let providers = models.filter_map(|model| provider_of(config, model.as_str()));
        let missing = spoken_by(&providers.collect::<Vec<_>>()).missing();
        let missing = missing.named().into_iter().zip(all.named());
        for ((protocol, _), (_, elsewhere)) in missing.filter(|((_, missing), _)| *missing) {
            let fate = if elsewhere { "go to other models" } else { "are refused" };
            let route = &preference.name;
            advice.push(format!(
                "route {route}: none of its models speaks {protocol}; requests in it {fate}"
            ));
        }
    }
    advice
}

/// The entry of a model; its own goes before a wildcard.
fn provider_of<'a>(config: &'a Config, model: &str) -> Option<&'a Provider> {
    let own = config.providers.iter().find(|provider| provider.model.as_str() == model);
    own.or_else(|| config.providers.iter().find(|provider| provider.serves(model)))
}

/// Whether the provider is a vendor that asks for a key, and none is going to be sent.
fn lacks_key(provider: &Provider) -> bool {
    let is_public = Vendor::named(provider.prefix()).is_some_and(|vendor| {
        vendor.base() == provider.base_url && provider.base_url.scheme_str() == Some("https")
    });
    let has_key = provider.access_key.is_some()
        || provider.passthrough_auth
        || CREDENTIALS.iter().any(|name| provider.headers.contains_key(name));
    is_public && !has_key
}
