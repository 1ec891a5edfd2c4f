//! What of a provider can cool down, by names that an operator knows.
//!
//! An address is that of the provider, a proxy the one on the way there, a credential the key that is sent
//! there. Entries that share them share their coolings. What goes with the client's own credential has only an address: whether that client has
//! quota left says nothing of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use affinity_layer::ModelName;
use affinity_layer::cooldown::{
    CooldownCause, CooldownChange, Cooldowns, CoolingTarget, Target, TargetKind,
};
use http::Uri;
use http::request::Parts;
use secrecy::ExposeSecret;

use crate::config::{ForwardProxies, Provider};

/// The targets of each provider.
#[derive(Debug)]
struct TargetNames {
    entries: Vec<Entry>,
    /// By the name of the model; wildcards are left out.
    by_model: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    provider: Provider,
    address: Target,
    proxy: Option<Target>,
    credential: Option<Target>,
}

impl TargetNames {
    fn new(providers: &[Provider], proxies: &ForwardProxies) -> Self {
        let proxy = |provider: &Provider| {
            let proxy = proxies.of(&provider.base_url)?;
            Some(Target::new(TargetKind::Proxy, proxy.address()))
        };
        let entries = providers.iter().map(|provider| Entry {
            address: Target::new(TargetKind::Address, address(&provider.base_url)),
            proxy: proxy(provider),
            credential: credential(provider, providers),
            provider: provider.clone(),
        });
        let numbered = providers.iter().zip(0..).filter(|(provider, _)| !provider.is_wildcard());
        let by_model = numbered.map(|(provider, place)| (provider.model.to_string(), place));
        Self { entries: entries.collect(), by_model: by_model.collect() }
    }

    fn of(&self, kind: TargetKind, model: &ModelName, request: &Parts) -> Option<Target> {
        let name = model.as_str();
        let listed = self.by_model.get(name).and_then(|place| self.entries.get(*place));
        let entry =
            listed.or_else(|| self.entries.iter().find(|entry| entry.provider.serves(name)))?;
        // A wildcard takes any name that a client sends.
        let named = |name: String| {
            let target = Target::new(kind, name);
            if listed.is_none() { target.guessed() } else { target }
        };
        match kind {
            TargetKind::Address => Some(entry.address.clone()),
            TargetKind::Proxy => entry.proxy.clone(),
            _ if entry.provider.passthrough_auth => None,
            TargetKind::Credential => entry.credential.clone(),
            TargetKind::Model => Some(named(name.to_owned())),
            TargetKind::Path => Some(named(format!("{name} at {}", request.uri.path()))),
            _ => None,
        }
    }

    fn host(&self, model: &ModelName) -> Option<&str> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.provider.serves(model.as_str()))?.provider.base_url.host()
    }
}

/// `cooldowns` by the names of `providers`.
pub(crate) fn named(
    cooldowns: Cooldowns,
    providers: &[Provider],
    proxies: &ForwardProxies,
) -> Cooldowns {
    let names = Arc::new(TargetNames::new(providers, proxies));
    let told = names.clone();
    cooldowns
        .targets(move |kind, model, request| names.of(kind, model, request))
        .on_change(move |change| tell(change, &told))
}

/// One line when a target begins to cool down, and one when it serves again.
fn tell(change: &CooldownChange, names: &TargetNames) {
    let (CooldownChange::Began(cooling) | CooldownChange::Ended(cooling)) = change else { return };
    let CoolingTarget { target, cause, model, failures, left, .. } = cooling;
    let (kind, name, cause) = (target.kind().as_str(), target.name(), cause.as_str());
    let provider = model.as_str().split_once('/').map_or("", |(provider, _)| provider);
    let host = names.host(model).unwrap_or_default();
    let seconds = left.as_secs();
    // Of a call without an answer there is a WARN line already, which says why.
    let is_told = matches!(cooling.cause, CooldownCause::Connect | CooldownCause::Timeout);
    match change {
        CooldownChange::Began(_) if !is_told => tracing::warn!(
            provider, %model, host, kind, target = name, cause, failures, seconds,
            "a target that failed cools down"
        ),
        CooldownChange::Began(_) => tracing::info!(
            provider, %model, host, kind, target = name, cause, failures, seconds,
            "a target that failed cools down"
        ),
        _ => tracing::info!(
            provider, %model, host, kind, target = name, cause,
            "a target that cooled down serves again"
        ),
    }
}

fn address(base: &Uri) -> String {
    let scheme = base.scheme_str().unwrap_or("http");
    format!("{scheme}://{}", base.authority().map_or("", |authority| authority.as_str()))
}

/// The key of `provider`, named after the first entry that sends the same key to the same address.
fn credential(provider: &Provider, providers: &[Provider]) -> Option<Target> {
    let key = |provider: &Provider| {
        provider.access_key.as_ref().map(|key| key.expose_secret().to_owned())
    };
    let is_same = |other: &&Provider| {
        !other.passthrough_auth
            && address(&other.base_url) == address(&provider.base_url)
            && key(other) == key(provider)
            && other.headers == provider.headers
    };
    let first = providers.iter().find(is_same).filter(|_| !provider.passthrough_auth)?;
    let name = format!("key of {} at {}", first.model, address(&provider.base_url));
    Some(Target::new(TargetKind::Credential, name))
}

/// Every target of the configuration, each with the models that it takes along.
pub(crate) fn all(
    providers: &[Provider],
    proxies: &ForwardProxies,
) -> BTreeMap<(TargetKind, String), Vec<ModelName>> {
    let names = TargetNames::new(providers, proxies);
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for Entry { provider, address, proxy, credential } in names.entries {
        let model = Target::new(TargetKind::Model, provider.model.as_str());
        let model = Some(model).filter(|_| !provider.passthrough_auth && !provider.is_wildcard());
        for target in [Some(address), proxy, credential, model].into_iter().flatten() {
            let key = (target.kind(), target.name().to_owned());
            all.entry(key).or_default().push(provider.model.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::config::{Config, Mode};

    #[test]
    fn entries_share_what_they_share_and_a_clients_own_key_is_no_target() {
        let text = "
model_providers:
  - {model: openai/one, access_key: a}
  - {model: openai/two, access_key: a}
  - {model: openai/three, access_key: b}
  - {model: mine/one, base_url: 'http://127.0.0.1:8080/v1', passthrough_auth: true}
  - {model: 'wild/*', base_url: 'http://127.0.0.1:8080', access_key: c}
";
        let config = Config::parse(text, "test", &|_| None, Mode::Full).unwrap();
        let names = TargetNames::new(&config.providers, &ForwardProxies::default());
        let (request, ()) = Request::post("/v1/messages").body(()).unwrap().into_parts();
        let of = |kind, model: &str| {
            let target = names.of(kind, &ModelName::new(model).unwrap(), &request)?;
            Some((target.name().to_owned(), target.is_guessed()))
        };
        let openai = Some(("https://api.openai.com".to_owned(), false));
        for model in ["openai/one", "openai/two", "openai/three"] {
            assert_eq!(of(TargetKind::Address, model), openai);
        }
        let key = |model| of(TargetKind::Credential, model);
        assert_eq!(key("openai/one"), key("openai/two"));
        assert_ne!(key("openai/one"), key("openai/three"));
        for kind in [TargetKind::Credential, TargetKind::Model, TargetKind::Path] {
            assert_eq!(of(kind, "mine/one"), None);
        }
        assert_eq!(of(TargetKind::Address, "mine/one"), of(TargetKind::Address, "wild/x"));
        assert_eq!(of(TargetKind::Model, "wild/x"), Some(("wild/x".to_owned(), true)));
        let path = Some(("openai/one at /v1/messages".to_owned(), false));
        assert_eq!(of(TargetKind::Path, "openai/one"), path);
        assert_eq!(of(TargetKind::Model, "unknown/x"), None);
        assert!(
            !format!("{:?}", all(&config.providers, &ForwardProxies::default())).contains("\"a\""),
            "no key is a name"
        );
    }
}
