//! Who is behind a model: what one model of a vendor has made, another of the same vendor can read.

use std::hash::{DefaultHasher, Hash, Hasher};

use secrecy::ExposeSecret;

use crate::config::Provider;

/// A provider, its host and the credential that it is called with, as a hash for this process alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vendor(u64);

impl Vendor {
    /// Who serves the models of `provider`. With the client's own credential, provider and host tell.
    pub(crate) fn of(provider: &Provider) -> Self {
        let mut hasher = DefaultHasher::new();
        let key = provider.access_key.as_ref().filter(|_| !provider.passthrough_auth);
        provider.prefix().hash(&mut hasher);
        provider.base_url.authority().hash(&mut hasher);
        provider.http_host.hash(&mut hasher);
        key.map(ExposeSecret::expose_secret).hash(&mut hasher);
        Self(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};

    #[test]
    fn a_vendor_is_a_provider_at_a_host_with_a_credential() {
        let text = |models: &str| format!("version: v0.4.0\nmodel_providers:\n{models}");
        let vendors = |models: &str| {
            let config = Config::parse(&text(models), "test", &|_| None, Mode::Full).unwrap();
            config.providers.iter().map(Vendor::of).collect::<Vec<_>>()
        };
        let [first, same, key, host, provider] = vendors(
            "  - {model: openai/a, access_key: k, base_url: 'http://h/v1'}
  - {model: openai/b, access_key: k, base_url: 'http://h/v2', input: [text]}
  - {model: openai/c, access_key: l, base_url: 'http://h/v1'}
  - {model: openai/d, access_key: k, base_url: 'http://i/v1'}
  - {model: groq/e, access_key: k, base_url: 'http://h/v1'}
",
        )[..] else {
            panic!("five models");
        };
        assert_eq!(first, same);
        for other in [key, host, provider] {
            assert_ne!(first, other);
        }
    }
}
